//! Windows, cool-downs and limits.

use crate::{Arithmetic as _, NEVER, Number};

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
    pub margin: Number,
    /// The least time between the starts of two early flights.
    pub early_interval: Number,
    /// How long a flight may hold its waiters.
    pub flight_deadline: Number,
    /// The cool-down after the first failure; it doubles with each that follows.
    pub cool_down: Number,
    /// The longest cool-down.
    pub cool_down_max: Number,
    /// The longest wait an issuer can ask for.
    pub retry_after_max: Number,
    /// The age below which a refused token starts no refresh; a quarter of the lifetime if that is less.
    pub fresh: Number,
    /// The longest such age, after doubling for tokens refused one after the other.
    pub fresh_max: Number,
    /// The longest lifetime believed.
    pub lifetime_max: Number,
    /// How often an ended session looks into its store; [`NEVER`] if no other process
    /// writes the session.
    pub look_interval: Number,
}

impl Policy {
    /// The defaults, for an engine: no request without a token.
    #[inline]
    pub fn required() -> Self {
        Self {
            access: Access::Required,
            margin: Number::of(60_000),
            early_interval: Number::of(10_000),
            flight_deadline: Number::of(30_000),
            cool_down: Number::of(500),
            cool_down_max: Number::of(60_000),
            retry_after_max: Number::of(300_000),
            fresh: Number::of(2_000),
            fresh_max: Number::of(60_000),
            // Ten years of 365.25 days, written as a product of what fits in 32 bits.
            lifetime_max: Number::of(315_576_000).per_mille(1_000_000),
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
    pub fn validity(&self, received: Number, lifetime: Option<Number>, jitter: u32) -> Validity {
        let Some(lifetime) = lifetime.filter(|lifetime| *lifetime > Number::ZERO) else {
            return Validity::unknown();
        };
        let lifetime = lifetime.least(self.lifetime_max);
        let expires_at = received.plus(lifetime);
        let margin = self.margin.least(lifetime.per_mille(250));
        Validity {
            expires_at: Some(expires_at),
            refresh_at: Some(expires_at.minus(margin).minus(margin.per_mille(jitter))),
            lifetime: Some(lifetime),
        }
    }

    /// How young a token must be for its refusal to count as a sign of something else than age.
    #[inline(never)]
    pub(crate) fn fresh_age(&self, lifetime: Number, doublings: u32) -> Number {
        let first = self.fresh.least(lifetime.per_mille(250));
        doubled(first, doublings, self.fresh_max)
    }

    /// How long to leave the issuer alone after so many failures in a row.
    #[inline]
    pub(crate) fn cool_down(
        &self,
        failures: u32,
        retry_after: Option<Number>,
        jitter: u32,
    ) -> Number {
        match retry_after {
            // An issuer that asks for no wait at all gets the shortest there is.
            Some(asked) => asked.most(self.cool_down).least(self.retry_after_max),
            None => doubled(self.cool_down, failures, self.cool_down_max).per_mille(jitter),
        }
    }
}

/// `first`, doubled so many times, and `most` at the most.
#[inline]
pub(crate) fn doubled(first: Number, times: u32, most: Number) -> Number {
    let mut value = first.least(most);
    for _ in 0..times {
        value = value.plus(value).least(most);
    }
    value
}

/// How long a token is good, in milliseconds of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validity {
    /// The first moment at which it is expired; `None`: unknown, it serves until it is refused.
    pub expires_at: Option<Number>,
    /// From when an early refresh may start; `None`: never.
    pub refresh_at: Option<Number>,
    /// How long it was good when it was received.
    pub lifetime: Option<Number>,
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
    pub fn until(expires_at: Number) -> Self {
        Self {
            expires_at: Some(expires_at),
            ..Self::unknown()
        }
    }
}
