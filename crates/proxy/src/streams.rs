//! Counts the open streams of an HTTP/2 connection, and closes an idle connection.
//!
//! hyper reads HTTP/2 heads without a time limit, and its pings test only whether the peer is
//! reachable. A peer that answers pings, or never finishes its headers, would stay connected
//! forever.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::timer::DeadlineTimer;

/// Counts the streams of one connection, from their headers to the end of the answer.
#[derive(Clone)]
pub(crate) struct StreamCounter(Arc<Mutex<StreamCount>>);

struct StreamCount {
    open: usize,
    /// Time when the last stream ended.
    since: Instant,
}

impl Default for StreamCounter {
    fn default() -> Self {
        let since = Instant::now();
        Self(Arc::new(Mutex::new(StreamCount { open: 0, since })))
    }
}

impl StreamCounter {
    pub(crate) fn open(&self) -> OpenStream {
        self.count().open += 1;
        OpenStream(self.clone())
    }

    /// Returns the time since when no stream is open, or `None` if a stream is open.
    fn idle_since(&self) -> Option<Instant> {
        let count = self.count();
        (count.open == 0).then_some(count.since)
    }

    fn count(&self) -> MutexGuard<'_, StreamCount> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one stream as open until it is dropped.
pub(crate) struct OpenStream(StreamCounter);

impl OpenStream {
    /// Attaches the stream to the body of its answer: the stream is open until the body is dropped.
    pub(crate) fn until_dropped<B>(self, answer: Response<B>) -> Response<StreamBody<B>> {
        answer.map(|body| StreamBody { body, _open: self })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut count = self.0.count();
        count.open -= 1;
        if count.open == 0 {
            count.since = Instant::now();
        }
    }
}

pin_project! {
    /// The body of an answer on a stream.
    pub(crate) struct StreamBody<B> {
        #[pin]
        body: B,
        _open: OpenStream,
    }
}

impl<B: Body> Body for StreamBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Detects that a connection had no stream for `idle_timeout`. It checks when the timer fires, so
/// that opening and closing streams stays cheap.
pub(crate) struct IdleDetector {
    streams: StreamCounter,
    idle_timeout: Duration,
    timer: DeadlineTimer,
    /// Time when the proxy sent GOAWAY.
    goaway_at: Option<Instant>,
}

impl IdleDetector {
    pub(crate) fn new(streams: &StreamCounter, idle_timeout: Duration) -> Self {
        let mut timer = DeadlineTimer::default();
        timer.start(Some(idle_timeout));
        Self {
            streams: streams.clone(),
            idle_timeout,
            timer,
            goaway_at: None,
        }
    }

    /// Ready when no stream was open for `idle_timeout`, and again after the same time.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.timer.poll(context).is_ready() {
            let now = Instant::now();
            let from = match self.streams.idle_since() {
                Some(since) => self.goaway_at.map_or(since, |asked| asked.max(since)),
                // An open stream: the connection cannot be idle for long enough before this time.
                None => now,
            };
            let idle_at = from + self.idle_timeout;
            if idle_at <= now {
                self.goaway_at = Some(now);
                self.timer.set_at(Some(now + self.idle_timeout));
                return Poll::Ready(());
            }
            self.timer.set_at(Some(idle_at));
        }
        Poll::Pending
    }
}

/// Drives a connection until it ends. An idle connection gets GOAWAY. The output is `None` if the
/// connection stays idle and does not end after GOAWAY.
pub(crate) struct CloseWhenIdle<'connection, C> {
    connection: Pin<&'connection mut C>,
    end: fn(Pin<&mut C>),
    idle: IdleDetector,
}

impl<'connection, C> CloseWhenIdle<'connection, C> {
    /// Wraps a connection. `end` sends GOAWAY.
    pub(crate) fn new(
        connection: Pin<&'connection mut C>,
        end: fn(Pin<&mut C>),
        idle: IdleDetector,
    ) -> Self {
        Self {
            connection,
            end,
            idle,
        }
    }

    /// Sends GOAWAY, which asks the peer to end the connection.
    pub(crate) fn end(&mut self) {
        (self.end)(self.connection.as_mut());
    }
}

impl<C: Future> Future for CloseWhenIdle<'_, C> {
    type Output = Option<C::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Poll::Ready(ended) = self.connection.as_mut().poll(context) {
                return Poll::Ready(Some(ended));
            }
            let was_asked = self.idle.goaway_at.is_some();
            if self.idle.poll(context).is_pending() {
                return Poll::Pending;
            }
            if was_asked {
                return Poll::Ready(None);
            }
            self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);

    /// Drives a connection that never ends. Returns the seconds until it is closed.
    async fn seconds_until_closed(streams: &StreamCounter) -> u64 {
        let began = Instant::now();
        let connection = std::pin::pin!(std::future::pending::<()>());
        let idle = IdleDetector::new(streams, IDLE_TIMEOUT);
        assert_eq!(CloseWhenIdle::new(connection, |_| {}, idle).await, None);
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_gets_goaway_and_is_then_closed() {
        assert_eq!(seconds_until_closed(&StreamCounter::default()).await, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_delays_goaway_and_close() {
        for (open_until, closed_at) in [(1, 21), (25, 45), (10, 30)] {
            let streams = StreamCounter::default();
            let open = streams.open();
            let ended = async {
                tokio::time::sleep(open_until * SECOND).await;
                drop(Response::new(open.until_dropped(Response::new(()))));
            };
            let (closed, ()) = tokio::join!(seconds_until_closed(&streams), ended);
            assert_eq!(closed, closed_at);
        }
        // A stream that opens after GOAWAY is served.
        let streams = StreamCounter::default();
        let late = async {
            tokio::time::sleep(15 * SECOND).await;
            let open = streams.open();
            tokio::time::sleep(25 * SECOND).await;
            drop(open);
        };
        let (closed, ()) = tokio::join!(seconds_until_closed(&streams), late);
        assert_eq!(closed, 50);
    }
}
