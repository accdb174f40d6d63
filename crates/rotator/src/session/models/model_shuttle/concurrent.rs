//! Sign-ins and shutdowns during flights, on a slow store.

use token_rotator_core::Attempt;

use super::*;

/// A sign-in at any point of a flight: during a store call, the wait for the lease or the refresh.
/// Only flights of the new session spend its refresh token, so it can refresh twice. The old
/// flight's token is in neither memory nor store at the end.
#[test]
fn a_sign_in_during_a_flight() {
    shuttle::check_random(
        || {
            let issuer = SingleUseIssuer(Arc::new(IssuerState {
                together: true,
                ..IssuerState::default()
            }));
            let store = SlowStore::default();
            let build = || {
                Rotator::builder(issuer.clone())
                    .store(store.clone())
                    .coordinator(LocalCoordinator::new())
                    .build()
                    .expect("a rotator")
            };
            let rotator = build();
            block_on(async {
                let alices = rotator.sign_in(issuer.mint()).expect("usable tokens");
                alices.await.expect("stored");
                let refresh = || {
                    let rotator = rotator.clone();
                    spawn(async move { rotator.refresh_now().await })
                };
                let flight = refresh();
                for _ in 0..thread_rng().gen_range(0..20) {
                    yield_now().await;
                }
                let bobs = rotator.sign_in(issuer.mint()).expect("usable tokens");
                let stamp = rotator.token().await.expect("bob's").stamp();
                for _ in 0..2 {
                    let token = refresh().await.expect("no panic").expect("bob's next");
                    assert_eq!(token.stamp().epoch, stamp.epoch);
                }
                bobs.await.expect("stored");
                match flight.await.expect("no panic") {
                    Ok(_) | Err(TokenError::SessionChanged) => {}
                    Err(error) => panic!("an unexpected outcome: {error:?}"),
                }
                assert!(rotator.shutdown(Duration::ZERO).await);
                let token = rotator.token().await.expect("bob's");
                assert_eq!(stored(&store).await, Some(secret(&token)));
            });
        },
        SCHEDULES,
    );
}

/// A slow store: other tasks may run before and after each call. It is durable, so flights write
/// intents.
#[derive(Clone, Default)]
pub(super) struct SlowStore(MemoryStore);

impl SessionStore for SlowStore {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        yield_now().await;
        let found = self.0.load(key).await;
        yield_now().await;
        found
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        yield_now().await;
        let saved = self.0.save(key, expected, record).await;
        yield_now().await;
        saved
    }
}

/// A shutdown during calls: after it has ended, no task of any caller runs, and the store holds
/// their tokens.
#[test]
fn a_shutdown_waits_for_admitted_calls() {
    shuttle::check_random(
        || {
            let issuer = SingleUseIssuer::default();
            let store = SlowStore::default();
            let rotator = Rotator::builder(issuer.clone())
                .store(store.clone())
                .build()
                .expect("a rotator");
            block_on(async {
                let login = rotator.sign_in(issuer.mint()).expect("usable tokens");
                login.await.expect("stored");
                let token = rotator.token().await.expect("a token");
                let tasks: Vec<_> = (0..4)
                    .map(|task| {
                        let (rotator, stamp) = (rotator.clone(), token.stamp());
                        spawn(async move {
                            match task % 2 {
                                0 => drop(rotator.refresh_now().await),
                                _ => rotator
                                    .session
                                    .report_refused(stamp, Some(Attempt::replay(0))),
                            }
                        })
                    })
                    .collect();
                let shutdown = spawn({
                    let (rotator, issuer, store) = (rotator.clone(), issuer.clone(), store.clone());
                    async move {
                        assert!(rotator.shutdown(Duration::ZERO).await);
                        assert_eq!(issuer.0.in_air.load(Ordering::SeqCst), 0);
                        let refreshes = issuer.0.refreshes.load(Ordering::SeqCst);
                        let expected = format!("access-{refreshes}");
                        assert_eq!(stored(&store).await, Some(expected));
                        refreshes
                    }
                });
                let refreshes = shutdown.await.expect("no panic");
                for task in tasks {
                    task.await.expect("no panic");
                }
                assert_eq!(issuer.0.refreshes.load(Ordering::SeqCst), refreshes);
            });
        },
        SCHEDULES,
    );
}
