//! Errors of a sign-in on another device.

use token_rotator::SourceError;

use crate::authorization_code::advice;
use crate::id_token::IdTokenError;

/// Why the issuer issued no device code, and the remedy.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceAuthorizationError {
    /// The issuer refused the request or did not answer.
    #[error("the issuer gave no device code: {0}")]
    Refused(#[from] SourceError),
    /// The issuer's answer cannot be used.
    #[error(
        "the issuer's answer is {what} (RFC 8628 section 3.2): check the device authorization endpoint"
    )]
    Unreadable {
        /// What is wrong with the answer.
        what: &'static str,
    },
}

/// Why a device code brought no tokens, and the remedy. The code cannot be used again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The user denied the sign-in.
    #[error("the sign-in was denied (access_denied): sign in again, and allow it")]
    AccessDenied,
    /// The code expired before the user entered it.
    #[error("the code expired before the user entered it: sign in again")]
    Expired,
    /// The code expired and the last poll had no answer. The user may have entered the code.
    #[error("the code expired while the issuer gave no answer: {0}; sign in again")]
    Unanswered(#[source] SourceError),
    /// The issuer refused the poll.
    #[error("the code brought no tokens: {}; {}", .0, advice(.0))]
    Refused(#[source] SourceError),
    /// The answer contains an `id_token` that is not trustworthy.
    #[error("the tokens cannot be used: {0}")]
    IdToken(#[source] IdTokenError),
}
