//! The words between a session and its driver.

use crate::Number;

/// The two clocks, read together, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now<N> {
    /// The wall clock: since the Unix epoch. Decides expiry and nothing else.
    pub wall: N,
    /// A clock that never goes back and, where the system has one, counts suspend.
    pub steady: N,
}

impl<N: Number> Now<N> {
    /// What the wall clock will show at this time of the steady clock, if nobody sets it.
    pub(crate) fn wall_at(self, steady: N) -> N {
        self.wall.plus(steady.minus(self.steady))
    }
}

/// What a request remembers of the session it was sent in: without it, nobody can tell whether a
/// refusal is about the token of now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stamp<N> {
    /// Which sign-in or sign-out the request belongs to, counted within this session.
    pub epoch: N,
    /// Which token it carried: the number installed so far when it was sent.
    pub generation: N,
}

/// One refresh, from the step that asks for it to the event that reports its outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flight<N> {
    /// Its number; later flights have greater ones.
    pub id: N,
    /// Epoch and generation it began in. Its outcome counts in that epoch alone.
    pub began: Stamp<N>,
    /// Why it was started.
    pub purpose: Purpose,
}

/// Why a flight was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// There is no token yet.
    First,
    /// The token will expire soon; it is served meanwhile.
    Early,
    /// The token has expired.
    Expired,
    /// The token was refused.
    Refused,
    /// Somebody asked for a refresh.
    Forced,
    /// The session has ended: look into the store for a newer one, and refresh nothing.
    Look,
}

/// What the driver does next for the caller that brought the event.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<T, E, N> {
    /// Send without a token.
    Bare {
        /// What the request remembers.
        stamp: Stamp<N>,
    },
    /// Send (or replay) with this token.
    Use {
        /// The token.
        token: T,
        /// What the request remembers.
        stamp: Stamp<N>,
    },
    /// Send with this token, and start this flight for those who come later.
    UseAndRefresh {
        /// The token.
        token: T,
        /// What the request remembers.
        stamp: Stamp<N>,
        /// The flight to start.
        flight: Flight<N>,
    },
    /// Start this flight, then wait for it.
    Refresh {
        /// The flight to start.
        flight: Flight<N>,
    },
    /// Wait for this flight, which somebody else started.
    Wait {
        /// The flight in the air.
        flight: Flight<N>,
    },
    /// The refusal says nothing new: hand it to the caller as it came.
    HandBack,
    /// The session is another than the one the caller began in.
    Changed,
    /// The flight took longer than it may; its slot stays taken until it reports.
    Overdue,
    /// Fail with this error, which is the same for all who waited.
    Fail(E),
}

/// Which step, without what it is made of: for a driver that keeps tokens and errors itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Step::Bare`].
    Bare,
    /// [`Step::Use`].
    Use,
    /// [`Step::UseAndRefresh`].
    UseAndRefresh,
    /// [`Step::Refresh`].
    Refresh,
    /// [`Step::Wait`].
    Wait,
    /// [`Step::HandBack`].
    HandBack,
    /// [`Step::Changed`].
    Changed,
    /// [`Step::Overdue`].
    Overdue,
    /// [`Step::Fail`].
    Fail,
}

/// Why a flight failed, as far as the session has to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failure<N> {
    /// What follows from it.
    pub ending: Ending,
    /// How long the issuer asked to be left alone, in milliseconds.
    pub retry_after: Option<N>,
    /// Drawn by the driver: the cool-down in thousandths of its nominal length (800 to 1200).
    pub jitter: u32,
}

impl<N> Failure<N> {
    /// A failure of this kind, with no word from the issuer about when to come back and no jitter.
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
    /// The refresh token may be spent: no early refresh of this token any more, and a cool-down.
    Uncertain,
    /// The operator's mistake: try again after a cool-down.
    Misconfigured,
    /// The issuer will not refresh this grant again: the session has ended.
    Terminal,
}

/// What became of a flight's report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Landing<N> {
    /// The token is installed; this is the stamp of requests that carry it.
    Installed(Stamp<N>),
    /// The failure is noted; no flight starts before this time of the steady clock.
    Cooling(N),
    /// The session has ended.
    Ended,
    /// The flight belongs to the past: it decides nothing, and a token it brought must not be used.
    Stale,
}

impl<N: Number> Stamp<N> {
    pub(crate) const START: Self = Self {
        epoch: N::ZERO,
        generation: N::ZERO,
    };
}
