//! HTTP/2 towards an upstream: the requests of one worker share one connection.

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

/// The shared connection of one worker to one upstream, if it is open.
pub(crate) struct Http2 {
    connection: Mutex<Option<SharedConnection>>,
    /// [`YES`] if the upstream speaks HTTP/2, [`NO`] if not, [`UNKNOWN`] before the first
    /// connection.
    support: AtomicU8,
    /// Locked while a request opens the connection.
    opening: tokio::sync::Mutex<()>,
}

struct SharedConnection {
    sender: SendRequest<Upload>,
    /// Time of the last use, in sweeps of the connection's pool.
    last_used: u64,
}

const NO: u8 = 0;
const YES: u8 = 1;
const UNKNOWN: u8 = 2;

impl Http2 {
    /// `support` is whether the upstream speaks HTTP/2, or `None` before the first connection.
    pub(crate) fn new(support: Option<bool>) -> Self {
        Self {
            connection: Mutex::default(),
            support: AtomicU8::new(support.map_or(UNKNOWN, u8::from)),
            opening: tokio::sync::Mutex::default(),
        }
    }

    /// Returns the lock for opening the shared connection, or `None` if the upstream does not speak
    /// HTTP/2.
    ///
    /// *Waits* while another request opens the connection.
    pub(crate) async fn lock_opening(&self) -> Option<MutexGuard<'_, ()>> {
        if self.support.load(Ordering::Relaxed) == NO {
            return None;
        }
        let guard = self.opening.lock().await;
        (self.support.load(Ordering::Relaxed) != NO).then_some(guard)
    }

    /// Records whether the upstream chose HTTP/2.
    pub(crate) fn set_support(&self, http2: bool) {
        self.support.store(u8::from(http2), Ordering::Relaxed);
    }

    /// Returns a sender of the open connection and records its use at `now`.
    pub(crate) fn ready(&self, now: u64) -> Option<SendRequest<Upload>> {
        if self.support.load(Ordering::Relaxed) != YES {
            return None;
        }
        let mut connection = self.connection();
        if connection
            .as_ref()
            .is_some_and(|open| open.sender.is_closed())
        {
            *connection = None;
        }
        let open = connection.as_mut()?;
        open.last_used = now;
        Some(open.sender.clone())
    }

    /// Drops the connection if no request has used it since `since`. The connection ends with its
    /// last stream.
    pub(crate) fn sweep(&self, since: u64) {
        let mut connection = self.connection();
        if connection
            .as_ref()
            .is_some_and(|open| open.last_used < since)
        {
            *connection = None;
        }
    }

    fn connection(&self) -> std::sync::MutexGuard<'_, Option<SharedConnection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        *self.connection() = Some(SharedConnection {
            sender: sender.clone(),
            last_used: now,
        });
        Ok(sender)
    }

    pub(crate) async fn send(
        mut sender: SendRequest<Upload>,
        slot: &mut Option<Request<Upload>>,
        limit: Option<Duration>,
    ) -> Result<Response<Incoming>, SendError> {
        let answer = async {
            if sender.ready().await.is_err() {
                return Err(SendError::of(slot.as_ref()));
            }
            let request = slot.take().ok_or(SendError::Failed)?;
            sender.try_send_request(request).await.map_err(|mut error| {
                *slot = error.take_message();
                SendError::of(slot.as_ref())
            })
        };
        match limit {
            Some(limit) => match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(SendError::TimedOut),
            },
            None => answer.await,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use http_body_util::Empty;
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn an_unused_connection_is_dropped() {
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
        // A request in flight finishes, and then the connection ends.
        let mut slot = Some(Request::new(Upload::Empty));
        *slot.as_mut().expect("a request").uri_mut() = http::Uri::from_static("http://a/");
        let answer = Http2::send(sender, &mut slot, None).await;
        assert!(answer.is_ok_and(|answer| answer.status() == 200));
        assert!(served.await.expect("no panic").is_ok());
    }
}
