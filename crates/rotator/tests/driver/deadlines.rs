//! Three deadlines, a waiter's, a flight's and the source's, and what follows an answer that was
//! lost (rules 5 and 8).

use std::time::Duration;

use token_rotator::{Event, Profile, RefreshError, RotatorBuilder, TokenError};

use crate::common::{Act, World, callers, let_run, outcomes, secret, timed};

/// A caller waits no longer than it may; the refresh goes on without it and is found by the next.
#[tokio::test(start_paused = true)]
async fn a_waiter_has_its_own_deadline() {
    let world = World::new();
    let limit = Duration::from_secs(2);
    let rotator = world
        .signed_in_with(|builder| builder.wait_timeout(limit))
        .await;
    world.expire().await;
    world.issuer.next(Act::Delay(Duration::from_secs(5)));
    let (took, errors) = timed(outcomes(callers(&rotator, 50))).await;
    assert_eq!(took.as_secs(), 2);
    for error in errors {
        assert!(
            matches!(error, Err(TokenError::WaitTimedOut { .. })),
            "{error:?}"
        );
    }
    let (took, token) = timed(rotator.refresh_now()).await;
    assert!(
        token.is_err() && took.as_secs() == 2,
        "{token:?} after {took:?}"
    );
    let (took, token) = timed(rotator.token()).await;
    assert_eq!(secret(&token.expect("a token")), "access-2");
    assert_eq!(took.as_secs(), 1);
    assert_eq!(world.issuer.calls(), 1);
}

fn slow(builder: RotatorBuilder) -> RotatorBuilder {
    builder
        .lease_wait(Duration::from_secs(1))
        .source_timeout(Duration::from_secs(10))
        .flight_deadline(Duration::from_secs(20))
}

/// At the flight's deadline its waiters are released, its slot is not: nobody starts a second
/// refresh, and what it brings after all is served.
#[tokio::test(start_paused = true)]
async fn an_overdue_flight_keeps_its_slot() {
    let world = World::new();
    let store = crate::common::ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| slow(builder).store(store.clone()))
        .await;
    world.expire().await;
    // Store and source each stay within their ten seconds, and all together take too long.
    world.issuer.next(Act::Delay(Duration::from_secs(9)));
    store.hold_loads(true);
    store.hold_saves(true);
    let saves = store.saves();
    let calls = callers(&rotator, 50);
    let_run().await;
    tokio::time::advance(Duration::from_secs(9)).await;
    store.hold_loads(false);
    store.saving(saves + 1).await;
    let (took, errors) = timed(outcomes(calls)).await;
    assert_eq!(took.as_secs(), 2, "20 s after the flight began");
    for error in errors {
        assert!(matches!(error, Err(TokenError::Overdue)), "{error:?}");
    }
    let (took, error) = timed(rotator.token()).await;
    assert!(matches!(error, Err(TokenError::Overdue)), "{error:?}");
    assert!(took.is_zero(), "nobody waits for what is overdue");
    assert!(matches!(
        rotator.refresh_now().await,
        Err(TokenError::Overdue)
    ));
    assert_eq!(world.issuer.calls(), 1);
    store.hold_saves(false);
    let_run().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(world.issuer.calls(), 1);
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::RefreshOverdue { .. })),
        1
    );
}

