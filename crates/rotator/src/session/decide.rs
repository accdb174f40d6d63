//! Decisions about a stored record, without IO. [`read`] decides what a flight does with the record
//! that it read. [`compare`] decides what a lost compare-and-swap means.

use std::sync::Arc;

use hmac_sha256::Hash;

use super::state::PreparedToken;
use crate::store::intent::{Intent, IntentOutcome, TokenHash};
use crate::store::{Epoch, Record, RecordDetails, Version};
use crate::token::secret::{ExposeSecret as _, SecretString};
use crate::token::token_set::TokenSet;

/// The most hashes that [`ReplacedTokens`] keeps.
const REPLACED_MAX: usize = 256;

/// What this process has read or written of the session's record.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KnownRecord {
    /// Epoch of the session in the store. `None` until a record was read or a sign-in began an
    /// epoch.
    pub(crate) epoch: Option<Epoch>,
    /// Version of the record that was read or saved last. Compare-and-swap expects this version.
    pub(crate) version: Option<Version>,
    /// The greatest revision read or written. It survives sign-ins and a lost store, so that no
    /// revision is used twice.
    pub(crate) greatest_revision: u64,
    /// The store has no record of this epoch yet. The first write replaces the record of any other
    /// epoch.
    pub(crate) unwritten: bool,
}

impl KnownRecord {
    /// A sign-in or sign-out in this process that the store does not hold yet.
    pub(crate) fn new_epoch() -> Self {
        Self {
            epoch: Some(Epoch::random()),
            unwritten: true,
            ..Self::default()
        }
    }

    /// The record was read or saved in this version.
    pub(crate) fn at(version: Version) -> Self {
        Self {
            epoch: Some(version.epoch),
            version: Some(version),
            greatest_revision: version.revision,
            unwritten: false,
        }
    }

    /// Returns the version of the next write over the record `found`.
    pub(crate) fn next_version(&self, found: Option<Version>) -> Version {
        let found = found.map_or(0, |version| version.revision);
        Version {
            epoch: self.epoch.unwrap_or_else(Epoch::random),
            revision: found.max(self.greatest_revision).saturating_add(1),
        }
    }

    /// Replaces this state by `newer`, but keeps the greatest revision.
    pub(crate) fn replace(&mut self, newer: Self) {
        *self = Self {
            greatest_revision: self.greatest_revision.max(newer.greatest_revision),
            ..newer
        };
    }
}

/// The tokens and the record that a refresh starts from.
#[derive(Clone)]
pub(crate) struct RefreshStart {
    /// The token set to exchange. `None` if the session never had a token set.
    pub(crate) last: Option<Arc<TokenSet>>,
    pub(crate) known: KnownRecord,
    /// The intent in the record.
    pub(crate) intent: Option<Intent>,
    /// Hashes of the token sets that the refresh replaces.
    pub(crate) replaced: ReplacedTokens,
    /// The details of the record.
    pub(crate) details: Box<RecordDetails>,
    /// The store holds an older record than this process has seen. Its revision is given here.
    pub(crate) older: Option<u64>,
    /// The record holds no tokens, because the first refresh of the session failed.
    pub(crate) without_tokens: bool,
}

impl RefreshStart {
    /// Starts from memory, because the store holds nothing newer.
    pub(crate) fn from_memory(
        last: Option<Arc<TokenSet>>,
        known: KnownRecord,
        details: Box<RecordDetails>,
    ) -> Self {
        Self {
            last,
            known,
            intent: None,
            replaced: ReplacedTokens::default(),
            details,
            older: None,
            without_tokens: false,
        }
    }

    /// Returns whether a failure can be written. A session that never had tokens gets a record without
    /// tokens. A session that was signed out keeps its tombstone.
    pub(crate) fn takes_failure(&self) -> bool {
        self.last.is_some() || self.known.epoch.is_none() || self.without_tokens
    }

    /// Returns the record of the token set with this version and intent.
    pub(crate) fn record(&self, version: Version, intent: Option<Intent>) -> Record {
        let tokens = self.last.clone();
        Record {
            version,
            tokens: Some(tokens.unwrap_or_else(|| Arc::new(TokenSet::without_tokens()))),
            intent,
            details: self.details.clone(),
            read_at: None,
        }
    }

    /// Returns whether the record says that the issuer refused this refresh token.
    pub(crate) fn is_refused(&self) -> bool {
        let token = self.last.as_deref().and_then(TokenHash::of);
        let intent = self.intent.filter(|intent| Some(intent.token) == token);
        intent.is_some_and(|intent| intent.outcome == IntentOutcome::Refused)
    }

    /// Records that the token set was written to the store with this intent.
    pub(crate) fn record_written(&mut self, version: Version, intent: Option<Intent>) {
        self.known = KnownRecord::at(version);
        self.intent = intent;
        if let Some(last) = &self.last {
            self.replaced.push(last);
        }
    }
}

