//! Tests runtimes that end during an operation or before it: every loss is reported, and no call
//! panics (rules 2 and 6).

use std::future::Future as _;
use std::task::{Context, Waker};
use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator::{
    Event, FailureKind, Profile, RefreshError, Rotator, RotatorBuilder, TokenError,
};
use tokio::runtime::Handle;

use crate::common::{
    EventLog, Issuer, IssuerAction, ScriptedStore, collect_outcomes, run_ready_tasks, secret,
    spawn_callers,
};
use crate::runtimes::{PATIENCE, block_on, one_thread, two_threads};

const MANY: usize = 1_000_000;

/// Returns a runtime whose clock advances when all tasks are idle.
fn paused() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let builder = builder.enable_all().start_paused(true);
    builder.build().expect("a runtime")
}

struct RuntimeFixture {
    issuer: Issuer,
    store: ScriptedStore,
    events: EventLog,
    rotator: Rotator,
}

impl RuntimeFixture {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(set: impl FnOnce(RotatorBuilder) -> RotatorBuilder) -> Self {
        let (issuer, store, events) = (Issuer::new(), ScriptedStore::new(), EventLog::default());
        let builder = Rotator::builder(issuer.clone())
            .store(store.clone())
            .on_event(events.listener());
        let rotator = set(builder).build().expect("a rotator");
        Self {
            issuer,
            store,
            events,
            rotator,
        }
    }

    async fn sign_in(&self) {
        let stored = self.rotator.sign_in(self.issuer.login()).expect("usable");
        stored.await.expect("stored");
    }

    fn stored(&self) -> Option<String> {
        block_on(self.store.access_token())
    }

    /// A shutdown reports failure while there is no runtime or the store is down. The next runtime
    /// writes the unsaved tokens.
    fn assert_shutdown_waits_for_the_save(&self) {
        let shutdown = |limit| self.rotator.shutdown(limit);
        assert!(!block_on(shutdown(PATIENCE)), "there is no runtime");
        self.store.fail_saves(MANY);
        let b = paused();
        assert!(!b.block_on(shutdown(PATIENCE)), "the store is down");
        // A shutdown also reports failure after that runtime has ended.
        drop(b);
        assert!(!block_on(shutdown(PATIENCE)));
        self.store.fail_saves(0);
        let c = one_thread();
        assert!(
            c.block_on(shutdown(PATIENCE)),
            "there is nothing in the way"
        );
        assert!(block_on(shutdown(PATIENCE)), "there is nothing left to do");
    }
}

/// The runtime ends while a flight saves; a later runtime saves the tokens.
#[test]
fn an_interrupted_save_is_repeated() {
    for a in [one_thread(), two_threads()] {
        let fixture = RuntimeFixture::new();
        a.block_on(async {
            fixture.sign_in().await;
            fixture.store.hold_saves(true);
            let saves = fixture.store.saves();
            let rotator = fixture.rotator.clone();
            tokio::spawn(async move { rotator.refresh_now().await });
            fixture.store.wait_for_saves(saves + 1).await;
        });
        drop(a);
        fixture.store.hold_saves(false);
        assert_eq!(fixture.stored().as_deref(), Some("access-1"));
        fixture.assert_shutdown_waits_for_the_save();
        assert_eq!(fixture.stored().as_deref(), Some("access-2"));
    }
}

/// The runtime ends while a flight that works from memory saves, and the retry of the earlier save
/// waits. The store ends with the newest tokens.
#[test]
fn an_interrupted_save_from_memory_is_repeated() {
    let a = paused();
    let fixture = RuntimeFixture::new();
    a.block_on(async {
        fixture.sign_in().await;
        fixture.store.fail_saves(MANY);
        fixture.rotator.refresh_now().await.expect("from memory");
        fixture.issuer.hold();
        let rotator = fixture.rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await });
        fixture.issuer.wait_for_calls(2).await;
        // The retry of the earlier save waits for the flight.
        tokio::time::sleep(Duration::from_millis(600)).await;
        fixture.store.hold_saves(true);
        let saves = fixture.store.saves();
        fixture.issuer.release();
        fixture.store.wait_for_saves(saves + 1).await;
    });
    drop(a);
    fixture.store.hold_saves(false);
    fixture.assert_shutdown_waits_for_the_save();
    assert_eq!(fixture.stored().as_deref(), Some("access-3"));
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// The runtime ends while a sign-out is written, or after its write failed; a later runtime writes
/// the tombstone.
#[test]
fn an_interrupted_tombstone_is_written_later() {
    for fails in [false, true] {
        let a = one_thread();
        let fixture = RuntimeFixture::new();
        a.block_on(async {
            fixture.sign_in().await;
            let saves = fixture.store.saves();
            if fails {
                fixture.store.fail_saves(MANY);
                fixture.rotator.sign_out().await.expect_err("it is down");
            } else {
                fixture.store.hold_saves(true);
                let _stored = fixture.rotator.sign_out();
                fixture.store.wait_for_saves(saves + 1).await;
            }
        });
        drop(a);
        fixture.store.hold_saves(false);
        assert_eq!(fixture.stored().as_deref(), Some("access-1"));
        fixture.assert_shutdown_waits_for_the_save();
        let record = block_on(fixture.store.record()).expect("a record");
        assert!(record.tokens().is_none());
    }
}

