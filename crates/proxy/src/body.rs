//! The body of an upstream's answer, on its way to the caller.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use token_rotator::middleware::PeekedBody;

use crate::timer::DeadlineTimer;
use crate::upstream::PooledConnection;

/// The body of an answer.
pub(crate) enum AnswerBody {
    Empty,
    Full(Option<Bytes>),
    Streamed(Streamed),
    /// A body whose beginning was read by a refusal rule.
    Peeked(Box<PeekedBody<AnswerBody>>),
}

/// A body that has not arrived completely.
pub(crate) struct Streamed {
    incoming: Incoming,
    /// The pooled HTTP/1.1 connection of the body, which the body drives. `None` if a task drives
    /// the connection.
    pooled: Option<PooledConnection>,
    /// How long the body may make no progress.
    idle_timeout: Option<Duration>,
    timer: DeadlineTimer,
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error(transparent)]
    Upstream(#[from] hyper::Error),
    #[error("the upstream paused for too long")]
    Idle,
}

/// Bodies up to this size are expected to arrive with the head.
const SHORT: u64 = 16 * 1024;

impl AnswerBody {
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::Full(Some(bytes))
    }

    /// Creates the body of an answer whose head has just arrived. A short body is usually complete,
    /// and its connection returns to the pool at once.
    ///
    /// *Errors*: the connection failed before a short body was complete.
    pub(crate) fn http1(
        mut incoming: Incoming,
        mut pooled: PooledConnection,
    ) -> Result<Self, hyper::Error> {
        if incoming.is_end_stream() {
            pooled.give_back();
            return Ok(Self::Empty);
        }
        let length = incoming.size_hint().exact();
        if length.is_some_and(|length| length <= SHORT) {
            let context = &mut Context::from_waker(Waker::noop());
            if let Poll::Ready(Some(frame)) = Pin::new(&mut incoming).poll_frame(context)
                && let Ok(data) = frame?.into_data()
            {
                if incoming.is_end_stream() {
                    pooled.give_back();
                    return Ok(Self::full(data));
                }
                pooled.first = Some(data);
            }
        }
        Ok(Self::streamed(incoming, Some(pooled)))
    }

    /// Creates a body whose connection a task drives: an HTTP/2 connection, or a connection opened
    /// for one request.
    pub(crate) fn driven(incoming: Incoming) -> Self {
        Self::streamed(incoming, None)
    }

    pub(crate) fn peeked(body: PeekedBody<Self>) -> Self {
        Self::Peeked(Box::new(body))
    }

    fn streamed(incoming: Incoming, pooled: Option<PooledConnection>) -> Self {
        Self::Streamed(Streamed {
            incoming,
            pooled,
            idle_timeout: None,
            timer: DeadlineTimer::default(),
        })
    }
}

impl Streamed {
    /// Limits how long the body may make no progress. `None` sets no limit.
    pub(crate) fn limit_idle(&mut self, idle_timeout: Option<Duration>) {
        self.idle_timeout = idle_timeout;
    }

    fn first(&self) -> Option<&Bytes> {
        self.pooled.as_ref()?.first.as_ref()
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream() && self.first().is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.incoming.size_hint();
        if let (Some(first), Some(rest)) = (self.first(), hint.exact()) {
            hint.set_exact(rest + first.len() as u64);
        }
        hint
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if let Some(first) = self.pooled.as_mut().and_then(|pooled| pooled.first.take()) {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let mut polled = Pin::new(&mut self.incoming).poll_frame(context);
        if polled.is_pending()
            && let Some(pooled) = &mut self.pooled
        {
            pooled.drive(context);
            polled = Pin::new(&mut self.incoming).poll_frame(context);
        }
        let Poll::Ready(frame) = polled else {
            self.timer.start(self.idle_timeout);
            let is_late = self.timer.poll(context).is_ready();
            return if is_late {
                Poll::Ready(Some(Err(AnswerError::Idle)))
            } else {
                Poll::Pending
            };
        };
        self.timer.set_at(None);
        if (frame.is_none() || self.incoming.is_end_stream())
            && let Some(pooled) = self.pooled.take()
        {
            pooled.give_back();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(AnswerError::from)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(body) => body.poll_frame(context),
            Self::Peeked(body) => Pin::new(&mut **body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Streamed(body) => body.is_end_stream(),
            Self::Peeked(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Streamed(body) => body.size_hint(),
            Self::Peeked(body) => body.size_hint(),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::Arc;

    use http::Request;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixStream;

    use super::*;
    use crate::tee::Upload;
    use crate::upstream::{Http1, Pool, Stream};

    /// Returns the body of an answer after which the upstream closes its side.
    async fn body(answer: &str) -> Result<AnswerBody, hyper::Error> {
        let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
        far.write_all(answer.as_bytes()).await.expect("written");
        far.shutdown().await.expect("shut down");
        let opened = Http1::open(Stream::Unix(near)).await;
        let mut connection = opened.expect("a connection");
        let mut request = Some(Request::new(Upload::Empty));
        let answer = connection.send(&mut request, None).await;
        let Ok(answer) = answer else {
            panic!("no answer");
        };
        let pooled = PooledConnection {
            connection,
            pool: Arc::new(Pool::new(Some(false), 1, Duration::from_secs(1))),
            first: None,
        };
        AnswerBody::http1(answer.into_body(), pooled)
    }

    #[tokio::test]
    async fn a_short_body_arrives_whole_or_is_an_error() {
        let whole = body("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc").await;
        assert!(matches!(whole, Ok(AnswerBody::Full(Some(bytes))) if bytes == "abc"));
        let cut = body("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n").await;
        assert!(cut.is_err(), "a cut body is an error, not a complete body");
    }
}
