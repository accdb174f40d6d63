//! Windows, cool-downs and limits.

/// Later than any time.
pub const NEVER: u64 = u64::MAX;

/// Whether requests may go out while there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// They go out bare, and the first refusal starts the first refresh (cookie sessions after a
    /// page load).
    Anonymous,
    /// They wait for the first refresh, or fail.
    Required,
}

/// The numbers a session decides by, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Whether requests may go out while there is no token.
    pub access: Access,
    /// How long before expiry an early refresh may start; a quarter of the lifetime if that is less.
    pub margin: u64,
    /// The least time between the starts of two early flights.
    pub early_interval: u64,
    /// How long a flight may hold its waiters.
    pub flight_deadline: u64,
    /// The cool-down after the first failure; it doubles with each that follows.
    pub cool_down: u64,
    /// The longest cool-down.
    pub cool_down_max: u64,
    /// The longest wait an issuer can ask for.
    pub retry_after_max: u64,
    /// The age below which a refused token starts no refresh; a quarter of the lifetime if that is less.
    pub fresh: u64,
    /// The longest such age, after doubling for tokens refused one after the other.
    pub fresh_max: u64,
    /// The longest lifetime believed.
    pub lifetime_max: u64,
    /// How often an ended session looks into its store; [`NEVER`] if no other process
    /// writes the session.
    pub look_interval: u64,
}

impl Policy {
    /// The defaults, for an engine: no request without a token.
    #[inline]
    pub fn required() -> Self {
        Self {
            access: Access::Required,
            margin: 60_000,
            early_interval: 10_000,
            flight_deadline: 30_000,
            cool_down: 500,
            cool_down_max: 60_000,
            retry_after_max: 300_000,
            fresh: 2_000,
            fresh_max: 60_000,
            // Ten years of 365.25 days.
            lifetime_max: 315_576_000_000,
            look_interval: NEVER,
        }
    }

    /// The defaults, for a client whose first requests may go out bare.
    #[inline]
    pub fn anonymous() -> Self {
        Self {
            access: Access::Anonymous,
            ..Self::required()
        }
    }

    /// How long a token is good that was received at `received` (wall clock) with this lifetime.
    ///
    /// A lifetime of zero, or none, is an unknown one: the token serves until it is refused. One
    /// of more than [`Policy::lifetime_max`] is cut to it. `jitter` is drawn by the driver, once
    /// per token: how many thousandths of the margin (0 to 200) the early refresh comes sooner.
    #[inline]
    pub fn validity(&self, received: u64, lifetime: Option<u64>, jitter: u32) -> Validity {
        let Some(lifetime) = lifetime.filter(|lifetime| *lifetime > 0) else {
            return Validity::unknown();
        };
        let lifetime = lifetime.min(self.lifetime_max);
        let expires_at = received.saturating_add(lifetime);
        let margin = self.margin.min(lifetime / 4);
        Validity {
            expires_at: Some(expires_at),
            refresh_at: Some(
                expires_at
                    .saturating_sub(margin)
                    .saturating_sub(per_mille(margin, jitter)),
            ),
            lifetime: Some(lifetime),
        }
    }

    /// How young a token must be for its refusal to count as a sign of something else than age.
    pub(crate) fn fresh_age(&self, lifetime: u64, doublings: u32) -> u64 {
        let first = self.fresh.min(lifetime / 4);
        doubled(first, doublings, self.fresh_max)
    }

    /// How long to leave the issuer alone after so many failures in a row.
    #[inline]
    pub(crate) fn cool_down(&self, failures: u32, retry_after: Option<u64>, jitter: u32) -> u64 {
        if let Some(asked) = retry_after {
            // An issuer that asks for no wait at all gets the shortest there is.
            return asked.max(self.cool_down).min(self.retry_after_max);
        }
        let nominal = doubled(self.cool_down, failures, self.cool_down_max);
        per_mille(nominal, jitter)
    }
}

/// `first`, doubled so many times, and `most` at the most.
#[inline]
pub(crate) fn doubled(first: u64, times: u32, most: u64) -> u64 {
    let mut value = first.min(most);
    for _ in 0..times {
        value = value.saturating_mul(2).min(most);
    }
    value
}

/// So many thousandths of a time, rounded down, or [`NEVER`] if that does not fit.
#[inline]
fn per_mille(time: u64, thousandths: u32) -> u64 {
    let share = u128::from(time) * u128::from(thousandths) / 1_000;
    u64::try_from(share).unwrap_or(NEVER)
}

/// How long a token is good, in milliseconds of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validity {
    /// The first moment at which it is expired; `None`: unknown, it serves until it is refused.
    pub expires_at: Option<u64>,
    /// From when an early refresh may start; `None`: never.
    pub refresh_at: Option<u64>,
    /// How long it was good when it was received.
    pub lifetime: Option<u64>,
}

impl Validity {
    /// Good until it is refused.
    #[inline]
    pub fn unknown() -> Self {
        Self {
            expires_at: None,
            refresh_at: None,
            lifetime: None,
        }
    }

    /// Good until this moment, without early refresh and with no known lifetime.
    #[inline]
    pub fn until(expires_at: u64) -> Self {
        Self {
            expires_at: Some(expires_at),
            ..Self::unknown()
        }
    }
}
