//! Opens connections, with or without TLS.

use std::pin::Pin;

use deadpool_postgres::{Manager, ManagerConfig, RecyclingMethod};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, Error, Socket};

/// Messages that the server sends without a request. The connection sends and receives only while a task polls them.
pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<AsyncMessage, Error>> + Send>>;

/// A TLS connector with its type erased.
pub(crate) trait PostgresConnector: Send + Sync {
    /// Creates the manager that opens the connections of a pool.
    fn manager(&self, config: Config) -> Manager;

    /// Opens a connection for notifications.
    fn listen<'a>(&'a self, config: &'a Config)
    -> BoxFuture<'a, Result<(Client, Messages), Error>>;
}

pub(crate) struct TlsConnector<T>(pub(crate) T);

impl<T> PostgresConnector for TlsConnector<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + Sync + 'static,
    T::TlsConnect: Send + Sync,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn manager(&self, config: Config) -> Manager {
        // The pool does not test a connection: a closed connection shows in the next call, which is then repeated.
        let settings = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        Manager::from_config(config, self.0.clone(), settings)
    }

    fn listen<'a>(
        &'a self,
        config: &'a Config,
    ) -> BoxFuture<'a, Result<(Client, Messages), Error>> {
        Box::pin(async move {
            let (client, mut connection) = config.connect(self.0.clone()).await?;
            let messages = stream::poll_fn(move |context| connection.poll_message(context));
            Ok((client, Box::pin(messages) as Messages))
        })
    }
}
