//! Shuttle checks: the whole rotator under twenty tasks, which start and stop in random orders.

mod concurrent;
mod writes;

use std::collections::HashSet;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use shuttle::future::{block_on, spawn, yield_now};
use shuttle::rand::{Rng as _, thread_rng};

use crate::runtime::sync::lock_std;
use crate::store::{
    LocalCoordinator, Record, Saved, SessionStore, StoreError, StoreErrorKind, Version,
};
use crate::{
    Clock, ExposeSecret as _, FailureKind, MemoryStore, Refreshed, Rotator, SessionKey,
    SourceError, TokenError, TokenSet, TokenSource,
};

const TASKS: usize = 20;
const SCHEDULES: usize = 1_500;

/// An issuer with single-use refresh tokens. It panics at a second use and at two concurrent
/// refreshes.
#[derive(Clone, Default)]
struct SingleUseIssuer(Arc<IssuerState>);

#[derive(Default)]
struct IssuerState {
    in_air: AtomicUsize,
    /// Allows concurrent refreshes, for tests with several sessions.
    together: bool,
    minted: AtomicUsize,
    refreshes: AtomicUsize,
    spent: Mutex<HashSet<String>>,
    revoked: AtomicUsize,
}

impl SingleUseIssuer {
    fn mint(&self) -> TokenSet {
        let number = self.0.minted.fetch_add(1, Ordering::SeqCst);
        TokenSet::bearer(format!("access-{number}"))
            .with_refresh_token(format!("refresh-{number}"))
            .expires_in(Duration::from_secs(300))
    }
}

struct RunningRefresh<'a>(&'a AtomicUsize);

impl Drop for RunningRefresh<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl TokenSource for SingleUseIssuer {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        let before = self.0.in_air.fetch_add(1, Ordering::SeqCst);
        assert!(
            before == 0 || self.0.together,
            "two refreshes are in the air"
        );
        let _in_air = RunningRefresh(&self.0.in_air);
        yield_now().await;
        let last = last.expect("a signed-in session");
        let token = last.refresh_token().expect("a refresh token");
        let unspent = lock_std(&self.0.spent).insert(token.expose_secret().to_owned());
        assert!(unspent, "a refresh token was used twice");
        self.0.refreshes.fetch_add(1, Ordering::SeqCst);
        let next = self.mint();
        yield_now().await;
        Ok(next.into())
    }

    async fn revoke(&self, _tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        yield_now().await;
        self.0.revoked.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Both clocks, set by the test.
#[derive(Clone, Default)]
struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    fn expire(&self) {
        self.0.fetch_add(301, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.steady()
    }

    fn steady(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// A call that its caller drops after `drop_after` turns. Returns `None` if the caller dropped it.
async fn call(
    rotator: Rotator,
    drop_after: Option<usize>,
) -> Option<Result<crate::Token, TokenError>> {
    let call = pin!(rotator.token());
    let Some(turns) = drop_after else {
        return Some(call.await);
    };
    let dropped = pin!(async {
        for _ in 0..turns {
            yield_now().await;
        }
    });
    match select(call, dropped).await {
        Either::Left((outcome, _)) => Some(outcome),
        Either::Right(_) => None,
    }
}

fn random_drop_time() -> Option<usize> {
    thread_rng()
        .gen_bool(0.5)
        .then(|| thread_rng().gen_range(0..12))
}

/// Returns the access token in the store. Returns `None` if the store holds a tombstone.
async fn stored(store: &impl SessionStore) -> Option<String> {
    let record = store.load(&SessionKey::default()).await.expect("memory");
    let tokens = record.expect("a record").tokens?;
    Some(tokens.access_token().expose_secret().to_owned())
}

fn secret(token: &crate::Token) -> String {
    token.secret().expose_secret().to_owned()
}

/// Twenty callers of an expired token, any of which may be dropped at any time: one refresh serves
/// all callers that stay.
#[test]
fn any_caller_may_leave() {
    shuttle::check_random(
        || {
            let (issuer, clock) = (SingleUseIssuer::default(), ManualClock::default());
            let builder = Rotator::builder(issuer.clone()).clock(clock.clone());
            let rotator = builder.build().expect("a rotator");
            rotator.sign_in(issuer.mint()).expect("usable tokens");
            clock.expire();
            let tasks: Vec<_> = (0..TASKS)
                .map(|_| spawn(call(rotator.clone(), random_drop_time())))
                .collect();
            block_on(async {
                for task in tasks {
                    if let Some(outcome) = task.await.expect("no panic") {
                        assert_eq!(outcome.expect("a token").generation(), 2);
                    }
                }
                // The callers that were dropped have left a flight, which ends.
                rotator.token().await.expect("a token");
                assert!(rotator.shutdown(Duration::ZERO).await);
            });
            assert_eq!(issuer.0.refreshes.load(Ordering::SeqCst), 1);
        },
        SCHEDULES,
    );
}

/// Two rotators with one store and one coordinator, ten callers each, three expiries: three
/// refreshes, one at a time. No refresh token is used twice.
#[test]
fn two_rotators_share_every_refresh() {
    shuttle::check_random(
        || {
            let (issuer, clock) = (SingleUseIssuer::default(), ManualClock::default());
            let (store, leases) = (MemoryStore::new(), LocalCoordinator::new());
            let build = || {
                Rotator::builder(issuer.clone())
                    .clock(clock.clone())
                    .store(store.clone())
                    .coordinator(leases.clone())
                    .build()
                    .expect("a rotator")
            };
            let rotators = [build(), build()];
            block_on(async {
                let login = rotators[0].sign_in(issuer.mint()).expect("usable tokens");
                login.await.expect("stored");
                for round in 1..=3 {
                    clock.expire();
                    let tasks: Vec<_> = (0..TASKS)
                        .map(|task| spawn(call(rotators[task % 2].clone(), random_drop_time())))
                        .collect();
                    for task in tasks {
                        if let Some(outcome) = task.await.expect("no panic") {
                            outcome.expect("a token");
                        }
                    }
                    for rotator in &rotators {
                        rotator.token().await.expect("a token");
                    }
                    assert_eq!(issuer.0.refreshes.load(Ordering::SeqCst), round);
                }
            });
        },
        SCHEDULES / 5,
    );
}

/// A store that fails to save at random.
#[derive(Clone, Default)]
struct UnreliableStore(MemoryStore);

impl SessionStore for UnreliableStore {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        yield_now().await;
        self.0.load(key).await
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        yield_now().await;
        if thread_rng().gen_bool(0.5) {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "down"));
        }
        let saved = self.0.save(key, expected, record).await;
        yield_now().await;
        saved
    }
}

