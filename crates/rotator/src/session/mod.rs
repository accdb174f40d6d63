//! One session: what its handles, callers, flights and writer share.
//!
//! - `state.rs`: all state under one lock, and the published token.
//! - `flight.rs`: one refresh from the lease to its release, top to bottom.
//! - `decide.rs`: decisions about a stored record, without IO.
//! - `recovery.rs`: whether a refresh token may be presented again after an uncertain outcome.
//! - `shared.rs`: whether a failure of another process holds for this process.
//! - `subject.rs`: whether an answer belongs to the session's user.
//! - `writer.rs`: the task that writes sign-ins, sign-outs, updates and unsaved tokens.
//! - `holders.rs`: refresh tokens that two sessions of this process hold in memory.
//! - `signal.rs`: the signal that wakes the waiters of a flight.
//!
//! This file holds the session's entry points, sign-in and sign-out, and helpers for the other
//! files.

pub(crate) mod decide;
mod flight;
mod holders;
#[cfg(all(test, any(model_loom, model_shuttle)))]
mod models;
mod recovery;
mod shared;
mod signal;
mod state;
mod subject;
mod writer;

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use token_rotator_core::{Access, Attempt, Policy, Stamp, Validity};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::decide::KnownRecord;
use self::shared::Observer;
use self::state::{CallerAction, EndedEpoch, PreparedToken, State, Ticket};
pub use self::writer::Stored;
use crate::error::{RefreshError, SourceError, TokenError};
use crate::event::{Event, EventListeners, NotReplayed};
use crate::http::origin::Origins;
use crate::rotator::profile::Profile;
use crate::runtime::clock::{RotatorClock, millis, unix_millis};
use crate::runtime::sync::{Mutex, lock};
use crate::runtime::{self, Runtime};
use crate::store::coordinator::{DynCoordinator, Lease};
use crate::store::intent::TokenHash;
use crate::store::{Binding, DynStore, Record, RecordDetails, SessionKey, StoreTime};
use crate::token::secret::SecretString;
use crate::token::source::{DynSource, Refreshed};
use crate::token::token_set::{Expiry, TokenSet};
use crate::token::{Credential, Pass, Placement, Token, lifetime};

/// One session: its name, its state and the settings that it shares.
pub(crate) struct Session {
    /// Identifies the session, because the source of one session may call another session.
    id: u64,
    pub(crate) key: SessionKey,
    state: State,
    /// The last binding that this process has seen, for a revocation.
    bound: Mutex<Option<Box<Binding>>>,
    /// Number of source calls in progress.
    source_calls: AtomicUsize,
    /// The end of the refresh token that was reported last, in Unix milliseconds.
    reported_refresh_end: AtomicU64,
    engine: Arc<Engine>,
}

/// Settings and services that all sessions of one configuration share.
pub(crate) struct Engine {
    pub(crate) clock: RotatorClock,
    pub(crate) runtime: Runtime,
    pub(crate) source: Box<dyn DynSource>,
    pub(crate) store: Option<Box<dyn DynStore>>,
    pub(crate) coordinator: Option<Box<dyn DynCoordinator>>,
    pub(crate) policy: Policy,
    pub(crate) profile: Profile,
    pub(crate) limits: TimeLimits,
    /// Lifetime of tokens whose issuer gives none.
    pub(crate) default_lifetime: Option<Duration>,
    pub(crate) placement: Placement,
    pub(crate) origins: Origins,
    pub(crate) listeners: EventListeners,
    pub(crate) after_refresh: Option<AfterRefresh>,
    /// Names this host in shared failures.
    pub(crate) host: Arc<str>,
    /// Background tasks. A shutdown closes the tracker, so that no call starts a new task.
    pub(crate) tasks: TaskTracker,
    /// Sessions by the refresh token that they were signed in with.
    pub(crate) claims: Mutex<HashMap<TokenHash, u64>>,
}

