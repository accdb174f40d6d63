//! Tests runtimes that end, dedicated threads, and callers without a runtime (rule 2).

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use token_rotator::{Event, FailureKind, RefreshError, Rotator, SourceError, TokenError, TokenSet};
use tokio::runtime::Runtime;

use crate::common::{
    Issuer, Requests as _, ScriptedStore, collect_outcomes, secret, spawn_callers,
};

/// Longer than any operation that does not hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn one_thread() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

pub(crate) fn two_threads() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn rotator(issuer: &Issuer) -> Rotator {
    let builder = Rotator::builder(issuer.clone());
    builder.build().expect("a rotator")
}

/// Runs a future without a runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let begun = Instant::now();
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "the future was not woken");
        std::thread::park_timeout(PATIENCE);
    }
}

/// A flight runs on runtime A and 50 waiters on runtime B; A ends. Every waiter gets a typed error,
/// and the next call works on B.
#[test]
fn waiters_survive_the_runtime_of_the_flight() {
    for a in [one_thread(), two_threads()] {
        let issuer = Issuer::new();
        let rotator = rotator(&issuer);
        rotator.sign_in(issuer.login()).expect("usable tokens");
        issuer.hold();
        a.block_on(async {
            let first = rotator.clone();
            tokio::spawn(async move { first.refresh_now().await });
            issuer.wait_for_calls(1).await;
        });
        let b = two_threads();
        let call = || {
            let rotator = rotator.clone();
            Box::pin(async move { rotator.refresh_now().await })
        };
        let mut waiting: Vec<_> = (0..50).map(|_| call()).collect();
        b.block_on(std::future::poll_fn(|context| {
            for call in &mut waiting {
                let wait = call.as_mut().poll(context);
                assert!(wait.is_pending(), "the caller waits for the flight on A");
            }
            Poll::Ready(())
        }));
        a.shutdown_timeout(Duration::from_secs(1));
        let outcomes = b.block_on(async {
            let tasks = waiting.into_iter().map(tokio::spawn).collect();
            tokio::time::timeout(PATIENCE, collect_outcomes(tasks)).await
        });
        for outcome in outcomes.expect("every waiter resolves") {
            let Err(TokenError::Refresh(error @ RefreshError::Abandoned { .. })) = outcome else {
                panic!("a typed outcome, not {outcome:?}");
            };
            assert_eq!(error.kind(), FailureKind::Uncertain);
        }
        issuer.release();
        b.block_on(async {
            let login = rotator.token().await.expect("the token is still good");
            // The refresh token is in doubt, so it is not presented while the access token is good.
            let forced = rotator.refresh_now().await;
            assert!(
                matches!(
                    forced,
                    Err(TokenError::Refresh(RefreshError::InDoubt { wait: None }))
                ),
                "{forced:?}"
            );
            let cooling = rotator.refused(&login).await;
            assert!(cooling.is_err(), "{cooling:?}");
            // No good access token is left.
            let token = rotator.refresh_now().await.expect("B serves");
            assert_eq!(secret(&token), "access-2");
        });
        assert_eq!(issuer.reuse_alarms(), 0);
    }
}

/// If a runtime ended before a flight began on it, the flight begins on the caller's runtime. Tests
/// that share a static rotator depend on this.
#[test]
fn an_ended_runtime_is_not_used() {
    let issuer = Issuer::new();
    let rotator = rotator(&issuer);
    rotator.sign_in(issuer.login()).expect("usable tokens");
    for round in 2..5 {
        let runtime = one_thread();
        let token = runtime.block_on(rotator.refresh_now()).expect("a token");
        assert_eq!(secret(&token), format!("access-{round}"));
    }
    assert_eq!(issuer.refresh_calls(), 3);
}

