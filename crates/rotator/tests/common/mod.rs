//! Test doubles for the driver tests: an issuer, a clock, a store and a coordinator that a test
//! controls, and an event log. None of them sleeps on a real clock.
#![allow(dead_code, unused_imports)] // Each test binary uses its own part.

pub(crate) mod coordinator;
pub(crate) mod issuer;
pub(crate) mod store;

use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use token_rotator::middleware::{Exchange, Pass};
use token_rotator::{Clock, Event, NotReplayed, Rotator, RotatorBuilder, Token, TokenError};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) use coordinator::ScriptedCoordinator;
pub(crate) use issuer::{Issuer, IssuerAction};
pub(crate) use store::ScriptedStore;

/// Begins an [`Exchange`] for a request that can be sent twice, and for a request that can be sent
/// once.
pub(crate) trait Requests {
    fn ready(&self) -> Option<Pass>;
    fn ready_for_once(&self) -> Option<Pass>;
    fn pass(&self) -> impl Future<Output = Result<Pass, TokenError>> + Send;
    fn pass_for_once(&self) -> impl Future<Output = Result<Pass, TokenError>> + Send;
    /// Reports an answer that refuses the token; the request is not sent again.
    fn report_refused(&self, token: &Token);
}

const ONCE: Result<(), NotReplayed> = Err(NotReplayed::BodyOnce);

impl Requests for Rotator {
    fn ready(&self) -> Option<Pass> {
        Exchange::ready(self, Ok(())).map(|exchange| exchange.pass().clone())
    }

    fn ready_for_once(&self) -> Option<Pass> {
        Exchange::ready(self, ONCE).map(|exchange| exchange.pass().clone())
    }

    async fn pass(&self) -> Result<Pass, TokenError> {
        let exchange = Exchange::begin(self, Ok(())).await?;
        Ok(exchange.pass().clone())
    }

    async fn pass_for_once(&self) -> Result<Pass, TokenError> {
        let exchange = Exchange::begin(self, ONCE).await?;
        Ok(exchange.pass().clone())
    }

    fn report_refused(&self, token: &Token) {
        Exchange::new(token.clone(), Ok(())).report(self, None);
    }
}

/// Lifetime of the access tokens.
pub(crate) const LIFETIME: Duration = Duration::from_secs(300);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tokio's clock, paused in most tests, with a wall clock that a test can shift.
#[derive(Clone)]
pub(crate) struct TestClock {
    start: Instant,
    offset_millis: Arc<AtomicI64>,
}

impl TestClock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            offset_millis: Arc::default(),
        }
    }

    /// Shifts the wall clock forward or back; the steady clock does not change.
    pub(crate) fn shift_wall(&self, millis: i64) {
        self.offset_millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn wall(&self) -> SystemTime {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let offset = self.offset_millis.load(Ordering::SeqCst);
        let shifted = if offset < 0 {
            start - Duration::from_millis(offset.unsigned_abs())
        } else {
            start + Duration::from_millis(offset.unsigned_abs())
        };
        shifted + self.start.elapsed()
    }

    fn steady(&self) -> Duration {
        Duration::from_secs(3_600) + self.start.elapsed()
    }
}

/// Records every event.
#[derive(Clone, Default)]
pub(crate) struct EventLog(Arc<Mutex<Vec<Event>>>);

impl EventLog {
    pub(crate) fn listener(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let events = self.clone();
        move |event| lock(&events.0).push(event.clone())
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        lock(&self.0).iter().filter(|event| wanted(event)).count()
    }

    /// Returns the names of the event variants, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |event: &Event| {
            let text = format!("{event:?}");
            let end = text.find(|c: char| !c.is_alphanumeric());
            text[..end.unwrap_or(text.len())].to_owned()
        };
        lock(&self.0).iter().map(name).collect()
    }

    pub(crate) fn all(&self) -> Vec<Event> {
        lock(&self.0).clone()
    }
}

/// An issuer, a clock and an event log.
pub(crate) struct Fixture {
    pub(crate) issuer: Issuer,
    pub(crate) clock: TestClock,
    pub(crate) events: EventLog,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            issuer: Issuer::new(),
            clock: TestClock::new(),
            events: EventLog::default(),
        }
    }

    pub(crate) fn builder(&self) -> RotatorBuilder {
        Rotator::builder(self.issuer.clone())
            .clock(self.clock.clone())
            .on_event(self.events.listener())
            .origin("https://api.example.com")
    }

    /// Builds a rotator and signs in.
    pub(crate) async fn signed_in(&self) -> Rotator {
        self.signed_in_with(|builder| builder).await
    }

    pub(crate) async fn signed_in_with(
        &self,
        set: impl FnOnce(RotatorBuilder) -> RotatorBuilder,
    ) -> Rotator {
        let rotator = set(self.builder()).build().expect("a rotator");
        let stored = rotator.sign_in(self.issuer.login()).expect("usable tokens");
        stored.await.expect("a store that works");
        rotator
    }

    /// Lets the access token expire.
    pub(crate) async fn expire(&self) {
        tokio::time::advance(LIFETIME + Duration::from_secs(1)).await;
    }

    /// Advances the clock into the window of early refreshes; the token is still good.
    pub(crate) async fn almost_expire(&self) {
        tokio::time::advance(LIFETIME.saturating_sub(Duration::from_secs(5))).await;
    }
}

pub(crate) type TokenTask = JoinHandle<Result<Token, TokenError>>;

/// Spawns tasks that each ask for a token.
pub(crate) fn spawn_callers(rotator: &Rotator, count: usize) -> Vec<TokenTask> {
    (0..count)
        .map(|_| {
            let rotator = rotator.clone();
            tokio::spawn(async move { rotator.token().await })
        })
        .collect()
}

pub(crate) async fn collect_outcomes(tasks: Vec<TokenTask>) -> Vec<Result<Token, TokenError>> {
    let mut outcomes = Vec::with_capacity(tasks.len());
    for call in tasks {
        outcomes.push(call.await.expect("a caller that does not panic"));
    }
    outcomes
}

/// Returns the text of the access token.
pub(crate) fn secret(token: &Token) -> String {
    use token_rotator::ExposeSecret as _;
    token.secret().expose_secret().to_owned()
}

/// Runs every task until it waits; the clock does not advance.
pub(crate) async fn run_ready_tasks() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Returns how long the future took on the paused clock, and its output.
pub(crate) async fn timed<F: Future>(future: F) -> (Duration, F::Output) {
    let begun = Instant::now();
    let answer = future.await;
    (begun.elapsed(), answer)
}
