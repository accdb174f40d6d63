//! The intent: the journal entry of a refresh, saved before its refresh token is presented.
//!
//! After a crash, the next process reads in it that the refresh token may be spent.

use std::time::SystemTime;

use hmac_sha256::Hash;

use crate::token::secret::ExposeSecret;
use crate::token::token_set::TokenSet;

/// The intent of a process to present a refresh token to the issuer.
///
/// The record holds the intent from just before the request until the answer is saved. If a flight
/// finds an intent in the record, the refresh token may be spent, and the issuer's
/// [`Profile`](crate::Profile) decides what the flight does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Intent {
    /// The name of the intent.
    pub id: IntentId,
    /// The hash of the refresh token.
    pub token: TokenHash,
    /// The number of attempts to present the refresh token.
    pub attempts: u32,
    /// The start of the first attempt, by the wall clock of its process.
    pub started: SystemTime,
    /// The outcome of the last attempt, as far as it is known.
    pub outcome: IntentOutcome,
}

/// The outcome of an [`Intent`], as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IntentOutcome {
    /// The outcome is not known yet: the process that wrote the intent may still save the issuer's
    /// answer.
    Open,
    /// The process got no usable answer and expects none: the refresh token may be spent.
    Uncertain,
    /// The issuer refused the refresh token. It is not presented again unless a caller forces a
    /// refresh.
    Refused,
}

/// The random name of an [`Intent`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IntentId(u128);

impl IntentId {
    /// A new name.
    pub fn random() -> Self {
        Self(crate::runtime::random::bits())
    }

    /// The name with this number, which a store has kept.
    pub fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The number of the name, for a store to keep.
    pub fn bits(self) -> u128 {
        self.0
    }
}

impl std::fmt::Debug for IntentId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "IntentId({:032x})", self.0)
    }
}

/// The SHA-256 of a refresh token. It identifies the token without revealing it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Hashes the refresh token of this token set. Returns `None` if the set has none.
    pub fn of(tokens: &TokenSet) -> Option<Self> {
        let token = tokens.refresh_token()?;
        Some(Self(Hash::hash(token.expose_secret().as_bytes())))
    }

    /// The hash with these bytes, which a store has kept.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the hash, for a store to keep.
    pub fn bytes(self) -> [u8; 32] {
        self.0
    }
}

impl std::fmt::Debug for TokenHash {
    /// Shows the first four bytes, which are enough to compare hashes in a log.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(out, "TokenHash({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

impl Intent {
    /// An intent for the first attempt to present a refresh token.
    pub fn new(token: TokenHash, started: SystemTime) -> Self {
        Self {
            id: IntentId::random(),
            token,
            attempts: 1,
            started,
            outcome: IntentOutcome::Open,
        }
    }

    /// The intent of a refresh token that another process may have presented, because the store came
    /// back with an older record. It counts no attempt, and its time is not known.
    pub(crate) fn of_older_record(token: TokenHash) -> Self {
        Self {
            attempts: 0,
            outcome: IntentOutcome::Uncertain,
            ..Self::new(token, SystemTime::UNIX_EPOCH)
        }
    }

    /// Whether the doubt comes from an older record, and from no attempt that is known.
    pub(crate) fn is_of_older_record(&self) -> bool {
        self.attempts == 0
    }

    /// The intent for the next attempt to present the same refresh token.
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

    /// The intent with this number of attempts.
    pub fn with_attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// The intent with this outcome.
    pub fn with_outcome(self, outcome: IntentOutcome) -> Self {
        Self { outcome, ..self }
    }
}
