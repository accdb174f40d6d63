//! What a session can be in.

use crate::{Flight, Now, Number, Purpose, Stamp, Validity};

#[derive(Clone, Debug)]
pub(super) enum Token<T> {
    /// None yet.
    Never,
    SignedOut,
    Held(T),
}

/// What is known of the token, where one is held. [`Number::MAX`] stands for what is unknown or
/// never comes, so that one comparison decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held<N> {
    pub(super) expires_at: N,
    pub(super) refresh_at: N,
    pub(super) lifetime: N,
    /// When it was installed, by the steady clock.
    pub(super) since: N,
    pub(super) brought: Brought,
    /// It was refused, and not too soon: it is not sent again.
    pub(super) refused: bool,
    /// It was refused too soon for the refusal to be about its age.
    pub(super) suspect: bool,
}

impl<N: Number> Held<N> {
    pub(super) const NONE: Self = Self {
        expires_at: N::ZERO,
        refresh_at: N::ZERO,
        lifetime: N::ZERO,
        since: N::ZERO,
        brought: Brought::Flight,
        refused: false,
        suspect: false,
    };

    pub(super) fn new(validity: Validity<N>, brought: Brought, since: N) -> Self {
        Self {
            expires_at: validity.expires_at.unwrap_or(N::MAX),
            refresh_at: validity.refresh_at.unwrap_or(N::MAX),
            lifetime: validity.lifetime.unwrap_or(N::MAX),
            since,
            brought,
            refused: false,
            suspect: false,
        }
    }

    pub(super) fn usable(&self, now: Now<N>) -> bool {
        !self.refused && now.wall < self.expires_at
    }

    /// Why a flight starts for this token, which is not usable.
    pub(super) fn want(&self) -> Purpose {
        if self.refused {
            Purpose::Refused
        } else {
            Purpose::Expired
        }
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

/// The place of the one flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<N> {
    pub(super) stage: Stage,
    /// The last that was begun; its number counts them.
    pub(super) flight: Flight<N>,
    pub(super) deadline: N,
    /// Somebody was told to wait for it.
    pub(super) awaited: bool,
}

impl<N: Number> Slot<N> {
    pub(super) const EMPTY: Self = Self {
        stage: Stage::Idle,
        flight: Flight {
            id: N::ZERO,
            began: Stamp::START,
            purpose: Purpose::First,
        },
        deadline: N::ZERO,
        awaited: false,
    };
}

/// Where the last flight stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Over: the slot is free.
    Idle,
    Flying,
    /// Its waiters are released, its slot is not: only its own report frees that.
    Overdue,
}

/// The time after a failure in which no flight starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cooling<N> {
    pub(super) until: N,
    /// The issuer asked for it, so nobody overrides it.
    pub(super) asked: bool,
}

impl<N: Number> Cooling<N> {
    pub(super) const NONE: Self = Self {
        until: N::ZERO,
        asked: false,
    };
}
