//! Answers in the shape of gRPC: status in trailers, or in the headers of an answer without a body (trailers-only).

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;

use crate::answer::{self, Answer, Trailed};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// One empty message: no compression, length zero.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// Status 0 behind `message`, or behind an empty message if there is none.
pub(super) fn ok(message: Bytes) -> Answer {
    let message = if message.is_empty() {
        Bytes::from_static(EMPTY_MESSAGE)
    } else {
        message
    };
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
    trailed(message, trailers)
}

/// Status 16 in the headers.
pub(super) fn unauthenticated() -> Answer {
    let mut answer = answer::empty(StatusCode::OK);
    answer.headers_mut().insert(CONTENT_TYPE, GRPC);
    answer.headers_mut().extend(unauthenticated_status());
    answer
}

/// Status 16 in trailers behind an empty body.
pub(super) fn late_unauthenticated() -> Answer {
    trailed(Bytes::new(), unauthenticated_status())
}

fn unauthenticated_status() -> HeaderMap {
    HeaderMap::from_iter([
        (GRPC_STATUS, HeaderValue::from_static("16")),
        (GRPC_MESSAGE, HeaderValue::from_static("invalid token")),
    ])
}

fn trailed(data: Bytes, trailers: HeaderMap) -> Answer {
    let mut answer = answer::with_body(StatusCode::OK, Trailed::new(data, trailers).boxed());
    answer.headers_mut().insert(CONTENT_TYPE, GRPC);
    answer
}
