//! The open streams of an HTTP/2 connection, and its end where there are none.
//!
//! hyper reads the heads of HTTP/2 without a limit of time, and its pings find out only whether
//! somebody is there: who answers them, or never ends his headers, would have a place for ever.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::timer::Alarm;

/// Counts the streams of one connection, from their headers to the end of the answer.
#[derive(Clone)]
pub(crate) struct Streams(Arc<Mutex<Count>>);

struct Count {
    open: usize,
    /// When there were streams last.
    since: Instant,
}

impl Default for Streams {
    fn default() -> Self {
        let since = Instant::now();
        Self(Arc::new(Mutex::new(Count { open: 0, since })))
    }
}

impl Streams {
    pub(crate) fn open(&self) -> OpenStream {
        self.count().open += 1;
        OpenStream(self.clone())
    }

    /// Since when no stream is open; `None`: one is.
    fn idle_since(&self) -> Option<Instant> {
        let count = self.count();
        (count.open == 0).then_some(count.since)
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open stream in the count of [`Streams`]. Dropping this value ends the stream in the count.
pub(crate) struct OpenStream(Streams);

impl OpenStream {
    /// The answer, by whose body the stream is open until it is dropped.
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

/// How long there may be no stream. It is looked at when the alarm goes off, and not when streams
/// come and go.
pub(crate) struct Idle {
    streams: Streams,
    patience: Duration,
    alarm: Alarm,
    /// When the other end was asked to end.
    asked: Option<Instant>,
}

impl Idle {
    pub(crate) fn new(streams: &Streams, patience: Duration) -> Self {
        let mut alarm = Alarm::default();
        alarm.start(Some(patience));
        Self {
            streams: streams.clone(),
            patience,
            alarm,
            asked: None,
        }
    }

    /// Ready once there has been no stream for so long, and again after as long.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.alarm.poll(context).is_ready() {
            let now = Instant::now();
            let from = match self.streams.idle_since() {
                Some(since) => self.asked.map_or(since, |asked| asked.max(since)),
                // If the stream ends from now on, it is not idle for so long before then.
                None => now,
            };
            let late = from + self.patience;
            if late <= now {
                self.asked = Some(now);
                self.alarm.set_at(Some(now + self.patience));
                return Poll::Ready(());
            }
            self.alarm.set_at(Some(late));
        }
        Poll::Pending
    }
}

/// Drives a connection until it ends, or does not though it is idle and was asked to: `None`.
pub(crate) struct NotIdle<'connection, C> {
    connection: Pin<&'connection mut C>,
    end: fn(Pin<&mut C>),
    idle: Idle,
}

impl<'connection, C> NotIdle<'connection, C> {
    /// `end` asks the other end to end it.
    pub(crate) fn new(
        connection: Pin<&'connection mut C>,
        end: fn(Pin<&mut C>),
        idle: Idle,
    ) -> Self {
        Self {
            connection,
            end,
            idle,
        }
    }

    /// Asks the other end to end the connection.
    pub(crate) fn end(&mut self) {
        (self.end)(self.connection.as_mut());
    }
}

impl<C: Future> Future for NotIdle<'_, C> {
    type Output = Option<C::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Poll::Ready(ended) = self.connection.as_mut().poll(context) {
                return Poll::Ready(Some(ended));
            }
            let asked = self.idle.asked.is_some();
            if self.idle.poll(context).is_pending() {
                return Poll::Pending;
            }
            if asked {
                return Poll::Ready(None);
            }
            self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);

    /// A connection that never ends, and when it was asked to and given up, in seconds.
    async fn ends(streams: &Streams) -> u64 {
        let began = Instant::now();
        let connection = std::pin::pin!(std::future::pending::<()>());
        let idle = Idle::new(streams, PATIENCE);
        assert_eq!(NotIdle::new(connection, |_| {}, idle).await, None);
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_stream_it_is_asked_and_then_given_up() {
        assert_eq!(ends(&Streams::default()).await, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_puts_both_off() {
        for (open_until, given_up_at) in [(1, 21), (25, 45), (10, 30)] {
            let streams = Streams::default();
            let open = streams.open();
            let ended = async {
                tokio::time::sleep(open_until * SECOND).await;
                drop(Response::new(open.until_dropped(Response::new(()))));
            };
            let (given_up, ()) = tokio::join!(ends(&streams), ended);
            assert_eq!(given_up, given_up_at);
        }
        // One that comes when the other end was asked already is answered.
        let streams = Streams::default();
        let late = async {
            tokio::time::sleep(15 * SECOND).await;
            let open = streams.open();
            tokio::time::sleep(25 * SECOND).await;
            drop(open);
        };
        let (given_up, ()) = tokio::join!(ends(&streams), late);
        assert_eq!(given_up, 50);
    }
}
