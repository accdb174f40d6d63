//! Token sets, credentials and passes: from the issuer's answer to the header of a request.
//!
//! - `token_set`: the token set, as the issuer answered it.
//! - `source`: the token source, which exchanges the last token set for the next.
//! - [`jwt`]: the expiry that a JWT states.
//! - `lifetime`: lifetime and age of a token set.
//! - `secret`: secret texts and sensitive header values.
//! - `mod.rs`: a token set ready for requests.

pub mod jwt;
pub(crate) mod lifetime;
pub(crate) mod secret;
pub(crate) mod source;
pub(crate) mod token_set;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use token_rotator_core::Stamp;

use crate::token::secret::{ExposeSecret, SecretString, header_value};
use crate::token::token_set::TokenSet;

/// The header that carries the token, and the format of its value.
#[derive(Clone)]
pub(crate) struct Placement {
    pub(crate) name: HeaderName,
    pub(crate) format: Arc<dyn Fn(&str) -> String + Send + Sync>,
}

impl Placement {
    /// `Authorization: Bearer <token>` (RFC 6750 section 2.1).
    pub(crate) fn bearer() -> Self {
        Self {
            name: header::AUTHORIZATION,
            format: Arc::new(|token| format!("Bearer {token}")),
        }
    }
}

/// A token set with its header value.
pub(crate) struct Credential {
    pub(crate) tokens: Arc<TokenSet>,
    pub(crate) header: HeaderValue,
}

impl Credential {
    pub(crate) fn new(
        tokens: Arc<TokenSet>,
        placement: &Placement,
    ) -> Result<Arc<Self>, &'static str> {
        if !tokens.is_bearer() {
            return Err("its token type is not Bearer, which is the only one supported so far");
        }
        if let Some(problem) = tokens.text_with_control_character() {
            return Err(problem);
        }
        let token = tokens.access_token().expose_secret();
        if token.is_empty() {
            return Err("its access token is empty");
        }
        let header = header_value(&(placement.format)(token))
            .ok_or("its access token cannot stand in a header: it has a control character")?;
        Ok(Arc::new(Self { tokens, header }))
    }

    /// A credential that keeps the refresh token of a token set whose access token cannot be sent.
    pub(crate) fn unusable(tokens: Arc<TokenSet>) -> Arc<Self> {
        Arc::new(Self {
            tokens,
            header: HeaderValue::from_static(""),
        })
    }
}

/// A published credential, with the time until which callers get it without a check.
pub(crate) struct Issued {
    pub(crate) credential: Arc<Credential>,
    /// Copy of `credential.header`; saves a pointer chase on the hot path.
    pub(crate) header: HeaderValue,
    pub(crate) stamp: Stamp,
    /// The end of its use without a check, by the life clock. A `Duration` and not milliseconds,
    /// so that the hot path compares and does not divide.
    pub(crate) until: Duration,
    /// When its early refresh is due, by the life clock.
    pub(crate) early_at: Duration,
    /// When the token expires, by the life clock. `None` if that is unknown.
    pub(crate) expires_at: Option<Duration>,
    /// Whether a request with this token was accepted and the session has that event.
    pub(crate) accepted: AtomicBool,
}

impl Issued {
    /// Marks this token as accepted. Returns false if it was marked before.
    #[inline]
    pub(crate) fn mark_accepted(&self) -> bool {
        if self.accepted.load(Ordering::Relaxed) {
            return false;
        }
        self.accepted.store(true, Ordering::Relaxed);
        true
    }
}

/// A usable access token.
///
/// Cheap to clone. `Debug` shows its generation and not the token.
#[derive(Clone)]
pub struct Token(pub(crate) Arc<Issued>);

impl Token {
    /// The value of the token header. It is marked sensitive and cheap to clone.
    pub fn header(&self) -> &HeaderValue {
        &self.0.header
    }

    /// The access token.
    pub fn secret(&self) -> &SecretString {
        self.0.credential.tokens.access_token()
    }

    /// The token set that contains this token.
    pub fn token_set(&self) -> &Arc<TokenSet> {
        &self.0.credential.tokens
    }

    /// The number of the token. It grows by one with every token installed in this process.
    pub fn generation(&self) -> u64 {
        self.0.stamp.generation
    }

    /// The epoch and generation of the token. [`Rotator::refused`](crate::Rotator::refused) needs
    /// the stamp of the refused request.
    pub fn stamp(&self) -> Stamp {
        self.0.stamp
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Token")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

impl From<&Token> for Stamp {
    fn from(token: &Token) -> Self {
        token.stamp()
    }
}

/// The permission to send a request: a token, or the permission to send it without one.
///
/// A pass has the stamp that the request remembers for a refusal.
#[derive(Clone, Debug)]
pub struct Pass {
    token: Option<Token>,
    stamp: Stamp,
}

impl Pass {
    pub(crate) fn bare(stamp: Stamp) -> Self {
        Self { token: None, stamp }
    }

    /// The token. `None` if the request is sent without one.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    pub(crate) fn into_token(self) -> Option<Token> {
        self.token
    }

    /// The stamp that the request remembers for a refusal.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Writes the token into the header of this name, and replaces a value that is there.
    pub fn apply(&self, name: &HeaderName, headers: &mut HeaderMap) {
        if let Some(token) = &self.token {
            headers.insert(name.clone(), token.header().clone());
        }
    }
}

impl From<Token> for Pass {
    fn from(token: Token) -> Self {
        Self {
            stamp: token.stamp(),
            token: Some(token),
        }
    }
}

impl From<&Pass> for Stamp {
    fn from(pass: &Pass) -> Self {
        pass.stamp
    }
}
