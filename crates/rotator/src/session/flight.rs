//! One refresh, top to bottom: lease, read, decide, journal, send, save, publish, after-hook,
//! release. It runs in a task of its own, which no caller can cancel, and reports exactly once.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use token_rotator_core::{Ending, Failure, Purpose};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::decide::{self, Decision, KnownRecord, OlderPrints, Start, Write, same_tokens};
use super::recovery::{Plan, Situation};
use super::state::{Arrival, Failed, Ticket};
use super::writer::{PendingWrite, Written, conflicts};
use super::{CutOff, Session, guarded};
use crate::error::{FailureKind, LeaseError, RefreshError, StoreError, StoreErrorKind};
use crate::event::{Event, HookProblem};
use crate::runtime;
use crate::runtime::clock::millis;
use crate::store::coordinator::Lease;
use crate::store::intent::{Intent, IntentOutcome, TokenHash};
use crate::store::{Record, Saved, Version};
use crate::token::source::Refreshed;
use crate::token::token_set::TokenSet;

/// How often the record may change under a flight before it gives up.
const READS_MAX: u32 = 16;

/// The least time between two reads of a record while another process holds the lease.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// Starts the flight.
pub(super) fn launch(session: &Arc<Session>, ticket: Ticket) {
    let task = FlightTask {
        ticket,
        begun: session.clock.steady(),
        lease: None,
        taken: None,
        received: None,
        step: "take the lease",
        sent: false,
        reported: false,
        _task: session.tasks.token(),
        session: Arc::clone(session),
    };
    session.runtime.spawn(task.run());
}

/// A flight. Dropping it before it has reported, as a runtime that ends does, reports it.
struct FlightTask {
    session: Arc<Session>,
    ticket: Ticket,
    begun: Duration,
    lease: Option<Box<dyn Lease>>,
    /// The write that the writer could not finish, taken over for the time of this flight.
    taken: Option<PendingWrite>,
    /// What the issuer has answered, while it is being saved.
    received: Option<Received>,
    /// What the flight is about to do, for errors.
    step: &'static str,
    /// The refresh token was sent, and no answer says that it is unspent.
    sent: bool,
    reported: bool,
    _task: TaskTrackerToken,
}

/// Tokens that the issuer has answered with.
struct Received {
    tokens: Arc<TokenSet>,
    /// `None` if they cannot be sent: they are what the next refresh starts from.
    arrival: Option<Arrival>,
    known: KnownRecord,
    older: OlderPrints,
}

/// How a flight ends. As the error of a step it ends the flight early.
enum Outcome {
    /// A token from the issuer, with the answer for the after-hook.
    Refreshed(Arrival, KnownRecord, Option<Arc<Refreshed>>),
    /// A token that another process had refreshed.
    Adopted(Arrival, KnownRecord),
    /// Nothing, and no caller waits.
    Yielded,
    /// The session is in another epoch; these tokens came too late.
    Superseded(Option<Arc<TokenSet>>),
    Failed(RefreshError),
}

impl From<RefreshError> for Outcome {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::SessionChanged => Self::Superseded(None),
            error => Self::Failed(error),
        }
    }
}