/// The runtime ends after the issuer has answered and before the store has. The tokens are served
/// from memory, and the next runtime saves them.
#[test]
fn received_tokens_outlive_the_runtime() {
    let issuer = Issuer::new();
    let store = ScriptedStore::new();
    let rotator = Rotator::builder(issuer.clone())
        .store(store.clone())
        .build()
        .expect("a rotator");
    let a = one_thread();
    a.block_on(async {
        let stored = rotator.sign_in(issuer.login()).expect("usable tokens");
        stored.await.expect("stored");
        store.hold_saves(true);
        let saves = store.saves();
        let first = rotator.clone();
        tokio::spawn(async move { first.refresh_now().await });
        store.wait_for_saves(saves + 1).await;
    });
    drop(a);
    store.hold_saves(false);
    let b = one_thread();
    b.block_on(async {
        let token = rotator.token().await.expect("served from memory");
        assert_eq!(secret(&token), "access-2");
        let token = rotator.refresh_now().await.expect("from memory");
        assert_eq!(secret(&token), "access-3");
        assert!(rotator.shutdown(PATIENCE).await);
    });
    assert_eq!(issuer.reuse_alarms(), 0);
    b.block_on(async {
        assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
    });
}

/// Without a runtime a good token is served, and a refresh fails with `NoRuntime`.
#[test]
fn without_a_runtime_there_is_no_refresh() {
    let issuer = Issuer::new();
    let rotator = rotator(&issuer);
    assert!(matches!(
        block_on(rotator.token()),
        Err(TokenError::NoRuntime)
    ));
    rotator.sign_in(issuer.login()).expect("usable tokens");
    let token = block_on(rotator.token()).expect("a good token");
    assert_eq!(secret(&token), "access-1");
    assert!(matches!(
        block_on(rotator.refresh_now()),
        Err(TokenError::NoRuntime)
    ));
    assert!(
        block_on(rotator.shutdown(PATIENCE)),
        "there is nothing to wait for"
    );
    assert_eq!(issuer.refresh_calls(), 0);
}

/// Without a runtime a good token is served in the window of early refreshes too.
#[test]
fn without_a_runtime_a_good_token_is_served_to_its_end() {
    let issuer = Issuer::new();
    let clock = ManualClock::default();
    let rotator = Rotator::builder(issuer.clone())
        .clock(clock.clone())
        .build()
        .expect("a rotator");
    rotator.sign_in(issuer.login()).expect("usable tokens");
    clock.advance(295);
    assert_eq!(
        secret(&block_on(rotator.token()).expect("a good token")),
        "access-1"
    );
    assert!(block_on(rotator.pass_for_once()).is_ok());
    clock.advance(5);
    assert!(matches!(
        block_on(rotator.token()),
        Err(TokenError::NoRuntime)
    ));
}

/// A dedicated thread refreshes for callers on any executor, keeps every deadline, and ends with
/// the last clone.
#[test]
fn a_dedicated_thread_serves_any_executor() {
    let issuer = Issuer::new();
    let alive = Arc::new(());
    let inside = Arc::clone(&alive);
    let source = {
        let issuer = issuer.clone();
        move |last: Option<Arc<TokenSet>>| {
            let (issuer, inside) = (issuer.clone(), Arc::clone(&inside));
            async move {
                let name = std::thread::current().name().map(str::to_owned);
                assert_eq!(name.as_deref(), Some("token-rotator"));
                drop(inside);
                token_rotator::TokenSource::refresh(&issuer, last).await
            }
        }
    };
    let rotator = Rotator::builder(source)
        .dedicated_thread()
        .wait_timeout(Duration::from_millis(50))
        .build()
        .expect("a rotator");
    rotator.sign_in(issuer.login()).expect("usable tokens");
    let token = block_on(rotator.refresh_now()).expect("a token");
    assert_eq!(secret(&token), "access-2");
    issuer.hold();
    let error = block_on(rotator.refresh_now());
    assert!(
        matches!(error, Err(TokenError::WaitTimedOut { .. })),
        "{error:?}"
    );
    issuer.release();
    assert!(block_on(rotator.shutdown(PATIENCE)));
    assert_eq!(
        Arc::strong_count(&alive),
        2,
        "the test's and the source's reference"
    );
    let clone = rotator.clone();
    drop(rotator);
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(clone);
    let begun = Instant::now();
    while Arc::strong_count(&alive) > 1 {
        assert!(begun.elapsed() < PATIENCE, "the thread has not ended");
        std::thread::yield_now();
    }
}