/// Hook that runs after a refresh.
pub(crate) type AfterRefresh =
    Box<dyn Fn(Arc<Refreshed>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Time limits of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimits {
    pub(crate) lease_wait: Duration,
    pub(crate) source_timeout: Duration,
    pub(crate) flight_deadline: Duration,
    pub(crate) wait_timeout: Duration,
    pub(crate) after_hook: Duration,
}

/// How long before its end a refresh token is reported.
const REFRESH_END_NOTICE: Duration = Duration::from_secs(3 * 24 * 3600);

tokio::task_local! {
    /// The session whose source call runs in this task.
    static CALLING_SESSION: u64;
}

impl std::ops::Deref for Session {
    type Target = Engine;

    #[inline]
    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Session {
    pub(crate) fn new(engine: Arc<Engine>, key: SessionKey) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            key,
            state: State::new(engine.policy, engine.store.is_some()),
            bound: Mutex::new(None),
            source_calls: AtomicUsize::new(0),
            reported_refresh_end: AtomicU64::new(0),
            engine,
        })
    }

    // Entry points of callers.

    /// Returns the token if it can be served without a refresh. Returns `None` inside the session's
    /// own source, which could rely on a token only while no refresh is due.
    #[inline]
    pub(crate) fn ready(&self) -> Option<Token> {
        if self.reentered() {
            return None;
        }
        self.state.ready(self.clock.life())
    }

    /// Returns the token for a request that cannot be repeated. Returns `None` while a refresh is
    /// due.
    pub(crate) fn ready_for_once(&self) -> Option<Token> {
        if self.reentered() {
            return None;
        }
        self.state.ready_for_once(self.clock.life())
    }

    pub(crate) async fn wait_for_pass(self: &Arc<Self>) -> Result<Pass, TokenError> {
        let admitted = match self.admit() {
            Ok(admitted) => admitted,
            Err(error) => return self.without_refresh(error).map(Pass::from),
        };
        let action = self.state.acquire(self.clock.now());
        self.carry_out(action, admitted).await
    }

    pub(crate) async fn wait_for_pass_for_once(self: &Arc<Self>) -> Result<Pass, TokenError> {
        let admitted = match self.admit() {
            Ok(admitted) => admitted,
            Err(error) => return self.without_refresh(error).map(Pass::from),
        };
        let action = self.state.acquire_for_once(self.clock.now());
        let began = match &action {
            CallerAction::Launch(ticket) | CallerAction::Wait(ticket) => Some(ticket.flight.began),
            _ => None,
        };
        let error = match self.carry_out(action, admitted).await {
            Err(error) => error,
            pass => return pass,
        };
        // The due refresh has failed, but the token that it was to replace may still be usable.
        match (self.usable(), began) {
            (Some(token), Some(began)) if token.stamp().epoch == began.epoch => Ok(token.into()),
            _ => Err(error),
        }
    }

    /// `attempt`: `None` if a refresh is to confirm the refusal.
    pub(crate) async fn wait_after_refusal(
        self: &Arc<Self>,
        stamp: Stamp,
        attempt: Option<Attempt>,
    ) -> Result<Token, TokenError> {
        let admitted = match self.admit() {
            Ok(admitted) => admitted,
            Err(error) => {
                let token = self.without_refresh(error.clone())?;
                let newer =
                    token.stamp().epoch == stamp.epoch && token.generation() > stamp.generation;
                return if newer { Ok(token) } else { Err(error) };
            }
        };
        let action = self.after_refusal(stamp, attempt);
        let pass = self.carry_out(action, admitted).await?;
        pass.into_token().ok_or(TokenError::SignedOut)
    }

    /// Reports the refusal of a request that is not sent again. Starts a refresh if one is due, and
    /// does not wait for it. `attempt` is `None` if a refresh is to confirm the refusal.
    pub(crate) fn report_refused(self: &Arc<Self>, stamp: Stamp, attempt: Option<Attempt>) {
        if let Ok(_admitted) = self.admit()
            && let CallerAction::Launch(ticket) | CallerAction::SendAndLaunch(_, ticket) =
                self.after_refusal(stamp, attempt)
        {
            flight::launch(self, ticket);
        }
    }

    /// Returns whether a refresh may confirm that a body refuses the token of this stamp.
    pub(crate) fn may_confirm(&self, stamp: Stamp) -> bool {
        self.state.may_confirm(stamp, self.clock.now())
    }

    fn after_refusal(&self, stamp: Stamp, attempt: Option<Attempt>) -> CallerAction {
        let now = self.clock.now();
        match attempt {
            Some(attempt) => self.state.refused(stamp, attempt, now),
            None => self.state.doubted(stamp, now),
        }
    }

    /// Reports that a request was accepted. Takes the lock, so callers use it only for a token's
    /// first acceptance and for replays.
    #[cold]
    pub(crate) fn accepted(&self, stamp: Stamp, attempt: Attempt) {
        self.state.accepted(stamp, attempt);
    }

    pub(crate) async fn force(self: &Arc<Self>) -> Result<Token, TokenError> {
        let admitted = self.admit()?;
        let action = self.state.force(self.clock.now());
        let pass = self.carry_out(action, admitted).await?;
        pass.into_token().ok_or(TokenError::SignedOut)
    }

    /// Returns the current token if it is usable. Starts no refresh.
    pub(crate) fn usable(&self) -> Option<Token> {
        self.state.usable(self.clock.now())
    }

    /// Returns how long this token is still valid. Returns `None` if its expiry is unknown.
    pub(crate) fn time_left(&self, token: &Token) -> Option<Duration> {
        let expires_at = token.0.expires_at?;
        Some(expires_at.saturating_sub(self.clock.life()))
    }

    /// Returns the usable token if no refresh may start. The session's own source gets the error
    /// instead.
    fn without_refresh(&self, error: TokenError) -> Result<Token, TokenError> {
        match self.usable() {
            Some(token) if !matches!(error, TokenError::Reentrant) => Ok(token),
            _ => Err(error),
        }
    }

    /// Checks what every call checks before it starts a task or waits. A shutdown waits while the
    /// returned tracker token exists, so the shutdown waits for every task that the call starts.
    fn admit(self: &Arc<Self>) -> Result<TaskTrackerToken, TokenError> {
        if self.reentered() {
            return Err(TokenError::Reentrant);
        }
        let admitted = self.tasks.token();
        if self.tasks.is_closed() {
            return Err(TokenError::ShutDown);
        }
        self.runtime.choose()?;
        self.resume_writer();
        Ok(admitted)
    }

    async fn carry_out(
        self: &Arc<Self>,
        action: CallerAction,
        admitted: TaskTrackerToken,
    ) -> Result<Pass, TokenError> {
        match self.start(action, admitted) {
            Ok(ticket) => self.await_flight(ticket).await,
            Err(done) => done,
        }
    }

    /// Starts the flight if the action asks for one. Returns the flight to wait for, or the result.
    fn start(
        self: &Arc<Self>,
        action: CallerAction,
        _admitted: TaskTrackerToken,
    ) -> Result<Ticket, Result<Pass, TokenError>> {
        match action {
            CallerAction::SendAndLaunch(token, ticket) => {
                flight::launch(self, ticket);
                Err(Ok(token.into()))
            }
            CallerAction::Launch(ticket) => {
                flight::launch(self, ticket.clone());
                Ok(ticket)
            }
            CallerAction::Wait(ticket) => Ok(ticket),
            action => Err(self.conclude(action)),
        }
    }

    /// Waits until the flight ends or is overdue, at most for the wait timeout.
    ///
    /// Thousands of callers may wait at once, so the future is small: it holds the flight and an
    /// index into the signal.
    fn await_flight(
        &self,
        ticket: Ticket,
    ) -> impl Future<Output = Result<Pass, TokenError>> + use<'_> {
        let flight = ticket.flight;
        let mut wait = ticket.signal.wait();
        async move {
            let limit = self.limits.wait_timeout;
            if limit >= self.limits.flight_deadline && self.runtime.is_callers_runtime() {
                // The flight's deadline comes first, so the flight's one timer serves all its
                // waiters.
                (&mut wait).await;
            } else {
                let waited = Box::pin(self.runtime.timeout(limit, &mut wait)).await?;
                waited.ok_or(TokenError::WaitTimedOut { after: limit })?;
            }
            self.conclude(self.state.settle(flight, self.clock.now()))
        }
    }

    fn conclude(&self, action: CallerAction) -> Result<Pass, TokenError> {
        match action {
            CallerAction::Send(token) | CallerAction::SendAndLaunch(token, _) => Ok(token.into()),
            CallerAction::SendBare(stamp) if self.policy.access == Access::Anonymous => {
                Ok(Pass::bare(stamp))
            }
            CallerAction::SendBare(_) | CallerAction::Fail(RefreshError::NotSignedIn) => {
                Err(TokenError::SignedOut)
            }
            CallerAction::Fail(error) => Err(error.into()),
            CallerAction::HandBack | CallerAction::Changed if self.is_signed_out() => {
                Err(TokenError::SignedOut)
            }
            CallerAction::HandBack => Err(TokenError::FreshTokenRefused),
            CallerAction::RefusedAgain => {
                let reason = NotReplayed::RefusedAgain;
                self.emit(&Event::NotReplayed { reason });
                Err(TokenError::FreshTokenRefused)
            }
            CallerAction::Changed => Err(TokenError::SessionChanged),
            CallerAction::Overdue | CallerAction::Wait(_) | CallerAction::Launch(_) => {
                Err(TokenError::Overdue)
            }
        }
    }

    // Sign-in, update, sign-out.

    /// Signs in with these tokens.
    ///
    /// *Errors*: the tokens cannot be sent, or another session uses their refresh token. The error
    /// is the reason.
    pub(crate) fn sign_in(self: &Arc<Self>, tokens: TokenSet) -> Result<Stored, &'static str> {
        let tokens = Arc::new(tokens.received(self.clock.wall()));
        let prepared = self.prepare(Arc::clone(&tokens))?;
        self.claim(&tokens)?;
        let known = KnownRecord::new_epoch();
        let bound_before = self.bound();
        let binding = self.source.known_binding(&self.key);
        let binding = binding.map(|known| Binding::default().moved_to(&known));
        if let Some(binding) = &binding {
            self.note_binding(binding);
        }
        let details = Box::new(RecordDetails {
            received: Some(self.store_now()),
            binding,
            ..RecordDetails::default()
        });
        let now = self.clock.now();
        let (stamp, ended_epoch) = self.state.sign_in(&prepared, (known, details), now);
        let before = self.end_epoch(ended_epoch);
        self.emit(&Event::SignedIn {
            generation: stamp.generation,
        });
        if let Some(before) = before.filter(|_| self.profile.revokes_per_token()) {
            self.revoke(before, bound_before);
        }
        Ok(self.start_write(stamp.epoch))
    }

    /// Installs newer tokens of the same sign-in. Returns `None` if the session is in another epoch
    /// than `after`.
    ///
    /// *Errors*: the tokens cannot be sent. The error is the reason.
    pub(crate) fn update(
        self: &Arc<Self>,
        after: Stamp,
        tokens: TokenSet,
    ) -> Result<Option<Stored>, &'static str> {
        let tokens = tokens.received(self.clock.wall());
        loop {
            let (stamp, last) = self.state.current();
            if stamp.epoch != after.epoch {
                return Ok(None);
            }
            let newer = Arc::new(tokens.clone().inherit(last.as_deref()));
            let prepared = self.prepare(newer)?;
            let details = self.details_after(&self.state.details(), None);
            let now = self.clock.now();
            if let Some(stamp) = self.state.update(stamp, &prepared, details, now) {
                return Ok(Some(self.start_write(stamp.epoch)));
            }
            if self.is_signed_out() {
                return Ok(None);
            }
        }
    }

    pub(crate) fn sign_out(self: &Arc<Self>) -> Stored {
        let known = KnownRecord::new_epoch();
        let Some((stamp, ended_epoch)) = self.state.sign_out(known, self.clock.now()) else {
            return Stored::done();
        };
        let before = self.end_epoch(ended_epoch);
        self.release_claim();
        self.emit(&Event::SignedOut);
        if let Some(before) = before {
            self.revoke(before, self.bound());
        }
        self.start_write(stamp.epoch)
    }

    /// Enters the epoch of `record`: another process has signed in or out. A flight or write of
    /// `epoch` found the record.
    fn follow(self: &Arc<Self>, epoch: u64, record: &Record) {
        if record.is_unsealed_sign_out() {
            self.emit(&Event::UnsealedSignOut);
        }
        let prepared = record.tokens.as_ref().map(|tokens| {
            let prepared = self.prepare_stored(Arc::clone(tokens), record.details.received);
            // Tokens that cannot be sent still count as a sign-in.
            prepared.unwrap_or_else(|_unusable| PreparedToken::unusable(Arc::clone(tokens)))
        });
        let known = KnownRecord::at(record.version);
        let now = self.clock.now();
        let record = (known, record.details.clone());
        let followed = self.state.follow(epoch, prepared.as_ref(), record, now);
        let Some((stamp, ended_epoch)) = followed else {
            return;
        };
        self.end_epoch(ended_epoch);
        self.emit(&match prepared {
            Some(_) => Event::SignedIn {
                generation: stamp.generation,
            },
            None => Event::SignedOut,
        });
    }

    /// Drops the pending write of an ended epoch. Returns the epoch's tokens.
    fn end_epoch(self: &Arc<Self>, ended_epoch: EndedEpoch) -> Option<Arc<TokenSet>> {
        if let Some(write) = ended_epoch.write {
            self.release_lease(write.cancel());
        }
        ended_epoch.tokens
    }

    pub(crate) fn is_signed_out(&self) -> bool {
        self.state.signed_out()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.ended()
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.state.stamp()
    }

    /// Returns whether the session is lost when this process ends.
    pub(crate) fn is_only_in_memory(&self) -> bool {
        let durable = self.store.as_ref().is_some_and(|store| store.is_durable());
        !self.all_written() || (!durable && self.state.tokens().is_some())
    }

    /// Refuses new work and waits until all tasks have ended. Returns whether the store holds
    /// everything that was to be written.
    pub(crate) async fn shutdown(self: &Arc<Self>, timeout: Duration) -> bool {
        self.tasks.close();
        let done = async {
            loop {
                self.resume_writer();
                if self.tasks.is_empty() {
                    if let Some(coordinator) = &self.coordinator {
                        coordinator.settled().await;
                    }
                    return self.all_written();
                }
                self.tasks.wait().await;
            }
        };
        let mut done = Box::pin(done);
        // If all tasks have ended already, no timer is needed, and so no runtime.
        if let Some(written) = done.as_mut().now_or_never() {
            return written;
        }
        let answer = self.runtime.timeout(timeout, done).await;
        matches!(answer, Ok(Some(true)))
    }

    // Helpers for callers, flights and the writer.

    pub(crate) fn emit(&self, event: &Event) {
        self.listeners.notify(&self.key, event);
        if matches!(
            event,
            Event::SignedIn { .. } | Event::Refreshed { .. } | Event::Adopted { .. }
        ) {
            self.report_refresh_end();
        }
    }

    /// Reports a refresh token that ends within three days, once for each end.
    fn report_refresh_end(&self) {
        let tokens = self.state.tokens();
        let Some(at) = tokens.and_then(|tokens| tokens.refresh_token_expires_at()) else {
            return;
        };
        let is_near = self
            .clock
            .wall()
            .checked_add(REFRESH_END_NOTICE)
            .is_some_and(|limit| at <= limit);
        if is_near
            && self
                .reported_refresh_end
                .swap(unix_millis(at), Ordering::Relaxed)
                != unix_millis(at)
        {
            let event = Event::RefreshTokenExpiring { at };
            self.listeners.notify(&self.key, &event);
        }
    }

    /// Returns whether this call comes from inside this session's own source.
    #[inline]
    fn reentered(&self) -> bool {
        // The hot path reads zero and skips the task-local lookup.
        self.source_calls.load(Ordering::Relaxed) != 0
            && CALLING_SESSION
                .try_with(|id| *id == self.id)
                .unwrap_or(false)
    }

    /// Runs the future in a task that a shutdown waits for.
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.token();
        self.runtime.spawn(async move {
            let _task = task;
            future.await;
        });
    }

    /// Prepares a token set of this process for requests.
    ///
    /// *Errors*: the token set cannot be sent. The error is the reason.
    fn prepare(&self, tokens: Arc<TokenSet>) -> Result<PreparedToken, &'static str> {
        let wall = self.clock.wall();
        let age = lifetime::age_by_wall_clock(tokens.obtained_at(), wall);
        let received = tokens.obtained_at().unwrap_or(wall);
        // A JWT that had expired before it arrived is served until it is refused, because the local
        // clock is wrong.
        let is_unknown = tokens.expiry() == Expiry::Unknown
            && lifetime::expired_before_receipt(&tokens, received).is_some();
        let lifetime = tokens.lifetime().filter(|_| !is_unknown);
        self.prepare_at_age(tokens, lifetime, age)
    }

    /// Prepares a token set from the store, which measures its age.
    ///
    /// *Errors*: the token set cannot be sent. The error is the reason.
    fn prepare_stored(
        &self,
        tokens: Arc<TokenSet>,
        received: Option<StoreTime>,
    ) -> Result<PreparedToken, &'static str> {
        let age = received.and_then(|received| self.store_now().since(received));
        match age {
            // No process can wait for a refusal of a token that it prints, so the lifetime that a
            // JWT states counts even if the clock of its receipt was wrong.
            Some(age) => {
                let lifetime = tokens.lifetime();
                self.prepare_at_age(tokens, lifetime, lifetime::age_by_store(age))
            }
            // An earlier version wrote the record.
            None => self.prepare(tokens),
        }
    }

    /// `age`: `None` if it is unknown.
    fn prepare_at_age(
        &self,
        tokens: Arc<TokenSet>,
        lifetime: Option<Duration>,
        age: Option<Duration>,
    ) -> Result<PreparedToken, &'static str> {
        Ok(PreparedToken {
            validity: self.validity(lifetime.or(self.default_lifetime), age),
            credential: Credential::new(tokens, &self.placement)?,
        })
    }

    /// Returns the validity of a token of this lifetime and age, on the life clock. A token whose
    /// age is unknown counts as expired: the refresh writes a receipt that is right.
    fn validity(&self, lifetime: Option<Duration>, age: Option<Duration>) -> Validity {
        let life = self.clock.now().wall;
        match (lifetime, age) {
            (Some(lifetime), Some(age)) if age < lifetime => {
                let received = life.saturating_sub(millis(age));
                let jitter = fastrand::u32(0..=200);
                self.policy
                    .validity(received, Some(millis(lifetime).max(1)), jitter)
            }
            (None, Some(_)) => Validity::unknown(),
            _ => Validity::until(life),
        }
    }

    /// Returns the current time of the store. A store that has no clock, or was not read yet, uses
    /// the wall clock. Without a store, the steady clock counts.
    pub(crate) fn store_now(&self) -> StoreTime {
        let steady = self.clock.steady();
        if self.store.is_none() {
            return StoreTime::since_start(0, steady);
        }
        let told = self.state.store_time(steady);
        told.unwrap_or_else(|| StoreTime::by_wall(self.clock.wall()))
    }

    /// Returns the details of a record with newer tokens of the same sign-in. `previous` is the
    /// refresh token that they replace.
    fn details_after(
        &self,
        details: &RecordDetails,
        previous: Option<SecretString>,
    ) -> RecordDetails {
        let own = (&*self.host, self.source.fingerprint(&self.key));
        details.after_refresh(self.store_now(), previous, own)
    }

    /// Returns this process as an observer of shared failures.
    fn observer(&self) -> Observer<'_> {
        Observer {
            host: &self.host,
            fingerprint: self.source.fingerprint(&self.key),
            now: self.store_now(),
            spans_hosts: self.store.as_ref().is_some_and(|store| store.spans_hosts()),
            policy: &self.policy,
        }
    }

    /// Returns when this process received the tokens of a sign-in, by the store's clock.
    pub(crate) fn receipt_of(&self, tokens: &TokenSet) -> StoreTime {
        let age = lifetime::age_by_wall_clock(tokens.obtained_at(), self.clock.wall());
        self.store_now().before(age.unwrap_or_default())
    }

    /// Runs one source call, marked so that a call from it into this session fails at once.
    async fn call_source<T>(&self, call: impl Future<Output = T>) -> T {
        let _guard = SourceCallGuard::begin(&self.source_calls);
        CALLING_SESSION.scope(self.id, call).await
    }

    /// Releases a lease in the background.
    fn release_lease(&self, lease: Option<Box<dyn Lease>>) {
        if let Some(lease) = lease {
            let limit = self.limits.source_timeout;
            self.spawn(async move {
                runtime::timeout(limit, lease.release()).await;
            });
        }
    }

    /// Revokes tokens that a sign-out has overwritten in the store, unless they were revoked
    /// before.
    fn revoke_overwritten(self: &Arc<Self>, tokens: Arc<TokenSet>) {
        let hash = TokenHash::of(&tokens);
        if hash.is_some() && self.state.revoked() != hash {
            self.revoke(tokens, self.bound());
        }
    }

    /// Revokes tokens of a session with this binding in the background.
    fn revoke(self: &Arc<Self>, tokens: Arc<TokenSet>, bound: Option<Binding>) {
        self.state.set_revoked(TokenHash::of(&tokens));
        let session = Arc::clone(self);
        self.spawn(async move {
            let call = session.call_source(async {
                session.check_revocation(bound.as_ref()).await?;
                session.source.revoke(tokens).await
            });
            let error = match guarded(session.limits.source_timeout, call).await {
                Ok(answer) => answer.err(),
                Err(CallFailure::Panicked) => Some(SourceError::transient(
                    "the token source panicked during the revocation",
                )),
                Err(CallFailure::TimedOut) => Some(SourceError::transient(
                    "the issuer did not answer the revocation in time",
                )),
            };
            session.emit(&Event::Revoked { error });
        });
    }

    /// Claims the refresh token of these tokens for this session.
    ///
    /// *Errors*: another session has claimed the refresh token. Both sessions would spend it, each
    /// under its own lease.
    fn claim(&self, tokens: &TokenSet) -> Result<(), &'static str> {
        let hash = TokenHash::of(tokens);
        let mut claims = lock(&self.claims);
        if let Some(hash) = hash
            && *claims.entry(hash).or_insert(self.id) != self.id
        {
            return Err(
                "another session of this process uses their refresh token; sign in separately for \
                 each session",
            );
        }
        let before = self.state.claim(hash);
        if let Some(before) = before.filter(|before| Some(*before) != hash) {
            claims.remove(&before);
            holders::leave(before, self.id);
        }
        drop(claims);
        // Rotators that share a store share their refreshes. At an issuer that counts no uses, each
        // rotator may refresh on its own.
        let is_alone = self.store.is_none() && self.profile.counts_uses();
        if let Some(hash) = hash.filter(|_| is_alone)
            && holders::join(hash, self.id)
        {
            self.emit(&Event::SharedRefreshToken);
        }
        Ok(())
    }

    fn release_claim(&self) {
        if let Some(hash) = self.state.claim(None) {
            lock(&self.claims).remove(&hash);
            holders::leave(hash, self.id);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.release_claim();
    }
}

/// Reasons why a call to the user's code returned no answer.
enum CallFailure {
    Panicked,
    TimedOut,
}

/// Runs a call to the user's code. Catches its panic and drops it after `limit`.
async fn guarded<T>(limit: Duration, call: impl Future<Output = T>) -> Result<T, CallFailure> {
    match runtime::timeout(limit, AssertUnwindSafe(call).catch_unwind()).await {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(_panic)) => Err(CallFailure::Panicked),
        None => Err(CallFailure::TimedOut),
    }
}

/// Counts a source call until the guard is dropped.
struct SourceCallGuard<'a>(&'a AtomicUsize);

impl<'a> SourceCallGuard<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for SourceCallGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
