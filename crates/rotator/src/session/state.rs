//! All state of a session under one lock, and the published token beside it. No function here
//! waits. Only this file calls the state machine of `token-rotator-core`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use token_rotator_core::{
    Attempt, Failure, Flight, Landing, Now, Policy, Purpose, Session as Machine, Stamp, Step,
    Validity,
};

use super::decide::{KnownRecord, RefreshStart, ReplacedTokens, Write};
use super::recovery::Recovery;
use super::signal::Signal;
use super::writer::{PendingWrite, Report, Writes};
use crate::error::RefreshError;
use crate::runtime::clock::at_unix_millis;
use crate::runtime::sync::{Mutex, MutexGuard, Published, lock};
use crate::store::intent::TokenHash;
use crate::store::{RecordDetails, StoreTime, Version};
use crate::token::token_set::TokenSet;
use crate::token::{Credential, Issued, Token};

/// The published token, and the locked state that it comes from.
pub(crate) struct State {
    published: Published<Issued>,
    locked: Mutex<Locked>,
    /// Whether the session has a store.
    has_store: bool,
}

struct Locked {
    machine: Machine,
    /// The token set of this epoch, ready to be sent.
    credential: Option<Arc<Credential>>,
    /// Error of the last failed flight since the last token of this epoch.
    error: Option<RefreshError>,
    /// Signal of the current flight, or of the last flight.
    signal: Arc<Signal>,
    early_at: u64,
    /// The last refresh that was started to confirm a match of a body rule: the stamp of its token, and
    /// the steady time.
    confirming: Option<(Stamp, u64)>,
    known: KnownRecord,
    /// The details of the record that was read or written last in this epoch.
    details: Box<RecordDetails>,
    /// The last time that the store told, and when by the steady clock.
    store_time: Option<(StoreTime, Duration)>,
    /// The epoch whose end was reported.
    end_reported: Option<u64>,
    /// A refusal without a reason was reported since the last token.
    refusal_reported: bool,
    /// Tokens that cannot be sent, but whose refresh token replaces that of the served token set.
    /// The next refresh starts from them.
    successor: Option<Arc<TokenSet>>,
    /// The pending write to the store.
    writes: Writes,
    /// Refresh tokens that were presented without a clear answer.
    recovery: Recovery,
    /// Hash of the refresh token that this session claims.
    claim: Option<TokenHash>,
    /// Hash of the refresh token that was revoked last.
    revoked: Option<TokenHash>,
}

/// A flight, and the signal that reports its end.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub(crate) flight: Flight,
    pub(crate) signal: Arc<Signal>,
}

/// What a caller does next.
pub(crate) enum CallerAction {
    /// Send the request with this token.
    Send(Token),
    /// Start the flight, then send the request with this token.
    SendAndLaunch(Token, Ticket),
    /// Start the flight, then wait for it.
    Launch(Ticket),
    /// Wait for the flight.
    Wait(Ticket),
    /// Send the request without a token. After a refusal: return the refusal to the caller.
    SendBare(Stamp),
    /// Return the refusal to the caller.
    HandBack,
    /// Return the refusal to the caller, because this endpoint refused a replay a short time ago.
    RefusedAgain,
    /// The session is in another epoch.
    Changed,
    /// The flight is overdue.
    Overdue,
    /// Fail with this error.
    Fail(RefreshError),
}

/// A token set prepared for requests: its credential and its validity.
#[derive(Clone)]
pub(crate) struct PreparedToken {
    pub(crate) credential: Arc<Credential>,
    pub(crate) validity: Validity,
}

impl PreparedToken {
    /// Tokens that cannot be sent count as expired, so that no caller gets them.
    pub(crate) fn unusable(tokens: Arc<TokenSet>) -> Self {
        Self {
            credential: Credential::unusable(tokens),
            validity: Validity::until(0),
        }
    }
}

/// Effects of a failed flight.
pub(crate) enum FailureEffect {
    /// A cool-down: no flight starts for this many milliseconds.
    Cooling(u64),
    /// The session has ended. `first` if the end was not yet reported in this epoch.
    Ended { first: bool },
    /// The failure belongs to an earlier epoch or generation.
    Stale,
}

