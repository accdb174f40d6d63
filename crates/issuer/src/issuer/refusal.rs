//! Reasons to refuse a request, and the error response (RFC 6749 section 5.2).

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::response::{self, HttpResponse};

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `invalid_request`, with the reason.
    Request(&'static str),
    /// `invalid_request`: this parameter is missing.
    Missing(&'static str),
    /// `invalid_client`. If the client used the `Authorization` header, the response names the accepted scheme.
    Client { by_header: bool },
    /// `invalid_grant`, with the reason.
    Grant(&'static str),
    /// `invalid_scope`.
    Scope,
    /// `unauthorized_client`, with the reason.
    UnauthorizedClient(&'static str),
    /// `unsupported_grant_type`.
    GrantType,
    /// `authorization_pending` (RFC 8628 section 3.5).
    Pending,
    /// `slow_down` (RFC 8628 section 3.5).
    SlowDown,
    /// `access_denied`.
    Denied,
    /// `expired_token` (RFC 8628 section 3.5).
    Expired,
}

impl Refusal {
    pub(super) fn response(&self) -> HttpResponse {
        let (error, description) = match *self {
            Self::Request(reason) => ("invalid_request", reason.to_owned()),
            Self::Missing(name) => ("invalid_request", format!("{name} is missing")),
            Self::Client { .. } => (
                "invalid_client",
                "unknown client or wrong secret".to_owned(),
            ),
            Self::Grant(reason) => ("invalid_grant", reason.to_owned()),
            Self::Scope => (
                "invalid_scope",
                "the scope exceeds what was granted".to_owned(),
            ),
            Self::UnauthorizedClient(reason) => ("unauthorized_client", reason.to_owned()),
            Self::GrantType => (
                "unsupported_grant_type",
                "see the metadata for those supported".to_owned(),
            ),
            Self::Pending => (
                "authorization_pending",
                "the user has not entered the code yet".to_owned(),
            ),
            Self::SlowDown => (
                "slow_down",
                "wait five seconds longer between polls".to_owned(),
            ),
            Self::Denied => ("access_denied", "the user denied the request".to_owned()),
            Self::Expired => ("expired_token", "the code has expired".to_owned()),
        };
        let status = match self {
            Self::Client { .. } => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut response = response::json(
            status,
            &json!({"error": error, "error_description": description}),
        );
        if matches!(self, Self::Client { by_header: true }) {
            let challenge = HeaderValue::from_static("Basic realm=\"token-rotator-testkit\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response::no_store(response)
    }
}
