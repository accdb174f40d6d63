//! A session, its issuer, and replicas that share it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use token_rotator::store::{LeaseError, Record, SessionStore as _};
use token_rotator::{
    Clock, Event, ExposeSecret as _, RefreshError, Rotator, SessionKey, SystemClock, Token,
    TokenError, TokenSet,
};
use tokio::sync::watch;

use super::arranged::{ArrangedCoordinator, ArrangedSource, ArrangedStore, Trouble};
use super::fate::Fate;
use super::issuer::{Desk, Policy};
use crate::conformance::{Ground, PATIENCE, soon};

/// One session over the ground.
pub(super) struct Scene<'a, G> {
    ground: &'a G,
    key: SessionKey,
    policy: Policy,
    pub(super) desk: Desk,
}

impl<'a, G: Ground> Scene<'a, G> {
    pub(super) fn new(ground: &'a G, policy: Policy) -> Self {
        Self::named(ground, policy, "flights")
    }

    pub(super) fn named(ground: &'a G, policy: Policy, session: &str) -> Self {
        Self {
            ground,
            key: SessionKey::new(session),
            policy,
            desk: Desk::new(policy),
        }
    }

    /// One that nothing happens to.
    pub(super) async fn replica(&self) -> Replica {
        self.replica_of(Fate::to_live()).await
    }

    /// One with this fate.
    pub(super) async fn replica_of(&self, fate: Fate) -> Replica {
        let trouble = Arc::new(Trouble::default());
        let heard = Heard::default();
        let clock = JumpingClock::default();
        let rotator = Rotator::builder(ArrangedSource {
            desk: self.desk.clone(),
            fate: fate.clone(),
        })
        .session(self.key.clone())
        .store(ArrangedStore {
            inner: self.ground.store().await,
            fate: fate.clone(),
            trouble: Arc::clone(&trouble),
        })
        .coordinator(ArrangedCoordinator {
            inner: self.ground.coordinator().await,
            fate: fate.clone(),
            trouble: Arc::clone(&trouble),
        })
        .profile(self.policy.profile())
        .clock(clock.clone())
        // Leases of the ground last a second.
        .source_timeout(Duration::from_millis(900))
        .lease_wait(Duration::from_secs(5))
        .flight_deadline(PATIENCE)
        .wait_timeout(PATIENCE)
        .cool_down(Duration::from_millis(5), Duration::from_millis(20))
        .on_event(heard.listener())
        .build()
        .expect("settings that fit");
        Replica {
            rotator,
            fate,
            trouble,
            heard,
            clock,
        }
    }

    /// Signs in, from a replica that takes no further part.
    pub(super) async fn sign_in(&self, tokens: TokenSet) {
        self.replica().await.sign_in(tokens).await;
    }

    /// The same with an access token that has expired.
    pub(super) async fn sign_in_expired(&self) {
        self.sign_in(self.desk.expired_login()).await;
        // One that had expired when it came counts as good for a millisecond.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    /// What the store holds.
    pub(super) async fn record(&self) -> Record {
        let store = self.ground.store().await;
        let record = soon("a load", store.load(&self.key)).await;
        record.expect("a store that works").expect("a record")
    }

    /// The access token in the store.
    pub(super) async fn stored(&self) -> Option<String> {
        let tokens = self.record().await.into_tokens()?;
        Some(tokens.access_token().expose_secret().to_owned())
    }

    /// Whether what is stored outlives a process: otherwise there is no journal.
    pub(super) async fn is_durable(&self) -> bool {
        self.ground.store().await.is_durable()
    }
}

/// A rotator as one process has it.
pub(super) struct Replica {
    pub(super) rotator: Rotator,
    pub(super) fate: Fate,
    pub(super) trouble: Arc<Trouble>,
    pub(super) heard: Heard,
    pub(super) clock: JumpingClock,
}

impl Replica {
    pub(super) async fn sign_in(&self, tokens: TokenSet) {
        let stored = self.rotator.sign_in(tokens).expect("usable tokens");
        let stored = soon("a sign-in", stored).await;
        stored.expect("a store that works");
    }

    pub(super) async fn token(&self) -> Result<String, TokenError> {
        let token = soon("a token", self.rotator.token()).await;
        token.map(|token| text(&token))
    }

    /// The token in the end: what is in doubt or held by somebody else is asked for again.
    pub(super) async fn settled(&self) -> Result<String, TokenError> {
        let settled = async {
            loop {
                match self.rotator.token().await {
                    Err(TokenError::Refresh(
                        RefreshError::InDoubt { .. } | RefreshError::Lease(LeaseError::Busy { .. }),
                    )) => tokio::time::sleep(Duration::from_millis(10)).await,
                    settled => return settled.map(|token| text(&token)),
                }
            }
        };
        soon("an end", settled).await
    }

    /// Asks for a token in a task of its own.
    pub(super) fn asking(&self) -> tokio::task::JoinHandle<Result<String, TokenError>> {
        let rotator = self.rotator.clone();
        tokio::spawn(async move { rotator.token().await.map(|token| text(&token)) })
    }
}

pub(super) fn text(token: &Token) -> String {
    token.secret().expose_secret().to_owned()
}

/// Everything that a rotator told.
#[derive(Clone)]
pub(super) struct Heard {
    events: Arc<Mutex<Vec<Event>>>,
    count: watch::Sender<usize>,
}

impl Default for Heard {
    fn default() -> Self {
        Self {
            events: Arc::default(),
            count: watch::Sender::new(0),
        }
    }
}

impl Heard {
    fn listener(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let heard = self.clone();
        move |event| {
            heard.lock().push(event.clone());
            heard.count.send_modify(|count| *count += 1);
        }
    }

    /// What `pick` takes of each event.
    pub(super) fn picked<T>(&self, pick: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        self.lock().iter().filter_map(pick).collect()
    }

    /// Ends when such an event was told.
    pub(super) async fn told(&self, what: &str, wanted: impl Fn(&Event) -> bool) {
        let mut count = self.count.subscribe();
        let told = count.wait_for(|_| self.lock().iter().any(&wanted));
        soon(what, told).await.expect("it is here");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The system's clock, its wall clock set by hand.
#[derive(Clone, Default)]
pub(super) struct JumpingClock {
    ahead_seconds: Arc<AtomicI64>,
}

impl JumpingClock {
    /// Sets the wall clock forward, or back.
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
