//! What a user's code does wrong stays its own (rules 2, 13 and 14).

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator::{
    Event, HookProblem, RefreshError, Refreshed, Rotator, SourceError, TokenError, TokenSet,
};

use crate::common::{Act, Requests as _, World, callers, lock, outcomes, secret, timed};

/// A panicking source is a failed flight: all who wait get it, typed, and the next one works.
#[tokio::test(start_paused = true)]
async fn a_panicking_source_fails_its_flight() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    world.issuer.next(Act::Panic);
    for error in outcomes(callers(&rotator, 50)).await {
        let Err(TokenError::Refresh(RefreshError::Panicked { sent, .. })) = error else {
            panic!("a panic, typed, not {error:?}");
        };
        assert!(sent, "the refresh token may be spent");
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(world.issuer.calls(), 2);
}

/// A panicking listener harms neither the session nor the listeners after it.
#[tokio::test(start_paused = true)]
async fn a_panicking_listener_harms_nobody() {
    let world = World::new();
    let rotator = world
        .builder()
        .on_event(|_| panic!("the listener panics, as the test wants it"))
        .on_event(world.heard.listener())
        .build()
        .expect("a rotator");
    rotator
        .sign_in(world.issuer.login())
        .expect("usable tokens");
    world.expire().await;
    for token in outcomes(callers(&rotator, 50)).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    let names = world.heard.names();
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

/// A listener may call the rotator from where it is told something.
#[tokio::test(start_paused = true)]
async fn a_listener_may_sign_out() {
    let world = World::new();
    let handle = Arc::new(OnceLock::<Rotator>::new());
    let inside = Arc::clone(&handle);
    let rotator = world
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
        .sign_in(world.issuer.login())
        .expect("usable tokens");
    world.expire().await;
    world
        .issuer
        .next(Act::Fail(SourceError::terminal("invalid_grant")));
    let error = rotator.token().await;
    assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
}

/// The token is published, then the hook runs, then the waiters go on; a call made inside the
/// hook gets the new token and does not wait for itself.
#[tokio::test(start_paused = true)]
async fn the_hook_runs_between_token_and_waiters() {
    let world = World::new();
    world.issuer.with_answer();
    let order = Arc::new(Mutex::new(Vec::new()));
    let handle = Arc::new(OnceLock::<Rotator>::new());
    let (seen, inside) = (Arc::clone(&order), Arc::clone(&handle));
    let rotator = world
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
    world.expire().await;
    let calls = (0..50).map(|_| {
        let (rotator, order) = (rotator.clone(), Arc::clone(&order));
        tokio::spawn(async move {
            let token = rotator.token().await;
            lock(&order).push("served".to_owned());
            token
        })
    });
    let (took, tokens) = timed(outcomes(calls.collect())).await;
    assert!(tokens.iter().all(Result::is_ok));
    assert_eq!(took.as_secs(), 2);
    let order = lock(&order);
    assert_eq!(order[0], "the answer access-2");
    assert!(order[1..].iter().all(|line| line == "served"));
    assert_eq!(order.len(), 51);
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::HookFailed { .. })),
        0
    );
}

/// A hook that panics, fails or never ends holds the waiters for five seconds at most; they get
/// their token, and the problem is an event.
#[tokio::test(start_paused = true)]
async fn a_broken_hook_holds_nobody_for_long() {
    for (kind, seconds) in [
        ("panics", 0),
        ("panics early", 0),
        ("fails", 0),
        ("hangs", 5),
    ] {
        let world = World::new();
        world.issuer.with_answer();
        let rotator = world
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
        world.expire().await;
        let (took, tokens) = timed(outcomes(callers(&rotator, 50))).await;
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
            world.heard.count(problem),
            1,
            "{kind}: {:?}",
            world.heard.all()
        );
        world.expire().await;
        assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    }
}

