//! The types that a session and its driver exchange.

/// The two clocks, read together, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    /// The wall clock, since the Unix epoch. It decides expiry and nothing else.
    pub wall: u64,
    /// A clock that never goes back and counts suspend where the system can.
    pub steady: u64,
}

impl Now {
    /// Returns the time of the wall clock at a time of the steady clock, if no user sets the clock.
    #[inline]
    pub(crate) fn wall_at(self, steady: u64) -> u64 {
        self.wall.saturating_add(steady.saturating_sub(self.steady))
    }
}

/// The epoch and generation that a request was sent in. Decides whether a refusal is about the
/// current token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stamp {
    /// Counts the sign-ins and sign-outs of this session.
    pub epoch: u64,
    /// Counts the tokens installed when the request was sent.
    pub generation: u64,
}

impl Stamp {
    pub(crate) const START: Self = Self {
        epoch: 0,
        generation: 0,
    };
}

/// Where a request was sent, and whether it was its last attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The driver's hash of origin and path; zero if the driver has none.
    pub endpoint: u32,
    /// The request was sent again after a refusal, or is not sent again after this one.
    pub replay: bool,
}

impl Attempt {
    /// A first attempt at an endpoint that the driver does not name.
    pub const UNNAMED: Self = Self::first(0);

    /// A first attempt at this endpoint.
    #[inline]
    pub const fn first(endpoint: u32) -> Self {
        Self {
            endpoint,
            replay: false,
        }
    }

    /// A replay at this endpoint, or with zero a request that is not sent again.
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
    /// Its number. Later flights have greater numbers.
    pub id: u64,
    /// Epoch and generation it began in. Its outcome counts in that epoch alone.
    pub began: Stamp,
    /// Why it was started.
    pub purpose: Purpose,
}

/// Why a flight was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// There is no token yet.
    First,
    /// The token will expire soon; it is served meanwhile.
    Early,
    /// The token has expired.
    Expired,
    /// The token was refused.
    Refused,
    /// A caller asked for a refresh.
    Forced,
    /// The session has ended: look into the store for a newer one, and refresh nothing.
    Look,
}

/// What the driver does next for the caller that brought the event.
///
/// The driver keeps the token and the error. [`Session::stamp`](crate::Session::stamp),
/// [`Session::flight`](crate::Session::flight) and [`Session::error`](crate::Session::error) say
/// which token, flight and error a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Send without a token.
    Bare,
    /// Send (or replay) with the current token.
    Use,
    /// Send with the current token, and start the flight for later callers.
    UseAndRefresh,
    /// Start the flight, then wait for it.
    Refresh,
    /// Wait for the flight, which another caller started.
    Wait,
    /// Hand the refusal to the caller: it says nothing new.
    HandBack,
    /// The session is not the one that the caller began in.
    Changed,
    /// The flight took longer than its deadline. Its slot stays taken until it reports.
    Overdue,
    /// Fail with the error of the flight that [`Session::error`](crate::Session::error) names.
    Fail,
    /// Hand the refusal to the caller: this endpoint refused a replay a short time ago.
    RefusedAgain,
}

/// Why a flight failed, as far as the session needs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failure {
    /// What follows from it.
    pub ending: Ending,
    /// How long the issuer asked for no request, in milliseconds.
    pub retry_after: Option<u64>,
    /// Drawn by the driver: the cool-down in thousandths of its nominal length (800 to 1200).
    pub jitter: u32,
}

impl Failure {
    /// A failure of this kind, without `Retry-After` and without jitter.
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
    /// Try again after a cool-down.
    Transient,
    /// The refresh token may be spent: no early refresh of this token, and a cool-down.
    Uncertain,
    /// The operator's mistake: try again after a cool-down.
    Misconfigured,
    /// The issuer will not refresh this grant again: the session has ended.
    Terminal,
}

/// What became of a flight's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Landing {
    /// The token is installed. [`Session::stamp`](crate::Session::stamp) is its stamp.
    Installed,
    /// The failure counts. No flight starts before
    /// [`Session::cool_until`](crate::Session::cool_until).
    Cooling,
    /// The session has ended.
    Ended,
    /// The flight belongs to the past: it decides nothing, and its token must not be used.
    Stale,
}
