//! Windows, cool-downs and limits.

/// A time after every other time.
pub const NEVER: u64 = u64::MAX;

/// Whether requests may be sent while the session has no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Requests are sent without a token. The first refusal starts the first refresh. For cookie
    /// sessions after a page load.
    Anonymous,
    /// Requests wait for the first refresh, or fail.
    Required,
}

/// The times and limits of a session, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Whether requests may be sent while the session has no token.
    pub access: Access,
    /// How long before expiry an early refresh may start. At most a quarter of the token's
    /// lifetime.
    pub margin: u64,
    /// The least time between the starts of two early flights.
    pub early_interval: u64,
    /// How long a flight may hold its waiters.
    pub flight_deadline: u64,
    /// The cool-down after the first failure. It doubles with each failure in a row.
    pub cool_down: u64,
    /// The longest cool-down.
    pub cool_down_max: u64,
    /// The longest `Retry-After` that is honoured.
    pub retry_after_max: u64,
    /// The age below which a refused token starts no refresh. At most a quarter of the token's
    /// lifetime.
    pub fresh: u64,
    /// The upper limit of that age, which doubles with each token that is refused too early.
    pub fresh_max: u64,
    /// The longest lifetime of a token. Longer lifetimes are cut to it.
    pub lifetime_max: u64,
    /// How often an ended session looks into its store. [`NEVER`] if no other process writes the
    /// session.
    pub look_interval: u64,
}

impl Policy {
    /// Returns the defaults for the engine, which sends no request without a token.
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

    /// Returns the defaults for a client that sends its first requests without a token.
    #[inline]
    pub fn anonymous() -> Self {
        Self {
            access: Access::Anonymous,
            ..Self::required()
        }
    }

    /// Returns the validity of a token that was received at `received` (wall clock) with this
    /// lifetime.
    ///
    /// A lifetime of zero or `None` is unknown: the token is served until it is refused. A lifetime
    /// above [`Policy::lifetime_max`] is cut to it.
    ///
    /// `jitter` moves the early refresh forward, in thousandths of the margin (0 to 200). The
    /// driver draws it at random, once for each token.
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

    /// Returns the age below which the refusal of a token is no sign of its age.
    pub(crate) fn early_refusal_age(&self, lifetime: u64, doublings: u32) -> u64 {
        let first = self.fresh.min(lifetime / 4);
        doubled(first, doublings, self.fresh_max)
    }

    /// Returns the cool-down in milliseconds after one more failure than these in a row.
    ///
    /// `jitter` is the cool-down in thousandths of its nominal length. It does not change
    /// `retry_after`, the wait that the issuer asked for.
    #[inline]
    pub fn wait_after(&self, failures: u32, retry_after: Option<u64>, jitter: u32) -> u64 {
        if let Some(retry_after) = retry_after {
            // A `Retry-After` below the first cool-down is raised to it.
            return retry_after.max(self.cool_down).min(self.retry_after_max);
        }
        let nominal = doubled(self.cool_down, failures, self.cool_down_max);
        per_mille(nominal, jitter)
    }
}

/// Doubles `first` this many times, up to `most`.
#[inline]
pub(crate) fn doubled(first: u64, times: u32, most: u64) -> u64 {
    let mut value = first.min(most);
    for _ in 0..times {
        value = value.saturating_mul(2).min(most);
    }
    value
}

/// Returns this many thousandths of a time, rounded down, or [`NEVER`] if the result does not fit.
#[inline]
fn per_mille(time: u64, thousandths: u32) -> u64 {
    let share = u128::from(time) * u128::from(thousandths) / 1_000;
    u64::try_from(share).unwrap_or(NEVER)
}

/// Expiry and refresh times of a token, in milliseconds of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validity {
    /// When the token expires. `None` if that is unknown: the token is served until it is refused.
    pub expires_at: Option<u64>,
    /// When an early refresh may start. `None` if no early refresh starts.
    pub refresh_at: Option<u64>,
    /// The token's lifetime at its receipt. `None` if it is unknown.
    pub lifetime: Option<u64>,
}

impl Validity {
    /// Returns the validity of a token without a known expiry.
    #[inline]
    pub fn unknown() -> Self {
        Self {
            expires_at: None,
            refresh_at: None,
            lifetime: None,
        }
    }

    /// Returns the validity of a token that expires at this time, without early refresh and without
    /// a known lifetime.
    #[inline]
    pub fn until(expires_at: u64) -> Self {
        Self {
            expires_at: Some(expires_at),
            ..Self::unknown()
        }
    }
}
