//! Lifetime and age of a token set. The lifetime is what the issuer gave. The age is the time since
//! the receipt.

use std::time::{Duration, SystemTime};

use crate::runtime::clock::{at_unix_millis, unix_millis};
use crate::store::{Age, Record};
use crate::token::jwt;
use crate::token::secret::ExposeSecret as _;
use crate::token::token_set::{Expiry, TokenSet};

/// A receipt at most this far in the future counts as now: the clocks of two processes or a
/// correction of the clock differ by that much.
const FUTURE_MAX: Duration = Duration::from_secs(60);

/// Returns the age of a token set by the wall clock. Returns `None` if its receipt lies too far in
/// the future: then the age is unknown.
pub(crate) fn age_by_wall_clock(
    received: Option<SystemTime>,
    wall: SystemTime,
) -> Option<Duration> {
    match wall.duration_since(received.unwrap_or(wall)) {
        Ok(age) => Some(age),
        Err(future) => (future.duration() <= FUTURE_MAX).then_some(Duration::ZERO),
    }
}

/// Returns the age of a token set that a store has measured. Returns `None` if its receipt lies too
/// far in the future: then the age is unknown.
pub(crate) fn age_by_store(age: Age) -> Option<Duration> {
    match age {
        Age::Elapsed(age) => Some(age),
        Age::Ahead(future) => (future <= FUTURE_MAX).then_some(Duration::ZERO),
    }
}

impl Record {
    /// Returns how long the access token was still valid when the record was read, by the store's
    /// clock. Zero if it had expired, or if its receipt lies too far in the future. Returns `None`
    /// if its lifetime is unknown or the user has signed out.
    ///
    /// `default` is the lifetime of tokens whose issuer gives none:
    /// [`default_lifetime`](crate::RotatorBuilder::default_lifetime).
    pub fn time_left(&self, default: Option<Duration>) -> Option<Duration> {
        let tokens = self.tokens()?;
        let lifetime = tokens.lifetime().or(default)?;
        let age = match self.age() {
            Some(age) => age_by_store(age),
            // An earlier version wrote the record, or its store has no clock.
            None => age_by_wall_clock(tokens.obtained_at(), SystemTime::now()),
        };
        let left = age.map(|age| lifetime.saturating_sub(age));
        Some(left.unwrap_or_default())
    }
}

/// Returns the lifetime that a JWT states, from its receipt. Returns `None` for other tokens, and for
/// a JWT without `iat` that had expired at its receipt.
pub(crate) fn of_jwt(tokens: &TokenSet, received: SystemTime) -> Option<Duration> {
    let hint = jwt::expiry_hint(tokens.access_token().expose_secret())?;
    let whole = hint
        .issued_at_unix_ms
        .map(|at| hint.expires_at_unix_ms.saturating_sub(at));
    let left = hint.expires_at_unix_ms.checked_sub(unix_millis(received));
    let left = match (left.filter(|left| *left > 0), whole) {
        // A slow local clock makes the rest too long, so the JWT's whole lifetime caps it.
        (Some(left), Some(whole)) => left.min(whole),
        (Some(left), None) => left,
        // The local clock is wrong, and the issuer's own clock gives the lifetime.
        (None, whole) => whole?,
    };
    Some(Duration::from_millis(left))
}

/// Returns how long before its receipt a token had expired, by an absolute expiry or as a JWT.
/// Returns `None` if it had not, or if only a lifetime is known.
pub(crate) fn expired_before_receipt(tokens: &TokenSet, received: SystemTime) -> Option<Duration> {
    let expires_at = match tokens.expiry() {
        Expiry::At(at) => at,
        Expiry::In(_) => return None,
        Expiry::Unknown => {
            let hint = jwt::expiry_hint(tokens.access_token().expose_secret())?;
            at_unix_millis(hint.expires_at_unix_ms)
        }
    };
    received.duration_since(expires_at).ok()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// Property: a receipt up to 60 s in the future counts as now, and the age of a later receipt is
    /// unknown.
    #[test]
    fn a_receipt_in_the_future_counts_as_now_up_to_a_minute() {
        let wall = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let age = |received| age_by_wall_clock(Some(received), wall);
        let seconds = Duration::from_secs;
        assert_eq!(age_by_wall_clock(None, wall), Some(Duration::ZERO));
        assert_eq!(age(wall), Some(Duration::ZERO));
        assert_eq!(age(wall - seconds(5)), Some(seconds(5)));
        assert_eq!(age(UNIX_EPOCH), Some(seconds(1_800_000_000)));
        assert_eq!(age(wall + seconds(60)), Some(Duration::ZERO));
        assert_eq!(age(wall + Duration::from_millis(60_001)), None);
        assert_eq!(age(wall + seconds(5 * 3_600)), None);
    }
}
