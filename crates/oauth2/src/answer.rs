//! What an answer means for the session.

mod json;
pub(crate) mod refusal;
mod retry_after;
mod tokens;

use http::{Response, StatusCode};
use token_rotator::{FailureKind, SourceError, TokenSet};

use crate::secrets::Secrets;
use crate::transport::{SecretBytes, TransportError};
pub(crate) use json::Fields;

/// What a request wanted from the issuer. The same status means different things for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exchange {
    /// The next token set for a refresh token (RFC 6749 section 6). Without an answer the refresh
    /// token may be spent, and the issuer may say that it will not do this again.
    RefreshToken,
    /// A token set for the client itself (RFC 6749 section 4.4). Nothing is spent and nobody can
    /// sign in again, so nothing is [uncertain](FailureKind::Uncertain) or
    /// [terminal](FailureKind::Terminal): it is transient, or the operator's mistake.
    ClientCredentials,
    /// The first token set for an authorization code (RFC 6749 section 4.1.3). A code is good once:
    /// without an answer it may be spent.
    AuthorizationCode,
    /// A device code (RFC 8628 section 3.1). Nothing is spent.
    DeviceAuthorization,
    /// The first token set for a device code (RFC 8628 section 3.4), which is asked about again
    /// until somebody has decided; so nothing is [uncertain](FailureKind::Uncertain).
    DeviceCode,
    /// The next access token for a cookie, from an endpoint of one's own. Its error codes are
    /// unknown here: 400, 401 and 403 alone say that the session is over.
    Cookie,
    /// The end of a grant (RFC 7009). Nothing is spent, and nothing left to end.
    Revocation,
}

impl Exchange {
    /// Reads the answer of a token endpoint (RFC 6749 section 5).
    ///
    /// A 2xx is a token set if it is a JSON object with an `access_token`; a `token_type` that is
    /// missing is Bearer, for many issuers leave it out. Everything else is a
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
            if self.brings_refresh_token()
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
    /// A device code counts as a client's credentials here, but for what is terminal: there it
    /// counts as a refresh token.
    ///
    /// | answer | refresh token, authorization code | client credentials, device authorization, revocation | cookie |
    /// |---|---|---|---|
    /// | 408, 409, 425, 429, 503 | transient | transient | transient |
    /// | any status with `temporarily_unavailable`, `slow_down`, or a code that speaks of a rate limit or of too many requests | transient | transient | by status |
    /// | 4xx with `server_error` | transient | transient | by status |
    /// | 3xx: redirects are refused | transient | transient | transient |
    /// | 2xx to 4xx with `invalid_grant` and its like | **terminal** | misconfigured | by status |
    /// | 2xx to 4xx with `invalid_client`, `unauthorized_client`, `invalid_scope`, `unsupported_grant_type`, `invalid_request`, `invalid_target` | misconfigured | misconfigured | by status |
    /// | 403 in HTML, as firewalls answer | transient | transient | transient |
    /// | any other 403 | transient | transient | **terminal** |
    /// | 400, 401 with a code that is not known here | misconfigured | misconfigured | **terminal** |
    /// | 400, 401 without a code that can be read; the name of the status (`Unauthorized`) is none | **terminal** | misconfigured | **terminal** |
    /// | other 4xx, 404 and 405 among them | misconfigured | misconfigured | misconfigured |
    /// | other 5xx, a 2xx that cannot be read, what is no HTTP status | uncertain | transient | uncertain |
    ///
    /// The error names the status, the error code (RFC 6749 section 5.2, or the fields that other
    /// issuers use for it) and the description, both without anything of `sent`; `Retry-After` in
    /// either form (RFC 9110 section 10.2.3) comes along. Where a terminal answer says that the
    /// refresh token had been used before, that is marked as
    /// [`is_reuse_detected`](SourceError::is_reuse_detected); a 400 or 401 that says so is terminal
    /// though its code be unknown.
    pub fn refusal(self, answer: &Response<SecretBytes>, sent: &Secrets) -> SourceError {
        refusal::sort(self, answer, sent)
    }

    /// Sorts a request that brought no answer: not sent, or uncertain where something may have
    /// been.
    pub fn unanswered(self, error: TransportError, sent: &Secrets) -> SourceError {
        let text = error.to_string();
        let (kind, cause) = match error {
            TransportError::NotSent { cause } => (FailureKind::NotSent, Some(cause)),
            TransportError::MaybeSent { cause } => (self.when_unsure(), Some(cause)),
            TransportError::AnswerTooLong => (self.when_unsure(), None),
        };
        let error = SourceError::new(kind, text);
        match cause {
            Some(cause) => error.with_cause(sent.vet(cause)),
            None => error,
        }
    }

    /// A grant in somebody's name (RFC 6749 section 4.4.3 forbids it for the client's own).
    fn brings_refresh_token(self) -> bool {
        matches!(
            self,
            Self::RefreshToken | Self::AuthorizationCode | Self::DeviceCode
        )
    }

    /// Whether what it spends may have been spent by somebody else before.
    fn may_be_reuse(self) -> bool {
        matches!(self, Self::RefreshToken | Self::Cookie)
    }

    /// What it is when the issuer may have acted and nobody knows.
    fn when_unsure(self) -> FailureKind {
        match self {
            Self::RefreshToken | Self::AuthorizationCode | Self::Cookie => FailureKind::Uncertain,
            Self::ClientCredentials
            | Self::DeviceAuthorization
            | Self::DeviceCode
            | Self::Revocation => FailureKind::Transient,
        }
    }

    /// What it is when the issuer says no for good.
    fn when_over(self) -> FailureKind {
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
            400 | 401 | 403 => self.when_over(),
            402..500 => FailureKind::Misconfigured,
            _ => self.when_unsure(),
        }
    }
}
