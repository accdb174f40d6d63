//! Errors of a sign-in on another device.

use token_rotator::SourceError;

use crate::authorization_code::sign_in_again;
use crate::id_token::IdTokenError;

/// Why the issuer issued no device code. [`hint`](Self::hint) returns the action for the cause.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceAuthorizationError {
    /// The issuer refused the request or did not answer.
    #[error("the issuer gave no device code: {0}")]
    Refused(#[from] SourceError),
    /// The issuer's answer cannot be used.
    #[error("the issuer's answer is {what} (RFC 8628 section 3.2)")]
    Unreadable {
        /// What is wrong with the answer.
        what: &'static str,
    },
}

impl DeviceAuthorizationError {
    /// Returns the action for the cause, or `None` if the issuer's answer does not name the cause.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused(error) => error.hint(),
            Self::Unreadable { .. } => Some("check the device authorization endpoint"),
        }
    }
}

/// Why a device code brought no tokens. The code cannot be used again. [`hint`](Self::hint) returns
/// the action for the cause.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The user denied the sign-in.
    #[error("the sign-in was denied (access_denied)")]
    AccessDenied,
    /// The code expired before the user entered it.
    #[error("the code expired before a user entered it")]
    Expired,
    /// The code expired and the last poll had no answer. The user may have entered the code.
    #[error("the code expired while the issuer gave no answer: {0}")]
    Unanswered(#[source] SourceError),
    /// The issuer refused the poll.
    #[error("the code brought no tokens: {0}")]
    Refused(#[source] SourceError),
    /// The answer contains an `id_token` that is not trustworthy.
    #[error("the tokens cannot be used: {0}")]
    IdToken(#[source] IdTokenError),
}

impl DeviceError {
    /// Returns the action for this cause. Every cause has a hint.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::AccessDenied => Some("sign in again, and allow it"),
            Self::Expired => Some("sign in again, and enter the new code in time"),
            Self::Unanswered(_) => Some("check the network, then sign in again"),
            Self::Refused(error) => Some(sign_in_again(error)),
            Self::IdToken(error) => error.hint(),
        }
    }
}