/// Tokens and pending write of an ended epoch. The caller handles them outside the lock.
pub(crate) struct EndedEpoch {
    pub(crate) tokens: Option<Arc<TokenSet>>,
    pub(crate) write: Option<PendingWrite>,
}

impl State {
    pub(crate) fn new(policy: Policy, has_store: bool) -> Self {
        Self {
            has_store,
            published: Published::empty(),
            locked: Mutex::new(Locked {
                machine: Machine::new(policy),
                credential: None,
                error: None,
                signal: Signal::new(),
                early_at: u64::MAX,
                confirming: None,
                known: KnownRecord::default(),
                details: Box::default(),
                store_time: None,
                end_reported: None,
                refusal_reported: false,
                successor: None,
                writes: Writes::default(),
                recovery: Recovery::default(),
                claim: None,
                revoked: None,
            }),
        }
    }

    // Callers.

    /// Returns the token if the state machine would serve it without an event at this wall-clock
    /// time. This is the hot path.
    #[inline]
    pub(crate) fn ready(&self, wall: SystemTime) -> Option<Token> {
        self.published
            .get_if(|issued| wall < issued.until)
            .map(Token)
    }

    /// Returns the token for a request that cannot be repeated. Returns `None` while a refresh is
    /// due.
    pub(crate) fn ready_for_once(&self, wall: SystemTime) -> Option<Token> {
        self.published
            .get_if(|issued| wall < issued.until.min(issued.early_at))
            .map(Token)
    }

    /// Decides what a caller does before it sends a request.
    pub(crate) fn acquire(&self, now: Now) -> CallerAction {
        let mut locked = lock(&self.locked);
        let step = locked.machine.acquire(now);
        self.action_for(&mut locked, step, now)
    }

