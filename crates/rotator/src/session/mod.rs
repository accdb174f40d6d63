//! One session: what its handles, callers, flights and writer share.
//!
//! - `state.rs`: all state under one lock, and the published token.
//! - `flight.rs`: one refresh from the lease to its release, top to bottom.
//! - `decide.rs`: decisions about a stored record, without IO.
//! - `recovery.rs`: whether a refresh token may be presented again after an uncertain outcome.
//! - `writer.rs`: the task that writes sign-ins, sign-outs, updates and unsaved tokens.
//! - `signal.rs`: wakes the waiters of a flight.
//!
//! This file holds the entry of calls, and what they do around the state machine.

pub(crate) mod decide;
mod flight;
#[cfg(all(test, any(model_loom, model_shuttle)))]
mod models;
mod recovery;
mod signal;
mod state;
mod writer;

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use token_rotator_core::{Access, Attempt, Policy, Stamp};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::decide::KnownRecord;
use self::state::{Arrival, Next, Past, State, Ticket};
pub use self::writer::Stored;
use crate::error::{RefreshError, SourceError, TokenError};
use crate::event::{Event, Listeners, NotReplayed};
use crate::http::origin::Origins;
use crate::profile::Profile;
use crate::runtime::clock::{ClockOf, millis, unix_millis};
use crate::runtime::sync::{Mutex, lock};
use crate::runtime::{self, Runtime};
use crate::store::coordinator::{DynCoordinator, Lease};
use crate::store::intent::TokenHash;
use crate::store::{DynStore, Record, SessionKey};
use crate::token::secret::ExposeSecret as _;
use crate::token::source::{DynSource, Refreshed};
use crate::token::token_set::TokenSet;
use crate::token::{Credential, Pass, Placement, Token, jwt};

/// One session.
pub(crate) struct Session {
    /// Tells sessions apart, so that the source of one may call another.
    id: u64,
    pub(crate) key: SessionKey,
    state: State,
    /// How many calls to the source are in progress.
    asking: AtomicUsize,
    engine: Arc<Engine>,
}

/// What all sessions of one configuration share.
pub(crate) struct Engine {
    pub(crate) clock: ClockOf,
    pub(crate) runtime: Runtime,
    pub(crate) source: Box<dyn DynSource>,
    pub(crate) store: Option<Box<dyn DynStore>>,
    pub(crate) coordinator: Option<Box<dyn DynCoordinator>>,
    pub(crate) policy: Policy,
    pub(crate) profile: Profile,
    pub(crate) limits: Limits,
    pub(crate) placement: Placement,
    pub(crate) origins: Origins,
    pub(crate) listeners: Listeners,
    pub(crate) after_refresh: Option<AfterRefresh>,
    /// What runs in the background. Closed by a shutdown: nothing new starts.
    pub(crate) tasks: TaskTracker,
    /// Which session was signed in with which refresh token.
    pub(crate) claims: Mutex<HashMap<TokenHash, u64>>,
}

/// The hook that runs after a refresh.
pub(crate) type AfterRefresh =
    Box<dyn Fn(Arc<Refreshed>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) lease_wait: Duration,
    pub(crate) source_timeout: Duration,
    pub(crate) flight_deadline: Duration,
    pub(crate) wait_timeout: Duration,
    pub(crate) after_hook: Duration,
}

