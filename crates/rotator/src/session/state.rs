//! All state of a session under one lock, and the token that is published beside it. No call here
//! waits. The only file that touches the state machine of `token-rotator-core`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use token_rotator_core::{
    Attempt, Failure, Flight, Landing, Now, Policy, Purpose, Session as Machine, Stamp, Step,
    Validity,
};

use super::decide::{KnownRecord, OlderPrints, Start, Write};
use super::recovery::Recovery;
use super::signal::Signal;
use super::writer::{PendingWrite, Report, Writes};
use crate::error::RefreshError;
use crate::runtime::clock::at_unix_millis;
use crate::runtime::sync::{Mutex, MutexGuard, Published, lock};
use crate::store::Version;
use crate::store::intent::TokenHash;
use crate::token::token_set::TokenSet;
use crate::token::{Credential, Issued, Token};

/// The published token and the state behind it.
pub(crate) struct State {
    published: Published<Issued>,
    locked: Mutex<Locked>,
    /// Whether there is a store to write to.
    stored: bool,
}

struct Locked {
    machine: Machine,
    /// The token set of this epoch, ready to be sent.
    credential: Option<Arc<Credential>>,
    /// What the last flight failed with, since the last token of this epoch.
    error: Option<RefreshError>,
    /// Signal of the flight in the air, or of the last one.
    signal: Arc<Signal>,
    early_at: u64,
    known: KnownRecord,
    /// The epoch whose end was reported.
    end_reported: Option<u64>,
    /// What the next refresh starts from if it is not the served token set: tokens that cannot be
    /// sent, whose refresh token replaces the served one's.
    successor: Option<Arc<TokenSet>>,
    /// What is to be written to the store.
    writes: Writes,
    /// What is known about refresh tokens that were presented.
    recovery: Recovery,
    /// The refresh token that this session was signed in with.
    claim: Option<TokenHash>,
    /// The refresh token that was revoked last.
    revoked: Option<TokenHash>,
}

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
    /// Send without a token; after a refusal: hand it back.
    Bare(Stamp),
    /// Hand the refusal back.
    HandBack,
    /// Hand the refusal back: this endpoint refused a replay a short time ago.
    RefusedAgain,
    /// The session is in another epoch.
    Changed,
    /// The flight is overdue.
    Overdue,
    /// Fail.
    Fail(RefreshError),
}

/// A credential with its validity.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) credential: Arc<Credential>,
    pub(crate) validity: Validity,
}

impl Arrival {
    /// Tokens that cannot be sent count as expired, so that no caller gets them.
    pub(crate) fn unusable(tokens: Arc<TokenSet>) -> Self {
        Self {
            credential: Credential::unusable(tokens),
            validity: Validity::until(0),
        }
    }
}

/// What a reported failure leads to.
pub(crate) enum Failed {
    /// No flight starts for so many milliseconds.
    Cooling(u64),
    /// The session has ended; `first` if that was not reported in this epoch before.
    Ended { first: bool },
    /// The failure belongs to the past.
    Stale,
}

/// What a session left behind when its epoch ended. Handled by the caller, outside the lock.
#[derive(Default)]
pub(crate) struct Past {
    pub(crate) tokens: Option<Arc<TokenSet>>,
    pub(crate) write: Option<PendingWrite>,
}

impl State {
    pub(crate) fn new(policy: Policy, stored: bool) -> Self {
        Self {
            stored,
            published: Published::empty(),
            locked: Mutex::new(Locked {
                machine: Machine::new(policy),
                credential: None,
                error: None,
                signal: Signal::new(),
                early_at: u64::MAX,
                known: KnownRecord::default(),
                end_reported: None,
                successor: None,
                writes: Writes::default(),
                recovery: Recovery::default(),
                claim: None,
                revoked: None,
            }),
        }
    }

    // Callers.

    /// The hot path: the token, if it may be served at this time of the wall clock without asking
    /// the state machine.
    #[inline]
    pub(crate) fn ready(&self, wall: SystemTime) -> Option<Token> {
        self.published
            .get_if(|issued| wall < issued.until)
            .map(Token)
    }

    /// [`State::ready`] for a request that cannot be repeated: `None` while a refresh is due.
    pub(crate) fn ready_for_once(&self, wall: SystemTime) -> Option<Token> {
        self.published
            .get_if(|issued| wall < issued.until.min(issued.early_at))
            .map(Token)
    }

