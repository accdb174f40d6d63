//! What a session can be in.

use crate::{Flight, Now, Number, Validity};

#[derive(Clone, Debug)]
pub(super) enum Token<T, N> {
    /// None yet.
    Never,
    SignedOut,
    Held(Held<T, N>),
}

#[derive(Clone, Debug)]
pub(super) struct Held<T, N> {
    pub(super) token: T,
    pub(super) validity: Validity<N>,
    /// When it was installed, by the steady clock.
    pub(super) since: N,
    pub(super) brought: Brought,
    /// It was refused, and not too soon: it is not sent again.
    pub(super) refused: bool,
    /// It was refused too soon for the refusal to be about its age.
    pub(super) suspect: bool,
}

impl<T, N: Number> Held<T, N> {
    pub(super) fn usable(&self, now: Now<N>) -> bool {
        !self.refused && !self.validity.expired(now.wall)
    }
}

/// Where a token came from, which says how much its age means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// From the issuer, just now.
    Flight,
    /// From somebody else's flight, some time ago.
    Others,
    /// From a sign-in or an update: it may be as old as it likes.
    Caller,
}

/// Where the one flight stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot<N> {
    Idle,
    /// `awaited`: somebody was told to wait for it.
    Flying {
        flight: Flight<N>,
        deadline: N,
        awaited: bool,
    },
    /// Its waiters are released, its slot is not: only its own report frees that.
    Overdue {
        flight: Flight<N>,
    },
}

/// The time after a failure in which no flight starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cooling<N> {
    pub(super) until: N,
    /// The issuer asked for it, so nobody overrides it.
    pub(super) asked: bool,
}