/// At its timeout the source is dropped. On a strict issuer the refresh token may be spent: it is
/// not presented again while the access token lives, and presented once nothing else is left.
#[tokio::test(start_paused = true)]
async fn a_strict_issuer_is_not_asked_again_while_the_token_lives() {
    let world = World::new();
    let rotator = world.signed_in().await;
    tokio::time::advance(Duration::from_secs(250)).await;
    world.issuer.next(Act::Hang);
    rotator.token().await.expect("the old token");
    world.issuer.arrived(1).await;
    tokio::time::advance(Duration::from_secs(16)).await;
    let_run().await;
    let uncertain = |event: &Event| {
        matches!(
            event,
            Event::RefreshFailed {
                error: RefreshError::TimedOut { .. },
                ..
            }
        )
    };
    assert_eq!(world.heard.count(uncertain), 1);
    for _ in 0..30 {
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            secret(&rotator.token().await.expect("the old token")),
            "access-1"
        );
        let_run().await;
    }
    assert_eq!(world.issuer.calls(), 1, "it was not presented again");
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(world.issuer.calls(), 2);
    let last_resort = |event: &Event| {
        matches!(
            event,
            Event::PresentedAgain {
                last_resort: true,
                ..
            }
        )
    };
    assert_eq!(
        world.heard.count(last_resort),
        1,
        "{:?}",
        world.heard.names()
    );
}

/// Where the parent is always accepted, a lost answer is asked for again at once, in the same
/// flight; everybody is served.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_where_that_is_safe() {
    for profile in [
        Profile::parent_always(),
        Profile::multi_use(),
        Profile::leeway(Duration::from_secs(10)),
    ] {
        let world = World::new();
        world.issuer.parent_always();
        let rotator = world
            .signed_in_with(|builder| builder.profile(profile))
            .await;
        world.expire().await;
        world.issuer.next(Act::LoseAnswer);
        let (took, tokens) = timed(outcomes(callers(&rotator, 50))).await;
        assert!(took.is_zero());
        for token in tokens {
            assert_eq!(secret(&token.expect("a token")), "access-3");
        }
        assert_eq!(world.issuer.calls(), 2);
        assert_eq!(world.issuer.reuse_alarms(), 0);
        let flights = |event: &Event| matches!(event, Event::RefreshStarted { .. });
        assert_eq!(world.heard.count(flights), 1);
        let again = |event: &Event| {
            matches!(
                event,
                Event::PresentedAgain {
                    last_resort: false,
                    ..
                }
            )
        };
        assert_eq!(world.heard.count(again), 1);
    }
}

/// An answer that never comes is asked for again too, as long as the window is open: with the
/// default timeouts and Okta's or Auth0's 30 s.
#[tokio::test(start_paused = true)]
async fn a_silent_issuer_is_asked_again_inside_the_window() {
    let world = World::new();
    world.issuer.parent_always();
    let profile = Profile::leeway(Duration::from_secs(30));
    let rotator = world
        .signed_in_with(|builder| builder.profile(profile))
        .await;
    world.expire().await;
    world.issuer.next(Act::SpendAndHang);
    let (took, token) = timed(rotator.token()).await;
    assert_eq!(secret(&token.expect("a token")), "access-3");
    assert_eq!(took.as_secs(), 15);
    assert_eq!(world.issuer.calls(), 2);
}

/// Outside the window it is not.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_not_asked_for_outside_the_window() {
    let world = World::new();
    world.issuer.parent_always();
    let profile = Profile::leeway(Duration::from_secs(14));
    let rotator = world
        .signed_in_with(|builder| builder.profile(profile))
        .await;
    world.expire().await;
    world.issuer.next(Act::SpendAndHang);
    let error = rotator.token().await;
    assert!(
        matches!(
            error,
            Err(TokenError::Refresh(RefreshError::TimedOut { .. }))
        ),
        "{error:?}"
    );
    assert_eq!(world.issuer.calls(), 1);
}

/// A strict issuer is never asked twice by one flight.
#[tokio::test(start_paused = true)]
async fn a_strict_issuer_is_asked_once_by_a_flight() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    world.issuer.next(Act::LoseAnswer);
    for error in outcomes(callers(&rotator, 50)).await {
        let Err(TokenError::Refresh(error)) = error else {
            panic!("an uncertain outcome, not {error:?}");
        };
        assert_eq!(error.kind(), token_rotator::FailureKind::Uncertain);
    }
    assert_eq!(world.issuer.calls(), 1);
    assert_eq!(world.issuer.reuse_alarms(), 0);
}
