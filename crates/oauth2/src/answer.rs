//! Decides what an answer means for the session.
//!
//! `tokens` reads a token set, `refusal` sorts every other answer, `codes` knows what error codes
//! mean, `rules` has the differences of one issuer, `retry_after` reads `Retry-After`, and `json`
//! reads single fields.

mod codes;
mod json;
pub(crate) mod refusal;
mod retry_after;
mod rules;
mod tokens;

use http::Response;
use token_rotator::{FailureKind, SourceError, TokenSet};

use crate::secrets::Secrets;
use crate::transport::{SecretBytes, TransportError};
pub(crate) use codes::is_code;
pub(crate) use json::Fields;
pub use rules::AnswerRules;

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
    /// Reads the answer of a token endpoint (RFC 6749 section 5) by the default rules.
    ///
    /// A 2xx is a token set if it is a JSON object or a form with an `access_token`. A missing
    /// `token_type` means Bearer, because many issuers leave it out. Every other answer is a
    /// [`refusal`](Self::refusal).
    ///
    /// A 2xx with a `refresh_token` and without a readable `access_token`, or with a token type other
    /// than Bearer, is an error with [refused content](SourceError::is_content_refused). The rotator
    /// saves the received refresh token, because the issuer has spent the previous one.
    pub fn tokens(
        self,
        answer: &Response<SecretBytes>,
        sent: &Secrets,
    ) -> Result<TokenSet, SourceError> {
        self.tokens_by(&AnswerRules::new(), answer, sent)
    }

    /// Reads the answer of a token endpoint like [`tokens`](Self::tokens), by these rules.
    pub fn tokens_by(
        self,
        rules: &AnswerRules,
        answer: &Response<SecretBytes>,
        sent: &Secrets,
    ) -> Result<TokenSet, SourceError> {
        if answer.status().is_success()
            && let Some(fields) = Fields::read_any(answer.body().expose())
            && let Some(read) = tokens::read(&fields, rules, sent, self.may_return_refresh_token())
        {
            return read;
        }
        Err(self.refusal_by(rules, answer, sent))
    }

    /// Sorts an answer that brought no token set, by the default rules.
    ///
    /// A device code follows the column of client credentials, except for terminal failures: there
    /// it follows the column of the refresh token.
    ///
    /// | answer | refresh token, authorization code | client credentials, device authorization, revocation | cookie |
    /// |---|---|---|---|
    /// | 408, 425, 429, 503 | transient | transient | transient |
    /// | any status with `temporarily_unavailable`, `slow_down`, or a code for a rate limit or too many requests | transient | transient | by status |
    /// | 4xx with `server_error` | transient | transient | by status |
    /// | 3xx: redirects are refused | transient | transient | transient |
    /// | 2xx to 4xx with `invalid_grant`, or a code of the issuer's [profile](AnswerRules::profile) | **terminal** | misconfigured | by status |
    /// | 2xx to 4xx with `invalid_client`, `unauthorized_client`, `invalid_scope`, `unsupported_grant_type`, `invalid_request`, `invalid_target` | misconfigured | misconfigured | by status |
    /// | 404, 405 | misconfigured | misconfigured | misconfigured |
    /// | 400, 401, 403 with a body that is no web page | transient, without a reason | transient | **terminal** |
    /// | 400, 401, 403 with a web page, with an unknown code or without a code; 419, 440 and 498 | transient, without a reason | transient | transient, without a reason |
    /// | other 4xx | transient | transient | transient |
    /// | other 5xx, an unreadable 2xx, a number that is not an HTTP status | uncertain | transient | uncertain |
    ///
    /// A refusal *without a reason* names no code of RFC 6749: a gateway may have sent it. It ends no
    /// session by itself, but [`SourceError::refused_without_reason`] names
    /// the endpoint.
    ///
    /// The error names the status, the error code and the description, without any secret of
    /// `sent`. The code comes from `error` (RFC 6749 section 5.2) or from the field that other
    /// issuers use. The error also carries `Retry-After` in either form (RFC 9110 section 10.2.3).
    ///
    /// A terminal answer that reports an already used refresh token sets
    /// [`is_reuse_detected`](SourceError::is_reuse_detected). A 400 or 401 that reports reuse is
    /// terminal even if its code is unknown.
    pub fn refusal(self, answer: &Response<SecretBytes>, sent: &Secrets) -> SourceError {
        self.refusal_by(&AnswerRules::new(), answer, sent)
    }

    /// Sorts an answer that brought no token set, like [`refusal`](Self::refusal), by these rules.
    pub fn refusal_by(
        self,
        rules: &AnswerRules,
        answer: &Response<SecretBytes>,
        sent: &Secrets,
    ) -> SourceError {
        refusal::sort(self, rules, answer, sent)
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

    /// Returns whether the request belongs to a user's grant, which a new sign-in replaces.
    fn has_user(self) -> bool {
        matches!(
            self,
            Self::RefreshToken | Self::AuthorizationCode | Self::DeviceCode | Self::Cookie
        )
    }
}
