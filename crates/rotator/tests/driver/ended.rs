//! Runtimes that end in the middle of something, or have ended before: nothing is lost without a
//! word, and nothing panics (rules 2 and 6).

use std::future::Future as _;
use std::task::{Context, Waker};
use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator::{
    Event, FailureKind, Profile, RefreshError, Rotator, RotatorBuilder, TokenError,
};
use tokio::runtime::Handle;

use crate::common::{Act, Heard, Issuer, ScriptedStore, callers, let_run, outcomes, secret};
use crate::runtimes::{PATIENCE, block_on, one_thread, two_threads};

const MANY: usize = 1_000_000;

/// One whose clock goes forward when there is nothing to do.
fn paused() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let builder = builder.enable_all().start_paused(true);
    builder.build().expect("a runtime")
}

struct Scene {
    issuer: Issuer,
    store: ScriptedStore,
    heard: Heard,
    rotator: Rotator,
}

impl Scene {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(set: impl FnOnce(RotatorBuilder) -> RotatorBuilder) -> Self {
        let (issuer, store, heard) = (Issuer::new(), ScriptedStore::new(), Heard::default());
        let builder = Rotator::builder(issuer.clone())
            .store(store.clone())
            .on_event(heard.listener());
        let rotator = set(builder).build().expect("a rotator");
        Self {
            issuer,
            store,
            heard,
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

    /// Nothing can be saved without a runtime, nor while the store is down, and neither is called
    /// done; the next runtime does it.
    fn shuts_down_when_saved(&self) {
        let shutdown = |limit| self.rotator.shutdown(limit);
        assert!(!block_on(shutdown(PATIENCE)), "there is no runtime");
        self.store.fail_saves(MANY);
        let b = paused();
        assert!(!b.block_on(shutdown(PATIENCE)), "the store is down");
        // Nor where that runtime has gone as well.
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

/// A runtime that ends while a flight saves.
#[test]
fn a_save_that_was_cut_off_is_made_good() {
    for a in [one_thread(), two_threads()] {
        let scene = Scene::new();
        a.block_on(async {
            scene.sign_in().await;
            scene.store.hold_saves(true);
            let saves = scene.store.saves();
            let rotator = scene.rotator.clone();
            tokio::spawn(async move { rotator.refresh_now().await });
            scene.store.saving(saves + 1).await;
        });
        drop(a);
        scene.store.hold_saves(false);
        assert_eq!(scene.stored().as_deref(), Some("access-1"));
        scene.shuts_down_when_saved();
        assert_eq!(scene.stored().as_deref(), Some("access-2"));
    }
}

/// While a flight that works from memory saves, the saver of what came before waiting its turn:
/// what was brought last is what is stored.
#[test]
fn a_save_from_memory_that_was_cut_off_is_made_good() {
    let a = paused();
    let scene = Scene::new();
    a.block_on(async {
        scene.sign_in().await;
        scene.store.fail_saves(MANY);
        scene.rotator.refresh_now().await.expect("from memory");
        scene.issuer.hold();
        let rotator = scene.rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await });
        scene.issuer.arrived(2).await;
        // The saver wakes up and waits for the flight.
        tokio::time::sleep(Duration::from_millis(600)).await;
        scene.store.hold_saves(true);
        let saves = scene.store.saves();
        scene.issuer.let_go();
        scene.store.saving(saves + 1).await;
    });
    drop(a);
    scene.store.hold_saves(false);
    scene.shuts_down_when_saved();
    assert_eq!(scene.stored().as_deref(), Some("access-3"));
    assert_eq!(scene.issuer.reuse_alarms(), 0);
}

/// While a sign-out is written, and while one could not be.
#[test]
fn a_tombstone_that_was_cut_off_is_made_good() {
    for fails in [false, true] {
        let a = one_thread();
        let scene = Scene::new();
        a.block_on(async {
            scene.sign_in().await;
            let saves = scene.store.saves();
            if fails {
                scene.store.fail_saves(MANY);
                scene.rotator.sign_out().await.expect_err("it is down");
            } else {
                scene.store.hold_saves(true);
                let _stored = scene.rotator.sign_out();
                scene.store.saving(saves + 1).await;
            }
        });
        drop(a);
        scene.store.hold_saves(false);
        assert_eq!(scene.stored().as_deref(), Some("access-1"));
        scene.shuts_down_when_saved();
        let record = block_on(scene.store.record()).expect("a record");
        assert!(record.tokens().is_none());
    }
}

/// While an update is saved; or there never was a runtime to save it on.
#[test]
fn an_update_that_was_cut_off_is_made_good() {
    for (begins, waits) in [(true, true), (true, false), (false, false)] {
        let a = one_thread();
        let scene = Scene::new();
        a.block_on(scene.sign_in());
        let old = scene.rotator.access_token().expect("a token");
        let newer = scene.issuer.spend(old.token_set());
        if begins {
            a.block_on(async {
                scene.store.hold_saves(true);
                let saves = scene.store.saves();
                let _stored = scene.rotator.update(&old, newer).expect("usable");
                if waits {
                    scene.store.saving(saves + 1).await;
                }
            });
            drop(a);
            scene.store.hold_saves(false);
        } else {
            drop(a);
            let stored = scene.rotator.update(&old, newer).expect("usable");
            block_on(stored).expect_err("there is no runtime");
        }
        scene.shuts_down_when_saved();
        assert_eq!(scene.stored().as_deref(), Some("access-2"));
    }
}

/// An answer that cannot be sent, cut off while it was saved: the next flight goes on from it.
#[test]
fn an_unusable_answer_that_was_cut_off_is_gone_on_from() {
    let a = one_thread();
    let scene = Scene::new();
    a.block_on(async {
        scene.sign_in().await;
        let old = scene.rotator.access_token().expect("a token");
        let next = scene.issuer.spend(old.token_set()).with_token_type("DPoP");
        scene.issuer.next(Act::Answer(next));
        scene.store.hold_saves(true);
        let saves = scene.store.saves();
        let rotator = scene.rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await });
        scene.store.saving(saves + 1).await;
    });
    drop(a);
    scene.store.hold_saves(false);
    let b = one_thread();
    let token = b.block_on(scene.rotator.refresh_now()).expect("a token");
    assert_eq!(secret(&token), "access-3");
    assert_eq!(scene.issuer.reuse_alarms(), 0);
    drop(b);
    assert_eq!(scene.stored().as_deref(), Some("access-3"));
}