    /// A request is about to be sent.
    pub(crate) fn acquire(&self, now: Now) -> Next {
        let mut locked = lock(&self.locked);
        let step = locked.machine.acquire(now);
        self.next(&mut locked, step, now)
    }

    /// A request that cannot be repeated is about to be sent: it waits for a refresh that is due.
    pub(crate) fn acquire_for_once(&self, now: Now) -> Next {
        let mut locked = lock(&self.locked);
        let due = now.wall >= locked.early_at;
        let machine = &mut locked.machine;
        let step = machine.acquire(now);
        // A look into the store is no refresh, so the request does not wait for one.
        let refresh = machine
            .flight()
            .filter(|flight| flight.purpose != Purpose::Look);
        let step = match (step, refresh) {
            (Step::UseAndRefresh, Some(flight)) => {
                // The caller waits, so the flight may not end without a result.
                let _waits = machine.settle(flight, now);
                Step::Refresh
            }
            (Step::Use, Some(flight)) if due => match machine.settle(flight, now) {
                Step::Wait => Step::Wait,
                _ => Step::Use,
            },
            (step, _) => step,
        };
        self.next(&mut locked, step, now)
    }

    /// A request was refused.
    pub(crate) fn refused(&self, stamp: Stamp, attempt: Attempt, now: Now) -> Next {
        let mut locked = lock(&self.locked);
        let step = locked.machine.refused(stamp, attempt, now);
        // The machine may have marked the token as refused: it is not served any more.
        self.publish(&locked, now);
        self.next(&mut locked, step, now)
    }

    /// A body may have refused the token of this stamp. Unlike a refusal it takes the token away
    /// from no request, because the refresh that confirms it may fail.
    pub(crate) fn doubted(&self, stamp: Stamp, now: Now) -> Next {
        let mut locked = lock(&self.locked);
        let machine = &mut locked.machine;
        let current = machine.stamp() == stamp && machine.current(now).is_some();
        let step = if !current {
            machine.refused(stamp, Attempt::UNNAMED, now)
        } else if machine.ended() || now.steady < machine.cool_until() {
            Step::Fail
        } else {
            machine.force(now)
        };
        self.publish(&locked, now);
        self.next(&mut locked, step, now)
    }

    /// A request was accepted.
    pub(crate) fn accepted(&self, stamp: Stamp, attempt: Attempt) {
        lock(&self.locked).machine.accepted(stamp, attempt);
    }

    /// A caller asks for a refresh.
    pub(crate) fn force(&self, now: Now) -> Next {
        let mut locked = lock(&self.locked);
        let step = locked.machine.force(now);
        self.next(&mut locked, step, now)
    }

    /// The caller has waited for this flight.
    pub(crate) fn settle(&self, flight: Flight, now: Now) -> Next {
        let mut locked = lock(&self.locked);
        let step = locked.machine.settle(flight, now);
        if step == Step::Use {
            // The landing has published the token, so the waiters need not each publish it again.
            let (stamp, wall) = (locked.machine.stamp(), at_unix_millis(now.wall));
            let landed = |issued: &Issued| issued.stamp == stamp && wall < issued.until;
            if let Some(issued) = self.published.get_if(landed) {
                return Next::Go(Token(issued));
            }
        }
        self.next(&mut locked, step, now)
    }

    /// The current token, if it is usable.
    pub(crate) fn usable(&self, now: Now) -> Option<Token> {
        lock(&self.locked)
            .issue(now)
            .map(|issued| Token(Arc::new(issued)))
    }

    /// The token set that a refresh starts from, usable or not.
    pub(crate) fn tokens(&self) -> Option<Arc<TokenSet>> {
        lock(&self.locked).tokens()
    }

    pub(crate) fn stamp(&self) -> Stamp {
        lock(&self.locked).machine.stamp()
    }

    /// Whether the session was signed out and not signed in since.
    pub(crate) fn signed_out(&self) -> bool {
        lock(&self.locked).machine.signed_out()
    }

    /// Whether the issuer refuses to refresh this session.
    pub(crate) fn ended(&self) -> bool {
        lock(&self.locked).machine.ended()
    }

