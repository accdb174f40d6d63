//! The proxy's own answers (RFC 9457).

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use token_rotator::{FailureKind, RefreshError, TokenError};

use crate::body::AnswerBody;

/// An error that the proxy answers itself.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) name: &'static str,
    pub(crate) status: StatusCode,
    grpc: u8,
    title: &'static str,
    detail: &'static str,
    retry_after: Option<Duration>,
}

impl Problem {
    const fn new(
        name: &'static str,
        status: StatusCode,
        grpc: u8,
        title: &'static str,
        detail: &'static str,
    ) -> Self {
        Self {
            name,
            status,
            grpc,
            title,
            detail,
            retry_after: None,
        }
    }

    pub(crate) const fn bad_request(detail: &'static str) -> Self {
        let title = "The request cannot be forwarded";
        Self::new("bad-request", StatusCode::BAD_REQUEST, 13, title, detail)
    }

    pub(crate) const LOCAL_BEARER: Self = Self::new(
        "local-bearer",
        StatusCode::UNAUTHORIZED,
        16,
        "The local bearer is missing or wrong",
        "This proxy serves only callers that send its local bearer in `Authorization`. \
         hint: see the proxy's configuration",
    );
    pub(crate) const NO_ROUTE: Self = Self::new(
        "no-route",
        StatusCode::NOT_FOUND,
        12,
        "No route matches",
        "No route of this proxy matches this host and path. hint: see the proxy's configuration",
    );
    pub(crate) const METHOD: Self = Self::new(
        "method",
        StatusCode::NOT_IMPLEMENTED,
        12,
        "The method is not forwarded",
        "This proxy forwards neither CONNECT nor TRACE",
    );
    pub(crate) const CODING: Self = Self::new(
        "transfer-coding",
        StatusCode::NOT_IMPLEMENTED,
        12,
        "The transfer coding is not forwarded",
        "This proxy accepts `Transfer-Encoding: chunked` and no other. hint: compress the content \
         and set `Content-Encoding`",
    );
    pub(crate) const BODY_TIMEOUT: Self = Self::new(
        "body-timeout",
        StatusCode::REQUEST_TIMEOUT,
        4,
        "The body did not arrive in time",
        "The caller paused within the request's body for longer than this proxy allows",
    );
    pub(crate) const HEADER_TIMEOUT: Self = Self::new(
        "header-timeout",
        StatusCode::REQUEST_TIMEOUT,
        4,
        "The headers did not arrive in time",
        "The caller took longer to send the request's headers than this proxy allows",
    );
    pub(crate) const TOO_LARGE: Self = Self::new(
        "too-large",
        StatusCode::PAYLOAD_TOO_LARGE,
        8,
        "The body is too large",
        "The request's body is larger than this proxy allows",
    );
    pub(crate) const HOST: Self = Self::new(
        "host",
        StatusCode::MISDIRECTED_REQUEST,
        12,
        "The host is not allowed",
        "`Host` is not an allowed host of this proxy. hint: use the proxy's address, or add the \
         name to the allowed hosts",
    );
    pub(crate) const HEADERS: Self = Self::new(
        "headers-too-large",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        8,
        "The headers are too large",
        "The request's headers are larger than this proxy allows",
    );
    pub(crate) const UPSTREAM: Self = Self::new(
        "upstream",
        StatusCode::BAD_GATEWAY,
        14,
        "The upstream gave no answer",
        "The upstream cannot be reached, or closed the connection before its answer was complete",
    );
    pub(crate) const CONNECTIONS: Self = Self::new(
        "connections",
        StatusCode::SERVICE_UNAVAILABLE,
        14,
        "Too many connections",
        "This proxy has reached its limit of connections. hint: try again, or raise the limit",
    );
    pub(crate) const TIMEOUT: Self = Self::new(
        "upstream-timeout",
        StatusCode::GATEWAY_TIMEOUT,
        4,
        "The upstream did not answer in time",
        "The upstream did not connect or begin its answer within the time allowed",
    );
    const ENDED: Self = Self::new(
        "session-ended",
        StatusCode::SERVICE_UNAVAILABLE,
        16,
        "The session has ended",
        "There is no token, and only a sign-in brings a new one. hint: run `token-rotator login`",
    );
    const REFUSED: Self = Self::new(
        "session-refused",
        StatusCode::SERVICE_UNAVAILABLE,
        16,
        "The issuer refuses the session",
        "The issuer refuses to refresh the session and gives no reason. hint: run `token-rotator login`",
    );
    const NO_TOKEN: Self = Self::new(
        "no-token",
        StatusCode::SERVICE_UNAVAILABLE,
        14,
        "There is no token now",
        "The token could not be refreshed. hint: try again; the proxy's log names the cause",
    );

    /// Returns the problem for a request without a token.
    pub(crate) fn no_token(error: &TokenError) -> Self {
        let terminal = |error: &RefreshError| error.kind() == FailureKind::Terminal;
        match error {
            TokenError::SignedOut => Self::ENDED,
            TokenError::Refresh(RefreshError::RefusedWithoutReason { .. }) => Self::REFUSED,
            TokenError::Refresh(error) if terminal(error) => Self::ENDED,
            error => {
                let retry_after = match error {
                    TokenError::Refresh(RefreshError::Shared { left, .. }) => Some(*left),
                    TokenError::Refresh(error) => error.retry_after(),
                    _ => None,
                };
                Self {
                    retry_after: Some(retry_after.unwrap_or(Duration::from_secs(1))),
                    ..Self::NO_TOKEN
                }
            }
        }
    }

    /// Returns the answer in the caller's format.
    pub(crate) fn answer(&self, grpc: bool) -> Response<AnswerBody> {
        if grpc {
            return self.grpc_answer();
        }
        let mut answer = Response::new(AnswerBody::full(self.json()));
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"token-rotator\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        answer
    }

    /// Returns the answer as bytes, for a stream that hyper does not serve.
    pub(crate) fn raw(&self) -> Vec<u8> {
        let body = self.json();
        let mut raw = format!(
            "HTTP/1.1 {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            self.status,
            body.len()
        )
        .into_bytes();
        raw.extend_from_slice(&body);
        raw
    }

    fn grpc_answer(&self) -> Response<AnswerBody> {
        let mut answer = Response::new(AnswerBody::Empty);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let status = HeaderName::from_static("grpc-status");
        headers.insert(status, HeaderValue::from(u16::from(self.grpc)));
        let message = HeaderName::from_static("grpc-message");
        headers.insert(message, HeaderValue::from_static(self.detail));
        answer
    }

    fn json(&self) -> Bytes {
        let value = serde_json::json!({
            "type": format!("urn:token-rotator:problem:{}", self.name),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        Bytes::from(value.to_string())
    }
}
