//! Sign-ins and shutdowns that meet flights, on a store that takes its time.

use token_rotator_core::Attempt;

use super::*;

/// A sign-in meets a flight at any point, in the store, the lease or the air: nothing of the new
/// session is spent but by its own flights, so that it can refresh twice; and what the old one's
/// flight brought is nowhere in the end.
#[test]
fn a_sign_in_meets_a_flight() {
    shuttle::check_random(
        || {
            let issuer = Issuer(Arc::new(State {
                together: true,
                ..State::default()
            }));
            let store = Slow::default();
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
                    Err(error) => panic!("an outcome nobody expects: {error:?}"),
                }
                assert!(rotator.shutdown(Duration::ZERO).await);
                let token = rotator.token().await.expect("bob's");
                let record = store.load(rotator.session()).await.expect("memory");
                let stored = record.and_then(|record| record.tokens).expect("tokens");
                assert_eq!(
                    stored.access_token().expose_secret(),
                    token.secret().expose_secret()
                );
            });
        },
        SCHEDULES,
    );
}

/// Takes its time, so that anything may happen in between, and keeps a journal.
#[derive(Clone, Default)]
pub(super) struct Slow(MemoryStore);

impl SessionStore for Slow {
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

/// A shutdown races callers: once it has ended, nothing that any of them started is still at work,
/// and what they brought is in the store.
#[test]
fn a_shutdown_waits_for_what_was_let_in() {
    shuttle::check_random(
        || {
            let issuer = Issuer::default();
            let store = Slow::default();
            let rotator = Rotator::builder(issuer.clone())
                .store(store.clone())
                .build()
                .expect("a rotator");
            block_on(async {
                let login = rotator.sign_in(issuer.mint()).expect("usable tokens");
                login.await.expect("stored");
                let token = rotator.token().await.expect("a token");
                let calls: Vec<_> = (0..4)
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
                        let record = store.load(rotator.session()).await.expect("memory");
                        let stored = record.and_then(|record| record.tokens).expect("tokens");
                        assert_eq!(
                            stored.access_token().expose_secret(),
                            format!("access-{refreshes}")
                        );
                        refreshes
                    }
                });
                let refreshes = shutdown.await.expect("no panic");
                for call in calls {
                    call.await.expect("no panic");
                }
                assert_eq!(issuer.0.refreshes.load(Ordering::SeqCst), refreshes);
            });
        },
        SCHEDULES,
    );
}
