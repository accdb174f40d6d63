//! The states of a session: its token, its flight slot and its cool-down.

use crate::{Flight, NEVER, Now, Purpose, Stamp, Validity};

/// Whether the session has a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenPresence {
    /// The epoch has no token yet, and no sign-out began it.
    Never,
    SignedOut,
    Held,
}

/// State of the current token. [`NEVER`] stands for an unknown or missing time, so that one
/// comparison decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldToken {
    pub(super) expires_at: u64,
    pub(super) refresh_at: u64,
    pub(super) lifetime: u64,
    /// When the token was installed, by the steady clock.
    pub(super) since: u64,
    pub(super) received_from: ReceivedFrom,
    /// The token was refused, and not too early. It is not sent again.
    pub(super) refused: bool,
    /// The token was refused too early to be refused for its age.
    pub(super) suspect: bool,
    /// A request with this token was accepted.
    pub(super) accepted: bool,
}

impl HeldToken {
    pub(super) const NONE: Self = Self {
        expires_at: 0,
        refresh_at: 0,
        lifetime: 0,
        since: 0,
        received_from: ReceivedFrom::Issuer,
        refused: false,
        suspect: false,
        accepted: false,
    };

    #[inline]
    pub(super) fn new(validity: Validity, received_from: ReceivedFrom, since: u64) -> Self {
        Self {
            expires_at: validity.expires_at.unwrap_or(NEVER),
            refresh_at: validity.refresh_at.unwrap_or(NEVER),
            lifetime: validity.lifetime.unwrap_or(NEVER),
            since,
            received_from,
            refused: false,
            suspect: false,
            accepted: false,
        }
    }

    #[inline]
    pub(super) fn usable(&self, now: Now) -> bool {
        !self.refused && now.wall < self.expires_at
    }

    /// Returns why a flight starts for this token, which is not usable.
    #[inline]
    pub(super) fn refresh_purpose(&self) -> Purpose {
        if self.refused {
            Purpose::Refused
        } else {
            Purpose::Expired
        }
    }
}

/// Where a token came from. The origin decides what the token's age means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceivedFrom {
    /// The issuer, just now.
    Issuer,
    /// A flight of another process, some time ago.
    OtherProcess,
    /// A sign-in or an update. The token's age is unknown.
    Caller,
}

/// The slot that holds at most one flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlightSlot {
    pub(super) stage: Stage,
    /// The last flight that began. Its number is the count of all flights.
    pub(super) flight: Flight,
    pub(super) deadline: u64,
    /// A caller waits for the flight.
    pub(super) awaited: bool,
}

impl FlightSlot {
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

/// Stage of the last flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The flight has ended, and the slot is free.
    Idle,
    Flying,
    /// The flight has passed its deadline and released its waiters. Its report frees the slot.
    Overdue,
}

/// The time after a failure in which no flight starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct CoolDown {
    pub(super) until: u64,
    /// The issuer asked for this cool-down, so no caller overrides it.
    pub(super) by_issuer: bool,
}

impl CoolDown {
    pub(super) const NONE: Self = Self {
        until: 0,
        by_issuer: false,
    };
}
