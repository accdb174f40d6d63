//! Tests that errors in user code do not affect the session (rules 2, 13 and 14).

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator::{
    Event, HookProblem, RefreshError, Refreshed, Rotator, SourceError, TokenError, TokenSet,
};

use crate::common::{
    Fixture, IssuerAction, Requests as _, collect_outcomes, lock, secret, spawn_callers, timed,
};

/// A panicking source fails its flight: every waiter gets a typed error, and the next flight works.
#[tokio::test(start_paused = true)]
async fn a_panicking_source_fails_its_flight() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    fixture.issuer.push_action(IssuerAction::Panic);
    for error in collect_outcomes(spawn_callers(&rotator, 50)).await {
        let Err(TokenError::Refresh(RefreshError::Panicked { sent, .. })) = error else {
            panic!("a panic, typed, not {error:?}");
        };
        assert!(sent, "the refresh token may be spent");
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(fixture.issuer.refresh_calls(), 2);
}

/// A panicking listener harms neither the session nor the listeners after it.
#[tokio::test(start_paused = true)]
async fn a_panicking_listener_harms_no_session() {
    let fixture = Fixture::new();
    let rotator = fixture
        .builder()
        .on_event(|_| panic!("the listener panics, as the test wants it"))
        .on_event(fixture.events.listener())
        .build()
        .expect("a rotator");
    rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    fixture.expire().await;
    for token in collect_outcomes(spawn_callers(&rotator, 50)).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    let names = fixture.events.names();
    let twice = [
        "SignedIn",
        "SignedIn",
        "RefreshStarted",
        "RefreshStarted",
        "Refreshed",
        "Refreshed",
    ];
    assert_eq!(names, twice);
}

/// A listener may call the rotator.
#[tokio::test(start_paused = true)]
async fn a_listener_may_sign_out() {
    let fixture = Fixture::new();
    let handle = Arc::new(OnceLock::<Rotator>::new());
    let inside = Arc::clone(&handle);
    let rotator = fixture
        .builder()
        .on_event(move |event| {
            if matches!(event, Event::Ended { .. }) {
                inside.get().expect("the rotator").sign_out();
            }
        })
        .build()
        .expect("a rotator");
    assert!(handle.set(rotator.clone()).is_ok());
    rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    fixture.expire().await;
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::terminal("invalid_grant")));
    let error = rotator.token().await;
    assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
}

/// The token is published, then the hook runs, then the waiters continue. A call inside the hook
/// gets the new token and does not wait for the hook.
#[tokio::test(start_paused = true)]
async fn the_hook_runs_between_token_and_waiters() {
    let fixture = Fixture::new();
    fixture.issuer.with_answer();
    let order = Arc::new(Mutex::new(Vec::new()));
    let handle = Arc::new(OnceLock::<Rotator>::new());
    let (seen, inside) = (Arc::clone(&order), Arc::clone(&handle));
    let rotator = fixture
        .signed_in_with(|builder| {
            builder.after_refresh(move |refreshed: Arc<Refreshed>| {
                let (seen, inside) = (Arc::clone(&seen), Arc::clone(&inside));
                async move {
                    let answer = refreshed.answer.clone().expect("an answer");
                    let answer = answer.downcast::<&str>().expect("the source's type");
                    let rotator = inside.get().expect("the rotator");
                    let token = rotator.token().await.map_err(|error| error.to_string())?;
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    lock(&seen).push(format!("{answer} {}", secret(&token)));
                    Ok(())
                }
            })
        })
        .await;
    assert!(handle.set(rotator.clone()).is_ok());
    fixture.expire().await;
    let tasks = (0..50).map(|_| {
        let (rotator, order) = (rotator.clone(), Arc::clone(&order));
        tokio::spawn(async move {
            let token = rotator.token().await;
            lock(&order).push("served".to_owned());
            token
        })
    });
    let (took, tokens) = timed(collect_outcomes(tasks.collect())).await;
    assert!(tokens.iter().all(Result::is_ok));
    assert_eq!(took.as_secs(), 2);
    let order = lock(&order);
    assert_eq!(order[0], "the answer access-2");
    assert!(order[1..].iter().all(|line| line == "served"));
    assert_eq!(order.len(), 51);
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::HookFailed { .. })),
        0
    );
}