/// What a flight does with the record that it read.
pub(crate) enum Decision {
    /// Serve this token, which another process has refreshed.
    Adopt(PreparedToken, KnownRecord),
    RefreshFrom(Box<RefreshStart>),
    /// Another process has signed in or out. This is its record.
    OtherEpoch(Record),
}

/// Decides from the record `found` in the store, and from `memory`, where a refresh would start
/// without the store. `usable` prepares a token set if it can be served instead of that in memory.
pub(crate) fn read(
    found: Option<Record>,
    memory: RefreshStart,
    usable: impl FnOnce(&Arc<TokenSet>) -> Option<PreparedToken>,
) -> Decision {
    let RefreshStart {
        last: held,
        known,
        details,
        ..
    } = memory;
    let Some(record) = found else {
        // A missing record is a lost store, not a sign-out.
        let known = KnownRecord {
            version: None,
            ..known
        };
        let start = RefreshStart::from_memory(held, known, details);
        return Decision::RefreshFrom(Box::new(start));
    };
    let read = KnownRecord {
        greatest_revision: known.greatest_revision.max(record.version.revision),
        ..KnownRecord::at(record.version)
    };
    let is_other_epoch = known.epoch.is_some_and(|epoch| Some(epoch) != read.epoch);
    if is_other_epoch || (record.tokens.is_none() && known.epoch.is_none()) {
        return Decision::OtherEpoch(record);
    }
    if let Some(held) = &held
        && let Some(tokens) = &record.tokens
        && !tokens.has_no_tokens()
        && record.version.revision < known.greatest_revision
        && !same_tokens(held, tokens)
    {
        // A restored backup, or a failover that lost the last writes. Another process may have used
        // the refresh token that memory holds, in a record that is lost.
        let intent = TokenHash::of(held).map(Intent::of_older_record);
        return Decision::RefreshFrom(Box::new(RefreshStart {
            replaced: ReplacedTokens::of(Some(tokens)),
            last: Some(Arc::clone(held)),
            known: read,
            intent,
            details,
            older: Some(record.version.revision),
            without_tokens: false,
        }));
    }
    // Memory is at least as new as a revision that was read or written before.
    let seen_before = record.version.revision <= known.greatest_revision && held.is_some();
    if !seen_before
        && let Some(tokens) = &record.tokens
        && held
            .as_ref()
            .is_none_or(|held| !same_secret(held.access_token(), tokens.access_token()))
        && let Some(prepared) = usable(tokens)
    {
        return Decision::Adopt(prepared, read);
    }
    let replaced = ReplacedTokens::of(record.tokens.as_deref());
    let without_tokens = record
        .tokens
        .as_ref()
        .is_some_and(|tokens| tokens.has_no_tokens());
    let stored = record.tokens.filter(|_| !without_tokens);
    Decision::RefreshFrom(Box::new(RefreshStart {
        last: if seen_before { held } else { stored },
        known: read,
        intent: record.intent,
        replaced,
        details: record.details,
        older: None,
        without_tokens,
    }))
}

/// A token set or tombstone to write.
#[derive(Clone)]
pub(crate) struct Write {
    /// The epoch of the write, as the state machine counts epochs.
    pub(crate) epoch: u64,
    /// `None` writes a tombstone.
    pub(crate) tokens: Option<Arc<TokenSet>>,
    pub(crate) known: KnownRecord,
    pub(crate) version: Version,
    /// Hashes of the token sets that this write replaces.
    pub(crate) replaced: ReplacedTokens,
    pub(crate) details: Box<RecordDetails>,
}

impl Write {
    pub(crate) fn new(
        epoch: u64,
        tokens: Option<Arc<TokenSet>>,
        known: KnownRecord,
        replaced: ReplacedTokens,
    ) -> Self {
        Self {
            epoch,
            tokens,
            known,
            version: known.next_version(known.version),
            replaced,
            details: Box::default(),
        }
    }

    /// The write with these details.
    pub(crate) fn with_details(self, details: Box<RecordDetails>) -> Self {
        Self { details, ..self }
    }

    pub(crate) fn record(&self) -> Record {
        Record {
            version: self.version,
            tokens: self.tokens.clone(),
            intent: None,
            details: self.details.clone(),
            read_at: None,
        }
    }

    /// Makes this write replace the record `found` in the store.
    pub(crate) fn rebase(&mut self, found: Option<Record>) {
        self.known.version = found.as_ref().map(|record| record.version);
        let next = self
            .known
            .version
            .map_or(0, |found| found.revision.saturating_add(1));
        self.version.revision = self.version.revision.max(next);
        let Some(found) = found else {
            return;
        };
        if found.version.epoch == self.version.epoch && self.tokens.is_some() {
            // The record may have been bound after this process read it.
            self.details.binding = found.details.binding.or(self.details.binding.take());
        }
        if let Some(tokens) = found.tokens {
            self.replaced.push(&tokens);
        }
    }