impl FlightTask {
    async fn run(mut self) {
        let session = Arc::clone(&self.session);
        let ticket = self.ticket.clone();
        session.tell(&Event::RefreshStarted {
            flight: ticket.flight.id,
            purpose: ticket.flight.purpose,
        });
        let mut deadline = pin!(runtime::sleep(session.limits.flight_deadline));
        let mut overdue = false;
        // A panic ends the work and not the flight: it is an outcome like any other.
        let outcome = {
            let work = Box::pin(AssertUnwindSafe(self.work()).catch_unwind());
            match select(work, deadline.as_mut()).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(((), work)) => {
                    // The waiters are released; the flight keeps its slot until it ends.
                    overdue = true;
                    if session.state.overdue(ticket.flight, session.clock.now()) {
                        session.tell(&Event::RefreshOverdue {
                            flight: ticket.flight.id,
                        });
                    }
                    ticket.signal.give();
                    work.await
                }
            }
        };
        let after = match outcome {
            Ok(Ok(outcome) | Err(outcome)) => self.publish(outcome),
            Err(_panic) => {
                let (step, sent) = (self.step, self.sent);
                self.cut_off(RefreshError::Panicked { step, sent });
                None
            }
        };
        // Before the hook: other processes do not wait for it.
        self.release();
        // The waiters are released even if the hook is cut off with the runtime.
        let _waiters = ReleaseWaiters(&ticket);
        if let Some(refreshed) = after {
            let hook = Box::pin(session.run_after_refresh(refreshed));
            if overdue {
                hook.await;
            } else if let Either::Right(((), hook)) = select(hook, deadline).await {
                ticket.signal.give();
                hook.await;
            }
        }
    }

    async fn work(&mut self) -> Result<Outcome, Outcome> {
        let session = Arc::clone(&self.session);
        let epoch = self.ticket.flight.began.epoch;
        if self.ticket.flight.purpose == Purpose::Look {
            return self.look().await;
        }
        // Memory is newer than the store while something of this epoch is unwritten.
        self.step = "save the new tokens";
        if session.write_now(epoch).await.is_err() {
            self.taken = session.state.writes(|writes| writes.take(epoch));
        }
        if let Some(taken) = &mut self.taken {
            self.lease = taken.lease.take();
            let seen = taken.write.known.version;
            self.take_lease(seen).await?;
            return self.refresh_from_memory().await;
        }
        let mut seen = None;
        if session.store.is_some() && session.coordinator.is_some() {
            // What another process has refreshed already needs no lease.
            seen = self.read().await?.known.version;
        }
        self.take_lease(seen).await?;
        let start = self.read().await?;
        self.refresh(
            start,
            session
                .store
                .as_ref()
                .is_some_and(|store| store.is_durable()),
        )
        .await
    }

    /// The store takes no write and what it holds is spent: starts from memory and journals
    /// nothing.
    async fn refresh_from_memory(&mut self) -> Result<Outcome, Outcome> {
        let epoch = self.ticket.flight.began.epoch;
        let memory = self.session.state.start(epoch);
        let (Some(memory), Some(taken)) = (memory, &self.taken) else {
            return Err(Outcome::Superseded(None));
        };
        let start = Start {
            known: taken.write.known,
            older: taken.write.and_older(),
            ..memory
        };
        self.refresh(start, false).await
    }

    // Lease.

    /// Takes the lease, unless the flight has it. While another process holds it, whatever that
    /// process saves is read as soon as the store reports a change.
    async fn take_lease(&mut self, mut seen: Option<Version>) -> Result<(), Outcome> {
        let session = Arc::clone(&self.session);
        if session.coordinator.is_none() || self.lease.is_some() {
            return Ok(());
        }
        self.step = "take the lease";
        if self.ticket.flight.purpose == Purpose::Early {
            let flight = self.ticket.flight;
            match session.acquire(Duration::ZERO).await {
                Err(LeaseError::Busy { .. }) => {
                    if session.state.yielded(flight, session.clock.now()) {
                        return Err(Outcome::Yielded);
                    }
                }
                answer => return self.leased(answer).await,
            }
        }
        let mut lease = pin!(session.acquire(session.limits.lease_wait));
        let Some(store) = &session.store else {
            let answer = lease.await;
            return self.leased(answer).await;
        };
        let answer = loop {
            let changed = store.changed(&session.key, seen);
            if let Either::Left((answer, _)) = select(lease.as_mut(), changed).await {
                break answer;
            }
            match self.read().await {
                Ok(start) => seen = start.known.version,
                // The record is read again under the lease, where a failure counts.
                Err(Outcome::Failed(_)) => break lease.await,
                Err(outcome) => return Err(outcome),
            }
            // A store that reports changes all the time keeps neither this thread nor itself busy.
            let pause = pin!(runtime::sleep(READ_PAUSE));
            if let Either::Left((answer, _)) = select(lease.as_mut(), pause).await {
                break answer;
            }
        };
        self.leased(answer).await
    }

    async fn leased(&mut self, answer: Result<Box<dyn Lease>, LeaseError>) -> Result<(), Outcome> {
        match answer {
            Ok(lease) => {
                self.lease = Some(lease);
                Ok(())
            }
            Err(busy @ LeaseError::Busy { .. }) => {
                // The holder may have refreshed.
                self.read().await?;
                Err(RefreshError::Lease(busy).into())
            }
            Err(error) => Err(RefreshError::Lease(error).into()),
        }
    }

    // Read and decide.

    /// Reads the record. Returns what a refresh starts from, or ends the flight.
    async fn read(&mut self) -> Result<Start, Outcome> {
        let session = Arc::clone(&self.session);
        let epoch = self.ticket.flight.began.epoch;
        self.step = "read the session";
        let superseded = || Outcome::Superseded(None);
        if session.store.is_none() {
            return session.state.start(epoch).ok_or_else(superseded);
        }
        let record = session.load().await.map_err(RefreshError::Store)?;
        let memory = session.state.start(epoch).ok_or_else(superseded)?;
        let usable = |tokens: &Arc<TokenSet>| {
            let arrival = session.arrival(Arc::clone(tokens)).ok()?;
            let wall = session.clock.wall_millis();
            let expired = arrival.validity.expires_at.is_some_and(|at| wall >= at);
            (!expired).then_some(arrival)
        };
        match decide::read(record, memory.known, memory.last, usable) {
            Decision::RefreshFrom(start) => Ok(*start),
            Decision::Adopt(arrival, known) => Err(Outcome::Adopted(arrival, known)),
            Decision::OtherEpoch(record) => {
                session.follow(epoch, &record);
                Err(superseded())
            }
        }
    }

    /// The session has ended: looks for what another process has saved, and refreshes nothing.
    async fn look(&mut self) -> Result<Outcome, Outcome> {
        let held = self.session.state.tokens();
        let start = self.read().await?;
        // Expired meanwhile, but its refresh token is newer than the one that was refused.
        let newer = start
            .last
            .filter(|newer| held.is_none_or(|held| !same_tokens(&held, newer)));
        let newer = newer.ok_or(RefreshError::NotSignedIn)?;
        match self.session.arrival(newer) {
            Ok(arrival) => Ok(Outcome::Adopted(arrival, start.known)),
            Err(reason) => Err(RefreshError::Unusable { reason }.into()),
        }
    }

    /// Asks the issuer and saves its answer. Starts over if the record changes in between.
    async fn refresh(&mut self, mut start: Start, journals: bool) -> Result<Outcome, Outcome> {
        let mut refused_before = false;
        for _ in 0..READS_MAX {
            let refused = match self.present(&mut start, journals).await {
                Ok(Some(refreshed)) => return self.save(refreshed, start).await,
                Ok(None) => None,
                Err(error)
                    if error.kind() == FailureKind::Terminal && self.session.store.is_some() =>
                {
                    Some(error)
                }
                Err(error) => return Err(error.into()),
            };
            // The record was written; or the session ends, unless the store holds newer tokens.
            let newer = self.read().await?;
            if let Some(error) = refused {
                let same = match (&newer.last, &start.last) {
                    (Some(newer), Some(last)) => same_tokens(newer, last),
                    (None, None) => true,
                    _ => false,
                };
                if same || refused_before {
                    if journals && !matches!(error, RefreshError::Refused) {
                        self.journal_refused(&mut start).await;
                    }
                    return Err(error.into());
                }
                refused_before = true;
            }
            start = newer;
        }
        Err(RefreshError::Store(conflicts()).into())
    }

    // Journal and send.

    /// Presents the refresh token; once more if the answer was lost and the profile allows that.
    /// With `journals`, intents are written to the store first. Returns `None` if another process
    /// has written the record.
    async fn present(
        &mut self,
        start: &mut Start,
        journals: bool,
    ) -> Result<Option<Refreshed>, RefreshError> {
        let profile = self.session.profile;
        let hash = start.last.as_deref().and_then(TokenHash::of);
        let Some(hash) = hash.filter(|_| profile.counts_uses()) else {
            // Nothing can be spent.
            self.check_before_send().await?;
            return match self.send(start).await {
                Err(error)
                    if error.kind() == FailureKind::Uncertain
                        && profile.allows_again(Duration::ZERO) =>
                {
                    self.check_before_send().await.map_err(|_| error)?;
                    self.report_presented_again(false);
                    self.send(start).await.map(Some)
                }
                answer => answer.map(Some),
            };
        };
        let session = Arc::clone(&self.session);
        let epoch = self.ticket.flight.began.epoch;
        let before = session
            .state
            .recovery(|recovery| recovery.in_doubt(epoch, hash, start.intent));
        let (intent, again) = match self.plan(hash, start) {
            Plan::Present(intent) => (intent, None),
            Plan::Again(intent) => (intent, Some(false)),
            Plan::LastResort(intent) => (intent, Some(true)),
            Plan::Hold => return Err(RefreshError::InDoubt { wait: None }),
            Plan::Wait(wait) => return Err(RefreshError::InDoubt { wait: Some(wait) }),
            Plan::Refused => return Err(RefreshError::Refused),
        };
        if !self.journal(start, intent, journals).await? {
            return Ok(None);
        }
        if let Err(error) = self.check_before_send().await {
            self.withdraw(start, before, journals).await;
            return Err(error);
        }
        if let Some(last_resort) = again {
            self.report_presented_again(last_resort);
        }
        let now = session.clock.steady();
        session
            .state
            .recovery(|recovery| recovery.sending(epoch, &intent, now));
        let unsure = match self.send(start).await {
            Err(error) if error.kind() == FailureKind::Uncertain => error,
            answer => return self.conclude(start, before, answer, journals).await,
        };
        // The second request may make the flight overdue, which releases the waiters; a window that
        // has closed does not open again.
        let Plan::Again(intent) = self.plan(hash, start) else {
            return self.conclude(start, before, Err(unsure), journals).await;
        };
        let written = self.journal(start, intent, journals).await;
        if !matches!(written, Ok(true)) || self.check_before_send().await.is_err() {
            return self.conclude(start, before, Err(unsure), journals).await;
        }
        self.report_presented_again(false);
        let answer = self.send(start).await;
        let before = Some(intent.with_outcome(IntentOutcome::Uncertain));
        self.conclude(start, before, answer, journals).await
    }

    fn plan(&self, token: TokenHash, start: &Start) -> Plan {
        let session = &self.session;
        let situation = Situation {
            epoch: self.ticket.flight.began.epoch,
            token,
            found: start.intent,
            profile: session.profile,
            wall: session.clock.wall(),
            steady: session.clock.steady(),
            usable: session.usable().is_some(),
            forced: self.ticket.flight.purpose == Purpose::Forced,
            linger: session.linger(),
        };
        session.state.recovery(|recovery| recovery.plan(&situation))
    }

    /// Writes down that the refresh token is about to be presented. Returns false if another
    /// process has written the record.
    async fn journal(
        &mut self,
        start: &mut Start,
        intent: Intent,
        journals: bool,
    ) -> Result<bool, RefreshError> {
        let session = Arc::clone(&self.session);
        let epoch = self.ticket.flight.began.epoch;
        self.step = "write down what it is about to do";
        // First in memory: if the store's answer is lost, the intent is recognised in the record.
        session
            .state
            .recovery(|recovery| recovery.writing(epoch, intent));
        let written = self.put_intent(start, Some(intent), journals).await;
        let written = written.map_err(RefreshError::Store)?;
        if written {
            session
                .state
                .recovery(|recovery| recovery.written(epoch, &intent));
        }
        Ok(written)
    }

    /// Writes the record with another intent. Returns false if another process has written it.
    async fn put_intent(
        &self,
        start: &mut Start,
        intent: Option<Intent>,
        journals: bool,
    ) -> Result<bool, StoreError> {
        if !journals {
            start.intent = intent;
            return Ok(true);
        }
        let version = start.known.next(start.known.version);
        let record = Record {
            version,
            tokens: start.last.clone(),
            intent,
        };
        let saved = self.session.put(start.known.version, record).await?;
        let stored = matches!(saved, Saved::Stored);
        if stored {
            let epoch = self.ticket.flight.began.epoch;
            self.session.state.saw(epoch, version);
            start.wrote(version, intent);
        }
        Ok(stored)
    }

    /// The last check before the request: the session is in the same epoch, and the lease outlasts
    /// the source timeout on a clock that counts suspend.
    async fn check_before_send(&mut self) -> Result<(), RefreshError> {
        self.extend_lease().await?;
        if self.session.stamp().epoch != self.ticket.flight.began.epoch {
            return Err(RefreshError::SessionChanged);
        }
        self.step = "ask the issuer";
        self.sent = true;
        Ok(())
    }

    /// One request to the issuer. The lease is renewed meanwhile.
    async fn send(&mut self, start: &Start) -> Result<Refreshed, RefreshError> {
        let session = Arc::clone(&self.session);
        let limit = session.limits.source_timeout;
        let call = session
            .source
            .refresh_session(&session.key, start.last.clone());
        let call = Box::pin(runtime::timeout(limit, session.ask(call)));
        let answer = match (&mut self.lease, session.lease_life()) {
            (Some(lease), Some(life)) => {
                let renewal = async {
                    loop {
                        // A third of its life, so that two renewals may fail.
                        runtime::sleep(life / 3).await;
                        if session.renew(lease).await.is_err() {
                            // The request is on its way; its answer meets compare-and-swap.
                            std::future::pending::<()>().await;
                        }
                    }
                };
                match select(call, Box::pin(renewal)).await {
                    Either::Left((answer, _)) => answer,
                    Either::Right(((), call)) => call.await,
                }
            }
            _ => call.await,
        };
        match answer {
            Some(answer) => answer.map_err(RefreshError::Source),
            None => Err(RefreshError::TimedOut { after: limit }),
        }
    }

    /// Writes down what the answer says about the intent. If that fails, whichever process reads
    /// the intent is more careful than it needs to be.
    async fn conclude(
        &mut self,
        start: &mut Start,
        before: Option<Intent>,
        answer: Result<Refreshed, RefreshError>,
        journals: bool,
    ) -> Result<Option<Refreshed>, RefreshError> {
        let session = Arc::clone(&self.session);
        let epoch = self.ticket.flight.began.epoch;
        match answer.as_ref().map_err(RefreshError::kind) {
            // The save of the answer ends the intent in the record.
            Ok(_) => session.state.recovery(|recovery| recovery.clear(epoch)),
            // A refusal is written once the record was read again.
            Err(FailureKind::Terminal) => {
                self.sent = false;
                session.state.recovery(|recovery| recovery.clear(epoch));
            }
            Err(FailureKind::Uncertain) => {
                if let Some(intent) = start.intent.or(before) {
                    let intent = intent.with_outcome(IntentOutcome::Uncertain);
                    session
                        .state
                        .recovery(|recovery| recovery.uncertain(epoch, intent));
                    let _ = self.put_intent(start, Some(intent), journals).await;
                }
            }
            Err(_) => {
                self.sent = false;
                self.withdraw(start, before, journals).await;
            }
        }
        answer.map(Some)
    }

    /// The refresh token was not spent: the intent before this one stands again.
    async fn withdraw(&self, start: &mut Start, before: Option<Intent>, journals: bool) {
        let epoch = self.ticket.flight.began.epoch;
        self.session
            .state
            .recovery(|recovery| recovery.withdraw(epoch, before));
        let _ = self.put_intent(start, before, journals).await;
    }

    /// The issuer refuses this refresh token: no other process needs to present it.
    async fn journal_refused(&self, start: &mut Start) {
        if let Some(intent) = start.intent {
            let refused = intent.with_outcome(IntentOutcome::Refused);
            let _ = self.put_intent(start, Some(refused), true).await;
        }
    }

    fn report_presented_again(&self, last_resort: bool) {
        self.session.tell(&Event::PresentedAgain {
            flight: self.ticket.flight.id,
            last_resort,
        });
    }

    /// Renews the lease if it may not last for one more request.
    async fn extend_lease(&mut self) -> Result<(), RefreshError> {
        let Some(lease) = &mut self.lease else {
            return Ok(());
        };
        let limit = self.session.limits.source_timeout;
        let short = |lease: &dyn Lease| lease.remaining().is_some_and(|left| left <= limit);
        if short(&**lease) {
            let renewed = self.session.renew(lease).await;
            renewed.map_err(RefreshError::Lease)?;
            if short(&**lease) {
                return Err(RefreshError::Lease(LeaseError::Lost));
            }
        }
        Ok(())
    }

    // Save.

    /// Saves what the issuer answered. If the store fails, the tokens are served from memory and
    /// handed to the writer with the lease.
    async fn save(&mut self, refreshed: Refreshed, start: Start) -> Result<Outcome, Outcome> {
        let session = Arc::clone(&self.session);
        let flight = self.ticket.flight;
        let tokens = refreshed.tokens.inherit(start.last.as_deref());
        let tokens = Arc::new(tokens.received(session.clock.wall()));
        let arrival = session.arrival(Arc::clone(&tokens));
        self.step = "save the new tokens";
        self.received = Some(Received {
            tokens: Arc::clone(&tokens),
            arrival: arrival.clone().ok(),
            known: start.known,
            older: start.older.clone(),
        });
        // If the lease is lost all the same, compare-and-swap protects the record.
        let _ = self.extend_lease().await;
        if session.stamp().epoch != flight.began.epoch {
            return Err(Outcome::Superseded(Some(tokens)));
        }
        let mut known = start.known;
        if session.store.is_some() {
            let mut write = self.write_of(Arc::clone(&tokens), start.known, start.older);
            match session.try_write(&mut write).await {
                Ok(Written::Stored { version, .. }) => {
                    known = KnownRecord::at(version);
                    self.taken = None;
                }
                Ok(Written::Superseded) => return Err(Outcome::Superseded(Some(tokens))),
                Ok(Written::Newer(arrival, known)) => {
                    self.taken = None;
                    return Err(Outcome::Adopted(arrival, known));
                }
                Err(error) => {
                    known = write.known;
                    self.hand_to_writer(write, error);
                }
            }
        }
        let arrival = match arrival {
            Ok(arrival) => arrival,
            Err(reason) => {
                // The tokens cannot be sent, but the next refresh starts from them.
                session.state.continue_with(flight, tokens);
                return Err(RefreshError::Unusable { reason }.into());
            }
        };
        let after = refreshed.answer.map(|answer| {
            Arc::new(Refreshed {
                tokens: (*tokens).clone(),
                answer: Some(answer),
            })
        });
        Ok(Outcome::Refreshed(arrival, known, after))
    }

    /// The write of these tokens, over what the flight took from the writer.
    fn write_of(&self, tokens: Arc<TokenSet>, known: KnownRecord, older: OlderPrints) -> Write {
        let epoch = self.ticket.flight.began.epoch;
        let mut write = Write::new(epoch, Some(tokens), known, older);
        if let Some(taken) = &self.taken {
            write.replaces(&taken.write);
        }
        write
    }

    fn hand_to_writer(&mut self, write: Write, error: StoreError) {
        let mut pending = PendingWrite::failed_once(write);
        if let Some(taken) = self.taken.take() {
            pending = pending.replace(taken);
        }
        pending.lease = self.lease.take();
        self.session.tell(&Event::SaveFailed { error, attempts: 1 });
        self.session.keep_write(pending, false);
    }

    // Publish and report.

    /// Reports the outcome to the state. Returns what the after-hook is called with.
    fn publish(&mut self, outcome: Outcome) -> Option<Arc<Refreshed>> {
        self.reported = true;
        match outcome {
            Outcome::Refreshed(arrival, known, answer) => {
                return self.install(&arrival, known).then_some(answer)?;
            }
            Outcome::Adopted(arrival, known) => {
                let session = &self.session;
                let flight = self.ticket.flight;
                let now = session.clock.now();
                if let Some(stamp) = session.state.land(flight, &arrival, known, true, now) {
                    session.tell(&Event::Adopted {
                        flight: flight.id,
                        generation: stamp.generation,
                    });
                }
            }
            Outcome::Superseded(Some(tokens)) => self.revoke_late(tokens),
            Outcome::Superseded(None) | Outcome::Yielded => {}
            Outcome::Failed(error) => self.fail(error),
        }
        None
    }

    /// Installs the issuer's token. Returns whether it is served from here on.
    fn install(&self, arrival: &Arrival, known: KnownRecord) -> bool {
        let session = &self.session;
        let flight = self.ticket.flight;
        let tokens = &arrival.credential.tokens;
        let now = session.clock.now();
        let Some(stamp) = session.state.land(flight, arrival, known, false, now) else {
            self.revoke_late(Arc::clone(tokens));
            return false;
        };
        session.tell(&Event::Refreshed {
            flight: flight.id,
            generation: stamp.generation,
            lifetime: tokens.lifetime(),
            took: session.clock.steady().saturating_sub(self.begun),
        });
        true
    }

    /// Tokens that came for an epoch that is over.
    fn revoke_late(&self, tokens: Arc<TokenSet>) {
        let session = &self.session;
        // After a sign-in, the revocation of the old grant could end the new one too.
        let revoked = self.ticket.signal.signed_out() || session.profile.revokes_per_token();
        session.tell(&Event::LateTokens { revoked });
        if revoked {
            session.revoke(tokens);
        }
    }

    fn fail(&self, error: RefreshError) {
        let session = &self.session;
        // Where the refresh token may be used again at any time, nothing is in doubt.
        let in_doubt = !session.profile.allows_again(Duration::MAX);
        let failure = Failure {
            ending: match error.kind() {
                FailureKind::Uncertain if in_doubt => Ending::Uncertain,
                FailureKind::NotSent | FailureKind::Transient | FailureKind::Uncertain => {
                    Ending::Transient
                }
                FailureKind::Misconfigured => Ending::Misconfigured,
                FailureKind::Terminal => Ending::Terminal,
            },
            retry_after: error.retry_after().map(millis),
            jitter: fastrand::u32(800..=1200),
        };
        let flight = self.ticket.flight;
        let now = session.clock.now();
        let failed = session.state.failed(flight, failure, error.clone(), now);
        if let RefreshError::Source(source) = &error
            && source.is_reuse_detected()
        {
            session.tell(&Event::ReuseDetected {
                error: source.clone(),
            });
        }
        match failed {
            Failed::Cooling(wait) => session.tell(&Event::RefreshFailed {
                flight: flight.id,
                error,
                cool_down: Duration::from_millis(wait),
            }),
            Failed::Ended { first: true } => session.tell(&Event::Ended { error }),
            Failed::Ended { first: false } | Failed::Stale => {}
        }
    }

    /// A panic or the end of the runtime is a failure, unless the issuer had answered: no other
    /// process can get those tokens, so they are served from memory and handed to the writer.
    fn cut_off(&mut self, error: RefreshError) {
        self.reported = true;
        let Some(received) = self.received.take() else {
            return self.fail(error);
        };
        let Received {
            tokens,
            arrival,
            known,
            older,
        } = received;
        let flight = self.ticket.flight;
        let message = error.to_string();
        let write = self.write_of(Arc::clone(&tokens), known, older);
        match &arrival {
            Some(arrival) if self.install(arrival, known) => {}
            Some(_) => return,
            None => {
                self.session.state.continue_with(flight, tokens);
                self.fail(error);
            }
        }
        if self.session.store.is_some() {
            let unsaved = StoreError::new(StoreErrorKind::Unavailable, message);
            self.hand_to_writer(write, unsaved);
        }
    }

    // Release.

    /// Gives the lease back, or leaves it with the write that the flight took and did not replace.
    fn release(&mut self) {
        let lease = self.lease.take();
        match self.taken.take() {
            Some(mut taken) => {
                taken.lease = lease;
                self.session.keep_write(taken, true);
            }
            None => self.session.give_back(lease),
        }
    }
}

