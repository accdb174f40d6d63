//! Writer checks: a sign-out during a save, two sign-ins, and an early drop of the last handle.

use super::concurrent::SlowStore;
use super::*;

/// A sign-out at any point of a flight, its save included: the store holds a tombstone after the
/// sign-out is stored, and still after the flight has ended.
#[test]
fn a_sign_out_during_a_save() {
    shuttle::check_random(
        || {
            let (issuer, clock) = (SingleUseIssuer::default(), ManualClock::default());
            let store = SlowStore::default();
            let rotator = Rotator::builder(issuer.clone())
                .clock(clock.clone())
                .store(store.clone())
                .coordinator(LocalCoordinator::new())
                .build()
                .expect("a rotator");
            block_on(async {
                let login = rotator.sign_in(issuer.mint()).expect("usable tokens");
                login.await.expect("stored");
                clock.expire();
                let flight = spawn({
                    let rotator = rotator.clone();
                    async move { rotator.token().await }
                });
                for _ in 0..thread_rng().gen_range(0..20) {
                    yield_now().await;
                }
                rotator.sign_out().await.expect("stored");
                assert_eq!(stored(&store).await, None);
                match flight.await.expect("no panic") {
                    Ok(_) | Err(TokenError::SignedOut | TokenError::SessionChanged) => {}
                    Err(error) => panic!("an unexpected outcome: {error:?}"),
                }
                assert!(rotator.shutdown(Duration::ZERO).await);
                assert_eq!(stored(&store).await, None);
            });
        },
        SCHEDULES,
    );
}

/// A store whose first save never returns, before or after the record has changed.
#[derive(Clone, Default)]
struct HangingStore(MemoryStore, Arc<AtomicUsize>);

impl SessionStore for HangingStore {
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
        let hangs = self.1.fetch_add(1, Ordering::SeqCst) == 0;
        if hangs && thread_rng().gen_bool(0.5) {
            return std::future::pending().await;
        }
        let saved = self.0.save(key, expected, record).await;
        if hangs {
            return std::future::pending().await;
        }
        yield_now().await;
        saved
    }
}

/// The write of a sign-in never returns: a sign-out overtakes it.
#[test]
fn a_sign_out_does_not_wait_for_a_write_that_hangs() {
    shuttle::check_random(
        || {
            let issuer = SingleUseIssuer::default();
            let store = HangingStore::default();
            let rotator = Rotator::builder(issuer.clone())
                .store(store.clone())
                .build()
                .expect("a rotator");
            block_on(async {
                let login = rotator.sign_in(issuer.mint()).expect("usable tokens");
                for _ in 0..thread_rng().gen_range(0..8) {
                    yield_now().await;
                }
                let hung = store.1.load(Ordering::SeqCst) > 0;
                if hung {
                    rotator.sign_out().await.expect("stored");
                    assert_eq!(stored(&store).await, None);
                    assert!(rotator.shutdown(Duration::ZERO).await);
                    login.await.expect("nothing is left to store");
                }
            });
        },
        SCHEDULES,
    );
}

/// Two concurrent sign-ins: both futures end, and the store holds the tokens that are served.
#[test]
fn two_concurrent_sign_ins() {
    shuttle::check_random(
        || {
            let issuer = SingleUseIssuer::default();
            let store = SlowStore::default();
            let rotator = Rotator::builder(issuer.clone())
                .store(store.clone())
                .build()
                .expect("a rotator");
            block_on(async {
                let sign_ins: Vec<_> = (0..2)
                    .map(|_| {
                        let (rotator, issuer) = (rotator.clone(), issuer.clone());
                        spawn(async move {
                            let login = rotator.sign_in(issuer.mint()).expect("usable tokens");
                            yield_now().await;
                            login.await.expect("stored");
                        })
                    })
                    .collect();
                for sign_in in sign_ins {
                    sign_in.await.expect("no panic");
                }
                let token = rotator.token().await.expect("a token");
                assert_eq!(stored(&store).await, Some(secret(&token)));
                let next = rotator.refresh_now().await.expect("the next token");
                assert_eq!(next.stamp().epoch, token.stamp().epoch);
                assert!(rotator.shutdown(Duration::ZERO).await);
            });
        },
        SCHEDULES,
    );
}

/// The last handle and the future of the sign-in are dropped before or during the write: the write
/// still completes.
#[test]
fn the_last_handle_leaves_the_write_running() {
    shuttle::check_random(
        || {
            let issuer = SingleUseIssuer::default();
            let store = SlowStore::default();
            let rotator = Rotator::builder(issuer.clone())
                .store(store.clone())
                .build()
                .expect("a rotator");
            block_on(async {
                let tokens = issuer.mint();
                let expected = tokens.access_token().expose_secret().to_owned();
                let login = rotator.sign_in(tokens).expect("usable tokens");
                let weak = rotator.downgrade();
                for _ in 0..thread_rng().gen_range(0..6) {
                    yield_now().await;
                }
                drop(login);
                drop(rotator);
                while weak.upgrade().is_some() {
                    yield_now().await;
                }
                assert_eq!(stored(&store).await, Some(expected));
            });
        },
        SCHEDULES,
    );
}
