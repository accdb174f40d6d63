//! The words between the board and those who come to it.

use std::sync::Arc;

use token_rotator_core::{Flight, Stamp, Validity};

use crate::error::RefreshError;
use crate::signal::Signal;
use crate::store::{Epoch, Version};
use crate::token::{Credential, Token};
use crate::token_set::TokenSet;

/// What is known of the record behind the session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Base {
    /// The sign-in; `None`: whatever the store holds.
    pub(crate) epoch: Option<Epoch>,
    /// The record as last seen or saved here: what the store should hold.
    pub(crate) seen: Option<Version>,
    /// The greatest revision ever seen. It outlives sign-ins and a store that was lost, so that no
    /// revision is given twice.
    pub(crate) floor: u64,
    /// A sign-in or sign-out of our own that the store does not have yet.
    pub(crate) unwritten: bool,
}

impl Base {
    /// A sign-in or sign-out of our own, which the store does not have yet.
    pub(crate) fn unwritten() -> Self {
        Self {
            epoch: Some(Epoch::random()),
            unwritten: true,
            ..Self::default()
        }
    }

    /// The record in this version.
    pub(crate) fn at(version: Version) -> Self {
        Self {
            epoch: Some(version.epoch),
            seen: Some(version),
            floor: version.revision,
            unwritten: false,
        }
    }
}

/// What became of a sign-in or sign-out that was found in the store.
pub(crate) enum Followed {
    /// Nothing: it is known, or the session has moved on.
    Not,
    SignedIn(Stamp),
    SignedOut,
}

/// The tokens that a sign-out leaves behind, if there were any.
pub(crate) struct LeftBehind(pub(crate) Option<Arc<TokenSet>>);

/// A flight, with the signal of its end.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub(crate) flight: Flight,
    pub(crate) signal: Arc<Signal>,
}

/// What a caller does next.
pub(crate) enum Next {
    /// Send with this token.
    Go(Token),
    /// Send with this token, after starting the flight.
    GoAndLaunch(Token, Ticket),
    /// Start the flight, then wait for it.
    Launch(Ticket),
    /// Wait for the flight.
    Wait(Ticket),
    /// Send bare; after a refusal: hand it back.
    Bare(Stamp),
    /// Hand the refusal back.
    HandBack,
    /// Hand the refusal back: this endpoint refused a replay a short time ago.
    RefusedAgain,
    /// The session is another.
    Changed,
    /// The flight is overdue.
    Overdue,
    /// Fail.
    Fail(RefreshError),
}

/// A credential with how long it is good.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) credential: Arc<Credential>,
    pub(crate) validity: Validity,
}

impl Arrival {
    /// Tokens that cannot be sent: expired from the beginning, so that nobody is ever served them.
    pub(crate) fn unusable(tokens: Arc<TokenSet>) -> Self {
        Self {
            credential: Credential::unusable(tokens),
            validity: Validity::until(0),
        }
    }
}

/// What became of a failure that was reported.
pub(crate) enum Failed {
    /// Callers are told; no flight for so many milliseconds.
    Cooling(u64),
    /// The session has ended; `first`: nobody was told yet in this epoch.
    Ended { first: bool },
    /// It belongs to the past.
    Stale,
}