/// A runtime that ends before the second attempt was written down: the first may have spent the
/// refresh token all the same, and that is what is said.
#[test]
fn a_second_attempt_that_was_cut_off_is_uncertain() {
    let a = one_thread();
    let scene = Scene::with(|builder| builder.profile(Profile::parent_always()));
    a.block_on(async {
        scene.sign_in().await;
        scene.issuer.next(Act::LoseAnswer);
        scene.issuer.hold();
        let rotator = scene.rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await });
        scene.issuer.arrived(1).await;
        scene.store.hold_intents(true);
        scene.issuer.let_go();
        scene.store.writing_intent(2).await;
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
    assert_eq!(scene.heard.count(uncertain), 1, "{:?}", scene.heard.all());
}

/// One that ends while the store is read has spent nothing, though an earlier flight did.
#[test]
fn a_flight_that_was_cut_off_early_has_sent_nothing() {
    let a = one_thread();
    let scene = Scene::new();
    a.block_on(async {
        scene.sign_in().await;
        scene.store.fail_saves(1);
        scene.rotator.refresh_now().await.expect("from memory");
        scene.store.hold_saves(true);
        let saves = scene.store.saves();
        let rotator = scene.rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await });
        scene.store.saving(saves + 1).await;
        let_run().await;
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
    assert_eq!(scene.heard.count(not_sent), 1, "{:?}", scene.heard.all());
}

fn ended() -> Handle {
    let runtime = two_threads();
    let handle = runtime.handle().clone();
    drop(runtime);
    handle
}

/// A runtime that was given to the builder and has ended: whoever has one of their own is served
/// on that, whoever has none is told so. Nothing panics.
#[test]
fn a_given_runtime_that_has_ended_is_forgotten() {
    for wait in [Duration::from_secs(1), Duration::from_secs(60)] {
        let scene = Scene::with(|builder| builder.runtime(ended()).wait_timeout(wait));
        let stored = scene.rotator.sign_in(scene.issuer.login()).expect("usable");
        block_on(stored).expect_err("there is no runtime");
        assert_eq!(
            secret(&block_on(scene.rotator.token()).expect("it is good")),
            "access-1"
        );
        let error = block_on(scene.rotator.refresh_now());
        assert!(matches!(error, Err(TokenError::NoRuntime)), "{error:?}");
        let error = block_on(scene.rotator.refresh_now());
        assert!(matches!(error, Err(TokenError::NoRuntime)), "{error:?}");
        assert!(
            !block_on(scene.rotator.shutdown(PATIENCE)),
            "it is not saved"
        );

        let scene = Scene::with(|builder| builder.runtime(ended()).wait_timeout(wait));
        let here = one_thread();
        here.block_on(async {
            scene.sign_in().await;
            scene.rotator.refresh_now().await.expect("a token");
            for token in outcomes(callers(&scene.rotator, 10)).await {
                assert_eq!(secret(&token.expect("a token")), "access-2");
            }
            assert!(scene.rotator.shutdown(PATIENCE).await);
        });
        assert_eq!(scene.stored().as_deref(), Some("access-2"));
    }
}

/// The first call of all meets it, be that a caller's or a shutdown's.
#[test]
fn the_first_call_on_a_runtime_that_has_ended_is_told() {
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

/// Callers without a runtime wait, with a deadline, for a flight on a runtime that ends under them.
#[test]
fn a_given_runtime_that_ends_under_its_callers_leaves_them_a_word() {
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
            issuer.arrived(1).await;
        });
        let call = || {
            let rotator = rotator.clone();
            Box::pin(async move { rotator.refresh_now().await })
        };
        let mut waiting: Vec<_> = (0..10).map(|_| call()).collect();
        let mut context = Context::from_waker(Waker::noop());
        for call in &mut waiting {
            let wait = call.as_mut().poll(&mut context);
            assert!(wait.is_pending(), "it waits for the flight");
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