/// A source that asks its own rotator gets an error at once, and the flight fails typed.
#[tokio::test(start_paused = true)]
async fn a_source_that_asks_its_own_rotator_is_told() {
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
            Err::<TokenSet, _>(SourceError::not_sent("no token to ask with").with_cause(error))
        }
    };
    let rotator = Rotator::builder(source).build().expect("a rotator");
    assert!(handle.set(rotator.clone()).is_ok());
    let (took, error) = timed(rotator.token()).await;
    assert!(took.is_zero());
    let Err(TokenError::Refresh(RefreshError::Source(error))) = error else {
        panic!("the source's error, not {error:?}");
    };
    assert_eq!(error.message(), "no token to ask with");
}

/// A source may ask another rotator: only its own is refused it.
#[tokio::test(start_paused = true)]
async fn a_source_may_ask_another_rotator() {
    let world = World::new();
    let other = world.signed_in().await;
    world.expire().await;
    let source = move |_last: Option<Arc<TokenSet>>| {
        let other = other.clone();
        async move {
            let token = other
                .token()
                .await
                .map_err(|error| SourceError::not_sent("no token to ask with").with_cause(error))?;
            Ok::<_, SourceError>(TokenSet::bearer(format!("for {}", secret(&token))))
        }
    };
    let rotator = Rotator::builder(source).build().expect("a rotator");
    assert_eq!(
        secret(&rotator.token().await.expect("a token")),
        "for access-2"
    );
}

/// While the token is good too: a source that asks in an early flight is told at once, by whatever
/// it asks, and not only once the token has expired. Everybody else is served meanwhile.
#[tokio::test(start_paused = true)]
async fn a_source_that_asks_while_the_token_is_good_is_told_too() {
    let world = World::new();
    let handle = Arc::new(OnceLock::<Rotator>::new());
    let told = Arc::new(Mutex::new(Vec::new()));
    let (inside, tell, issuer) = (Arc::clone(&handle), Arc::clone(&told), world.issuer.clone());
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
        .clock(world.clock.clone())
        .build()
        .expect("a rotator");
    assert!(handle.set(rotator.clone()).is_ok());
    rotator.sign_in(world.issuer.login()).expect("usable");
    world.almost_expire().await;
    world.issuer.hold();
    let (took, tokens) = timed(outcomes(callers(&rotator, 50))).await;
    assert!(took.is_zero());
    for token in tokens {
        assert_eq!(secret(&token.expect("the old token")), "access-1");
    }
    world.issuer.arrived(1).await;
    assert!(rotator.ready().is_some(), "to everybody else");
    rotator.token().await.expect("to everybody else");
    {
        let told = lock(&told);
        assert_eq!(told.len(), 5);
        let reentrant = |error: &Option<TokenError>| matches!(error, Some(TokenError::Reentrant));
        assert!(told.iter().all(reentrant), "{told:?}");
    }
    world.issuer.let_go();
    assert!(rotator.shutdown(Duration::from_secs(1)).await);
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
}

/// Waiters are let go at the flight's deadline though the hook still runs, with the new token; the
/// hook runs to its end.
#[tokio::test(start_paused = true)]
async fn a_hook_holds_waiters_no_longer_than_the_flight_may() {
    let world = World::new();
    world.issuer.with_answer();
    let ended = Arc::new(Mutex::new(None));
    let end = Arc::clone(&ended);
    let rotator = world
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
    world.expire().await;
    world.issuer.next(Act::Delay(Duration::from_secs(9)));
    let begun = tokio::time::Instant::now();
    let (took, tokens) = timed(outcomes(callers(&rotator, 50))).await;
    assert_eq!(took.as_secs(), 12);
    for token in tokens {
        assert_eq!(secret(&token.expect("it is served already")), "access-2");
    }
    assert!(lock(&ended).is_none(), "the hook still runs");
    assert!(rotator.shutdown(Duration::from_secs(5)).await);
    let ended = lock(&ended).expect("it ran to its end");
    assert_eq!((ended - begun).as_secs(), 13);
    let failed = |event: &Event| matches!(event, Event::HookFailed { .. });
    assert_eq!(world.heard.count(failed), 0);
}
