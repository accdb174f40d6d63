//! Why nobody signed in on another device.

use token_rotator::SourceError;

use crate::authorization_code::advice;
use crate::id_token::IdTokenError;

/// Why there is no device code, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceAuthorizationError {
    /// The issuer gave none.
    #[error("the issuer gave no device code: {0}")]
    Refused(#[from] SourceError),
    /// What the issuer gave cannot be used.
    #[error(
        "the issuer's answer is {what} (RFC 8628 section 3.2): check the device authorization endpoint"
    )]
    Unreadable {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Why a device code brought no tokens, and what to do. It is of no use any more.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The user said no.
    #[error("the sign-in was denied (access_denied): sign in again, and allow it")]
    AccessDenied,
    /// Nobody entered the code in time.
    #[error("the code expired before anybody entered it: sign in again")]
    Expired,
    /// The code expired, and the issuer gave no answer when it was asked last: whether somebody has
    /// entered it is not known.
    #[error("the code expired while the issuer gave no answer: {0}; sign in again")]
    Unanswered(#[source] SourceError),
    /// The issuer refused the question.
    #[error("the code brought no tokens: {}; {}", .0, advice(.0))]
    Refused(#[source] SourceError),
    /// The tokens came with an `id_token` that cannot be trusted.
    #[error("the tokens cannot be used: {0}")]
    IdToken(#[source] IdTokenError),
}