tokio::task_local! {
    /// The session whose source runs in this task.
    static ASKING: u64;
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
            asking: AtomicUsize::new(0),
            engine,
        })
    }

    // The entry of calls.

    /// The token, if it can be served at once. `None` inside the session's own source: it would
    /// get a token only as long as it needs none.
    #[inline]
    pub(crate) fn ready(&self) -> Option<Token> {
        if self.reentered() {
            return None;
        }
        self.state.ready(self.clock.wall())
    }

    /// [`Session::ready`] for a request that cannot be repeated: `None` while a refresh is due.
    pub(crate) fn ready_for_once(&self) -> Option<Token> {
        if self.reentered() {
            return None;
        }
        self.state.ready_for_once(self.clock.wall())
    }

    pub(crate) async fn wait_for_pass(self: &Arc<Self>) -> Result<Pass, TokenError> {
        let admitted = match self.admit() {
            Ok(admitted) => admitted,
            Err(error) => return self.without_refresh(error).map(Pass::from),
        };
        let next = self.state.acquire(self.clock.now());
        self.carry_out(next, admitted).await
    }

    pub(crate) async fn wait_for_pass_for_once(self: &Arc<Self>) -> Result<Pass, TokenError> {
        let admitted = match self.admit() {
            Ok(admitted) => admitted,
            Err(error) => return self.without_refresh(error).map(Pass::from),
        };
        let next = self.state.acquire_for_once(self.clock.now());
        let began = match &next {
            Next::Launch(ticket) | Next::Wait(ticket) => Some(ticket.flight.began),
            _ => None,
        };
        let error = match self.carry_out(next, admitted).await {
            Err(error) => error,
            pass => return pass,
        };
        // The refresh that was due has failed; the token it was to replace may still be usable.
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
        let next = self.after_refusal(stamp, attempt);
        let pass = self.carry_out(next, admitted).await?;
        pass.into_token().ok_or(TokenError::SignedOut)
    }

    /// A refusal of a request that is not sent again: starts a refresh and waits for nothing.
    /// `attempt`: `None` if a refresh is to confirm the refusal.
    pub(crate) fn report_refused(self: &Arc<Self>, stamp: Stamp, attempt: Option<Attempt>) {
        if let Ok(_admitted) = self.admit()
            && let Next::Launch(ticket) | Next::GoAndLaunch(_, ticket) =
                self.after_refusal(stamp, attempt)
        {
            flight::launch(self, ticket);
        }
    }

    fn after_refusal(&self, stamp: Stamp, attempt: Option<Attempt>) -> Next {
        let now = self.clock.now();
        match attempt {
            Some(attempt) => self.state.refused(stamp, attempt, now),
            None => self.state.doubted(stamp, now),
        }
    }

    /// A request was accepted. Takes the lock, so it is for the first acceptance of a token and for
    /// replays.
    #[cold]
    pub(crate) fn accepted(&self, stamp: Stamp, attempt: Attempt) {
        self.state.accepted(stamp, attempt);
    }

    pub(crate) async fn force(self: &Arc<Self>) -> Result<Token, TokenError> {
        let admitted = self.admit()?;
        let next = self.state.force(self.clock.now());
        let pass = self.carry_out(next, admitted).await?;
        pass.into_token().ok_or(TokenError::SignedOut)
    }

    /// The current token, if it is usable. Starts nothing.
    pub(crate) fn usable(&self) -> Option<Token> {
        self.state.usable(self.clock.now())
    }

    /// The usable token where no refresh may start. Not for the session's own source.
    fn without_refresh(&self, error: TokenError) -> Result<Token, TokenError> {
        match self.usable() {
            Some(token) if !matches!(error, TokenError::Reentrant) => Ok(token),
            _ => Err(error),
        }
    }

    /// What every call checks before it may start or await anything. A shutdown waits while the
    /// returned token exists, so it sees whatever the call starts.
    fn admit(self: &Arc<Self>) -> Result<TaskTrackerToken, TokenError> {
        if self.reentered() {
            return Err(TokenError::Reentrant);
        }
        let admitted = self.tasks.token();
        if self.tasks.is_closed() {
            return Err(TokenError::ShutDown);
        }
        self.runtime.ready()?;
        self.resume_writer();
        Ok(admitted)
    }

    async fn carry_out(
        self: &Arc<Self>,
        next: Next,
        admitted: TaskTrackerToken,
    ) -> Result<Pass, TokenError> {
        match self.start(next, admitted) {
            Ok(ticket) => self.await_landing(ticket).await,
            Err(done) => done,
        }
    }

    /// Starts the flight if there is one to start. Returns the flight to wait for, or the result.
    fn start(
        self: &Arc<Self>,
        next: Next,
        _admitted: TaskTrackerToken,
    ) -> Result<Ticket, Result<Pass, TokenError>> {
        match next {
            Next::GoAndLaunch(token, ticket) => {
                flight::launch(self, ticket);
                Err(Ok(token.into()))
            }
            Next::Launch(ticket) => {
                flight::launch(self, ticket.clone());
                Ok(ticket)
            }
            Next::Wait(ticket) => Ok(ticket),
            next => Err(self.conclude(next)),
        }
    }

    /// Waits until the flight ends or is overdue, at most for the wait timeout.
    ///
    /// Thousands wait here, so the future is small: it holds the flight and the place in its signal.
    fn await_landing(
        &self,
        ticket: Ticket,
    ) -> impl Future<Output = Result<Pass, TokenError>> + use<'_> {
        let flight = ticket.flight;
        let mut wait = ticket.signal.wait();
        async move {
            let limit = self.limits.wait_timeout;
            if limit >= self.limits.flight_deadline && self.runtime.keeps_time() {
                // The flight's deadline comes first; one timer serves all its waiters.
                (&mut wait).await;
            } else {
                let waited = Box::pin(self.runtime.timeout(limit, &mut wait)).await?;
                waited.ok_or(TokenError::WaitTimedOut { after: limit })?;
            }
            self.conclude(self.state.settle(flight, self.clock.now()))
        }
    }

    fn conclude(&self, next: Next) -> Result<Pass, TokenError> {
        match next {
            Next::Go(token) | Next::GoAndLaunch(token, _) => Ok(token.into()),
            Next::Bare(stamp) if self.policy.access == Access::Anonymous => Ok(Pass::bare(stamp)),
            Next::Bare(_) | Next::Fail(RefreshError::NotSignedIn) => Err(TokenError::SignedOut),
            Next::Fail(error) => Err(error.into()),
            Next::HandBack | Next::Changed if self.is_signed_out() => Err(TokenError::SignedOut),
            Next::HandBack => Err(TokenError::FreshTokenRefused),
            Next::RefusedAgain => {
                let reason = NotReplayed::RefusedAgain;
                self.tell(&Event::NotReplayed { reason });
                Err(TokenError::FreshTokenRefused)
            }
            Next::Changed => Err(TokenError::SessionChanged),
            Next::Overdue | Next::Wait(_) | Next::Launch(_) => Err(TokenError::Overdue),
        }
    }

    // Sign-in, update, sign-out.

    /// The error says what is wrong with the tokens.
    pub(crate) fn sign_in(self: &Arc<Self>, tokens: TokenSet) -> Result<Stored, &'static str> {
        let tokens = Arc::new(tokens.received(self.clock.wall()));
        let arrival = self.arrival(Arc::clone(&tokens))?;
        self.claim(&tokens)?;
        let known = KnownRecord::new_epoch();
        let (stamp, past) = self.state.sign_in(&arrival, known, self.clock.now());
        let before = self.leave(past);
        self.tell(&Event::SignedIn {
            generation: stamp.generation,
        });
        if let Some(before) = before.filter(|_| self.profile.revokes_per_token()) {
            self.revoke(before);
        }
        Ok(self.stored(stamp.epoch))
    }

    /// Returns `None` if the session is in another epoch than that of `after`. The error says what
    /// is wrong with the tokens.
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
            let arrival = self.arrival(newer)?;
            if let Some(stamp) = self.state.update(stamp, &arrival, self.clock.now()) {
                return Ok(Some(self.stored(stamp.epoch)));
            }
            if self.is_signed_out() {
                return Ok(None);
            }
        }
    }

    pub(crate) fn sign_out(self: &Arc<Self>) -> Stored {
        let known = KnownRecord::new_epoch();
        let Some((stamp, past)) = self.state.sign_out(known, self.clock.now()) else {
            return Stored::done();
        };
        let before = self.leave(past);
        self.disclaim();
        self.tell(&Event::SignedOut);
        if let Some(before) = before {
            self.revoke(before);
        }
        self.stored(stamp.epoch)
    }

    /// Another process has signed in or out, as a flight or write of this epoch found.
    fn follow(self: &Arc<Self>, epoch: u64, record: &Record) {
        let arrival = record.tokens.as_ref().map(|tokens| {
            let arrival = self.arrival(Arc::clone(tokens));
            // Tokens that cannot be sent are a sign-in all the same.
            arrival.unwrap_or_else(|_unusable| Arrival::unusable(Arc::clone(tokens)))
        });
        let known = KnownRecord::at(record.version);
        let now = self.clock.now();
        let followed = self.state.follow(epoch, arrival.as_ref(), known, now);
        let Some((stamp, past)) = followed else {
            return;
        };
        self.leave(past);
        self.tell(&match arrival {
            Some(_) => Event::SignedIn {
                generation: stamp.generation,
            },
            None => Event::SignedOut,
        });
    }

    /// An epoch is over: its pending write is dropped. Returns its tokens.
    fn leave(self: &Arc<Self>, past: Past) -> Option<Arc<TokenSet>> {
        if let Some(write) = past.write {
            self.give_back(write.cancel());
        }
        past.tokens
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

    /// Whether the session would be lost with this process's memory.
    pub(crate) fn is_only_in_memory(&self) -> bool {
        let durable = self.store.as_ref().is_some_and(|store| store.is_durable());
        !self.all_written() || (!durable && self.state.tokens().is_some())
    }

    /// Starts nothing new and waits until all tasks have ended. Returns whether the store has
    /// everything.
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
        // Without anything to wait for, no timer and so no runtime is needed.
        if let Some(written) = done.as_mut().now_or_never() {
            return written;
        }
        let answer = self.runtime.timeout(timeout, done).await;
        matches!(answer, Ok(Some(true)))
    }

    // What calls, flights and the writer have in common.

    pub(crate) fn tell(&self, event: &Event) {
        self.listeners.tell(&self.key, event);
    }

    /// Whether this call comes from inside this session's own source.
    #[inline]
    fn reentered(&self) -> bool {
        // The hot path reads a zero and goes on.
        self.asking.load(Ordering::Relaxed) != 0
            && ASKING.try_with(|id| *id == self.id).unwrap_or(false)
    }

    /// Runs the future in a task that a shutdown waits for.
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.token();
        self.runtime.spawn(async move {
            let _task = task;
            future.await;
        });
    }

    /// Prepares a token set for requests; the error says what is wrong with it.
    fn arrival(&self, tokens: Arc<TokenSet>) -> Result<Arrival, &'static str> {
        let obtained_at = tokens.obtained_at().unwrap_or_else(|| self.clock.wall());
        let lifetime = match tokens.lifetime() {
            Some(lifetime) => Some(millis(lifetime)),
            None => hinted_lifetime(&tokens, unix_millis(obtained_at)),
        };
        let jitter = fastrand::u32(0..=200);
        Ok(Arrival {
            validity: self
                .policy
                .validity(unix_millis(obtained_at), lifetime, jitter),
            credential: Credential::new(tokens, &self.placement)?,
        })
    }

    /// One call to the source, marked so that a call back into this session fails at once.
    async fn ask<T>(&self, call: impl Future<Output = T>) -> T {
        let _asking = Asking::begin(&self.asking);
        ASKING.scope(self.id, call).await
    }

    /// Gives a lease back in the background.
    fn give_back(&self, lease: Option<Box<dyn Lease>>) {
        if let Some(lease) = lease {
            let limit = self.limits.source_timeout;
            self.spawn(async move {
                runtime::timeout(limit, lease.release()).await;
            });
        }
    }

    /// Revokes what a sign-out has overwritten in the store, unless it was in memory too.
    fn revoke_unless_done(self: &Arc<Self>, tokens: Arc<TokenSet>) {
        let hash = TokenHash::of(&tokens);
        if hash.is_some() && self.state.revoked() != hash {
            self.revoke(tokens);
        }
    }

    /// Revokes tokens in the background.
    fn revoke(self: &Arc<Self>, tokens: Arc<TokenSet>) {
        self.state.set_revoked(TokenHash::of(&tokens));
        let session = Arc::clone(self);
        self.spawn(async move {
            let call = session.ask(async { session.source.revoke(tokens).await });
            let error = match guarded(session.limits.source_timeout, call).await {
                Ok(answer) => answer.err(),
                Err(CutOff::Panicked) => Some(SourceError::transient(
                    "the token source panicked while it revoked",
                )),
                Err(CutOff::TimedOut) => Some(SourceError::transient(
                    "the issuer did not answer the revocation in time",
                )),
            };
            session.tell(&Event::Revoked { error });
        });
    }

    /// Claims the grant of these tokens for this session. The error says that another session has
    /// it: two sessions would spend one refresh token, each under a lease of its own.
    fn claim(&self, tokens: &TokenSet) -> Result<(), &'static str> {
        let hash = TokenHash::of(tokens);
        let mut claims = lock(&self.claims);
        if let Some(hash) = hash
            && *claims.entry(hash).or_insert(self.id) != self.id
        {
            return Err(
                "their refresh token is that of another session here; each session needs a \
                 sign-in of its own",
            );
        }
        let before = self.state.claim(hash);
        if let Some(before) = before.filter(|before| Some(*before) != hash) {
            claims.remove(&before);
        }
        Ok(())
    }

    fn disclaim(&self) {
        if let Some(hash) = self.state.claim(None) {
            lock(&self.claims).remove(&hash);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.disclaim();
    }
}