/// The runtime ends while an update is saved, or there never was a runtime; a later runtime saves
/// the update.
#[test]
fn an_interrupted_update_is_saved_later() {
    for (begins, waits) in [(true, true), (true, false), (false, false)] {
        let a = one_thread();
        let fixture = RuntimeFixture::new();
        a.block_on(fixture.sign_in());
        let old = fixture.rotator.access_token().expect("a token");
        let newer = fixture.issuer.spend(old.token_set());
        if begins {
            a.block_on(async {
                fixture.store.hold_saves(true);
                let saves = fixture.store.saves();
                let _stored = fixture.rotator.update(&old, newer).expect("usable");
                if waits {
                    fixture.store.wait_for_saves(saves + 1).await;
                }
            });
            drop(a);
            fixture.store.hold_saves(false);
        } else {
            drop(a);
            let stored = fixture.rotator.update(&old, newer).expect("usable");
            block_on(stored).expect_err("there is no runtime");
        }
        fixture.assert_shutdown_waits_for_the_save();
        assert_eq!(fixture.stored().as_deref(), Some("access-2"));
    }
}

/// The runtime ends while an unusable answer is saved; the next flight uses its refresh token.
#[test]
fn the_next_flight_uses_an_unusable_answer_whose_save_was_interrupted() {
    let a = one_thread();
    let fixture = RuntimeFixture::new();
    a.block_on(async {
        fixture.sign_in().await;
        let old = fixture.rotator.access_token().expect("a token");
        let next = fixture
            .issuer
            .spend(old.token_set())
            .with_token_type("DPoP");
        fixture.issuer.push_action(IssuerAction::Answer(next));
        fixture.store.hold_saves(true);
        let saves = fixture.store.saves();
        let rotator = fixture.rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await });
        fixture.store.wait_for_saves(saves + 1).await;
    });
    drop(a);
    fixture.store.hold_saves(false);
    let b = one_thread();
    let token = b.block_on(fixture.rotator.refresh_now()).expect("a token");
    assert_eq!(secret(&token), "access-3");
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
    drop(b);
    assert_eq!(fixture.stored().as_deref(), Some("access-3"));
}

/// A runtime ends before the second attempt is recorded. The first attempt may have spent the
/// refresh token, so the outcome is uncertain.
#[test]
fn an_interrupted_second_attempt_is_uncertain() {
    let a = one_thread();
    let fixture = RuntimeFixture::with(|builder| builder.profile(Profile::parent_always()));
    a.block_on(async {
        fixture.sign_in().await;
        fixture.issuer.push_action(IssuerAction::LoseAnswer);
        fixture.issuer.hold();
        let rotator = fixture.rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await });
        fixture.issuer.wait_for_calls(1).await;
        fixture.store.hold_intents(true);
        fixture.issuer.release();
        fixture.store.wait_for_intents(2).await;
    });
    drop(a);
    let uncertain = |event: &Event| {
        matches!(
            event,
            Event::RefreshFailed {
                error: error @ RefreshError::Abandoned { .. },
                ..
            } if error.kind() == FailureKind::Uncertain
        )
    };
    assert_eq!(
        fixture.events.count(uncertain),
        1,
        "{:?}",
        fixture.events.all()
    );
}

/// A runtime that ends while the flight reads the store has sent no request, even after an earlier
/// flight.
#[test]
fn a_flight_that_was_interrupted_early_has_sent_nothing() {
    let a = one_thread();
    let fixture = RuntimeFixture::new();
    a.block_on(async {
        fixture.sign_in().await;
        fixture.store.fail_saves(1);
        fixture.rotator.refresh_now().await.expect("from memory");
        fixture.store.hold_saves(true);
        let saves = fixture.store.saves();
        let rotator = fixture.rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await });
        fixture.store.wait_for_saves(saves + 1).await;
        run_ready_tasks().await;
    });
    drop(a);
    let not_sent = |event: &Event| {
        matches!(
            event,
            Event::RefreshFailed {
                error: RefreshError::Abandoned { sent: false, .. },
                ..
            }
        )
    };
    assert_eq!(
        fixture.events.count(not_sent),
        1,
        "{:?}",
        fixture.events.all()
    );
}