/// A hook that panics, fails or never ends delays the waiters by at most 5 s. The waiters get their
/// token, and the problem is an event.
#[tokio::test(start_paused = true)]
async fn a_broken_hook_delays_waiters_by_at_most_5_s() {
    for (kind, seconds) in [
        ("panics", 0),
        ("panics early", 0),
        ("fails", 0),
        ("hangs", 5),
    ] {
        let fixture = Fixture::new();
        fixture.issuer.with_answer();
        let rotator = fixture
            .signed_in_with(|builder| {
                builder.after_refresh(move |_| {
                    assert!(
                        kind != "panics early",
                        "the hook panics before it has a future"
                    );
                    async move {
                        match kind {
                            "panics" => panic!("the hook panics, as the test wants it"),
                            "fails" => Err("no socket".to_owned()),
                            _ => std::future::pending().await,
                        }
                    }
                })
            })
            .await;
        fixture.expire().await;
        let (took, tokens) = timed(collect_outcomes(spawn_callers(&rotator, 50))).await;
        assert_eq!(took.as_secs(), seconds, "{kind}");
        for token in tokens {
            assert_eq!(secret(&token.expect("a token")), "access-2");
        }
        let problem = |event: &Event| {
            let Event::HookFailed {
                hook: "after_refresh",
                problem,
            } = event
            else {
                return false;
            };
            match problem {
                HookProblem::Panicked => kind.starts_with("panics"),
                HookProblem::Failed { message } => kind == "fails" && message == "no socket",
                HookProblem::TimedOut { after } => kind == "hangs" && after.as_secs() == 5,
                _ => false,
            }
        };
        assert_eq!(
            fixture.events.count(problem),
            1,
            "{kind}: {:?}",
            fixture.events.all()
        );
        fixture.expire().await;
        assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    }
}

/// A source that calls its own rotator gets an error at once, and the flight fails with a typed
/// error.
#[tokio::test(start_paused = true)]
async fn a_source_that_calls_its_own_rotator_gets_an_error() {
    let handle = Arc::new(OnceLock::<Rotator>::new());
    let inside = Arc::clone(&handle);
    let source = move |_last: Option<Arc<TokenSet>>| {
        let inside = Arc::clone(&inside);
        async move {
            let rotator = inside.get().expect("the rotator");
            let errors = [
                rotator.token().await.err(),
                rotator.pass_for_once().await.err(),
                rotator.refresh_now().await.err(),
            ];
            let reentrant =
                |error: &Option<TokenError>| matches!(error, Some(TokenError::Reentrant));
            assert!(errors.iter().all(reentrant), "{errors:?}");
            let [Some(error), ..] = errors else {
                unreachable!()
            };
            Err::<TokenSet, _>(SourceError::not_sent("no token for the request").with_cause(error))
        }
    };
    let rotator = Rotator::builder(source).build().expect("a rotator");
    assert!(handle.set(rotator.clone()).is_ok());
    let (took, error) = timed(rotator.token()).await;
    assert!(took.is_zero());
    let Err(TokenError::Refresh(RefreshError::Source(error))) = error else {
        panic!("the source's error, not {error:?}");
    };
    assert_eq!(error.message(), "no token for the request");
}

/// Row 7 of the Rust cases. A source that calls its own rotator in a task that it spawned waits for itself until the
/// source's timeout. The hint of that error names the likely cause.
#[tokio::test(start_paused = true)]
async fn a_source_that_spawns_a_call_of_its_own_rotator_times_out_with_a_hint() {
    let handle = Arc::new(OnceLock::<Rotator>::new());
    let inside = Arc::clone(&handle);
    let source = move |_last: Option<Arc<TokenSet>>| {
        let rotator = inside.get().expect("the rotator").clone();
        async move {
            let call = tokio::spawn(async move { rotator.token().await });
            let _waits = call.await;
            Ok::<_, SourceError>(TokenSet::bearer("never"))
        }
    };
    let rotator = Rotator::builder(source).build().expect("a rotator");
    assert!(handle.set(rotator.clone()).is_ok());
    let (took, error) = timed(rotator.token()).await;
    assert_eq!(took, Duration::from_secs(15));
    let error = error.expect_err("no token");
    assert!(
        matches!(error, TokenError::Refresh(RefreshError::TimedOut { .. })),
        "{error:?}"
    );
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("in a task that it spawned"))
    );
}

/// A source may call another rotator.
#[tokio::test(start_paused = true)]
async fn a_source_may_call_another_rotator() {
    let fixture = Fixture::new();
    let other = fixture.signed_in().await;
    fixture.expire().await;
    let source = move |_last: Option<Arc<TokenSet>>| {
        let other = other.clone();
        async move {
            let token = other.token().await.map_err(|error| {
                SourceError::not_sent("no token for the request").with_cause(error)
            })?;
            Ok::<_, SourceError>(TokenSet::bearer(format!("for {}", secret(&token))))
        }
    };
    let rotator = Rotator::builder(source).build().expect("a rotator");
    assert_eq!(
        secret(&rotator.token().await.expect("a token")),
        "for access-2"
    );
}

