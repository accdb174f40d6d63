//! What the driver is tested against: an issuer, a clock, a store and a coordinator that do as they
//! are told, and whatever happened, written down. Nothing here sleeps.
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
pub(crate) use issuer::{Act, Issuer};
pub(crate) use store::ScriptedStore;

/// The requests of the tests: what [`Exchange`] gives a request that can be sent twice, and one that
/// can be sent once.
pub(crate) trait Requests {
    fn ready(&self) -> Option<Pass>;
    fn ready_for_once(&self) -> Option<Pass>;
    fn pass(&self) -> impl Future<Output = Result<Pass, TokenError>> + Send;
    fn pass_for_once(&self) -> impl Future<Output = Result<Pass, TokenError>> + Send;
    /// The answer refuses the token, and the request is not sent again.
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

/// How long the access tokens of the tests are good.
pub(crate) const LIFETIME: Duration = Duration::from_secs(300);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tokio's clock, paused in most tests, and a wall clock that can be set apart from it.
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

    /// Sets the wall clock forward (or back) without time passing.
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

/// Writes down every event.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<Event>>>);

impl Heard {
    pub(crate) fn listener(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let heard = self.clone();
        move |event| lock(&heard.0).push(event.clone())
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        lock(&self.0).iter().filter(|event| wanted(event)).count()
    }

    /// The variants' names, in order.
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

/// One issuer, one clock, everything heard.
pub(crate) struct World {
    pub(crate) issuer: Issuer,
    pub(crate) clock: TestClock,
    pub(crate) heard: Heard,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            issuer: Issuer::new(),
            clock: TestClock::new(),
            heard: Heard::default(),
        }
    }

    pub(crate) fn builder(&self) -> RotatorBuilder {
        Rotator::builder(self.issuer.clone())
            .clock(self.clock.clone())
            .on_event(self.heard.listener())
            .origin("https://api.example.com")
    }

    /// A rotator that is signed in.
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

    /// Lets the access tokens expire.
    pub(crate) async fn expire(&self) {
        tokio::time::advance(LIFETIME + Duration::from_secs(1)).await;
    }

    /// Into the window of early refreshes, the token still good.
    pub(crate) async fn almost_expire(&self) {
        tokio::time::advance(LIFETIME.saturating_sub(Duration::from_secs(5))).await;
    }
}

pub(crate) type Call = JoinHandle<Result<Token, TokenError>>;

/// So many tasks that ask for a token.
pub(crate) fn callers(rotator: &Rotator, count: usize) -> Vec<Call> {
    (0..count)
        .map(|_| {
            let rotator = rotator.clone();
            tokio::spawn(async move { rotator.token().await })
        })
        .collect()
}

pub(crate) async fn outcomes(calls: Vec<Call>) -> Vec<Result<Token, TokenError>> {
    let mut outcomes = Vec::with_capacity(calls.len());
    for call in calls {
        outcomes.push(call.await.expect("a caller that does not panic"));
    }
    outcomes
}

/// The access token, as the issuer wrote it.
pub(crate) fn secret(token: &Token) -> String {
    use token_rotator::ExposeSecret as _;
    token.secret().expose_secret().to_owned()
}

/// Lets every task run until it waits for something, without a moment passing.
pub(crate) async fn let_run() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// How long the future took on the paused clock, with what it answered.
pub(crate) async fn timed<F: Future>(future: F) -> (Duration, F::Output) {
    let begun = Instant::now();
    let answer = future.await;
    (begun.elapsed(), answer)
}