    // Flights.

    /// The flight brought a token (`adopted`: one that another process had refreshed). The token
    /// is served from here on; the flight's waiters are not released yet. Returns `None` if the
    /// flight belongs to the past.
    pub(crate) fn land(
        &self,
        flight: Flight,
        arrival: &Arrival,
        known: KnownRecord,
        adopted: bool,
        now: Now,
    ) -> Option<Stamp> {
        let mut locked = lock(&self.locked);
        let landing = if adopted {
            locked.machine.adopted(flight, arrival.validity, now)
        } else {
            locked.machine.refreshed(flight, arrival.validity, now)
        };
        if landing != Landing::Installed {
            return None;
        }
        let stamp = locked.machine.stamp();
        locked.install(arrival);
        locked.known.replace(known);
        self.publish(&locked, now);
        Some(stamp)
    }

    /// The flight failed. Its waiters are not released yet.
    pub(crate) fn failed(
        &self,
        flight: Flight,
        failure: Failure,
        error: RefreshError,
        now: Now,
    ) -> Failed {
        let mut locked = lock(&self.locked);
        let landing = locked.machine.failed(flight, failure, now);
        // A look that found nothing new leaves the error that ended the session.
        if locked.machine.error() == flight.id {
            locked.error = Some(error);
        }
        self.publish(&locked, now);
        match landing {
            Landing::Cooling => {
                let until = locked.machine.cool_until();
                Failed::Cooling(until.saturating_sub(now.steady))
            }
            Landing::Ended => {
                let epoch = locked.machine.stamp().epoch;
                let first = locked.end_reported.replace(epoch) != Some(epoch);
                Failed::Ended { first }
            }
            Landing::Installed | Landing::Stale => Failed::Stale,
        }
    }

    /// An early flight found the lease taken. Returns whether it may end without a result.
    pub(crate) fn yielded(&self, flight: Flight, now: Now) -> bool {
        let mut locked = lock(&self.locked);
        let yielded = locked.machine.yielded(flight, now);
        self.publish(&locked, now);
        yielded
    }

    /// Returns whether the flight has just passed its deadline.
    pub(crate) fn overdue(&self, flight: Flight, now: Now) -> bool {
        let mut locked = lock(&self.locked);
        let in_slot = locked.machine.flight() == Some(flight);
        let overdue = in_slot && locked.machine.overdue(now);
        self.publish(&locked, now);
        overdue
    }

    /// The flight brought tokens that cannot be sent; the next flight starts from them.
    pub(crate) fn continue_with(&self, flight: Flight, tokens: Arc<TokenSet>) {
        let mut locked = lock(&self.locked);
        if locked.machine.stamp() == flight.began {
            locked.successor = Some(tokens);
        }
    }

    /// What a flight of this epoch starts from. Returns `None` if the session is in another epoch.
    pub(crate) fn start(&self, epoch: u64) -> Option<Start> {
        let locked = lock(&self.locked);
        locked
            .is_in(epoch)
            .then(|| Start::from_memory(locked.tokens(), locked.known))
    }

    /// The record was read or saved in this version, in this epoch.
    pub(crate) fn saw(&self, epoch: u64, version: Version) {
        let mut locked = lock(&self.locked);
        if locked.is_in(epoch) {
            locked.known.replace(KnownRecord::at(version));
        }
    }

    /// The recovery state, for a decision that needs no other lock.
    pub(crate) fn recovery<T>(&self, call: impl FnOnce(&mut Recovery) -> T) -> T {
        call(&mut lock(&self.locked).recovery)
    }

    // Sign-in, sign-out, update.

    /// A sign-in. Waiters of the epoch before are released.
    pub(crate) fn sign_in(&self, arrival: &Arrival, known: KnownRecord, now: Now) -> (Stamp, Past) {
        let mut locked = lock(&self.locked);
        let stamp = locked.machine.sign_in(arrival.validity, now);
        let past = locked.begin_epoch(known);
        locked.install(arrival);
        self.write_tokens(&mut locked, OlderPrints::default());
        self.release(locked, now);
        (stamp, past)
    }

