//! What lies under the board's lock, and how a step of the state machine reads to a caller.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use token_rotator_core::{Now, Session, Stamp, Step};

use super::{Arrival, Base, Board, Next, Ticket};
use crate::clock::at_unix_millis;
use crate::error::RefreshError;
use crate::signal::Signal;
use crate::token::{Credential, Issued, Token};
use crate::token_set::TokenSet;

pub(super) struct Desk {
    pub(super) session: Session,
    /// The token of this epoch, usable or not.
    pub(super) credential: Option<Arc<Credential>>,
    /// The error of the flight that `session.error()` names.
    pub(super) error: Option<RefreshError>,
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
    pub(super) fn next(&self, desk: &mut Desk, step: Step, now: Now) -> Next {
        let stamp = desk.session.stamp();
        // No step is taken without its flight, token or error. If one were, its caller would get
        // the refusal as it came.
        let next = match step {
            Step::Bare => Some(Next::Bare(stamp)),
            Step::HandBack => None,
            Step::Changed => Some(Next::Changed),
            Step::Overdue => Some(Next::Overdue),
            Step::RefusedAgain => Some(Next::RefusedAgain),
            Step::Fail => desk.error.clone().map(Next::Fail),
            Step::Wait => desk.ticket().map(Next::Wait),
            Step::Refresh => {
                desk.signal = Signal::new();
                self.publish(desk, now);
                desk.ticket().map(Next::Launch)
            }
            Step::Use => self.token(desk, now).map(Next::Go),
            Step::UseAndRefresh => {
                desk.signal = Signal::new();
                let token = self.token(desk, now);
                let pair = token.zip(desk.ticket());
                pair.map(|(token, ticket)| Next::GoAndLaunch(token, ticket))
            }
        };
        next.unwrap_or(Next::HandBack)
    }

    /// The published token where it is the current one, so that a storm of waiters shares it.
    fn token(&self, desk: &Desk, now: Now) -> Option<Token> {
        self.publish(desk, now);
        let stamp = desk.session.stamp();
        let published = self.published.get_if(|issued| issued.stamp == stamp);
        let issued = published.or_else(|| desk.issued(UNIX_EPOCH).map(Arc::new));
        issued.map(Token)
    }

    pub(super) fn publish(&self, desk: &Desk, now: Now) {
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
    pub(super) fn release(&self, mut desk: crate::sync::MutexGuard<'_, Desk>, now: Now) {
        self.publish(&desk, now);
        let signal = std::mem::replace(&mut desk.signal, Signal::new());
        drop(desk);
        signal.give();
    }
}

impl Desk {
    pub(super) fn sign_in(&mut self, arrival: Arrival, base: Base, now: Now) -> Stamp {
        self.successor = None;
        self.early_at = arrival.validity.refresh_at.unwrap_or(u64::MAX);
        self.go_by(base);
        self.credential = Some(arrival.credential);
        self.session.sign_in(arrival.validity, now)
    }

    pub(super) fn go_by(&mut self, base: Base) {
        self.base = Base {
            floor: self.base.floor.max(base.floor),
            ..base
        };
    }

    /// The flight in the air, with the signal of its end.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        self.session.flight().map(|flight| Ticket {
            flight,
            signal: Arc::clone(&self.signal),
        })
    }

    pub(super) fn issue(&self, now: Now) -> Option<Issued> {
        let until = self.session.current(now)?;
        self.issued(at_unix_millis(until))
    }

    /// The current token, which may be served until this time without an event.
    fn issued(&self, until: SystemTime) -> Option<Issued> {
        self.credential.as_ref().map(|credential| Issued {
            header: credential.header.clone(),
            credential: Arc::clone(credential),
            stamp: self.session.stamp(),
            until,
            early_at: at_unix_millis(self.early_at),
            accepted: AtomicBool::new(false),
        })
    }

    pub(super) fn tokens(&self) -> Option<Arc<TokenSet>> {
        let held = self.credential.as_ref();
        self.successor
            .clone()
            .or_else(|| held.map(|credential| Arc::clone(&credential.tokens)))
    }
}