impl Drop for FlightTask {
    fn drop(&mut self) {
        if !self.reported {
            self.session.runtime.forget_first();
            let (step, sent) = (self.step, self.sent);
            self.cut_off(RefreshError::Abandoned { step, sent });
            self.release();
            self.ticket.signal.give();
        }
    }
}

/// Releases the waiters when it is dropped.
struct ReleaseWaiters<'a>(&'a Ticket);

impl Drop for ReleaseWaiters<'_> {
    fn drop(&mut self) {
        self.0.signal.give();
    }
}

impl Session {
    /// Runs the hook. The new token is served already, so a call made inside the hook uses it; the
    /// waiters are released after the hook.
    async fn run_after_refresh(&self, refreshed: Arc<Refreshed>) {
        let Some(hook) = &self.after_refresh else {
            return;
        };
        let limit = self.limits.after_hook;
        let problem = match guarded(limit, async { hook(refreshed).await }).await {
            Ok(Ok(())) => return,
            Ok(Err(message)) => HookProblem::Failed { message },
            Err(CutOff::Panicked) => HookProblem::Panicked,
            Err(CutOff::TimedOut) => HookProblem::TimedOut { after: limit },
        };
        self.tell(&Event::HookFailed {
            hook: "after_refresh",
            problem,
        });
    }

