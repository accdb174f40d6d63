//! Response bodies, and responses that issuer and upstream have in common.

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
pub(crate) type HttpResponse = Response<Body>;

pub(crate) fn empty(status: StatusCode) -> HttpResponse {
    with_body(status, Empty::new().boxed())
}

pub(crate) fn json(status: StatusCode, value: &Value) -> HttpResponse {
    text(status, "application/json", value.to_string())
}

pub(crate) fn text(status: StatusCode, content_type: &'static str, text: String) -> HttpResponse {
    let mut response = with_body(status, Full::from(text).boxed());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(crate) fn with_body(status: StatusCode, body: Body) -> HttpResponse {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Returns a redirect to `location`, or a 400 if `location` is not allowed in a header.
pub(crate) fn redirect(status: StatusCode, location: &str) -> HttpResponse {
    let Ok(location) = HeaderValue::from_str(location) else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let mut response = empty(status);
    response.headers_mut().insert(LOCATION, location);
    response
}

/// Forbids caching of a response with tokens or with an error in their place (RFC 6749 section 5.1).
pub(crate) fn no_store(mut response: HttpResponse) -> HttpResponse {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
        .headers_mut()
        .insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// A body in which byte `i` is `i % 251`, so that a test detects shifted or missing bytes.
pub(crate) struct PatternBody {
    position: u64,
    end: u64,
    frame: u64,
    announced: bool,
}

impl PatternBody {
    pub(crate) fn of(length: u64) -> Self {
        Self {
            position: 0,
            end: length,
            frame: 64 * 1024,
            announced: true,
        }
    }

    /// Creates a body of `length` bytes without `Content-Length`, in frames of 1 KiB. With `u64::MAX` the body never
    /// ends.
    pub(crate) fn unannounced(length: u64) -> Self {
        Self {
            frame: 1024,
            announced: false,
            ..Self::of(length)
        }
    }
}

impl http_body::Body for PatternBody {
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

/// A body of one data frame and trailers, as in a gRPC response.
pub(crate) struct BodyWithTrailers {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl BodyWithTrailers {
    pub(crate) fn new(data: Bytes, trailers: HeaderMap) -> Self {
        Self {
            data: Some(data).filter(|data| !data.is_empty()),
            trailers: Some(trailers),
        }
    }
}

impl http_body::Body for BodyWithTrailers {
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
