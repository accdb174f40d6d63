//! What lies under the board's lock, and how a step of the state machine reads to a caller.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use token_rotator_core::{Flight, Now, Session, Stamp, Step};

use super::{Arrival, Base, Board, Next, Ticket};
use crate::clock::at_unix_millis;
use crate::error::RefreshError;
use crate::signal::Signal;
use crate::sync::lock;
use crate::token::{Credential, Issued, Token};
use crate::token_set::TokenSet;

pub(super) struct Desk {
    pub(super) session: Session<Arc<Credential>, RefreshError, u64>,
    /// Of the flight in the air, or of the last one.
    pub(super) signal: Arc<Signal>,
    pub(super) early_at: u64,
    pub(super) base: Base,
    /// The epoch whose end has been told.
    pub(super) told_end_of: Option<u64>,
    /// What the next refresh starts from, where that is not the token set that is served: one that
    /// cannot be sent, but whose refresh token replaces the other's.
    pub(super) successor: Option<Arc<TokenSet>>,
}

impl Board {
    pub(super) fn turn(
        &self,
        now: Now<u64>,
        event: impl FnOnce(
            &mut Session<Arc<Credential>, RefreshError, u64>,
        ) -> Step<Arc<Credential>, RefreshError, u64>,
    ) -> Next {
        let mut desk = lock(&self.desk);
        let step = event(&mut desk.session);
        self.next(&mut desk, step, now)
    }

    pub(super) fn next(
        &self,
        desk: &mut Desk,
        step: Step<Arc<Credential>, RefreshError, u64>,
        now: Now<u64>,
    ) -> Next {
        match step {
            Step::Wait { flight } => Next::Wait(desk.ticket(flight)),
            Step::Bare { stamp } => Next::Bare(stamp),
            Step::HandBack => Next::HandBack,
            Step::Changed => Next::Changed,
            Step::Overdue => Next::Overdue,
            Step::Fail(error) => Next::Fail(error),
            Step::Refresh { flight } => {
                desk.signal = Signal::new();
                self.publish(desk, now);
                Next::Launch(desk.ticket(flight))
            }
            Step::Use { token, stamp } => Next::Go(self.token(desk, token, stamp, now)),
            Step::UseAndRefresh {
                token,
                stamp,
                flight,
            } => {
                desk.signal = Signal::new();
                Next::GoAndLaunch(self.token(desk, token, stamp, now), desk.ticket(flight))
            }
        }
    }

    /// The published token where it is this one, so that a storm of waiters shares it.
    pub(super) fn token(
        &self,
        desk: &Desk,
        credential: Arc<Credential>,
        stamp: Stamp<u64>,
        now: Now<u64>,
    ) -> Token {
        self.publish(desk, now);
        let published = self.published.get_if(|issued| issued.stamp == stamp);
        Token(published.unwrap_or_else(|| {
            Arc::new(Issued {
                header: credential.header.clone(),
                credential,
                stamp,
                until: UNIX_EPOCH,
                early_at: at_unix_millis(desk.early_at),
            })
        }))
    }

    pub(super) fn publish(&self, desk: &Desk, now: Now<u64>) {
        let Some(new) = desk.issue(now) else {
            if !self.published.is_empty() {
                self.published.replace(None);
            }
            return;
        };
        // What stands already need not be written again: writing disturbs every reader.
        let stands = |old: &Issued| new.stamp == old.stamp && new.until == old.until;
        if self.published.get_if(stands).is_none() {
            self.published.replace(Some(Arc::new(new)));
        }
    }

    /// Publishes, then lets go of everybody who waits for a flight of the past.
    pub(super) fn release(&self, mut desk: crate::sync::MutexGuard<'_, Desk>, now: Now<u64>) {
        self.publish(&desk, now);
        let signal = std::mem::replace(&mut desk.signal, Signal::new());
        drop(desk);
        signal.give();
    }
}

impl Desk {
    pub(super) fn sign_in(&mut self, arrival: Arrival, base: Base, now: Now<u64>) -> Stamp<u64> {
        self.successor = None;
        self.early_at = arrival.validity.refresh_at.unwrap_or(u64::MAX);
        self.go_by(base);
        self.session
            .sign_in(arrival.credential, arrival.validity, now)
    }

    pub(super) fn go_by(&mut self, base: Base) {
        self.base = Base {
            floor: self.base.floor.max(base.floor),
            ..base
        };
    }

    pub(super) fn ticket(&self, flight: Flight<u64>) -> Ticket {
        Ticket {
            flight,
            signal: Arc::clone(&self.signal),
        }
    }

    pub(super) fn issue(&self, now: Now<u64>) -> Option<Issued> {
        self.session.current(now).map(|current| Issued {
            header: current.token.header.clone(),
            credential: Arc::clone(current.token),
            stamp: current.stamp,
            until: at_unix_millis(current.until),
            early_at: at_unix_millis(self.early_at),
        })
    }

    pub(super) fn tokens(&self) -> Option<Arc<TokenSet>> {
        let held = self.session.held();
        self.successor
            .clone()
            .or_else(|| held.map(|credential| Arc::clone(&credential.tokens)))
    }
}