    /// Returns the hashes of the replaced token sets and of this write's own token set. This write
    /// may have reached the store although the store's answer was lost.
    pub(crate) fn replaced_and_own(&self) -> ReplacedTokens {
        let mut replaced = self.replaced.clone();
        if let Some(tokens) = &self.tokens {
            replaced.push(tokens);
        }
        replaced
    }

    /// Makes this write replace `before`, which may or may not have reached the store.
    pub(crate) fn replace(&mut self, before: &Self) {
        self.replaced.extend(&before.replaced_and_own());
        self.known = before.known;
        self.version = Version {
            epoch: before.version.epoch,
            revision: self.version.revision.max(before.version.revision),
        };
    }
}

/// What a lost compare-and-swap means for the write that lost.
pub(crate) enum Comparison {
    /// The store holds this write: the answer to an earlier attempt was lost.
    Stored(Version),
    /// The record in the store is older, so the write replaces it.
    Overwrite,
    /// Another process has signed in or out. This is its record.
    OtherEpoch(Record),
    /// Another process has saved newer tokens.
    Newer(PreparedToken, KnownRecord),
}

/// Compares the lost `write` with the record `found` that the store holds. `usable` prepares
/// a token set for requests. A stored token set that cannot be sent is overwritten.
pub(crate) fn compare(
    found: Option<&Record>,
    write: &Write,
    usable: impl FnOnce(&Arc<TokenSet>) -> Option<PreparedToken>,
) -> Comparison {
    let Some(record) = found else {
        return Comparison::Overwrite;
    };
    let same_epoch = record.version.epoch == write.version.epoch;
    if !same_epoch {
        if write.known.unwritten {
            return Comparison::Overwrite;
        }
        // If the write has no known epoch, it belongs to the epoch of the first record.
        if write.known.epoch.is_some() || record.tokens.is_none() {
            return Comparison::OtherEpoch(record.clone());
        }
    }
    let Some(tokens) = &record.tokens else {
        // A tombstone of this epoch comes from this process.
        return match write.tokens {
            None => Comparison::Stored(record.version),
            Some(_) => Comparison::Overwrite,
        };
    };
    if same_epoch {
        if write
            .tokens
            .as_ref()
            .is_some_and(|own| same_tokens(own, tokens))
        {
            return Comparison::Stored(record.version);
        }
        if write.replaced.contains(tokens) || record.version.revision < write.version.revision {
            return Comparison::Overwrite;
        }
    }
    match usable(tokens) {
        Some(prepared) => Comparison::Newer(prepared, KnownRecord::at(record.version)),
        None => Comparison::Overwrite,
    }
}

/// Returns whether both token sets carry the same access token and the same refresh token.
pub(crate) fn same_tokens(one: &TokenSet, other: &TokenSet) -> bool {
    same_refresh_token(Some(one), other) && same_secret(one.access_token(), other.access_token())
}

/// Returns whether both token sets carry the same refresh token, or none.
pub(crate) fn same_refresh_token(one: Option<&TokenSet>, other: &TokenSet) -> bool {
    match (one.and_then(TokenSet::refresh_token), other.refresh_token()) {
        (Some(one), Some(other)) => same_secret(one, other),
        (None, None) => true,
        _ => false,
    }
}

fn same_secret(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

/// SHA-256 hashes of token sets that a later token set replaces. A record that holds one of them
/// may be overwritten. Hashes, because replaced tokens are not kept in memory.
#[derive(Clone, Default)]
pub(crate) struct ReplacedTokens(Vec<TokenSetHash>);

type TokenSetHash = [u8; 32];

impl ReplacedTokens {
    pub(crate) fn of(tokens: Option<&TokenSet>) -> Self {
        Self(tokens.map(hash_of).into_iter().collect())
    }

    pub(crate) fn push(&mut self, tokens: &TokenSet) {
        self.add(hash_of(tokens));
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        for hash in &other.0 {
            self.add(*hash);
        }
    }

    pub(crate) fn contains(&self, tokens: &TokenSet) -> bool {
        !self.0.is_empty() && self.0.contains(&hash_of(tokens))
    }

    fn add(&mut self, hash: TokenSetHash) {
        if self.0.contains(&hash) {
            return;
        }
        // The first hash stays: the store is known to have held its token set.
        if self.0.len() == REPLACED_MAX {
            self.0.remove(1);
        }
        self.0.push(hash);
    }
}

/// Returns a hash of the access token and the refresh token.
fn hash_of(tokens: &TokenSet) -> TokenSetHash {
    let mut hash = Hash::new();
    for token in [Some(tokens.access_token()), tokens.refresh_token()] {
        let token = token.map(|token| token.expose_secret().as_bytes());
        // The length separates the two tokens. `u64::MAX` stands for a missing token; no token is
        // that long.
        let length = token.map_or(u64::MAX, |token| token.len() as u64);
        hash.update(length.to_be_bytes());
        hash.update(token.unwrap_or_default());
    }
    hash.finalize()
}

#[cfg(test)]
mod tests;
