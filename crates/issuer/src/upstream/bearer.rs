//! The token of a request, its validity, and the refusal of a request (RFC 6750).

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use crate::issuer::IssuerShared;
use crate::issuer::database::TokenValidity;
use crate::response::{self, HttpResponse};

/// The tokens that a request carries.
pub(super) enum PresentedToken {
    /// The request has no token.
    Absent,
    /// The request has one token, validated on arrival.
    Single(TokenValidity),
    /// The request has more than one token.
    Multiple,
}

impl PresentedToken {
    /// Reads the token from `Authorization`, after the scheme `Bearer`.
    pub(super) fn as_bearer(headers: &HeaderMap, issuer: &IssuerShared) -> Self {
        Self::read(headers, &AUTHORIZATION, issuer, |value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        })
    }

    /// Reads the token from the header `name`, without a scheme.
    pub(super) fn in_header(headers: &HeaderMap, name: &HeaderName, issuer: &IssuerShared) -> Self {
        Self::read(headers, name, issuer, |value| {
            Some(value.trim()).filter(|value| !value.is_empty())
        })
    }

    pub(super) fn is_valid(&self) -> bool {
        matches!(self, Self::Single(TokenValidity::Active(_)))
    }

    pub(super) fn generation(&self) -> Option<u64> {
        match self {
            Self::Single(validity) => validity.generation(),
            Self::Absent | Self::Multiple => None,
        }
    }

    pub(super) fn subject(&self) -> Option<&str> {
        match self {
            Self::Single(TokenValidity::Active(access)) => Some(&access.subject),
            _ => None,
        }
    }

    /// Builds the refusal of RFC 6750 section 3.1: a bare challenge if the request has no token, else `invalid_token`.
    pub(super) fn refusal(&self, realm: &str) -> HttpResponse {
        let (status, error) = match self {
            Self::Absent => (StatusCode::UNAUTHORIZED, None),
            Self::Single(_) => (StatusCode::UNAUTHORIZED, Some("invalid_token")),
            Self::Multiple => (StatusCode::BAD_REQUEST, Some("invalid_request")),
        };
        let mut challenge = format!("Bearer realm=\"{realm}\"");
        if let Some(error) = error {
            challenge.push_str(", error=\"");
            challenge.push_str(error);
            challenge.push('"');
        }
        let mut response =
            response::json(status, &json!({"error": error.unwrap_or("unauthorized")}));
        // Cannot fail: `UpstreamBuilder::start` checks the realm.
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }

    fn read(
        headers: &HeaderMap,
        name: &HeaderName,
        issuer: &IssuerShared,
        token: impl Fn(&str) -> Option<&str>,
    ) -> Self {
        let mut values = headers.get_all(name).iter();
        let (first, second) = (values.next(), values.next());
        if second.is_some() {
            return Self::Multiple;
        }
        match first.and_then(|value| value.to_str().ok()).and_then(token) {
            Some(token) => Self::Single(issuer.validate(token)),
            None => Self::Absent,
        }
    }
}
