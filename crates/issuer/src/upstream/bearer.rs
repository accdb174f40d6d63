//! The token a request carries, what it is worth, and how its refusal is worded (RFC 6750).

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use crate::answer::{self, Answer};
use crate::issuer::IssuerShared;
use crate::issuer::ledger::Judgement;

/// What a request shows as its right to be let in.
pub(super) enum Presented {
    /// No token.
    Nothing,
    /// One token, judged on arrival.
    Token(Judgement),
    /// More than one.
    Several,
}

impl Presented {
    /// Reads the token from `Authorization`, behind the scheme `Bearer`.
    pub(super) fn as_bearer(headers: &HeaderMap, issuer: &IssuerShared) -> Self {
        Self::read(headers, &AUTHORIZATION, issuer, |value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        })
    }

    /// Reads the token from a header of its own, without a scheme.
    pub(super) fn in_header(headers: &HeaderMap, name: &HeaderName, issuer: &IssuerShared) -> Self {
        Self::read(headers, name, issuer, |value| {
            Some(value.trim()).filter(|value| !value.is_empty())
        })
    }

    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Token(Judgement::Active(_)))
    }

    pub(super) fn generation(&self) -> Option<u64> {
        match self {
            Self::Token(judgement) => judgement.generation(),
            Self::Nothing | Self::Several => None,
        }
    }

    pub(super) fn subject(&self) -> Option<&str> {
        match self {
            Self::Token(Judgement::Active(access)) => Some(&access.subject),
            _ => None,
        }
    }

    /// The refusal of RFC 6750 section 3.1: a bare challenge where no token was shown, `invalid_token` where one was.
    pub(super) fn refusal(&self, realm: &str) -> Answer {
        let (status, error) = match self {
            Self::Nothing => (StatusCode::UNAUTHORIZED, None),
            Self::Token(_) => (StatusCode::UNAUTHORIZED, Some("invalid_token")),
            Self::Several => (StatusCode::BAD_REQUEST, Some("invalid_request")),
        };
        let mut challenge = format!("Bearer realm=\"{realm}\"");
        if let Some(error) = error {
            challenge.push_str(", error=\"");
            challenge.push_str(error);
            challenge.push('"');
        }
        let mut answer = answer::json(status, &json!({"error": error.unwrap_or("unauthorized")}));
        // The realm was checked at the start.
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        answer
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
            return Self::Several;
        }
        match first.and_then(|value| value.to_str().ok()).and_then(token) {
            Some(token) => Self::Token(issuer.judge(token)),
            None => Self::Nothing,
        }
    }
}