    /// A sign-out. Returns `None` if there was nothing to sign out of.
    pub(crate) fn sign_out(&self, known: KnownRecord, now: Now) -> Option<(Stamp, Past)> {
        let mut locked = lock(&self.locked);
        if !locked.machine.sign_out() {
            return None;
        }
        let past = locked.begin_epoch(known);
        self.write_tokens(&mut locked, OlderPrints::default());
        locked.signal.sign_out();
        let stamp = locked.machine.stamp();
        self.release(locked, now);
        Some((stamp, past))
    }

    /// A flight or write of this epoch found another epoch in the store: a sign-in, or a sign-out
    /// if there is no arrival. Returns `None` if the session has moved on or is in that epoch.
    pub(crate) fn follow(
        &self,
        epoch: u64,
        arrival: Option<&Arrival>,
        known: KnownRecord,
        now: Now,
    ) -> Option<(Stamp, Past)> {
        let mut locked = lock(&self.locked);
        if !locked.is_in(epoch) || locked.known.epoch == known.epoch {
            return None;
        }
        let past = if let Some(arrival) = arrival {
            locked.machine.sign_in(arrival.validity, now);
            let past = locked.begin_epoch(known);
            locked.install(arrival);
            past
        } else {
            if !locked.machine.sign_out() {
                return None;
            }
            let past = locked.begin_epoch(known);
            locked.signal.sign_out();
            past
        };
        let stamp = locked.machine.stamp();
        self.release(locked, now);
        Some((stamp, past))
    }

    /// The stamp of now, and the token set that a refresh starts from.
    pub(crate) fn current(&self) -> (Stamp, Option<Arc<TokenSet>>) {
        let locked = lock(&self.locked);
        (locked.machine.stamp(), locked.tokens())
    }

    /// Installs a newer token of the sign-in of `stamp`, made from the one that was current then.
    /// Returns `None` if the session has moved on since.
    pub(crate) fn update(&self, stamp: Stamp, arrival: &Arrival, now: Now) -> Option<Stamp> {
        let mut locked = lock(&self.locked);
        if locked.machine.stamp() != stamp || locked.machine.signed_out() {
            return None;
        }
        let older = OlderPrints::of(locked.tokens().as_deref());
        let stamp = locked.machine.update(arrival.validity, now);
        locked.install(arrival);
        self.write_tokens(&mut locked, older);
        self.publish(&locked, now);
        Some(stamp)
    }

    // Writes.

    /// Looks at or changes the pending write.
    pub(crate) fn writes<T>(&self, call: impl FnOnce(&mut Writes) -> T) -> T {
        call(&mut lock(&self.locked).writes)
    }

    /// Keeps the write, which is newer or (`back`) older than what is pending. Returns it if its
    /// epoch is over.
    pub(crate) fn put_write(
        &self,
        write: PendingWrite,
        back: bool,
    ) -> Result<(), Box<PendingWrite>> {
        let mut locked = lock(&self.locked);
        if !locked.is_in(write.write.epoch) {
            return Err(Box::new(write));
        }
        if back {
            locked.writes.put_back(write);
        } else {
            locked.writes.put(write);
        }
        Ok(())
    }

    /// The writer's runtime has ended. Returns the attempts so far, and the callers to answer, if
    /// something is left to write: then no token is published, so that the next call resumes the
    /// writer.
    pub(crate) fn strand_writes(&self) -> Option<(u32, Vec<(u64, Report)>)> {
        let mut locked = lock(&self.locked);
        let stranded = locked.writes.strand()?;
        self.published.replace(None);
        Some(stranded)
    }

    // The grant.

    /// Replaces the refresh token that this session claims. Returns the one before.
    pub(crate) fn claim(&self, token: Option<TokenHash>) -> Option<TokenHash> {
        std::mem::replace(&mut lock(&self.locked).claim, token)
    }

    /// The refresh token that was revoked last.
    pub(crate) fn revoked(&self) -> Option<TokenHash> {
        lock(&self.locked).revoked
    }

    pub(crate) fn set_revoked(&self, token: Option<TokenHash>) {
        lock(&self.locked).revoked = token;
    }

    // Helpers.

    /// The current tokens, or the tombstone, are to be written.
    fn write_tokens(&self, locked: &mut Locked, older: OlderPrints) {
        if self.stored {
            let epoch = locked.machine.stamp().epoch;
            let write = Write::new(epoch, locked.tokens(), locked.known, older);
            locked.writes.put(PendingWrite::new(write));
        }
    }

