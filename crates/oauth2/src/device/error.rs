//! Why nobody signed in on another device.

use token_rotator::SourceError;

use crate::authorization_code::sign_in_again;
use crate::id_token::IdTokenError;

/// Why there is no device code. [`hint`](Self::hint) says what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceAuthorizationError {
    /// The issuer gave none.
    #[error("the issuer gave no device code: {0}")]
    Refused(#[from] SourceError),
    /// What the issuer gave cannot be used.
    #[error("the issuer's answer is {what} (RFC 8628 section 3.2)")]
    Unreadable {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl DeviceAuthorizationError {
    /// What to do about it. Returns `None` if the issuer's answer does not tell.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused(error) => error.hint(),
            Self::Unreadable { .. } => Some("check the device authorization endpoint"),
        }
    }
}

/// Why a device code brought no tokens. The code is of no use any more. [`hint`](Self::hint) says what
/// to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The user said no.
    #[error("the sign-in was denied (access_denied)")]
    AccessDenied,
    /// No user entered the code in time.
    #[error("the code expired before a user entered it")]
    Expired,
    /// The code expired, and the issuer gave no answer when it was asked last: whether somebody has
    /// entered it is not known.
    #[error("the code expired while the issuer gave no answer: {0}")]
    Unanswered(#[source] SourceError),
    /// The issuer refused the question.
    #[error("the code brought no tokens: {0}")]
    Refused(#[source] SourceError),
    /// The tokens came with an `id_token` that cannot be trusted.
    #[error("the tokens cannot be used: {0}")]
    IdToken(#[source] IdTokenError),
}

impl DeviceError {
    /// What to do about it. Every cause has a hint.
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
