//! gRPC responses. The status is in the trailers, or in the headers of a response without a body (trailers-only).

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;

use crate::response::{self, BodyWithTrailers, HttpResponse};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// One empty gRPC message: no compression, length zero.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// Returns `message`, or an empty message if `message` is empty, followed by trailers with status 0.
pub(super) fn ok(message: Bytes) -> HttpResponse {
    let message = if message.is_empty() {
        Bytes::from_static(EMPTY_MESSAGE)
    } else {
        message
    };
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
    with_trailers(message, trailers)
}

/// Returns a trailers-only response with status 16.
pub(super) fn unauthenticated() -> HttpResponse {
    let mut response = response::empty(StatusCode::OK);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response.headers_mut().extend(unauthenticated_status());
    response
}

/// Returns an empty body followed by trailers with status 16.
pub(super) fn late_unauthenticated() -> HttpResponse {
    with_trailers(Bytes::new(), unauthenticated_status())
}

fn unauthenticated_status() -> HeaderMap {
    HeaderMap::from_iter([
        (GRPC_STATUS, HeaderValue::from_static("16")),
        (GRPC_MESSAGE, HeaderValue::from_static("invalid token")),
    ])
}

fn with_trailers(data: Bytes, trailers: HeaderMap) -> HttpResponse {
    let mut response = response::with_body(
        StatusCode::OK,
        BodyWithTrailers::new(data, trailers).boxed(),
    );
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}