    /// Decides what a caller does before it sends a request that cannot be repeated. Such a caller
    /// waits for a refresh that is due.
    pub(crate) fn acquire_for_once(&self, now: Now) -> CallerAction {
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
                // The caller waits, so the flight must not end without a result.
                let _waits = machine.settle(flight, now);
                Step::Refresh
            }
            (Step::Use, Some(flight)) if due => match machine.settle(flight, now) {
                Step::Wait => Step::Wait,
                _ => Step::Use,
            },
            (step, _) => step,
        };
        self.action_for(&mut locked, step, now)
    }

    /// Decides what a caller does after a refusal.
    pub(crate) fn refused(&self, stamp: Stamp, attempt: Attempt, now: Now) -> CallerAction {
        let mut locked = lock(&self.locked);
        let step = locked.machine.refused(stamp, attempt, now);
        // The machine may have marked the token as refused, which ends its publication.
        self.publish(&locked, now);
        self.action_for(&mut locked, step, now)
    }

    /// Decides whether a refresh may confirm that a body refuses the token of this stamp: one in the
    /// interval of early refreshes.
    pub(crate) fn may_confirm(&self, stamp: Stamp, now: Now) -> bool {
        let mut locked = lock(&self.locked);
        // A newer token needs no refresh. Requests with the same token share a refresh until it fails.
        let started = locked.confirming.is_some_and(|(token, _)| token == stamp);
        let shares = locked.machine.flight().is_some() || started && locked.error.is_none();
        if shares || locked.machine.stamp() != stamp {
            return true;
        }
        let interval = locked.machine.policy.early_interval;
        let is_due = locked
            .confirming
            .is_none_or(|(_, started)| now.steady.saturating_sub(started) >= interval);
        if is_due {
            locked.confirming = Some((stamp, now.steady));
        }
        is_due
    }

    /// Decides what a caller does after a body that may refuse the token of this stamp. The token
    /// stays in use, because the refresh that confirms the refusal may fail.
    pub(crate) fn doubted(&self, stamp: Stamp, now: Now) -> CallerAction {
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
        self.action_for(&mut locked, step, now)
    }

    /// Records that a request was accepted.
    pub(crate) fn accepted(&self, stamp: Stamp, attempt: Attempt) {
        lock(&self.locked).machine.accepted(stamp, attempt);
    }

    /// Decides what a caller does that asks for a refresh.
    pub(crate) fn force(&self, now: Now) -> CallerAction {
        let mut locked = lock(&self.locked);
        let step = locked.machine.force(now);
        self.action_for(&mut locked, step, now)
    }

    /// Decides what a caller does after it has waited for this flight.
    pub(crate) fn settle(&self, flight: Flight, now: Now) -> CallerAction {
        let mut locked = lock(&self.locked);
        let step = locked.machine.settle(flight, now);
        if step == Step::Use {
            // The flight has published the token, so the waiters need not publish it again.
            let (stamp, wall) = (locked.machine.stamp(), at_unix_millis(now.wall));
            let is_current = |issued: &Issued| issued.stamp == stamp && wall < issued.until;
            if let Some(issued) = self.published.get_if(is_current) {
                return CallerAction::Send(Token(issued));
            }
        }
        self.action_for(&mut locked, step, now)
    }

    /// Returns the current token if it is usable.
    pub(crate) fn usable(&self, now: Now) -> Option<Token> {
        lock(&self.locked)
            .issue(now)
            .map(|issued| Token(Arc::new(issued)))
    }

    /// Returns the token set that a refresh starts from, usable or not.
    pub(crate) fn tokens(&self) -> Option<Arc<TokenSet>> {
        lock(&self.locked).tokens()
    }

    pub(crate) fn stamp(&self) -> Stamp {
        lock(&self.locked).machine.stamp()
    }

    /// Returns whether the last of sign-in and sign-out was a sign-out.
    pub(crate) fn signed_out(&self) -> bool {
        lock(&self.locked).machine.signed_out()
    }

    /// Returns whether the issuer has refused to refresh this session.
    pub(crate) fn ended(&self) -> bool {
        lock(&self.locked).machine.ended()
    }

    // Flights.

    /// Installs the token of a flight. `adopted`: another process had refreshed the token. The
    /// token is served from now on, but the flight's waiters are not released yet. Returns `None`
    /// if the flight belongs to an earlier epoch or generation.
    pub(crate) fn land(
        &self,
        flight: Flight,
        prepared: &PreparedToken,
        known: KnownRecord,
        adopted: bool,
        now: Now,
    ) -> Option<Stamp> {
        let mut locked = lock(&self.locked);
        let effect = if adopted {
            locked.machine.adopted(flight, prepared.validity, now)
        } else {
            locked.machine.refreshed(flight, prepared.validity, now)
        };
        if effect != Landing::Installed {
            return None;
        }
        let stamp = locked.machine.stamp();
        locked.install(prepared);
        locked.known.replace(known);
        self.publish(&locked, now);
        Some(stamp)
    }

    /// Records that the flight failed. The flight's waiters are not released yet.
    pub(crate) fn failed(
        &self,
        flight: Flight,
        failure: Failure,
        error: RefreshError,
        now: Now,
    ) -> FailureEffect {
        let mut locked = lock(&self.locked);
        let effect = locked.machine.failed(flight, failure, now);
        // A look that found no newer token keeps the error that ended the session.
        if locked.machine.error() == flight.id {
            locked.error = Some(error);
        }
        self.publish(&locked, now);
        match effect {
            Landing::Cooling => {
                let until = locked.machine.cool_until();
                FailureEffect::Cooling(until.saturating_sub(now.steady))
            }
            Landing::Ended => {
                let epoch = locked.machine.stamp().epoch;
                let first = locked.end_reported.replace(epoch) != Some(epoch);
                FailureEffect::Ended { first }
            }
            Landing::Installed | Landing::Stale => FailureEffect::Stale,
        }
    }

    /// Records that a failure of another process holds this flight back, for this many milliseconds.
    pub(crate) fn held_back(
        &self,
        flight: Flight,
        (wait, by_issuer): (u64, bool),
        error: RefreshError,
        now: Now,
    ) -> FailureEffect {
        let mut locked = lock(&self.locked);
        let effect = locked.machine.held_back(flight, wait, by_issuer, now);
        if locked.machine.error() == flight.id {
            locked.error = Some(error);
        }
        self.publish(&locked, now);
        match effect {
            Landing::Cooling => {
                let until = locked.machine.cool_until();
                FailureEffect::Cooling(until.saturating_sub(now.steady))
            }
            Landing::Ended | Landing::Installed | Landing::Stale => FailureEffect::Stale,
        }
    }

    /// Returns whether the refusal without a reason was not reported before, and marks it as
    /// reported.
    pub(crate) fn report_refusal(&self) -> bool {
        !std::mem::replace(&mut lock(&self.locked).refusal_reported, true)
    }

    /// Reports that an early flight found the lease taken. Returns whether the flight may end
    /// without a result.
    pub(crate) fn yielded(&self, flight: Flight, now: Now) -> bool {
        let mut locked = lock(&self.locked);
        let yielded = locked.machine.yielded(flight, now);
        self.publish(&locked, now);
        yielded
    }

    /// Returns whether the flight has just passed its deadline.
    pub(crate) fn overdue(&self, flight: Flight, now: Now) -> bool {
        let mut locked = lock(&self.locked);
        let is_in_slot = locked.machine.flight() == Some(flight);
        let overdue = is_in_slot && locked.machine.overdue(now);
        self.publish(&locked, now);
        overdue
    }

    /// Keeps tokens that cannot be sent. The next flight starts from them.
    pub(crate) fn continue_with(&self, flight: Flight, tokens: Arc<TokenSet>) {
        let mut locked = lock(&self.locked);
        if locked.machine.stamp() == flight.began {
            locked.successor = Some(tokens);
        }
    }

    /// Returns where a flight of this epoch starts. Returns `None` if the session is in another
    /// epoch.
    pub(crate) fn start(&self, epoch: u64) -> Option<RefreshStart> {
        let locked = lock(&self.locked);
        locked.is_in(epoch).then(|| {
            RefreshStart::from_memory(locked.tokens(), locked.known, locked.details.clone())
        })
    }

    /// Returns the details of the record that was read or written last in this epoch.
    pub(crate) fn details(&self) -> RecordDetails {
        (*lock(&self.locked).details).clone()
    }

    /// Notes the details of the record that a flight or write of this epoch read or wrote.
    pub(crate) fn note_details(&self, epoch: u64, details: &RecordDetails) {
        let mut locked = lock(&self.locked);
        if locked.is_in(epoch) {
            *locked.details = details.clone();
        }
    }

    /// Notes the store's time, read at this time of the steady clock.
    pub(crate) fn note_store_time(&self, time: StoreTime, steady: Duration) {
        lock(&self.locked).store_time = Some((time, steady));
    }

    /// Returns whether the store has told its time.
    pub(crate) fn knows_store_time(&self) -> bool {
        lock(&self.locked).store_time.is_some()
    }

    /// Returns the store's time at this time of the steady clock. Returns `None` if the store has no
    /// clock or was not read yet.
    pub(crate) fn store_time(&self, steady: Duration) -> Option<StoreTime> {
        let (time, read) = lock(&self.locked).store_time?;
        Some(time.after(steady.saturating_sub(read)))
    }

    /// Records that a flight or write of this epoch has read or saved the record in this version.
    pub(crate) fn note_version(&self, epoch: u64, version: Version) {
        let mut locked = lock(&self.locked);
        if locked.is_in(epoch) {
            locked.known.replace(KnownRecord::at(version));
        }
    }

    /// Calls `call` with the recovery state, under the lock.
    pub(crate) fn recovery<T>(&self, call: impl FnOnce(&mut Recovery) -> T) -> T {
        call(&mut lock(&self.locked).recovery)
    }

    // Sign-in, sign-out, update.

    /// Begins an epoch with these tokens. Releases the waiters of the previous epoch.
    pub(crate) fn sign_in(
        &self,
        prepared: &PreparedToken,
        record: (KnownRecord, Box<RecordDetails>),
        now: Now,
    ) -> (Stamp, EndedEpoch) {
        let mut locked = lock(&self.locked);
        locked.machine.sign_in(prepared.validity, now);
        self.begin_epoch(locked, Some(prepared), record, now)
    }

    /// Begins an epoch without tokens. Returns `None` if there was no session to sign out of.
    pub(crate) fn sign_out(&self, known: KnownRecord, now: Now) -> Option<(Stamp, EndedEpoch)> {
        let mut locked = lock(&self.locked);
        let signed_out = locked.machine.sign_out();
        let record = (known, Box::default());
        signed_out.then(|| self.begin_epoch(locked, None, record, now))
    }

    /// Enters an epoch that a flight or write of `epoch` found in the store. Without a token set,
    /// that epoch is a sign-out. Returns `None` if the session has left `epoch`, or is in the found
    /// epoch already.
    pub(crate) fn follow(
        &self,
        epoch: u64,
        prepared: Option<&PreparedToken>,
        record: (KnownRecord, Box<RecordDetails>),
        now: Now,
    ) -> Option<(Stamp, EndedEpoch)> {
        let mut locked = lock(&self.locked);
        if !locked.is_in(epoch) || locked.known.epoch == record.0.epoch {
            return None;
        }
        match prepared {
            Some(prepared) => {
                locked.machine.sign_in(prepared.validity, now);
            }
            None if !locked.machine.sign_out() => return None,
            None => {}
        }
        Some(self.begin_epoch(locked, prepared, record, now))
    }

    /// Enters the epoch that the machine has begun. Queues its write if the store does not hold the
    /// epoch, publishes, and releases the waiters of the previous epoch.
    fn begin_epoch(
        &self,
        mut locked: MutexGuard<'_, Locked>,
        prepared: Option<&PreparedToken>,
        (known, details): (KnownRecord, Box<RecordDetails>),
        now: Now,
    ) -> (Stamp, EndedEpoch) {
        let stamp = locked.machine.stamp();
        let ended_epoch = EndedEpoch {
            tokens: locked.tokens(),
            write: locked.writes.take_other(stamp.epoch),
        };
        locked.credential = None;
        locked.successor = None;
        locked.error = None;
        locked.details = details;
        locked.known.replace(known);
        match prepared {
            Some(prepared) => locked.install(prepared),
            None => locked.signal.mark_signed_out(),
        }
        if known.unwritten {
            self.write_tokens(&mut locked, ReplacedTokens::default());
        }
        self.publish(&locked, now);
        let signal = std::mem::replace(&mut locked.signal, Signal::new());
        drop(locked);
        signal.set();
        (stamp, ended_epoch)
    }

    /// Returns the current stamp, and the token set that a refresh starts from.
    pub(crate) fn current(&self) -> (Stamp, Option<Arc<TokenSet>>) {
        let locked = lock(&self.locked);
        (locked.machine.stamp(), locked.tokens())
    }

    /// Installs a newer token of the sign-in of `stamp`, made from the token that was current at
    /// `stamp`. Returns `None` if the stamp has changed since.
    /// `details` are the details of its record.
    pub(crate) fn update(
        &self,
        stamp: Stamp,
        prepared: &PreparedToken,
        details: RecordDetails,
        now: Now,
    ) -> Option<Stamp> {
        let mut locked = lock(&self.locked);
        if locked.machine.stamp() != stamp || locked.machine.signed_out() {
            return None;
        }
        let replaced = ReplacedTokens::of(locked.tokens().as_deref());
        *locked.details = details;
        let stamp = locked.machine.update(prepared.validity, now);
        locked.install(prepared);
        self.write_tokens(&mut locked, replaced);
        self.publish(&locked, now);
        Some(stamp)
    }

    // Writes.

    /// Calls `call` with the pending write, under the lock.
    pub(crate) fn writes<T>(&self, call: impl FnOnce(&mut Writes) -> T) -> T {
        call(&mut lock(&self.locked).writes)
    }

    /// Keeps a write that is newer or (`is_older`) older than the pending write. Returns the write if
    /// its epoch has ended.
    pub(crate) fn put_write(
        &self,
        write: PendingWrite,
        is_older: bool,
    ) -> Result<(), Box<PendingWrite>> {
        let mut locked = lock(&self.locked);
        if !locked.is_in(write.write.epoch) {
            return Err(Box::new(write));
        }
        if is_older {
            locked.writes.put_back(write);
        } else {
            locked.writes.put(write);
        }
        Ok(())
    }

    /// Marks the writes as interrupted, because the writer's runtime has ended. Returns the failed
    /// attempts and the callers to answer if a write is pending. Then no token is published, so
    /// that the next call resumes the writer.
    pub(crate) fn interrupt_writes(&self) -> Option<(u32, Vec<(u64, Report)>)> {
        let mut locked = lock(&self.locked);
        let interrupted = locked.writes.interrupt()?;
        self.published.replace(None);
        Some(interrupted)
    }

    // Claim and revocation of the refresh token.

    /// Replaces the claimed refresh token. Returns the previous claim.
    pub(crate) fn claim(&self, token: Option<TokenHash>) -> Option<TokenHash> {
        std::mem::replace(&mut lock(&self.locked).claim, token)
    }

    /// Returns the hash of the refresh token that was revoked last.
    pub(crate) fn revoked(&self) -> Option<TokenHash> {
        lock(&self.locked).revoked
    }

    pub(crate) fn set_revoked(&self, token: Option<TokenHash>) {
        lock(&self.locked).revoked = token;
    }

    // Helpers.

    /// Queues a write of the current tokens, or of the tombstone.
    fn write_tokens(&self, locked: &mut Locked, replaced: ReplacedTokens) {
        if self.has_store {
            let epoch = locked.machine.stamp().epoch;
            let write = Write::new(epoch, locked.tokens(), locked.known, replaced)
                .with_details(locked.details.clone());
            locked.writes.put(PendingWrite::new(write));
        }
    }

    fn action_for(&self, locked: &mut Locked, step: Step, now: Now) -> CallerAction {
        let starts = matches!(step, Step::Refresh | Step::UseAndRefresh);
        if starts {
            locked.signal = Signal::new();
        }
        let ticket = locked.machine.flight().map(|flight| Ticket {
            flight,
            signal: Arc::clone(&locked.signal),
        });
        match (step, ticket, &locked.credential, &locked.error) {
            (Step::Bare, ..) => CallerAction::SendBare(locked.machine.stamp()),
            (Step::Changed, ..) => CallerAction::Changed,
            (Step::Overdue, ..) => CallerAction::Overdue,
            (Step::RefusedAgain, ..) => CallerAction::RefusedAgain,
            (Step::Fail, _, _, Some(error)) => CallerAction::Fail(error.clone()),
            (Step::Wait, Some(ticket), ..) => CallerAction::Wait(ticket),
            (Step::Refresh, Some(ticket), ..) => {
                self.publish(locked, now);
                CallerAction::Launch(ticket)
            }
            (Step::Use, _, Some(credential), _) => {
                CallerAction::Send(self.token(locked, credential, now))
            }
            (Step::UseAndRefresh, Some(ticket), Some(credential), _) => {
                CallerAction::SendAndLaunch(self.token(locked, credential, now), ticket)
            }
            _ => CallerAction::HandBack,
        }
    }

    /// Returns the published token if it is current, so that all waiters share one allocation.
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
        let new = locked.issue(now).filter(|_| !locked.writes.interrupted());
        let Some(new) = new else {
            if !self.published.is_empty() {
                self.published.replace(None);
            }
            return;
        };
        // An equal token is not stored again, because each store disturbs every reader.
        let is_equal = |old: &Issued| new.stamp == old.stamp && new.until == old.until;
        if self.published.get_if(is_equal).is_none() {
            self.published.replace(Some(Arc::new(new)));
        }
    }
}

impl Locked {
    fn is_in(&self, epoch: u64) -> bool {
        self.machine.stamp().epoch == epoch
    }

    /// Keeps the token that the machine has installed.
    fn install(&mut self, prepared: &PreparedToken) {
        self.credential = Some(Arc::clone(&prepared.credential));
        self.early_at = prepared.validity.refresh_at.unwrap_or(u64::MAX);
        self.successor = None;
        self.error = None;
        self.refusal_reported = false;
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
