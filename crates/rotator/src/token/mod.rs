//! What a request is sent with.

pub mod jwt;
pub(crate) mod secret;
pub(crate) mod source;
pub(crate) mod token_set;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use token_rotator_core::Stamp;

use crate::token::secret::{ExposeSecret, SecretString, header_value};
use crate::token::token_set::TokenSet;

/// The header that carries the token, and how it is written.
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

/// A token set, ready to be sent.
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
        let token = tokens.access_token().expose_secret();
        if token.is_empty() {
            return Err("its access token is empty");
        }
        let header = header_value(&(placement.format)(token))
            .ok_or("its access token cannot stand in a header: it has a control character")?;
        Ok(Arc::new(Self { tokens, header }))
    }

    /// Of tokens that cannot be sent: a place for their refresh token.
    pub(crate) fn unusable(tokens: Arc<TokenSet>) -> Arc<Self> {
        Arc::new(Self {
            tokens,
            header: HeaderValue::from_static(""),
        })
    }
}

/// What is published for everybody: a credential, and until when it may be served unasked.
pub(crate) struct Issued {
    pub(crate) credential: Arc<Credential>,
    /// The credential's, one step nearer.
    pub(crate) header: HeaderValue,
    pub(crate) stamp: Stamp,
    /// By the wall clock. Moments, not milliseconds: the hot path compares and does not divide.
    pub(crate) until: SystemTime,
    /// When its early refresh is due, by the wall clock.
    pub(crate) early_at: SystemTime,
    /// A request that carried it was accepted, and the session has that event.
    pub(crate) accepted: AtomicBool,
}

impl Issued {
    /// Notes that a request with this token was accepted. Returns whether that is new.
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
    /// The value of the header that carries it: ready-made, marked sensitive, cheap to clone.
    pub fn header(&self) -> &HeaderValue {
        &self.0.header
    }

    /// The access token itself.
    pub fn secret(&self) -> &SecretString {
        self.0.credential.tokens.access_token()
    }

    /// The whole token set it came in.
    pub fn token_set(&self) -> &Arc<TokenSet> {
        &self.0.credential.tokens
    }

    /// Its number: grows by one with every token installed in this process.
    pub fn generation(&self) -> u64 {
        self.0.stamp.generation
    }

    /// The scope of this token and its sign-in: what [`Rotator::refused`](crate::Rotator::refused)
    /// wants to know of a refused request.
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

/// What a request goes out with: a token, or leave to go without one. Either way it says what the
/// request must remember.
#[derive(Clone, Debug)]
pub struct Pass {
    token: Option<Token>,
    stamp: Stamp,
}

impl Pass {
    pub(crate) fn bare(stamp: Stamp) -> Self {
        Self { token: None, stamp }
    }

    /// The token; `None`: the request goes out bare.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    pub(crate) fn into_token(self) -> Option<Token> {
        self.token
    }

    /// What the request must remember.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Writes the token into the headers under this name, in place of what may stand there.
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