/// A source that calls its own rotator in an early flight gets an error at once from every method,
/// even while the token is good. Other callers are served meanwhile.
#[tokio::test(start_paused = true)]
async fn a_source_that_calls_its_own_rotator_in_an_early_flight_gets_an_error() {
    let fixture = Fixture::new();
    let handle = Arc::new(OnceLock::<Rotator>::new());
    let errors = Arc::new(Mutex::new(Vec::new()));
    let (inside, tell, issuer) = (
        Arc::clone(&handle),
        Arc::clone(&errors),
        fixture.issuer.clone(),
    );
    let source = move |last: Option<Arc<TokenSet>>| {
        let (inside, tell, issuer) = (Arc::clone(&inside), Arc::clone(&tell), issuer.clone());
        async move {
            let rotator = inside.get().expect("the rotator");
            assert!(rotator.ready().is_none());
            assert!(rotator.ready_for_once().is_none());
            let token = rotator.access_token().expect("it is good");
            rotator.report_refused(&token);
            let answers = [
                rotator.token().await.err(),
                rotator.pass().await.err(),
                rotator.pass_for_once().await.err(),
                rotator.refused(&token).await.err(),
                rotator.refresh_now().await.err(),
            ];
            lock(&tell).extend(answers);
            token_rotator::TokenSource::refresh(&issuer, last).await
        }
    };
    let rotator = Rotator::builder(source)
        .clock(fixture.clock.clone())
        .build()
        .expect("a rotator");
    assert!(handle.set(rotator.clone()).is_ok());
    rotator.sign_in(fixture.issuer.login()).expect("usable");
    fixture.almost_expire().await;
    fixture.issuer.hold();
    let (took, tokens) = timed(collect_outcomes(spawn_callers(&rotator, 50))).await;
    assert!(took.is_zero());
    for token in tokens {
        assert_eq!(secret(&token.expect("the old token")), "access-1");
    }
    fixture.issuer.wait_for_calls(1).await;
    assert!(rotator.ready().is_some(), "ready for other callers");
    rotator.token().await.expect("ready for other callers");
    {
        let errors = lock(&errors);
        assert_eq!(errors.len(), 5);
        let reentrant = |error: &Option<TokenError>| matches!(error, Some(TokenError::Reentrant));
        assert!(errors.iter().all(reentrant), "{errors:?}");
    }
    fixture.issuer.release();
    assert!(rotator.shutdown(Duration::from_secs(1)).await);
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
}

/// Waiters get the new token at the flight's deadline even if the hook still runs. The hook runs to
/// its end.
#[tokio::test(start_paused = true)]
async fn a_hook_delays_waiters_at_most_to_the_flight_deadline() {
    let fixture = Fixture::new();
    fixture.issuer.with_answer();
    let ended = Arc::new(Mutex::new(None));
    let end = Arc::clone(&ended);
    let rotator = fixture
        .signed_in_with(|builder| {
            builder
                .lease_wait(Duration::from_secs(1))
                .source_timeout(Duration::from_secs(10))
                .flight_deadline(Duration::from_secs(12))
                .after_refresh(move |_| {
                    let end = Arc::clone(&end);
                    async move {
                        tokio::time::sleep(Duration::from_secs(4)).await;
                        *lock(&end) = Some(tokio::time::Instant::now());
                        Ok(())
                    }
                })
        })
        .await;
    fixture.expire().await;
    fixture
        .issuer
        .push_action(IssuerAction::Delay(Duration::from_secs(9)));
    let begun = tokio::time::Instant::now();
    let (took, tokens) = timed(collect_outcomes(spawn_callers(&rotator, 50))).await;
    assert_eq!(took.as_secs(), 12);
    for token in tokens {
        assert_eq!(secret(&token.expect("the new token")), "access-2");
    }
    assert!(lock(&ended).is_none(), "the hook still runs");
    assert!(rotator.shutdown(Duration::from_secs(5)).await);
    let ended = lock(&ended).expect("the hook ran to its end");
    assert_eq!((ended - begun).as_secs(), 13);
    let failed = |event: &Event| matches!(event, Event::HookFailed { .. });
    assert_eq!(fixture.events.count(failed), 0);
}
