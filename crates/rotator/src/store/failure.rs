//! Failures of refreshes that processes share through the record.

use std::time::Duration;

use hmac_sha256::HMAC;

use super::time::{Age, StoreTime};
use crate::error::FailureKind;
use crate::token::secret::{ExposeSecret as _, SecretString};

/// The most failures that a record keeps: the last one of each host or configuration.
pub(crate) const FAILURES_MAX: usize = 8;

/// A failed refresh in the record of a session.
///
/// Processes that share the record start no refresh while such a failure holds for them. It never
/// contains a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedFailure {
    /// The kind of the failure.
    pub kind: FailureKind,
    /// The issuer's error code (RFC 6749 section 5.2), if it gave one.
    pub code: Option<String>,
    /// What happened, in one line.
    pub message: String,
    /// How long no refresh starts, counted from `at`.
    pub wait: Duration,
    /// Whether the issuer asked for the wait with `Retry-After`.
    pub asked_by_issuer: bool,
    /// The host of the process whose refresh failed.
    pub host: String,
    /// When the refresh failed.
    pub at: StoreTime,
    /// The configuration of the process whose refresh failed.
    pub fingerprint: Option<Fingerprint>,
    /// The number of failures in a row.
    pub in_a_row: u32,
}

impl SharedFailure {
    /// A failure of this kind, on this host and at this moment. Its wait is zero.
    pub fn new(kind: FailureKind, message: impl Into<String>, host: &str, at: StoreTime) -> Self {
        Self {
            kind,
            code: None,
            message: cut(message.into(), 300),
            wait: Duration::ZERO,
            asked_by_issuer: false,
            host: cut(host.to_owned(), 255),
            at,
            fingerprint: None,
            in_a_row: 1,
        }
    }

    /// The longest time that a failure like this one holds: 60 s, or 5 minutes if the issuer asked for
    /// the wait.
    pub(crate) fn holds_at_most(&self) -> Duration {
        Duration::from_secs(if self.asked_by_issuer { 300 } else { 60 })
    }

    /// How long the failure still holds at this moment, for the processes that it concerns. Returns
    /// `None` if it does not hold any more, or is dated in the future.
    pub fn left(&self, now: StoreTime) -> Option<Duration> {
        let Some(Age::Elapsed(age)) = now.since(self.at) else {
            return None;
        };
        let wait = self.wait.min(self.holds_at_most());
        wait.checked_sub(age).filter(|left| !left.is_zero())
    }
}

/// Refusals of a token endpoint that state no reason: a 400, 401 or 403 that is no OAuth error, or
/// an OAuth error with an unknown code.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnexplainedRefusals {
    /// The number of refusals in a row, at least 10 s apart, since the access token expired.
    pub count: u32,
    /// When the last counted refusal came.
    pub last: StoreTime,
    /// The session is refused without a reason: the count has reached its limit.
    pub is_refused: bool,
    /// What the issuer answered last, in one line.
    pub message: String,
}

impl UnexplainedRefusals {
    /// This many refusals, the last one at this moment.
    pub fn new(count: u32, last: StoreTime, message: impl Into<String>) -> Self {
        Self {
            count,
            last,
            is_refused: false,
            message: cut(message.into(), 300),
        }
    }
}

/// The content of an issuer's answer was refused, but its refresh token was saved. The answer is not
/// asked for again until the configuration changes or a caller forces a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedContent {
    /// What is wrong with the answer, in one line.
    pub message: String,
    /// The configuration that the answer was asked for with.
    pub fingerprint: Option<Fingerprint>,
}

impl RefusedContent {
    /// Content that was refused under this configuration.
    pub fn new(message: impl Into<String>, fingerprint: Option<Fingerprint>) -> Self {
        Self {
            message: cut(message.into(), 300),
            fingerprint,
        }
    }
}

/// Identifies the configuration of a token source without revealing it: endpoint, client id,
/// authentication method, and a keyed hash of the client's secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Hashes the parts of a configuration, such as endpoint, client id and authentication method.
    /// The client's secret is the key of the hash.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a str>, secret: Option<&SecretString>) -> Self {
        let key = secret.map(|secret| secret.expose_secret().as_bytes());
        let mut hash = HMAC::new(key.unwrap_or_default());
        hash.update([u8::from(key.is_some())]);
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self(bytes)
    }

    /// The fingerprint with these bytes, which a store has kept.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the fingerprint, for a store to keep.
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl std::fmt::Debug for Fingerprint {
    /// Shows the first four bytes, which are enough to compare fingerprints in a log.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(out, "Fingerprint({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// Cuts the text to this many bytes, at the boundary of a character.
pub(crate) fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        let end = (0..=longest).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: each part and the secret change the fingerprint, and no two lists of parts run
    /// together.
    #[test]
    fn every_part_changes_the_fingerprint() {
        let secret = SecretString::from("secret");
        let other = SecretString::from("other");
        let all = [
            Fingerprint::of(["endpoint", "client"], None),
            Fingerprint::of(["endpoint", "client"], Some(&secret)),
            Fingerprint::of(["endpoint", "client"], Some(&other)),
            Fingerprint::of(["endpoint", "client"], Some(&"".into())),
            Fingerprint::of(["endpointc", "lient"], None),
            Fingerprint::of(["endpoint"], None),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
        assert_eq!(all[0], Fingerprint::of(["endpoint", "client"], None));
        assert_eq!(all[0], Fingerprint::from_bytes(all[0].bytes()));
    }

    /// Property: a fingerprint shows no part of the secret, and a long text is cut at a character.
    #[test]
    fn texts_are_bounded_and_secrets_are_not_shown() {
        let secret = SecretString::from("CANARY-secret");
        let shown = format!("{:?}", Fingerprint::of(["CANARY"], Some(&secret)));
        assert!(!shown.contains("CANARY"), "{shown}");
        assert_eq!(cut("\u{e9}".repeat(3), 3), "\u{e9}");
        assert_eq!(cut("abc".to_owned(), 3), "abc");
    }
}
