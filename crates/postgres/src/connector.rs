//! How connections are made, with or without TLS.

use std::pin::Pin;

use deadpool_postgres::{Manager, ManagerConfig, RecyclingMethod};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, Error, Socket};

/// Messages that the server sends unasked. The connection sends and receives only while a task reads
/// them.
pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<AsyncMessage, Error>> + Send>>;

/// A TLS connector of any type.
pub(crate) trait Connector: Send + Sync {
    /// Makes the connections of a pool.
    fn manager(&self, config: Config) -> Manager;

    /// Makes one connection for listening.
    fn listen<'a>(&'a self, config: &'a Config)
    -> BoxFuture<'a, Result<(Client, Messages), Error>>;
}

pub(crate) struct With<T>(pub(crate) T);

impl<T> Connector for With<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + Sync + 'static,
    T::TlsConnect: Send + Sync,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn manager(&self, config: Config) -> Manager {
        // Whether it is still open shows when it is used, and a call may be made twice.
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
