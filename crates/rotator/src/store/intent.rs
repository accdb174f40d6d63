//! The journal's one entry: that a refresh token is about to be presented, written down before it
//! is, so that whoever comes after a crash knows.

use std::time::SystemTime;

use hmac_sha256::Hash;

use crate::token::secret::ExposeSecret;
use crate::token::token_set::TokenSet;

/// That a refresh token is about to be presented to the issuer, as a record says it.
///
/// It stands in the record from right before the request until the answer is saved. Whoever reads
/// it under the lease knows that the refresh token may be spent, and goes by the issuer's
/// [`Profile`](crate::Profile).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Intent {
    /// Its name.
    pub id: IntentId,
    /// Which refresh token.
    pub token: TokenHash,
    /// How many times it was presented, or was about to be.
    pub attempts: u32,
    /// When it was first about to be presented, by the wall clock of whoever did.
    pub started: SystemTime,
    /// What is known of its outcome.
    pub outcome: IntentOutcome,
}

/// What is known of the outcome of an [`Intent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IntentOutcome {
    /// Nothing yet: its owner may still save what the issuer answers.
    Open,
    /// Its owner got no answer it could use, and none will come: the refresh token may be spent.
    Uncertain,
    /// The issuer has refused the refresh token: it is not presented again unless somebody forces
    /// a refresh.
    Refused,
}

/// The name of an [`Intent`], drawn by chance.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IntentId(u128);

impl IntentId {
    /// A new one.
    pub fn random() -> Self {
        Self(crate::runtime::random::bits())
    }

    /// The one with this number, as a store has kept it.
    pub fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Its number, for a store to keep.
    pub fn bits(self) -> u128 {
        self.0
    }
}

impl std::fmt::Debug for IntentId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "IntentId({:032x})", self.0)
    }
}

/// The SHA-256 of a refresh token: tells tokens apart and gives none away.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of the refresh token in this set, if it has one.
    pub fn of(tokens: &TokenSet) -> Option<Self> {
        let token = tokens.refresh_token()?;
        Some(Self(Hash::hash(token.expose_secret().as_bytes())))
    }

    /// The one with these bytes, as a store has kept it.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for a store to keep.
    pub fn bytes(self) -> [u8; 32] {
        self.0
    }
}

impl std::fmt::Debug for TokenHash {
    /// The first four bytes: enough to compare two by eye.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(out, "TokenHash({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

impl Intent {
    /// For a refresh token that is about to be presented for the first time.
    pub fn new(token: TokenHash, started: SystemTime) -> Self {
        Self {
            id: IntentId::random(),
            token,
            attempts: 1,
            started,
            outcome: IntentOutcome::Open,
        }
    }

    /// For the same refresh token, about to be presented once more.
    pub(crate) fn again(self) -> Self {
        Self {
            attempts: self.attempts.saturating_add(1),
            outcome: IntentOutcome::Open,
            ..self
        }
    }

    /// The intent with this name.
    pub fn with_id(self, id: IntentId) -> Self {
        Self { id, ..self }
    }

    /// The intent with this number of presentations.
    pub fn with_attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// The intent with this outcome.
    pub fn with_outcome(self, outcome: IntentOutcome) -> Self {
        Self { outcome, ..self }
    }
}