/// Callers on B wait for a flight on A, which no thread runs. They still have a deadline.
#[test]
fn waiters_of_a_stalled_runtime_have_a_deadline() {
    let issuer = Issuer::new();
    let rotator = Rotator::builder(issuer.clone())
        .wait_timeout(Duration::from_millis(50))
        .build()
        .expect("a rotator");
    rotator.sign_in(issuer.login()).expect("usable tokens");
    let a = one_thread();
    a.block_on(async {
        issuer.hold();
        let first = rotator.clone();
        tokio::spawn(async move { first.refresh_now().await });
        issuer.wait_for_calls(1).await;
        issuer.release();
    });
    // A is alive, but no thread runs it.
    let b = one_thread();
    let error = b.block_on(async {
        let waited = tokio::time::timeout(PATIENCE, rotator.refresh_now()).await;
        waited.expect("its own deadline")
    });
    assert!(
        matches!(error, Err(TokenError::WaitTimedOut { .. })),
        "{error:?}"
    );
    let token = a.block_on(rotator.refresh_now()).expect("A goes on");
    assert_eq!(secret(&token), "access-2");
}

/// Flights run on the runtime that the builder was given.
#[test]
fn flights_run_on_the_given_runtime() {
    let given = two_threads();
    let source = |_last: Option<Arc<TokenSet>>| async {
        let id = tokio::runtime::Handle::current().id().to_string();
        Ok::<_, SourceError>(TokenSet::bearer(id))
    };
    let rotator = Rotator::builder(source)
        .runtime(given.handle().clone())
        .build()
        .expect("a rotator");
    let here = one_thread();
    for token in here.block_on(async { collect_outcomes(spawn_callers(&rotator, 10)).await }) {
        assert_eq!(
            secret(&token.expect("a token")),
            given.handle().id().to_string()
        );
    }
}

/// A clock that a test advances, wall and steady.
#[derive(Clone, Default)]
struct ManualClock(Arc<std::sync::atomic::AtomicU64>);

impl ManualClock {
    fn advance(&self, seconds: u64) {
        self.0
            .fetch_add(seconds, std::sync::atomic::Ordering::SeqCst);
    }
}

impl token_rotator::Clock for ManualClock {
    fn wall(&self) -> std::time::SystemTime {
        std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.steady()
    }

    fn steady(&self) -> Duration {
        Duration::from_secs(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

/// A runtime ends while a sign-in is written. The listener gets an event, the token is served, and
/// the next call on another runtime writes the sign-in.
#[test]
fn the_next_call_writes_an_unwritten_sign_in() {
    let issuer = Issuer::new();
    let store = ScriptedStore::new();
    let unwritten = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let rotator = Rotator::builder(issuer.clone())
        .store(store.clone())
        .on_event({
            let unwritten = Arc::clone(&unwritten);
            move |event| {
                if matches!(event, Event::SaveFailed { attempts: 1, .. }) {
                    unwritten.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
            }
        })
        .build()
        .expect("a rotator");
    let a = one_thread();
    store.hold_saves(true);
    let saves = store.saves();
    let stored = a.block_on(async {
        let stored = rotator.sign_in(issuer.login()).expect("usable tokens");
        store.wait_for_saves(saves + 1).await;
        Some(stored)
    });
    let stored = stored.expect("a future of the write");
    drop(a);
    assert_eq!(unwritten.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(block_on(stored).is_err(), "the caller gets an error too");
    let token = block_on(rotator.token()).expect("served without a runtime");
    assert_eq!(secret(&token), "access-1");
    store.hold_saves(false);
    let b = one_thread();
    b.block_on(async {
        let saves = store.saves();
        let token = rotator.token().await.expect("a token");
        assert_eq!(secret(&token), "access-1");
        store.wait_for_saves(saves + 1).await;
        assert!(rotator.shutdown(PATIENCE).await);
        assert_eq!(store.access_token().await.as_deref(), Some("access-1"));
    });
    assert!(rotator.ready().is_some(), "published again");
}
