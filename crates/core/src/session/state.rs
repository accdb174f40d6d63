//! The states of a session.

use crate::{Flight, NEVER, Now, Purpose, Stamp, Validity};

/// Whether the session has a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// None yet.
    Never,
    SignedOut,
    Held,
}

/// What is known of the token, where one is held. [`NEVER`] stands for what is unknown or
/// never comes, so that one comparison decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) expires_at: u64,
    pub(super) refresh_at: u64,
    pub(super) lifetime: u64,
    /// When it was installed, by the steady clock.
    pub(super) since: u64,
    pub(super) brought: Brought,
    /// It was refused, and not too soon: it is not sent again.
    pub(super) refused: bool,
    /// It was refused too soon for the refusal to be about its age.
    pub(super) suspect: bool,
    /// A request that carried it was accepted.
    pub(super) accepted: bool,
}

impl Held {
    pub(super) const NONE: Self = Self {
        expires_at: 0,
        refresh_at: 0,
        lifetime: 0,
        since: 0,
        brought: Brought::Flight,
        refused: false,
        suspect: false,
        accepted: false,
    };

    #[inline]
    pub(super) fn new(validity: Validity, brought: Brought, since: u64) -> Self {
        Self {
            expires_at: validity.expires_at.unwrap_or(NEVER),
            refresh_at: validity.refresh_at.unwrap_or(NEVER),
            lifetime: validity.lifetime.unwrap_or(NEVER),
            since,
            brought,
            refused: false,
            suspect: false,
            accepted: false,
        }
    }

    #[inline]
    pub(super) fn usable(&self, now: Now) -> bool {
        !self.refused && now.wall < self.expires_at
    }

    /// Why a flight starts for this token, which is not usable.
    #[inline]
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
    /// From another process's flight, some time ago.
    Others,
    /// From a sign-in or an update: its age is unknown.
    Caller,
}

/// The slot of the one flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) stage: Stage,
    /// The last that was begun; its number counts them.
    pub(super) flight: Flight,
    pub(super) deadline: u64,
    /// A caller waits for it.
    pub(super) awaited: bool,
}

impl Slot {
    pub(super) const EMPTY: Self = Self {
        stage: Stage::Idle,
        flight: Flight {
            id: 0,
            began: Stamp::START,
            purpose: Purpose::First,
        },
        deadline: 0,
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
pub(super) struct Cooling {
    pub(super) until: u64,
    /// The issuer asked for it, so no caller overrides it.
    pub(super) asked: bool,
}

impl Cooling {
    pub(super) const NONE: Self = Self {
        until: 0,
        asked: false,
    };
}
