//! The body of an answer.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::upstream::Lease;

/// The body of an answer, on its way from the upstream.
pub(crate) enum AnswerBody {
    Empty,
    Full(Option<Bytes>),
    /// Over an HTTP/1.1 connection, which is driven from here.
    Http1 {
        incoming: Incoming,
        lease: Option<Lease>,
    },
    /// Over an HTTP/2 connection, which drives itself.
    Http2(Incoming),
}

impl AnswerBody {
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::Full(Some(bytes))
    }

    /// The body of an answer whose head has just come. Of a short one all is there already, and
    /// its connection is free again.
    pub(crate) fn http1(mut incoming: Incoming, lease: Lease) -> Self {
        if incoming.is_end_stream() {
            lease.give_back();
            return Self::Empty;
        }
        if incoming
            .size_hint()
            .exact()
            .is_some_and(|size| size <= 16 * 1024)
        {
            let context = &mut Context::from_waker(Waker::noop());
            if let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut incoming).poll_frame(context) {
                match frame.into_data() {
                    Ok(data) if incoming.is_end_stream() => {
                        lease.give_back();
                        return Self::full(data);
                    }
                    Ok(data) => {
                        let mut lease = lease;
                        lease.first = Some(data);
                        return Self::Http1 {
                            incoming,
                            lease: Some(lease),
                        };
                    }
                    Err(_trailers) => {}
                }
            }
        }
        Self::Http1 {
            incoming,
            lease: Some(lease),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Http2(incoming) => Pin::new(incoming).poll_frame(context),
            Self::Http1 { incoming, lease } => {
                if let Some(first) = lease.as_mut().and_then(|lease| lease.first.take()) {
                    return Poll::Ready(Some(Ok(Frame::data(first))));
                }
                let mut polled = Pin::new(&mut *incoming).poll_frame(context);
                if polled.is_pending()
                    && let Some(lease) = lease
                {
                    lease.drive(context);
                    polled = Pin::new(&mut *incoming).poll_frame(context);
                }
                let ended = matches!(polled, Poll::Ready(None)) || incoming.is_end_stream();
                if ended && let Some(lease) = lease.take() {
                    lease.give_back();
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Http1 { incoming, lease } => {
                incoming.is_end_stream() && lease.as_ref().is_none_or(|lease| lease.first.is_none())
            }
            Self::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Http1 { incoming, lease } => {
                let mut hint = incoming.size_hint();
                let first = lease.as_ref().and_then(|lease| lease.first.as_ref());
                if let (Some(first), Some(rest)) = (first, hint.exact()) {
                    hint.set_exact(rest + first.len() as u64);
                }
                hint
            }
            Self::Http2(incoming) => incoming.size_hint(),
        }
    }
}
