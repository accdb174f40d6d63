//! Response bodies and the few shapes of answer both servers give.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, PRAGMA};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde_json::Value;

pub(crate) type Body = BoxBody<Bytes, Infallible>;
pub(crate) type Answer = Response<Body>;

pub(crate) fn empty(status: StatusCode) -> Answer {
    with_body(status, Empty::new().boxed())
}

pub(crate) fn json(status: StatusCode, value: &Value) -> Answer {
    text(status, "application/json", value.to_string())
}

pub(crate) fn text(status: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut answer = with_body(status, Full::from(text).boxed());
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(crate) fn with_body(status: StatusCode, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

/// A redirect to `location`, or a 400 where that is no header value.
pub(crate) fn redirect(status: StatusCode, location: &str) -> Answer {
    let Ok(location) = HeaderValue::from_str(location) else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let mut answer = empty(status);
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// Answers with tokens, and errors in their place, are not to be cached (RFC 6749 section 5.1).
pub(crate) fn no_store(mut answer: Answer) -> Answer {
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
        .headers_mut()
        .insert(PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

/// `length` bytes in which byte `i` is `i % 251`, so that any shift or loss shows.
pub(crate) struct Pattern {
    position: u64,
    end: u64,
    frame: u64,
    announced: bool,
}

impl Pattern {
    pub(crate) fn of(length: u64) -> Self {
        Self {
            position: 0,
            end: length,
            frame: 64 * 1024,
            announced: true,
        }
    }

    /// The same in frames of 1 KiB, of a length that nobody is told beforehand: `u64::MAX` is without end.
    pub(crate) fn unannounced(length: u64) -> Self {
        Self {
            frame: 1024,
            announced: false,
            ..Self::of(length)
        }
    }
}

impl http_body::Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let upto = self.end.min(self.position + self.frame);
        let chunk: BytesMut = (self.position..upto)
            .map(|index| (index % 251) as u8)
            .collect();
        self.position = upto;
        Poll::Ready(Some(Ok(Frame::data(chunk.freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.position == self.end
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced {
            SizeHint::with_exact(self.end - self.position)
        } else {
            SizeHint::default()
        }
    }
}

/// One chunk of data, then trailers: the shape of a gRPC answer.
pub(crate) struct Trailed {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Trailed {
    pub(crate) fn new(data: Bytes, trailers: HeaderMap) -> Self {
        Self {
            data: Some(data).filter(|data| !data.is_empty()),
            trailers: Some(trailers),
        }
    }
}

impl http_body::Body for Trailed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }
}