fn ended() -> Handle {
    let runtime = two_threads();
    let handle = runtime.handle().clone();
    drop(runtime);
    handle
}

/// The runtime given to the builder has ended. A caller with its own runtime is served there, and a
/// caller without one gets `NoRuntime`. No call panics.
#[test]
fn a_given_runtime_that_has_ended_is_not_used() {
    for wait in [Duration::from_secs(1), Duration::from_secs(60)] {
        let fixture = RuntimeFixture::with(|builder| builder.runtime(ended()).wait_timeout(wait));
        let stored = fixture
            .rotator
            .sign_in(fixture.issuer.login())
            .expect("usable");
        block_on(stored).expect_err("there is no runtime");
        assert_eq!(
            secret(&block_on(fixture.rotator.token()).expect("it is good")),
            "access-1"
        );
        let error = block_on(fixture.rotator.refresh_now());
        assert!(matches!(error, Err(TokenError::NoRuntime)), "{error:?}");
        let error = block_on(fixture.rotator.refresh_now());
        assert!(matches!(error, Err(TokenError::NoRuntime)), "{error:?}");
        assert!(
            !block_on(fixture.rotator.shutdown(PATIENCE)),
            "it is not saved"
        );

        let fixture = RuntimeFixture::with(|builder| builder.runtime(ended()).wait_timeout(wait));
        let here = one_thread();
        here.block_on(async {
            fixture.sign_in().await;
            fixture.rotator.refresh_now().await.expect("a token");
            for token in collect_outcomes(spawn_callers(&fixture.rotator, 10)).await {
                assert_eq!(secret(&token.expect("a token")), "access-2");
            }
            assert!(fixture.rotator.shutdown(PATIENCE).await);
        });
        assert_eq!(fixture.stored().as_deref(), Some("access-2"));
    }
}

/// The first call finds the ended runtime, whether it is a caller's or a shutdown's.
#[test]
fn the_first_call_on_an_ended_runtime_gets_no_runtime() {
    for in_a_runtime in [true, false] {
        let issuer = Issuer::new();
        issuer.without_grant();
        let rotator = Rotator::builder(issuer.clone())
            .runtime(ended())
            .wait_timeout(Duration::from_secs(1))
            .build()
            .expect("a rotator");
        if in_a_runtime {
            let token = one_thread().block_on(rotator.token()).expect("served");
            assert_eq!(secret(&token), "access-1");
        } else {
            let error = block_on(rotator.token());
            assert!(matches!(error, Err(TokenError::NoRuntime)), "{error:?}");
        }
        assert!(block_on(rotator.shutdown(PATIENCE)), "nothing is left");
    }
}

/// Callers without a runtime wait, with a deadline, for a flight on a runtime that then ends.
#[test]
fn callers_of_a_given_runtime_that_ends_get_an_error() {
    for a in [one_thread(), two_threads()] {
        let issuer = Issuer::new();
        let rotator = Rotator::builder(issuer.clone())
            .runtime(a.handle().clone())
            .wait_timeout(Duration::from_secs(5))
            .build()
            .expect("a rotator");
        rotator.sign_in(issuer.login()).expect("usable");
        issuer.hold();
        a.block_on(async {
            let first = rotator.clone();
            tokio::spawn(async move { first.refresh_now().await });
            issuer.wait_for_calls(1).await;
        });
        let call = || {
            let rotator = rotator.clone();
            Box::pin(async move { rotator.refresh_now().await })
        };
        let mut waiting: Vec<_> = (0..10).map(|_| call()).collect();
        let mut context = Context::from_waker(Waker::noop());
        for call in &mut waiting {
            let wait = call.as_mut().poll(&mut context);
            assert!(wait.is_pending(), "the caller waits for the flight");
        }
        a.shutdown_timeout(Duration::from_secs(1));
        for call in waiting {
            let outcome = block_on(call);
            assert!(
                matches!(
                    outcome,
                    Err(TokenError::Refresh(RefreshError::Abandoned { .. }) | TokenError::NoRuntime)
                ),
                "{outcome:?}"
            );
        }
    }
}
