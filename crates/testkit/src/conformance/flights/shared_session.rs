//! A session, its issuer, and the replicas that share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use token_rotator::store::{LeaseError, Record, SessionStore as _};
use token_rotator::{
    Clock, Event, ExposeSecret as _, RefreshError, Rotator, SessionKey, SystemClock, Token,
    TokenError, TokenSet,
};
use tokio::sync::watch;

use super::crash_plan::CrashPlan;
use super::faulty::{FaultyCoordinator, FaultySource, FaultyStore, InjectedFailures};
use super::scripted_issuer::{ReusePolicy, ScriptedIssuer};
use crate::conformance::{StoreFixture, TIME_LIMIT, within_ten_seconds};

/// A session in the store of a fixture.
pub(super) struct SharedSession<'a, G> {
    fixture: &'a G,
    key: SessionKey,
    policy: ReusePolicy,
    pub(super) issuer: ScriptedIssuer,
}

impl<'a, G: StoreFixture> SharedSession<'a, G> {
    pub(super) fn new(fixture: &'a G, policy: ReusePolicy) -> Self {
        Self::with_name(fixture, policy, "flights")
    }

    pub(super) fn with_name(fixture: &'a G, policy: ReusePolicy, session: &str) -> Self {
        Self {
            fixture,
            key: SessionKey::new(session),
            policy,
            issuer: ScriptedIssuer::new(policy),
        }
    }

    /// Creates a replica that does not crash.
    pub(super) async fn replica(&self) -> Replica {
        self.replica_with(CrashPlan::no_crash()).await
    }

    /// Creates a replica with this crash plan.
    pub(super) async fn replica_with(&self, crash_plan: CrashPlan) -> Replica {
        let failures = Arc::new(InjectedFailures::default());
        let events = RecordedEvents::default();
        let clock = JumpingClock::default();
        let rotator = Rotator::builder(FaultySource {
            issuer: self.issuer.clone(),
            crash_plan: crash_plan.clone(),
        })
        .session(self.key.clone())
        .store(FaultyStore {
            inner: self.fixture.store().await,
            crash_plan: crash_plan.clone(),
            failures: Arc::clone(&failures),
        })
        .coordinator(FaultyCoordinator {
            inner: self.fixture.coordinator().await,
            crash_plan: crash_plan.clone(),
            failures: Arc::clone(&failures),
        })
        .profile(self.policy.profile())
        .clock(clock.clone())
        // Leases of the fixture last a second.
        .source_timeout(Duration::from_millis(900))
        .lease_wait(Duration::from_secs(5))
        .flight_deadline(TIME_LIMIT)
        .wait_timeout(TIME_LIMIT)
        .cool_down(Duration::from_millis(5), Duration::from_millis(20))
        .on_event(events.listener())
        .build()
        .expect("settings that fit");
        Replica {
            rotator,
            crash_plan,
            failures,
            events,
            clock,
        }
    }

    /// Signs in through a replica that takes no further part.
    pub(super) async fn sign_in(&self, tokens: TokenSet) {
        self.replica().await.sign_in(tokens).await;
    }

    /// Signs in with an expired access token, through a replica that takes no further part.
    pub(super) async fn sign_in_expired(&self) {
        self.sign_in(self.issuer.expired_login()).await;
        // A token that had expired when it was received counts as valid for a millisecond.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    /// Loads the stored record.
    pub(super) async fn record(&self) -> Record {
        let store = self.fixture.store().await;
        let record = within_ten_seconds("a load", store.load(&self.key)).await;
        record.expect("a store that works").expect("a record")
    }

    /// Returns the stored access token.
    pub(super) async fn stored_access_token(&self) -> Option<String> {
        let tokens = self.record().await.into_tokens()?;
        Some(tokens.access_token().expose_secret().to_owned())
    }

    /// Returns whether stored records outlive a process. If they do not, the store has no journal.
    pub(super) async fn is_durable(&self) -> bool {
        self.fixture.store().await.is_durable()
    }
}

/// A rotator with its own handles, like a process.
pub(super) struct Replica {
    pub(super) rotator: Rotator,
    pub(super) crash_plan: CrashPlan,
    pub(super) failures: Arc<InjectedFailures>,
    pub(super) events: RecordedEvents,
    pub(super) clock: JumpingClock,
}

impl Replica {
    pub(super) async fn sign_in(&self, tokens: TokenSet) {
        let stored = self.rotator.sign_in(tokens).expect("usable tokens");
        let stored = within_ten_seconds("a sign-in", stored).await;
        stored.expect("a store that works");
    }

    pub(super) async fn token(&self) -> Result<String, TokenError> {
        let token = within_ten_seconds("a token", self.rotator.token()).await;
        token.map(|token| access_token_text(&token))
    }

    /// Returns the token. Asks again while the refresh token is in doubt, while another replica holds the lease, and
    /// after a lost lease: a slow machine may lose a lease of one second before it sends anything.
    pub(super) async fn token_after_retries(&self) -> Result<String, TokenError> {
        let call = async {
            loop {
                match self.rotator.token().await {
                    Err(TokenError::Refresh(
                        RefreshError::InDoubt { .. }
                        | RefreshError::Lease(LeaseError::Busy { .. } | LeaseError::Lost),
                    )) => tokio::time::sleep(Duration::from_millis(10)).await,
                    result => return result.map(|token| access_token_text(&token)),
                }
            }
        };
        within_ten_seconds("the call", call).await
    }

    /// Refreshes in a new task, even if the token is valid.
    pub(super) fn spawn_refresh(&self) -> tokio::task::JoinHandle<Result<Token, TokenError>> {
        let rotator = self.rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    }

    /// Asks for a token in a new task.
    pub(super) fn spawn_token_call(&self) -> tokio::task::JoinHandle<Result<String, TokenError>> {
        let rotator = self.rotator.clone();
        tokio::spawn(async move { rotator.token().await.map(|token| access_token_text(&token)) })
    }
}

pub(super) fn access_token_text(token: &Token) -> String {
    token.secret().expose_secret().to_owned()
}

/// All events of a rotator.
#[derive(Clone, Default)]
pub(super) struct RecordedEvents(watch::Sender<Vec<Event>>);

impl RecordedEvents {
    fn listener(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let events = self.0.clone();
        move |event| events.send_modify(|events| events.push(event.clone()))
    }

    /// Returns the results of `pick` over all events.
    pub(super) fn filter_map<T>(&self, pick: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        self.0.borrow().iter().filter_map(pick).collect()
    }

    /// Waits until an event matches `wanted`.
    pub(super) async fn wait_for(&self, what: &str, wanted: impl Fn(&Event) -> bool) {
        let mut events = self.0.subscribe();
        let matched = events.wait_for(|events| events.iter().any(&wanted));
        let matched = within_ten_seconds(what, matched).await;
        matched.expect("the sender exists");
    }
}

/// The system clock, with a wall clock that tests move.
#[derive(Clone, Default)]
pub(super) struct JumpingClock {
    ahead_seconds: Arc<AtomicI64>,
}

impl JumpingClock {
    /// Moves the wall clock forward, or back if `seconds` is negative.
    pub(super) fn jump(&self, seconds: i64) {
        self.ahead_seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for JumpingClock {
    fn wall(&self) -> SystemTime {
        let ahead = self.ahead_seconds.load(Ordering::SeqCst);
        let distance = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 {
            SystemClock.wall() - distance
        } else {
            SystemClock.wall() + distance
        }
    }

    fn steady(&self) -> Duration {
        SystemClock.steady()
    }
}