    /// How long a lease holds unless it is renewed.
    pub(super) fn lease_life(&self) -> Option<Duration> {
        self.coordinator.as_ref()?.lease_life()
    }

    /// How long a process that has lost the lease, or never had one, may be at work on a refresh.
    fn linger(&self) -> Duration {
        match &self.coordinator {
            Some(coordinator) => coordinator.lease_life().unwrap_or_default(),
            None => self.limits.source_timeout,
        }
    }

    /// Takes the lease. A coordinator that does not answer is unavailable.
    async fn acquire(&self, wait: Duration) -> Result<Box<dyn Lease>, LeaseError> {
        let Some(coordinator) = &self.coordinator else {
            return Err(unavailable("there is none".to_owned()));
        };
        let limit = wait.saturating_add(self.limits.source_timeout);
        let lease = coordinator.acquire(&self.key, wait);
        runtime::timeout(limit, lease)
            .await
            .unwrap_or_else(|| Err(unavailable(format!("it did not answer within {limit:?}"))))
    }

    /// Renews the lease. If the coordinator does not answer, the lease is lost.
    pub(super) async fn renew(&self, lease: &mut Box<dyn Lease>) -> Result<(), LeaseError> {
        let limit = self.limits.source_timeout;
        let renewed = runtime::timeout(limit, lease.renew()).await;
        renewed.unwrap_or_else(|| {
            Err(unavailable(format!(
                "the lease was not renewed within {limit:?}"
            )))
        })
    }
}

fn unavailable(message: String) -> LeaseError {
    LeaseError::Unavailable {
        message: Arc::from(message),
        cause: None,
    }
}