/// A call to the user's code that gave no answer.
enum CutOff {
    Panicked,
    TimedOut,
}

/// Runs a call to the user's code: its panic is caught, and it has this long to answer.
async fn guarded<T>(limit: Duration, call: impl Future<Output = T>) -> Result<T, CutOff> {
    match runtime::timeout(limit, AssertUnwindSafe(call).catch_unwind()).await {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(_panic)) => Err(CutOff::Panicked),
        None => Err(CutOff::TimedOut),
    }
}

/// The life that a JWT of unknown expiry states, counted from its receipt. Returns `None` for other
/// tokens, and if the JWT had expired at the receipt: then the local clock is wrong.
fn hinted_lifetime(tokens: &TokenSet, received: u64) -> Option<u64> {
    let hint = jwt::expiry_hint(tokens.access_token().expose_secret())?;
    let left = hint.expires_at_unix_ms.checked_sub(received)?;
    // An issuer whose clock is ahead states an expiry too far away; the lifetime limits it.
    let whole = hint
        .issued_at_unix_ms
        .map(|at| hint.expires_at_unix_ms.saturating_sub(at));
    Some(left.min(whole.unwrap_or(left))).filter(|left| *left > 0)
}

/// Counts a call to the source while it lasts.
struct Asking<'a>(&'a AtomicUsize);

impl<'a> Asking<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
