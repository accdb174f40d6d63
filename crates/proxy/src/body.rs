//! The body of an answer.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use token_rotator::middleware::PeekedBody;

use crate::timer::Alarm;
use crate::upstream::Lease;

/// The body of an answer, on its way from the upstream.
pub(crate) enum AnswerBody {
    Empty,
    Full(Option<Bytes>),
    Streamed(Streamed),
    /// A body of which the beginning was read to be judged.
    Peeked(Box<PeekedBody<AnswerBody>>),
}

/// A body of which not all is there yet.
pub(crate) struct Streamed {
    incoming: Incoming,
    /// Its connection, where that is driven from here: a kept one of HTTP/1.1.
    lease: Option<Lease>,
    /// How long it may stand still.
    patience: Option<Duration>,
    alarm: Alarm,
}

/// Why a body breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error(transparent)]
    Upstream(#[from] hyper::Error),
    #[error("the upstream paused for too long")]
    Idle,
}

/// A short body comes with its head.
const SHORT: u64 = 16 * 1024;

impl AnswerBody {
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::Full(Some(bytes))
    }

    /// The body of an answer whose head has just come. Of a short one all is there already, and
    /// its connection is free again; or it has broken off, and the answer with it.
    pub(crate) fn http1(mut incoming: Incoming, mut lease: Lease) -> Result<Self, hyper::Error> {
        if incoming.is_end_stream() {
            lease.give_back();
            return Ok(Self::Empty);
        }
        let length = incoming.size_hint().exact();
        if length.is_some_and(|length| length <= SHORT) {
            let context = &mut Context::from_waker(Waker::noop());
            if let Poll::Ready(Some(frame)) = Pin::new(&mut incoming).poll_frame(context)
                && let Ok(data) = frame?.into_data()
            {
                if incoming.is_end_stream() {
                    lease.give_back();
                    return Ok(Self::full(data));
                }
                lease.first = Some(data);
            }
        }
        Ok(Self::streamed(incoming, Some(lease)))
    }

    /// Over an HTTP/2 connection, or one that was opened for this request alone.
    pub(crate) fn driven(incoming: Incoming) -> Self {
        Self::streamed(incoming, None)
    }

    pub(crate) fn peeked(body: PeekedBody<Self>) -> Self {
        Self::Peeked(Box::new(body))
    }

    fn streamed(incoming: Incoming, lease: Option<Lease>) -> Self {
        Self::Streamed(Streamed {
            incoming,
            lease,
            patience: None,
            alarm: Alarm::default(),
        })
    }
}

impl Streamed {
    /// It may stand still for so long, and not for ever.
    pub(crate) fn limit(&mut self, patience: Option<Duration>) {
        self.patience = patience;
    }

    fn first(&self) -> Option<&Bytes> {
        self.lease.as_ref()?.first.as_ref()
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
        if let Some(first) = self.lease.as_mut().and_then(|lease| lease.first.take()) {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let mut polled = Pin::new(&mut self.incoming).poll_frame(context);
        if polled.is_pending()
            && let Some(lease) = &mut self.lease
        {
            lease.drive(context);
            polled = Pin::new(&mut self.incoming).poll_frame(context);
        }
        let Poll::Ready(frame) = polled else {
            self.alarm.start(self.patience);
            let late = self.alarm.poll(context).is_ready();
            return if late {
                Poll::Ready(Some(Err(AnswerError::Idle)))
            } else {
                Poll::Pending
            };
        };
        self.alarm.set_at(None);
        if (frame.is_none() || self.incoming.is_end_stream())
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
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

    /// The body of an answer after which the upstream says nothing more.
    async fn body(answer: &str) -> Result<AnswerBody, hyper::Error> {
        let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
        far.write_all(answer.as_bytes()).await.expect("written");
        far.shutdown().await.expect("shut down");
        let opened = Http1::open(Stream::Unix(near)).await;
        let mut connection = opened.expect("a connection");
        let mut place = Some(Request::new(Upload::Empty));
        let answer = connection.send(&mut place, None).await;
        let Ok(answer) = answer else {
            panic!("no answer");
        };
        let lease = Lease {
            connection,
            pool: Arc::new(Pool::new(Some(false), 1, Duration::from_secs(1))),
            first: None,
        };
        AnswerBody::http1(answer.into_body(), lease)
    }

    #[tokio::test]
    async fn a_short_body_is_there_or_the_answer_is_none() {
        let whole = body("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc").await;
        assert!(matches!(whole, Ok(AnswerBody::Full(Some(bytes))) if bytes == "abc"));
        let cut = body("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n").await;
        assert!(cut.is_err(), "it must not pass for a body that has ended");
    }
}
