//! An HTTP/2 connection: one for each worker and upstream, shared by its requests.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::{ConnectError, SendError, Stream};
use crate::tee::Upload;

/// The connection there is, if any.
#[derive(Default)]
pub(crate) struct Http2(Mutex<Option<SendRequest<Upload>>>);

impl Http2 {
    pub(crate) fn ready(&self) -> Option<SendRequest<Upload>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(SendRequest::is_closed) {
            *kept = None;
        }
        kept.clone()
    }

    pub(crate) async fn open(&self, stream: Stream) -> Result<SendRequest<Upload>, ConnectError> {
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .max_header_list_size(256 * 1024)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to an upstream ended");
            }
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
        Ok(sender)
    }

    pub(crate) async fn send(
        mut sender: SendRequest<Upload>,
        request: Request<Upload>,
        limit: Option<Duration>,
    ) -> Result<Response<Incoming>, SendError> {
        let exchange = async {
            if sender.ready().await.is_err() {
                return Err(SendError::Unsent(Box::new(request)));
            }
            sender
                .try_send_request(request)
                .await
                .map_err(|mut error| match error.take_message() {
                    Some(request) => SendError::Unsent(Box::new(request)),
                    None => SendError::Failed,
                })
        };
        match limit {
            Some(limit) => match tokio::time::timeout(limit, exchange).await {
                Ok(answer) => answer,
                Err(_) => Err(SendError::TimedOut),
            },
            None => exchange.await,
        }
    }
}
