//! One refresh, top to bottom: lease, read, decide, journal, send, save, publish, after-hook,
//! release. A flight runs in its own task, which no caller can cancel, and reports its outcome
//! exactly once.

mod failures;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use token_rotator_core::{Ending, Failure, Purpose};
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::failures::Answer;
use super::decide::{self, Decision, KnownRecord, RefreshStart, Write, same_tokens};
use super::recovery::{Recovery, RecoveryPlan, Situation};
use super::state::{FailureEffect, PreparedToken, Ticket};
use super::writer::{PendingWrite, WriteOutcome, conflicts};
use super::{CallFailure, Session, guarded};
use crate::error::{FailureKind, LeaseError, RefreshError, StoreError, StoreErrorKind};
use crate::event::{Event, HookProblem};
use crate::runtime;
use crate::runtime::clock::millis;
use crate::store::coordinator::Lease;
use crate::store::intent::{Intent, IntentOutcome, TokenHash};
use crate::store::{Saved, Version};
use crate::token::source::Refreshed;
use crate::token::token_set::TokenSet;

/// Number of times that the record may change under a flight before the flight fails.
const READS_MAX: u32 = 16;

/// The least time between two reads of a record while another process holds the lease.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// Starts the flight in its own task.
pub(super) fn launch(session: &Arc<Session>, ticket: Ticket) {
    let task = FlightTask {
        ticket,
        started_at: session.clock.steady(),
        lease: None,
        taken_write: None,
        received: None,
        step: "take the lease",
        sent: false,
        jitter: fastrand::u32(800..=1200),
        wait: None,
        reported: false,
        _task: session.tasks.token(),
        session: Arc::clone(session),
    };
    session.runtime.spawn(task.run());
}

/// The issuer's answer in the source's own type.
type SourceAnswer = Arc<dyn std::any::Any + Send + Sync>;

/// A flight's task. If a runtime that ends drops the task, the drop reports the flight as failed.
struct FlightTask {
    session: Arc<Session>,
    ticket: Ticket,
    started_at: Duration,
    lease: Option<Box<dyn Lease>>,
    /// The write that the writer could not finish. The flight holds it until the flight ends.
    taken_write: Option<PendingWrite>,
    /// The issuer's answer, while the flight saves it.
    received: Option<Received>,
    /// The current step, for error messages.
    step: &'static str,
    /// The refresh token was sent, and no answer proves that it is unspent.
    sent: bool,
    /// The flight's cool-down in thousandths of its nominal length, if the flight fails.
    jitter: u32,
    /// The flight's cool-down and whether the issuer asked for it, where the state machine does not
    /// choose it.
    wait: Option<(Duration, bool)>,
    reported: bool,
    _task: TaskTrackerToken,
}

/// Tokens that the issuer has answered with, and their write to the store.
struct Received {
    tokens: Arc<TokenSet>,
    /// `None` if the tokens cannot be sent. The next refresh still starts from them.
    prepared: Option<PreparedToken>,
    write: Write,
}

/// Flight outcomes. A step that returns an outcome as its error ends the flight early.
enum FlightOutcome {
    /// The issuer answered with a token. The answer is for the after-hook.
    Refreshed(PreparedToken, KnownRecord, Option<Arc<Refreshed>>),
    /// Another process had refreshed the token.
    Adopted(PreparedToken, KnownRecord),
    /// The flight ended without a result, and no caller waits.
    Yielded,
    /// The session is in another epoch. These tokens arrived too late.
    Superseded(Option<Arc<TokenSet>>),
    Failed(RefreshError),
}