    fn next(&self, locked: &mut Locked, step: Step, now: Now) -> Next {
        let starts = matches!(step, Step::Refresh | Step::UseAndRefresh);
        if starts {
            locked.signal = Signal::new();
        }
        let ticket = locked.machine.flight().map(|flight| Ticket {
            flight,
            signal: Arc::clone(&locked.signal),
        });
        match (step, ticket, &locked.credential, &locked.error) {
            (Step::Bare, ..) => Next::Bare(locked.machine.stamp()),
            (Step::Changed, ..) => Next::Changed,
            (Step::Overdue, ..) => Next::Overdue,
            (Step::RefusedAgain, ..) => Next::RefusedAgain,
            (Step::Fail, _, _, Some(error)) => Next::Fail(error.clone()),
            (Step::Wait, Some(ticket), ..) => Next::Wait(ticket),
            (Step::Refresh, Some(ticket), ..) => {
                self.publish(locked, now);
                Next::Launch(ticket)
            }
            (Step::Use, _, Some(credential), _) => Next::Go(self.token(locked, credential, now)),
            (Step::UseAndRefresh, Some(ticket), Some(credential), _) => {
                Next::GoAndLaunch(self.token(locked, credential, now), ticket)
            }
            _ => Next::HandBack,
        }
    }

    /// The published token if it is the current one, so that all waiters share it.
    fn token(&self, locked: &Locked, credential: &Arc<Credential>, now: Now) -> Token {
        self.publish(locked, now);
        let stamp = locked.machine.stamp();
        let published = self.published.get_if(|issued| issued.stamp == stamp);
        Token(published.unwrap_or_else(|| {
            Arc::new(Issued {
                header: credential.header.clone(),
                credential: Arc::clone(credential),
                stamp,
                until: UNIX_EPOCH,
                early_at: at_unix_millis(locked.early_at),
                accepted: AtomicBool::new(false),
            })
        }))
    }

    fn publish(&self, locked: &Locked, now: Now) {
        let new = locked.issue(now).filter(|_| !locked.writes.stranded());
        let Some(new) = new else {
            if !self.published.is_empty() {
                self.published.replace(None);
            }
            return;
        };
        // An equal token is not written again: a write disturbs every reader.
        let stands = |old: &Issued| new.stamp == old.stamp && new.until == old.until;
        if self.published.get_if(stands).is_none() {
            self.published.replace(Some(Arc::new(new)));
        }
    }

    /// Publishes, then releases the waiters of the epoch before.
    fn release(&self, mut locked: MutexGuard<'_, Locked>, now: Now) {
        self.publish(&locked, now);
        let signal = std::mem::replace(&mut locked.signal, Signal::new());
        drop(locked);
        signal.give();
    }
}

impl Locked {
    fn is_in(&self, epoch: u64) -> bool {
        self.machine.stamp().epoch == epoch
    }

    /// The machine has begun another epoch: what belonged to the one before is taken out.
    fn begin_epoch(&mut self, known: KnownRecord) -> Past {
        let past = Past {
            tokens: self.tokens(),
            write: self.writes.take_other(self.machine.stamp().epoch),
        };
        self.credential = None;
        self.successor = None;
        self.error = None;
        self.known.replace(known);
        past
    }

    /// The machine has installed this token.
    fn install(&mut self, arrival: &Arrival) {
        self.credential = Some(Arc::clone(&arrival.credential));
        self.early_at = arrival.validity.refresh_at.unwrap_or(u64::MAX);
        self.successor = None;
        self.error = None;
    }

    fn issue(&self, now: Now) -> Option<Issued> {
        let until = self.machine.current(now)?;
        let credential = self.credential.as_ref()?;
        Some(Issued {
            header: credential.header.clone(),
            credential: Arc::clone(credential),
            stamp: self.machine.stamp(),
            until: at_unix_millis(until),
            early_at: at_unix_millis(self.early_at),
            accepted: AtomicBool::new(false),
        })
    }

    fn tokens(&self) -> Option<Arc<TokenSet>> {
        let held = self.credential.as_ref();
        self.successor
            .clone()
            .or_else(|| held.map(|credential| Arc::clone(&credential.tokens)))
    }
}
