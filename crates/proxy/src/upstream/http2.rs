//! An HTTP/2 connection: one for each worker and upstream, shared by its requests.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::MutexGuard;

use super::{ConnectError, SendError, Stream};
use crate::tee::Upload;

/// The connection there is, if any.
pub(crate) struct Http2 {
    kept: Mutex<Option<Kept>>,
    /// Whether the upstream speaks HTTP/2, as far as is known.
    spoken: AtomicU8,
    turn: tokio::sync::Mutex<()>,
}

struct Kept {
    sender: SendRequest<Upload>,
    /// In sweeps of its pool.
    used: u64,
}

const NO: u8 = 0;
const YES: u8 = 1;
const UNKNOWN: u8 = 2;

impl Http2 {
    /// `spoken`: whether HTTP/2 is spoken, if that is known before the first connection.
    pub(crate) fn new(spoken: Option<bool>) -> Self {
        Self {
            kept: Mutex::default(),
            spoken: AtomicU8::new(spoken.map_or(UNKNOWN, u8::from)),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Where one connection serves all, or may yet turn out to, one request opens it and the others
    /// wait.
    pub(crate) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        if self.spoken.load(Ordering::Relaxed) == NO {
            return None;
        }
        let turn = self.turn.lock().await;
        (self.spoken.load(Ordering::Relaxed) != NO).then_some(turn)
    }

    /// What an upstream chose.
    pub(crate) fn chose(&self, http2: bool) {
        self.spoken.store(u8::from(http2), Ordering::Relaxed);
    }

    /// The connection, used now.
    pub(crate) fn ready(&self, now: u64) -> Option<SendRequest<Upload>> {
        if self.spoken.load(Ordering::Relaxed) != YES {
            return None;
        }
        let mut place = self.kept();
        if place.as_ref().is_some_and(|kept| kept.sender.is_closed()) {
            *place = None;
        }
        let kept = place.as_mut()?;
        kept.used = now;
        Some(kept.sender.clone())
    }

    /// Lets it go where nobody has used it since then: it ends with the last of its streams.
    pub(crate) fn sweep(&self, since: u64) {
        let mut place = self.kept();
        if place.as_ref().is_some_and(|kept| kept.used < since) {
            *place = None;
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn open(
        &self,
        stream: Stream,
        now: u64,
    ) -> Result<SendRequest<Upload>, ConnectError> {
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
        *self.kept() = Some(Kept {
            sender: sender.clone(),
            used: now,
        });
        Ok(sender)
    }

    pub(crate) async fn send(
        mut sender: SendRequest<Upload>,
        place: &mut Option<Request<Upload>>,
        limit: Option<Duration>,
    ) -> Result<Response<Incoming>, SendError> {
        let exchange = async {
            if sender.ready().await.is_err() {
                return Err(SendError::of(place.as_ref()));
            }
            let request = place.take().ok_or(SendError::Failed)?;
            sender.try_send_request(request).await.map_err(|mut error| {
                *place = error.take_message();
                SendError::of(place.as_ref())
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

#[cfg(all(test, unix))]
mod tests {
    use http_body_util::Empty;
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_nobody_uses_is_let_go() {
        let (near, far) = UnixStream::pair().expect("a pair of sockets");
        let service = hyper::service::service_fn(|_| async {
            Ok::<_, hyper::Error>(Response::new(Empty::<bytes::Bytes>::new()))
        });
        let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(far), service);
        let served = tokio::spawn(served);
        let http2 = Http2::new(Some(true));
        let opened = http2.open(Stream::Unix(near), 5).await;
        let sender = opened.expect("HTTP/2");
        http2.sweep(5);
        assert!(http2.ready(7).is_some());
        http2.sweep(7);
        assert!(http2.ready(7).is_some());
        http2.sweep(8);
        assert!(http2.ready(8).is_none());
        // Who still uses it does, and then it ends.
        let mut place = Some(Request::new(Upload::Empty));
        *place.as_mut().expect("a request").uri_mut() = http::Uri::from_static("http://a/");
        let answer = Http2::send(sender, &mut place, None).await;
        assert!(answer.is_ok_and(|answer| answer.status() == 200));
        assert!(served.await.expect("no panic").is_ok());
    }
}