impl From<RefreshError> for FlightOutcome {
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
        session.emit(&Event::RefreshStarted {
            flight: ticket.flight.id,
            purpose: ticket.flight.purpose,
        });
        let mut deadline = pin!(runtime::sleep(session.limits.flight_deadline));
        let mut overdue = false;
        // A panic ends the work but not the flight: the flight reports the panic as its outcome.
        let outcome = {
            let work = Box::pin(AssertUnwindSafe(self.work()).catch_unwind());
            match select(work, deadline.as_mut()).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(((), work)) => {
                    // The waiters are released, but the flight keeps its slot until it ends.
                    overdue = true;
                    if session.state.overdue(ticket.flight, session.clock.now()) {
                        session.emit(&Event::RefreshOverdue {
                            flight: ticket.flight.id,
                        });
                    }
                    ticket.signal.set();
                    work.await
                }
            }
        };
        let after = match outcome {
            Ok(Ok(outcome) | Err(outcome)) => self.publish(outcome),
            Err(_panic) => {
                let (step, sent) = (self.step, self.sent);
                self.report_abort(RefreshError::Panicked { step, sent });
                None
            }
        };
        // The lease is released before the hook, so that other processes do not wait for the hook.
        self.release();
        // The guard releases the waiters even if the runtime ends during the hook.
        let _waiters = ReleaseWaiters(&ticket);
        if let Some(refreshed) = after {
            let hook = Box::pin(session.run_after_refresh(refreshed));
            if overdue {
                hook.await;
            } else if let Either::Right(((), hook)) = select(hook, deadline).await {
                ticket.signal.set();
                hook.await;
            }
        }
    }

    /// The epoch that the flight began in.
    fn epoch(&self) -> u64 {
        self.ticket.flight.began.epoch
    }

    async fn work(&mut self) -> Result<FlightOutcome, FlightOutcome> {
        if self.ticket.flight.purpose == Purpose::Look {
            return self.look().await;
        }
        // While a write of this epoch is pending, memory is newer than the store.
        self.step = "save the new tokens";
        let epoch = self.epoch();
        if self.session.start_write(epoch).await.is_err() {
            self.taken_write = self.session.state.writes(|writes| writes.take(epoch));
        }
        if let Some(taken) = &mut self.taken_write {
            self.lease = taken.lease.take();
            let known_version = taken.write.known.version;
            self.take_lease(known_version).await?;
            return self.refresh_from_memory().await;
        }
        let mut known_version = None;
        if self.session.store.is_some() && self.session.coordinator.is_some() {
            // A token that another process has refreshed is adopted without the lease.
            known_version = self.read_and_check().await?.known.version;
        }
        self.take_lease(known_version).await?;
        let start = self.read_and_check().await?;
        self.refresh(start).await
    }

    /// Refreshes from memory. The store accepts no write, and the refresh token that it holds is
    /// spent.
    async fn refresh_from_memory(&mut self) -> Result<FlightOutcome, FlightOutcome> {
        let memory = self.session.state.start(self.epoch());
        let (Some(memory), Some(taken)) = (memory, &self.taken_write) else {
            return Err(FlightOutcome::Superseded(None));
        };
        let start = RefreshStart {
            known: taken.write.known,
            replaced: taken.write.replaced_and_own(),
            ..memory
        };
        self.check_failures(&start)?;
        self.refresh(start).await
    }

    // Lease.

    /// Takes the lease unless the flight holds it. While another process holds the lease, this
    /// reads the record whenever the store reports a change.
    async fn take_lease(
        &mut self,
        mut known_version: Option<Version>,
    ) -> Result<(), FlightOutcome> {
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
                        return Err(FlightOutcome::Yielded);
                    }
                }
                answer => return self.accept_lease(answer).await,
            }
        }
        let mut lease = pin!(session.acquire(session.limits.lease_wait));
        let Some(store) = &session.store else {
            let answer = lease.await;
            return self.accept_lease(answer).await;
        };
        let answer = loop {
            let changed = store.changed(&session.key, known_version);
            if let Either::Left((answer, _)) = select(lease.as_mut(), changed).await {
                break answer;
            }
            match self.read().await {
                Ok(start) => {
                    self.check_failures(&start)?;
                    known_version = start.known.version;
                }
                // A failed read counts only under the lease, where the record is read again.
                Err(FlightOutcome::Failed(_)) => break lease.await,
                Err(outcome) => return Err(outcome),
            }
            // The pause bounds the reads if the store reports changes without end.
            let pause = pin!(runtime::sleep(READ_PAUSE));
            if let Either::Left((answer, _)) = select(lease.as_mut(), pause).await {
                break answer;
            }
        };
        self.accept_lease(answer).await
    }

    async fn accept_lease(
        &mut self,
        answer: Result<Box<dyn Lease>, LeaseError>,
    ) -> Result<(), FlightOutcome> {
        match answer {
            Ok(lease) => {
                self.lease = Some(lease);
                Ok(())
            }
            Err(busy @ LeaseError::Busy { .. }) => {
                // The holder may have refreshed the token meanwhile.
                self.read_and_check().await?;
                Err(RefreshError::Lease(busy).into())
            }
            Err(error) => Err(RefreshError::Lease(error).into()),
        }
    }

    // Read and decide.

    /// Reads the record. Returns where a refresh starts, or the outcome that ends the flight. A
    /// failure that holds for this process ends the flight too.
    async fn read_and_check(&mut self) -> Result<RefreshStart, FlightOutcome> {
        let mut start = self.read().await?;
        if let Some(revision) = start.older {
            self.write_back(&mut start, revision).await;
        }
        self.check_failures(&start)?;
        Ok(start)
    }

    /// Writes the tokens of this process back, because the store holds an older record. The write says
    /// that their refresh token is in doubt.
    async fn write_back(&mut self, start: &mut RefreshStart, found: u64) {
        let session = &self.session;
        session.emit(&Event::OlderRecord {
            found,
            seen: start.known.greatest_revision,
        });
        self.step = "write the newer tokens back";
        let intent = start.intent;
        // If another process has written the record meanwhile, the next read decides again.
        let _ = self.put_record(start, intent, true).await;
    }

    /// Reads the record. Returns where a refresh starts, or the outcome that ends the flight.
    async fn read(&mut self) -> Result<RefreshStart, FlightOutcome> {
        self.step = "read the session";
        let session = &self.session;
        let epoch = self.epoch();
        let superseded = || FlightOutcome::Superseded(None);
        if session.store.is_none() {
            return session.state.start(epoch).ok_or_else(superseded);
        }
        let record = session.load().await.map_err(RefreshError::Store)?;
        let memory = session.state.start(epoch).ok_or_else(superseded)?;
        let usable = |tokens: &Arc<TokenSet>| {
            let prepared = session.prepare(Arc::clone(tokens)).ok()?;
            let wall = session.clock.wall_millis();
            let expired = prepared.validity.expires_at.is_some_and(|at| wall >= at);
            (!expired).then_some(prepared)
        };
        match decide::read(record, memory, usable) {
            Decision::RefreshFrom(start) => {
                session.state.note_details(epoch, &start.details);
                Ok(*start)
            }
            Decision::Adopt(prepared, known) => Err(FlightOutcome::Adopted(prepared, known)),
            Decision::OtherEpoch(record) => {
                session.follow(epoch, &record);
                Err(superseded())
            }
        }
    }

    /// Looks for newer tokens of another process, because the session has ended. Refreshes nothing.
    async fn look(&mut self) -> Result<FlightOutcome, FlightOutcome> {
        let held = self.session.state.tokens();
        let start = self.read().await?;
        // The saved token may have expired too, but its refresh token is newer than the refused
        // one.
        let newer = start
            .last
            .filter(|newer| held.is_none_or(|held| !same_tokens(&held, newer)));
        let newer = newer.ok_or(RefreshError::NotSignedIn)?;
        match self.session.prepare(newer) {
            Ok(prepared) => Ok(FlightOutcome::Adopted(prepared, start.known)),
            Err(reason) => Err(RefreshError::Unusable { reason }.into()),
        }
    }

    /// Refreshes at the issuer and saves the answer. Starts over if the record changes meanwhile.
    async fn refresh(&mut self, mut start: RefreshStart) -> Result<FlightOutcome, FlightOutcome> {
        let mut refused_before = false;
        let mut presented_previous = false;
        for _ in 0..READS_MAX {
            let refused = match self.present(&mut start).await {
                Ok(Some(refreshed)) => return self.save(refreshed, start).await,
                Ok(None) => None,
                Err(error)
                    if error.kind() == FailureKind::Terminal && self.session.store.is_some() =>
                {
                    Some(error)
                }
                Err(error) => return Err(error.into()),
            };
            // The record was written by another process, or the issuer refuses the refresh token. A
            // refusal ends the session unless the store holds newer tokens.
            let newer = self.read().await?;
            if let Some(error) = refused {
                let same = match (&newer.last, &start.last) {
                    (Some(newer), Some(last)) => same_tokens(newer, last),
                    (None, None) => true,
                    _ => false,
                };
                if same
                    && !presented_previous
                    && let Some(previous) = Self::start_from_previous(&start, &error)
                {
                    presented_previous = true;
                    self.report_presented_again(true);
                    start = previous;
                    continue;
                }
                if same || refused_before || presented_previous {
                    if !matches!(error, RefreshError::Refused) {
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

    /// Presents the refresh token. Presents it once more if the answer was lost and the profile
    /// allows it. Returns `None` if another process has written the record.
    async fn present(&mut self, start: &mut RefreshStart) -> Result<Option<Answer>, RefreshError> {
        let profile = self.session.profile;
        let is_uncertain = |answer: &Result<_, RefreshError>| {
            answer
                .as_ref()
                .is_err_and(|error| error.kind() == FailureKind::Uncertain)
        };
        let hash = start.last.as_deref().and_then(TokenHash::of);
        let Some(hash) = hash.filter(|_| profile.counts_uses()) else {
            // No use of this refresh token can spend it, so no intent is needed.
            if !self.is_forced() && start.is_refused() {
                return Err(RefreshError::Refused);
            }
            self.check_before_send().await?;
            let mut answer = self.send(start).await;
            if is_uncertain(&answer)
                && profile.allows_again(Duration::ZERO)
                && self.check_before_send().await.is_ok()
            {
                self.report_presented_again(false);
                answer = self.send(start).await;
            }
            return self.conclude_without_intent(start, answer).await;
        };
        let mut before =
            self.recovery(|recovery, epoch| recovery.in_doubt(epoch, hash, start.intent));
        let (intent, again) = match self.plan(hash, start) {
            RecoveryPlan::Present(intent) => (intent, None),
            RecoveryPlan::PresentAgain(intent) => (intent, Some(false)),
            RecoveryPlan::LastResort(intent) => (intent, Some(true)),
            RecoveryPlan::DoNotPresent => {
                let intent = start.intent;
                let is_older = intent.is_some_and(|intent| intent.is_of_older_record());
                return Err(if is_older {
                    RefreshError::OlderRecord
                } else {
                    RefreshError::InDoubt { wait: None }
                });
            }
            RecoveryPlan::Wait(wait) => return Err(RefreshError::InDoubt { wait: Some(wait) }),
            RecoveryPlan::Refused => return Err(RefreshError::Refused),
        };
        if !self.journal(start, intent).await? {
            return Ok(None);
        }
        if let Err(error) = self.check_before_send().await {
            self.withdraw(start, before).await;
            return Err(error);
        }
        if let Some(last_resort) = again {
            self.report_presented_again(last_resort);
        }
        let now = self.session.clock.steady();
        self.recovery(|recovery, epoch| recovery.sending(epoch, &intent, now));
        let mut answer = self.send(start).await;
        // The second request may make the flight overdue, which releases the waiters. The window is
        // checked again, because it may have closed.
        if is_uncertain(&answer)
            && let RecoveryPlan::PresentAgain(intent) = self.plan(hash, start)
            && let Ok(true) = self.journal(start, intent).await
            && self.check_before_send().await.is_ok()
        {
            self.report_presented_again(false);
            answer = self.send(start).await;
            before = Some(intent.with_outcome(IntentOutcome::Uncertain));
        }
        self.conclude(start, before, answer).await
    }

    fn plan(&self, token: TokenHash, start: &RefreshStart) -> RecoveryPlan {
        let session = &self.session;
        let situation = Situation {
            epoch: self.epoch(),
            token,
            found: start.intent,
            profile: session.profile,
            wall: session.clock.wall(),
            steady: session.clock.steady(),
            usable: session.usable().is_some(),
            forced: self.ticket.flight.purpose == Purpose::Forced,
            linger: session.linger(),
        };
        self.recovery(|recovery, _| recovery.plan(&situation))
    }

    /// Writes the intent to present the refresh token. Returns false if another process has written
    /// the record.
    async fn journal(
        &mut self,
        start: &mut RefreshStart,
        intent: Intent,
    ) -> Result<bool, RefreshError> {
        self.step = "write its intent to the session store";
        // Memory first: if the store's answer is lost, memory recognises the intent in the record.
        self.recovery(|recovery, epoch| recovery.writing(epoch, intent));
        let written = self.put_intent(start, Some(intent)).await;
        let written = written.map_err(RefreshError::Store)?;
        if written {
            self.recovery(|recovery, epoch| recovery.written(epoch, &intent));
        }
        Ok(written)
    }

    /// Writes the record with another intent. Returns false if another process has written the
    /// record. Without a durable store, or while the store accepts no write, only memory holds the
    /// intent.
    async fn put_intent(
        &self,
        start: &mut RefreshStart,
        intent: Option<Intent>,
    ) -> Result<bool, StoreError> {
        self.put_record(start, intent, false).await
    }

    /// Writes the record with another intent and the details of `start`, like
    /// [`put_intent`](Self::put_intent). `also_volatile`: a store that is not durable gets it too.
    async fn put_record(
        &self,
        start: &mut RefreshStart,
        intent: Option<Intent>,
        also_volatile: bool,
    ) -> Result<bool, StoreError> {
        let store = self.session.store.as_ref();
        let takes = store.is_some_and(|store| also_volatile || store.is_durable());
        let takes = takes && (start.last.is_some() || also_volatile && start.takes_failure());
        if self.taken_write.is_some() || !takes {
            start.intent = intent;
            return Ok(true);
        }
        let version = start.known.next_version(start.known.version);
        // A store that is not durable ends with this process, whose memory holds the intent.
        let stored_intent = intent.filter(|_| store.is_some_and(|store| store.is_durable()));
        let record = start.record(version, stored_intent);
        let saved = self.session.put(start.known.version, record).await?;
        let stored = matches!(saved, Saved::Stored);
        if stored {
            self.session.state.note_version(self.epoch(), version);
            start.without_tokens = start.last.is_none();
            start.record_written(version, intent);
        }
        Ok(stored)
    }

    /// Checks, as the last step before the request, that the session is in the same epoch. Checks
    /// too that the lease outlasts the source timeout, on a clock that counts suspend.
    async fn check_before_send(&mut self) -> Result<(), RefreshError> {
        self.extend_lease().await?;
        if self.session.stamp().epoch != self.epoch() {
            return Err(RefreshError::SessionChanged);
        }
        self.step = "ask the issuer";
        self.sent = true;
        Ok(())
    }

    /// Sends one request to the issuer, and renews the lease meanwhile.
    async fn send(&mut self, start: &RefreshStart) -> Result<Refreshed, RefreshError> {
        let session = &self.session;
        let limit = session.limits.source_timeout;
        let call = session
            .source
            .refresh_session(&session.key, start.last.clone());
        let call = Box::pin(runtime::timeout(limit, session.call_source(call)));
        let answer = match (&mut self.lease, session.lease_life()) {
            (Some(lease), Some(life)) => {
                let renewal = async {
                    loop {
                        // A third of the lease's life, so that two renewals may fail.
                        runtime::sleep(life / 3).await;
                        if session.renew(lease).await.is_err() {
                            // The request is sent already. If the lease is lost, compare-and-swap
                            // protects the record.
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

    /// Writes to the intent what the answer proves. If that write fails, a process that reads the
    /// intent is only more careful than necessary.
    async fn conclude(
        &mut self,
        start: &mut RefreshStart,
        before: Option<Intent>,
        answer: Result<Refreshed, RefreshError>,
    ) -> Result<Option<Answer>, RefreshError> {
        let error = match self.judge(start, answer) {
            Ok(answer) => {
                // The save of the answer removes the intent from the record.
                self.recovery(Recovery::clear);
                return Ok(Some(answer));
            }
            Err(error) => error,
        };
        let kind = error.kind();
        // A refusal is written after the record was read again.
        if kind == FailureKind::Terminal {
            self.sent = false;
            self.recovery(Recovery::clear);
            return Err(error);
        }
        let error = self.note_failure(start, error);
        if kind == FailureKind::Uncertain {
            let intent = start.intent.or(before);
            let intent = intent.map(|intent| intent.with_outcome(IntentOutcome::Uncertain));
            if let Some(intent) = intent {
                self.recovery(|recovery, epoch| recovery.uncertain(epoch, intent));
            }
            self.put_failure(start, intent).await;
        } else {
            self.sent = false;
            self.recovery(|recovery, epoch| recovery.withdraw(epoch, before));
            self.put_failure(start, before).await;
        }
        Err(error)
    }

    /// Judges the answer to a refresh that needs no intent, and shares a failure.
    async fn conclude_without_intent(
        &mut self,
        start: &mut RefreshStart,
        answer: Result<Refreshed, RefreshError>,
    ) -> Result<Option<Answer>, RefreshError> {
        match self.judge(start, answer) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.kind() == FailureKind::Terminal => Err(error),
            Err(error) => {
                let error = self.note_failure(start, error);
                self.put_failure(start, start.intent).await;
                Err(error)
            }
        }
    }

    /// Restores the intent `before`, because this attempt did not spend the refresh token.
    async fn withdraw(&self, start: &mut RefreshStart, before: Option<Intent>) {
        self.recovery(|recovery, epoch| recovery.withdraw(epoch, before));
        let _ = self.put_intent(start, before).await;
    }

    /// Records that the issuer refused this refresh token, so that no other process presents it.
    async fn journal_refused(&self, start: &mut RefreshStart) {
        let token = start.last.as_deref().and_then(TokenHash::of);
        let unused = token.map(|token| Intent::new(token, self.session.clock.wall()));
        if let Some(intent) = start.intent.or(unused) {
            let refused = intent.with_outcome(IntentOutcome::Refused);
            let _ = self.put_intent(start, Some(refused)).await;
        }
    }

    /// Calls `call` with the recovery state and the flight's epoch, under the lock.
    fn recovery<T>(&self, call: impl FnOnce(&mut Recovery, u64) -> T) -> T {
        let epoch = self.epoch();
        self.session
            .state
            .recovery(|recovery| call(recovery, epoch))
    }

    fn report_presented_again(&self, last_resort: bool) {
        self.session.emit(&Event::PresentedAgain {
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
        let is_too_short = |lease: &dyn Lease| lease.remaining().is_some_and(|left| left <= limit);
        if is_too_short(&**lease) {
            let renewed = self.session.renew(lease).await;
            renewed.map_err(RefreshError::Lease)?;
            if is_too_short(&**lease) {
                return Err(RefreshError::Lease(LeaseError::Lost));
            }
        }
        Ok(())
    }

    // Save.

    /// Saves the issuer's answer. If the store fails, the tokens are served from memory, and the
    /// writer gets the tokens with the lease.
    async fn save(
        &mut self,
        answer: Answer,
        start: RefreshStart,
    ) -> Result<FlightOutcome, FlightOutcome> {
        let flight = self.ticket.flight;
        let (prepared, tokens, answer) = self.prepare_answer(answer, &start);
        self.step = "save the new tokens";
        let own = Some(Arc::clone(&tokens));
        let details = self.details_after(&start, &tokens, prepared.as_ref().err());
        let mut write = Write::new(flight.began.epoch, own, start.known, start.replaced)
            .with_details(details.clone());
        if let Some(taken) = &self.taken_write {
            write.replace(&taken.write);
        }
        self.received = Some(Received {
            tokens: Arc::clone(&tokens),
            prepared: prepared.as_ref().ok().cloned(),
            write: write.clone(),
        });
        // Without the lease, compare-and-swap protects the record.
        let _ = self.extend_lease().await;
        if self.session.stamp().epoch != flight.began.epoch {
            return Err(FlightOutcome::Superseded(Some(tokens)));
        }
        let mut known = start.known;
        if self.session.store.is_some() {
            match self.session.try_write(&mut write).await {
                Ok(WriteOutcome::Stored { version, .. }) => {
                    known = KnownRecord::at(version);
                    self.taken_write = None;
                }
                Ok(WriteOutcome::Superseded) => {
                    return Err(FlightOutcome::Superseded(Some(tokens)));
                }
                Ok(WriteOutcome::Newer(prepared, known)) => {
                    self.taken_write = None;
                    return Err(FlightOutcome::Adopted(prepared, known));
                }
                Err(error) => {
                    known = write.known;
                    self.hand_to_writer(write, error);
                }
            }
        }
        self.session
            .state
            .note_details(flight.began.epoch, &details);
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                // The answer cannot be used, but the next refresh starts from its refresh token.
                self.session.state.continue_with(flight, tokens);
                return Err(error.into());
            }
        };
        let after = answer.map(|answer| {
            Arc::new(Refreshed {
                tokens: (*tokens).clone(),
                answer: Some(answer),
            })
        });
        Ok(FlightOutcome::Refreshed(prepared, known, after))
    }

    /// Prepares the tokens of the answer for requests. If they cannot be used, returns the error, and
    /// the tokens that the next refresh starts from: the last access token, which may still be good,
    /// with the newest refresh token.
    fn prepare_answer(
        &self,
        answer: Answer,
        start: &RefreshStart,
    ) -> (
        Result<PreparedToken, RefreshError>,
        Arc<TokenSet>,
        Option<SourceAnswer>,
    ) {
        let (token, error) = match answer {
            Answer::Tokens(refreshed) => {
                let tokens = refreshed.tokens.inherit(start.last.as_deref());
                let tokens = Arc::new(tokens.received(self.session.clock.wall()));
                match self.session.prepare(Arc::clone(&tokens)) {
                    Ok(prepared) => return (Ok(prepared), tokens, refreshed.answer),
                    Err(reason) => {
                        let token = tokens.refresh_token().cloned();
                        (token, RefreshError::Unusable { reason })
                    }
                }
            }
            Answer::Refused { token, error } => (token, error),
        };
        let tokens = Self::with_newest_refresh_token(start, token);
        (Err(error), Arc::new(tokens), None)
    }

    fn hand_to_writer(&mut self, write: Write, error: StoreError) {
        let mut pending = PendingWrite::failed_once(write);
        if let Some(taken) = self.taken_write.take() {
            pending = pending.replace(taken);
        }
        pending.lease = self.lease.take();
        self.session.emit(&Event::SaveFailed { error, attempts: 1 });
        self.session.keep_write(pending, false);
    }

    // Publish and report.

    /// Reports the outcome to the state. Returns the argument of the after-hook if the hook runs.
    fn publish(&mut self, outcome: FlightOutcome) -> Option<Arc<Refreshed>> {
        self.reported = true;
        match outcome {
            FlightOutcome::Refreshed(prepared, known, answer) => {
                if self.install(&prepared, known) {
                    return answer;
                }
            }
            FlightOutcome::Adopted(prepared, known) => {
                let session = &self.session;
                let flight = self.ticket.flight;
                let now = session.clock.now();
                if let Some(stamp) = session.state.land(flight, &prepared, known, true, now) {
                    session.emit(&Event::Adopted {
                        flight: flight.id,
                        generation: stamp.generation,
                    });
                }
            }
            FlightOutcome::Superseded(Some(tokens)) => self.revoke_late(tokens),
            FlightOutcome::Superseded(None) | FlightOutcome::Yielded => {}
            FlightOutcome::Failed(error) => self.fail(error),
        }
        None
    }

    /// Installs the issuer's token. Returns whether the token is served from now on.
    fn install(&self, prepared: &PreparedToken, known: KnownRecord) -> bool {
        let session = &self.session;
        let flight = self.ticket.flight;
        let tokens = &prepared.credential.tokens;
        let now = session.clock.now();
        let Some(stamp) = session.state.land(flight, prepared, known, false, now) else {
            self.revoke_late(Arc::clone(tokens));
            return false;
        };
        session.emit(&Event::Refreshed {
            flight: flight.id,
            generation: stamp.generation,
            lifetime: tokens.lifetime(),
            took: session.clock.steady().saturating_sub(self.started_at),
        });
        true
    }

    /// Handles tokens that arrived after their epoch had ended.
    fn revoke_late(&self, tokens: Arc<TokenSet>) {
        let session = &self.session;
        // After a sign-in, revoking the old grant could end the new grant too.
        let revoked = self.ticket.signal.signed_out() || session.profile.revokes_per_token();
        session.emit(&Event::LateTokens { revoked });
        if revoked {
            session.revoke(tokens);
        }
    }

    /// Returns the failure in the terms of the state machine.
    fn failure(&self, error: &RefreshError) -> Failure {
        // If the profile always allows another use of the refresh token, no outcome is in doubt.
        let in_doubt = !self.session.profile.allows_again(Duration::MAX);
        Failure {
            ending: match error.kind() {
                FailureKind::Uncertain if in_doubt => Ending::Uncertain,
                FailureKind::NotSent | FailureKind::Transient | FailureKind::Uncertain => {
                    Ending::Transient
                }
                FailureKind::Misconfigured => Ending::Misconfigured,
                FailureKind::Terminal => Ending::Terminal,
            },
            retry_after: error.retry_after().map(millis),
            jitter: self.jitter,
        }
    }

    fn fail(&self, error: RefreshError) {
        let session = &self.session;
        let flight = self.ticket.flight;
        let failed = self.settle_failure(&error);
        if let RefreshError::Source(source) = &error
            && source.is_reuse_detected()
        {
            session.emit(&Event::ReuseDetected {
                error: source.clone(),
            });
        }
        if matches!(error, RefreshError::RefusedWithoutReason { .. })
            && !matches!(failed, FailureEffect::Stale)
            && session.state.report_refusal()
        {
            let error = error.clone();
            session.emit(&Event::RefusedWithoutReason { error });
        }
        match failed {
            FailureEffect::Cooling(wait) => session.emit(&Event::RefreshFailed {
                flight: flight.id,
                error,
                cool_down: Duration::from_millis(wait),
            }),
            FailureEffect::Ended { first: true } => session.emit(&Event::Ended { error }),
            FailureEffect::Ended { first: false } | FailureEffect::Stale => {}
        }
    }

    /// Reports a panic or the end of the runtime as a failure. If the issuer had answered, no other
    /// process can get those tokens: they are served from memory and left to the writer.
    fn report_abort(&mut self, error: RefreshError) {
        self.reported = true;
        let Some(received) = self.received.take() else {
            return self.fail(error);
        };
        let Received {
            tokens,
            prepared,
            write,
        } = received;
        let message = error.to_string();
        match &prepared {
            Some(prepared) if self.install(prepared, write.known) => {}
            Some(_) => return,
            None => {
                let flight = self.ticket.flight;
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

    /// Releases the lease. If the flight took a write and did not replace it, the writer gets the
    /// write back with the lease.
    fn release(&mut self) {
        let lease = self.lease.take();
        match self.taken_write.take() {
            Some(mut taken) => {
                taken.lease = lease;
                self.session.keep_write(taken, true);
            }
            None => self.session.release_lease(lease),
        }
    }
}

impl Drop for FlightTask {
    fn drop(&mut self) {
        if !self.reported {
            self.session.runtime.forget_first_runtime();
            let (step, sent) = (self.step, self.sent);
            self.report_abort(RefreshError::Abandoned { step, sent });
            self.release();
            self.ticket.signal.set();
        }
    }
}

/// Releases the waiters when it is dropped.
struct ReleaseWaiters<'a>(&'a Ticket);

impl Drop for ReleaseWaiters<'_> {
    fn drop(&mut self) {
        self.0.signal.set();
    }
}

impl Session {
    /// Runs the hook. The new token is served already, so a call inside the hook gets it. The
    /// waiters are released after the hook.
    async fn run_after_refresh(&self, refreshed: Arc<Refreshed>) {
        let Some(hook) = &self.after_refresh else {
            return;
        };
        let limit = self.limits.after_hook;
        let problem = match guarded(limit, async { hook(refreshed).await }).await {
            Ok(Ok(())) => return,
            Ok(Err(message)) => HookProblem::Failed { message },
            Err(CallFailure::Panicked) => HookProblem::Panicked,
            Err(CallFailure::TimedOut) => HookProblem::TimedOut { after: limit },
        };
        self.emit(&Event::HookFailed {
            hook: "after_refresh",
            problem,
        });
    }

    /// Returns how long a lease lasts without renewal.
    pub(super) fn lease_life(&self) -> Option<Duration> {
        self.coordinator.as_ref()?.lease_life()
    }

    /// Returns how long a process without the lease may still be refreshing.
    fn linger(&self) -> Duration {
        match &self.coordinator {
            Some(coordinator) => coordinator.lease_life().unwrap_or_default(),
            None => self.limits.source_timeout,
        }
    }

    /// Takes the lease.
    ///
    /// *Errors*: a coordinator that does not answer counts as unavailable.
    async fn acquire(&self, wait: Duration) -> Result<Box<dyn Lease>, LeaseError> {
        let Some(coordinator) = &self.coordinator else {
            return Err(unavailable("no coordinator is configured".to_owned()));
        };
        let limit = wait.saturating_add(self.limits.source_timeout);
        let lease = coordinator.acquire(&self.key, wait);
        runtime::timeout(limit, lease)
            .await
            .unwrap_or_else(|| Err(unavailable(format!("it did not answer within {limit:?}"))))
    }

    /// Renews the lease.
    ///
    /// *Errors*: if the coordinator does not answer, the lease counts as lost.
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
