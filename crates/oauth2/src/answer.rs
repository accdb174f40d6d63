//! Decides what an answer means for the session.
//!
//! `tokens` reads a token set, `refusal` sorts every other answer, `retry_after` reads
//! `Retry-After`, and `json` reads single fields of a JSON object.

mod json;
pub(crate) mod refusal;
mod retry_after;
mod tokens;

use http::{Response, StatusCode};
use token_rotator::{FailureKind, SourceError, TokenSet};

use crate::secrets::Secrets;
use crate::transport::{SecretBytes, TransportError};
pub(crate) use json::Fields;

/// The kind of request that the issuer answered. The same status means different things for each
/// kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestKind {
    /// Exchanges a refresh token for the next token set (RFC 6749 section 6). Without an answer the
    /// refresh token may be spent. The issuer may refuse further refreshes.
    RefreshToken,
    /// Requests a token set for the client itself (RFC 6749 section 4.4). The request spends no
    /// token and no user can sign in again. So no failure is [uncertain](FailureKind::Uncertain) or
    /// [terminal](FailureKind::Terminal): failures are transient or misconfigured.
    ClientCredentials,
    /// Exchanges an authorization code for the first token set (RFC 6749 section 4.1.3). A code
    /// works once: without an answer the code may be spent.
    AuthorizationCode,
    /// Requests a device code (RFC 8628 section 3.1). The request spends no token.
    DeviceAuthorization,
    /// Exchanges a device code for the first token set (RFC 8628 section 3.4). The program polls
    /// until the user has decided, so no failure is [uncertain](FailureKind::Uncertain).
    DeviceCode,
    /// Exchanges a cookie for the next access token, at an endpoint that is not OAuth. This crate
    /// cannot interpret its error codes: the statuses 400, 401 and 403 alone end the session.
    Cookie,
    /// Revokes a token (RFC 7009). The request spends no token, and no session is left to end.
    Revocation,
}

impl RequestKind {
    /// Reads the answer of a token endpoint (RFC 6749 section 5).
    ///
    /// A 2xx is a token set if it is a JSON object with an `access_token`. A missing `token_type`
    /// means Bearer, because many issuers leave it out. Every other answer is a
    /// [`refusal`](Self::refusal).
    pub fn tokens(
        self,
        answer: &Response<SecretBytes>,
        sent: &Secrets,
    ) -> Result<TokenSet, SourceError> {
        if answer.status().is_success()
            && let Some(fields) = Fields::read(answer.body().expose())
            && let Some(mut tokens) = tokens::read(&fields, sent)
        {
            if self.may_return_refresh_token()
                && let Some(token) = fields.secret("refresh_token")
            {
                tokens = tokens.with_refresh_token(token);
            }
            return Ok(tokens);
        }
        Err(self.refusal(answer, sent))
    }

    /// Sorts an answer that brought no token set.
    ///
    /// A device code follows the column of client credentials, except for terminal failures: there
    /// it follows the column of the refresh token.
    ///
    /// | answer | refresh token, authorization code | client credentials, device authorization, revocation | cookie |
    /// |---|---|---|---|
    /// | 408, 409, 425, 429, 503 | transient | transient | transient |
    /// | any status with `temporarily_unavailable`, `slow_down`, or a code for a rate limit or too many requests | transient | transient | by status |
    /// | 4xx with `server_error` | transient | transient | by status |
    /// | 3xx: redirects are refused | transient | transient | transient |
    /// | 2xx to 4xx with `invalid_grant` or a synonym | **terminal** | misconfigured | by status |
    /// | 2xx to 4xx with `invalid_client`, `unauthorized_client`, `invalid_scope`, `unsupported_grant_type`, `invalid_request`, `invalid_target` | misconfigured | misconfigured | by status |
    /// | 403 in HTML, as firewalls send it | transient | transient | transient |
    /// | any other 403 | transient | transient | **terminal** |
    /// | 400, 401 with an unknown code | misconfigured | misconfigured | **terminal** |
    /// | 400, 401 without a readable code; the reason phrase (`Unauthorized`) is not a code | **terminal** | misconfigured | **terminal** |
    /// | other 4xx, including 404 and 405 | misconfigured | misconfigured | misconfigured |
    /// | other 5xx, an unreadable 2xx, a number that is not an HTTP status | uncertain | transient | uncertain |
    ///
    /// The error names the status, the error code and the description, without any secret of
    /// `sent`. The code comes from `error` (RFC 6749 section 5.2) or from the field that other
    /// issuers use. The error also carries `Retry-After` in either form (RFC 9110 section 10.2.3).
    ///
    /// A terminal answer that reports an already used refresh token sets
    /// [`is_reuse_detected`](SourceError::is_reuse_detected). A 400 or 401 that reports reuse is
    /// terminal even if its code is unknown.
    pub fn refusal(self, answer: &Response<SecretBytes>, sent: &Secrets) -> SourceError {
        refusal::sort(self, answer, sent)
    }

    /// Sorts a request without an answer: not sent, or uncertain if the issuer may have received a
    /// part of it.
    pub fn unanswered(self, error: TransportError, sent: &Secrets) -> SourceError {
        let (text, hint) = (error.to_string(), error.hint());
        let (kind, cause) = match error {
            TransportError::NotSent { cause } => (FailureKind::NotSent, Some(cause)),
            TransportError::MaybeSent { cause } => (self.kind_if_uncertain(), Some(cause)),
            TransportError::Misconfigured { cause, .. } => {
                (FailureKind::Misconfigured, Some(cause))
            }
            TransportError::AnswerTooLong => (self.kind_if_uncertain(), None),
        };
        let mut error = SourceError::new(kind, text);
        if let Some(hint) = hint {
            error = error.with_hint(hint);
        }
        match cause {
            Some(cause) => error.with_cause(sent.vet(cause)),
            None => error,
        }
    }

    /// Returns whether the grant is a user's (RFC 6749 section 4.4.3 forbids a refresh token for
    /// the client's own grant).
    fn may_return_refresh_token(self) -> bool {
        matches!(
            self,
            Self::RefreshToken | Self::AuthorizationCode | Self::DeviceCode
        )
    }

    /// Returns whether another process may have spent the same token or cookie before.
    fn may_be_reuse(self) -> bool {
        matches!(self, Self::RefreshToken | Self::Cookie)
    }

    /// Returns the failure kind for a request that the issuer may have carried out.
    fn kind_if_uncertain(self) -> FailureKind {
        match self {
            Self::RefreshToken | Self::AuthorizationCode | Self::Cookie => FailureKind::Uncertain,
            Self::ClientCredentials
            | Self::DeviceAuthorization
            | Self::DeviceCode
            | Self::Revocation => FailureKind::Transient,
        }
    }

    /// Returns the failure kind for a final refusal.
    fn kind_if_final(self) -> FailureKind {
        match self {
            Self::RefreshToken | Self::AuthorizationCode | Self::DeviceCode | Self::Cookie => {
                FailureKind::Terminal
            }
            Self::ClientCredentials | Self::DeviceAuthorization | Self::Revocation => {
                FailureKind::Misconfigured
            }
        }
    }

    fn by_status(self, status: StatusCode, html: bool) -> FailureKind {
        match status.as_u16() {
            300..400 | 408 | 409 | 425 | 429 | 503 => FailureKind::Transient,
            403 if html || self != Self::Cookie => FailureKind::Transient,
            400 | 401 | 403 => self.kind_if_final(),
            402..500 => FailureKind::Misconfigured,
            _ => self.kind_if_uncertain(),
        }
    }
}
