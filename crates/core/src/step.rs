//! The types that a session and its driver exchange.

/// The times of both clocks, read together, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    /// The clock of lifetimes. It decides expiry only. A driver counts it from a fixed start on a
    /// clock that no user sets, so that setting the system's clock changes no lifetime.
    pub wall: u64,
    /// Steady clock: it never goes back, and counts suspend if the system can.
    pub steady: u64,
}

impl Now {
    /// Returns the wall-clock time at a steady-clock time, if no user sets the wall clock
    /// meanwhile.
    #[inline]
    pub(crate) fn wall_at(self, steady: u64) -> u64 {
        self.wall.saturating_add(steady.saturating_sub(self.steady))
    }
}

/// The epoch and generation that a request was sent in. The stamp decides whether a refusal
/// concerns the current token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stamp {
    /// Number of sign-ins and sign-outs of this session.
    pub epoch: u64,
    /// Number of tokens installed when the request was sent.
    pub generation: u64,
}

impl Stamp {
    pub(crate) const START: Self = Self {
        epoch: 0,
        generation: 0,
    };
}

/// Where a request was sent, and whether this was its last attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The driver's hash of origin and path. Zero if the driver has none.
    pub endpoint: u32,
    /// This attempt is the last: the request was sent again after a refusal, or is never sent
    /// again.
    pub replay: bool,
}

impl Attempt {
    /// A first attempt at an endpoint without a hash.
    pub const UNNAMED: Self = Self::first(0);

    /// Returns a first attempt at this endpoint.
    #[inline]
    pub const fn first(endpoint: u32) -> Self {
        Self {
            endpoint,
            replay: false,
        }
    }

    /// Returns a replay at this endpoint. With zero: a request that is never sent again.
    #[inline]
    pub const fn replay(endpoint: u32) -> Self {
        Self {
            endpoint,
            replay: true,
        }
    }
}

/// One refresh, from the step that starts it to the event that reports its outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flight {
    /// Number of the flight. Later flights have greater numbers.
    pub id: u64,
    /// Epoch and generation at its start. Its outcome counts only in that epoch.
    pub began: Stamp,
    /// Why the flight was started.
    pub purpose: Purpose,
}

/// Why a flight was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// The session has no token yet.
    First,
    /// The token expires soon, and is served meanwhile.
    Early,
    /// The token has expired.
    Expired,
    /// The token was refused.
    Refused,
    /// A caller asked for a refresh.
    Forced,
    /// The session has ended. The flight looks into the store for a newer token and does not
    /// refresh.
    Look,
}

/// What the driver does next for the caller of the event.
///
/// The driver keeps the token and the error. [`Session::stamp`](crate::Session::stamp),
/// [`Session::flight`](crate::Session::flight) and [`Session::error`](crate::Session::error)
/// identify the token, flight and error of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Send without a token.
    Bare,
    /// Send or replay with the current token.
    Use,
    /// Send with the current token, and start the flight for later callers.
    UseAndRefresh,
    /// Start the flight, then wait for it.
    Refresh,
    /// Wait for the flight, which another caller started.
    Wait,
    /// Return the refusal to the caller. No newer token is available.
    HandBack,
    /// The session is in another epoch than the caller's request.
    Changed,
    /// The flight has passed its deadline. It blocks other flights until it reports.
    Overdue,
    /// Fail with the error of the flight that [`Session::error`](crate::Session::error) names.
    Fail,
    /// Return the refusal to the caller, because this endpoint refused a replay a short time ago.
    RefusedAgain,
}

/// A failure of a flight, in the terms of the state machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failure {
    /// What follows from the failure.
    pub ending: Ending,
    /// The issuer's `Retry-After` in milliseconds. `None` if the issuer named no time.
    pub retry_after: Option<u64>,
    /// The cool-down in thousandths of its nominal length (800 to 1200). The driver draws it at
    /// random.
    pub jitter: u32,
}

impl Failure {
    /// Returns a failure of this kind, without `Retry-After` and without jitter.
    #[inline]
    pub fn new(ending: Ending) -> Self {
        Self {
            ending,
            retry_after: None,
            jitter: 1_000,
        }
    }
}

/// What follows from a failed flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// A cool-down, then another flight.
    Transient,
    /// A cool-down, and no early refresh of this token, because the refresh token may be spent.
    Uncertain,
    /// A cool-down, then another flight. The operator must correct a setting.
    Misconfigured,
    /// The end of the session: the issuer refuses to refresh this grant.
    Terminal,
}

/// What a flight's report led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Landing {
    /// The token is installed. [`Session::stamp`](crate::Session::stamp) is its stamp.
    Installed,
    /// The failure started a cool-down. No flight starts before
    /// [`Session::cool_until`](crate::Session::cool_until).
    Cooling,
    /// The session has ended.
    Ended,
    /// The flight belongs to an earlier epoch or generation. Its token must not be used.
    Stale,
}