/// Callers refresh again and again over a store that fails half of its saves. Memory is always
/// newer than the store, so no refresh token is used twice.
#[test]
fn memory_is_newer_than_a_failing_store() {
    shuttle::check_random(
        || {
            let (issuer, clock) = (SingleUseIssuer::default(), ManualClock::default());
            let rotator = Rotator::builder(issuer.clone())
                .clock(clock.clone())
                .store(UnreliableStore::default())
                .coordinator(LocalCoordinator::new())
                .build()
                .expect("a rotator");
            block_on(async {
                while rotator
                    .sign_in(issuer.mint())
                    .expect("usable tokens")
                    .await
                    .is_err()
                {}
                let tasks: Vec<_> = (0..TASKS)
                    .map(|_| {
                        let rotator = rotator.clone();
                        spawn(async move {
                            for _ in 0..2 {
                                match rotator.refresh_now().await {
                                    Ok(_) => {}
                                    // The store did not accept the intent.
                                    Err(TokenError::Refresh(error))
                                        if error.kind() == FailureKind::NotSent => {}
                                    Err(error) => panic!("an unexpected outcome: {error:?}"),
                                }
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.expect("no panic");
                }
            });
        },
        SCHEDULES / 5,
    );
}

/// Callers, sign-ins and sign-outs in any order: every call ends, and the last sign-in stays. No
/// refresh token is used twice, not even by flights of earlier sessions, because the last session
/// can refresh twice. The loom checks show that no caller gets a token of another session.
#[test]
fn sign_ins_and_sign_outs_during_flights() {
    shuttle::check_random(
        || {
            let issuer = SingleUseIssuer(Arc::new(IssuerState {
                together: true,
                ..IssuerState::default()
            }));
            let clock = ManualClock::default();
            let store = MemoryStore::new();
            let rotator = Rotator::builder(issuer.clone())
                .clock(clock.clone())
                .store(store.clone())
                .coordinator(LocalCoordinator::new())
                .build()
                .expect("a rotator");
            rotator.sign_in(issuer.mint()).expect("usable tokens");
            clock.expire();
            let tasks: Vec<_> = (0..TASKS)
                .map(|task| match task % 10 {
                    4 => {
                        let (rotator, issuer) = (rotator.clone(), issuer.clone());
                        spawn(async move {
                            rotator.sign_in(issuer.mint()).expect("usable tokens");
                            None
                        })
                    }
                    8 => {
                        let rotator = rotator.clone();
                        spawn(async move {
                            rotator.sign_out();
                            None
                        })
                    }
                    _ => spawn(call(rotator.clone(), random_drop_time())),
                })
                .collect();
            block_on(async {
                for task in tasks {
                    match task.await.expect("no panic") {
                        None | Some(Ok(_)) => {}
                        Some(Err(TokenError::SignedOut | TokenError::SessionChanged)) => {}
                        Some(Err(error)) => panic!("an unexpected outcome: {error:?}"),
                    }
                }
                // Flights of earlier sessions may still run. They must not touch the tokens of this
                // session.
                let last = rotator.sign_in(issuer.mint()).expect("usable tokens");
                let again = spawn({
                    let rotator = rotator.clone();
                    async move {
                        for _ in 0..2 {
                            rotator.refresh_now().await.expect("a token");
                        }
                    }
                });
                last.await.expect("stored");
                again.await.expect("no panic");
                clock.expire();
                let token = rotator.token().await.expect("a token");
                assert!(rotator.shutdown(Duration::ZERO).await);
                assert_eq!(stored(&store).await, Some(secret(&token)));
            });
        },
        SCHEDULES / 2,
    );
}
