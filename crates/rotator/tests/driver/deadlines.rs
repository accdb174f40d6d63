//! Tests the deadlines of waiter, flight and source, and what follows a lost answer (rules 5 and
//! 8).

use std::time::Duration;

use token_rotator::{Event, Profile, RefreshError, RotatorBuilder, TokenError};

use crate::common::{
    Fixture, IssuerAction, collect_outcomes, run_ready_tasks, secret, spawn_callers, timed,
};

/// A caller waits at most for its own timeout. The refresh goes on, and the next caller gets its
/// token.
#[tokio::test(start_paused = true)]
async fn a_waiter_has_its_own_deadline() {
    let fixture = Fixture::new();
    let limit = Duration::from_secs(2);
    let rotator = fixture
        .signed_in_with(|builder| builder.wait_timeout(limit))
        .await;
    fixture.expire().await;
    fixture
        .issuer
        .push_action(IssuerAction::Delay(Duration::from_secs(5)));
    let (took, errors) = timed(collect_outcomes(spawn_callers(&rotator, 50))).await;
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
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

fn slow(builder: RotatorBuilder) -> RotatorBuilder {
    builder
        .lease_wait(Duration::from_secs(1))
        .source_timeout(Duration::from_secs(10))
        .flight_deadline(Duration::from_secs(20))
}

/// At the flight's deadline its waiters get an error, but the flight keeps its slot: no second
/// refresh starts, and its late token is served.
#[tokio::test(start_paused = true)]
async fn an_overdue_flight_keeps_its_slot() {
    let fixture = Fixture::new();
    let store = crate::common::ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| slow(builder).store(store.clone()))
        .await;
    fixture.expire().await;
    // Store and source each stay within their 10 s, but together they exceed the flight's deadline.
    fixture
        .issuer
        .push_action(IssuerAction::Delay(Duration::from_secs(9)));
    store.hold_loads(true);
    store.hold_saves(true);
    let saves = store.saves();
    let tasks = spawn_callers(&rotator, 50);
    run_ready_tasks().await;
    tokio::time::advance(Duration::from_secs(9)).await;
    store.hold_loads(false);
    store.wait_for_saves(saves + 1).await;
    let (took, errors) = timed(collect_outcomes(tasks)).await;
    assert_eq!(took.as_secs(), 2, "20 s after the flight began");
    for error in errors {
        assert!(matches!(error, Err(TokenError::Overdue)), "{error:?}");
    }
    let (took, error) = timed(rotator.token()).await;
    assert!(matches!(error, Err(TokenError::Overdue)), "{error:?}");
    assert!(took.is_zero(), "no caller waits for an overdue flight");
    assert!(matches!(
        rotator.refresh_now().await,
        Err(TokenError::Overdue)
    ));
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    store.hold_saves(false);
    run_ready_tasks().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::RefreshOverdue { .. })),
        1
    );
}

/// The source is dropped at its timeout. With a strict issuer the refresh token may be spent: it is
/// not presented again while the access token lives, and is presented once after that.
#[tokio::test(start_paused = true)]
async fn a_strict_issuer_gets_no_second_request_while_the_token_lives() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    tokio::time::advance(Duration::from_secs(250)).await;
    fixture.issuer.push_action(IssuerAction::Hang);
    rotator.token().await.expect("the old token");
    fixture.issuer.wait_for_calls(1).await;
    tokio::time::advance(Duration::from_secs(16)).await;
    run_ready_tasks().await;
    let uncertain = |event: &Event| {
        matches!(
            event,
            Event::RefreshFailed {
                error: RefreshError::TimedOut { .. },
                ..
            }
        )
    };
    assert_eq!(fixture.events.count(uncertain), 1);
    for _ in 0..30 {
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            secret(&rotator.token().await.expect("the old token")),
            "access-1"
        );
        run_ready_tasks().await;
    }
    assert_eq!(
        fixture.issuer.refresh_calls(),
        1,
        "the refresh token was not presented again"
    );
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(fixture.issuer.refresh_calls(), 2);
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
        fixture.events.count(last_resort),
        1,
        "{:?}",
        fixture.events.names()
    );
}

/// If the parent is always accepted, the flight repeats a lost request at once and serves every
/// waiter.
#[tokio::test(start_paused = true)]
async fn a_lost_request_is_repeated_if_reuse_is_safe() {
    for profile in [
        Profile::parent_always(),
        Profile::multi_use(),
        Profile::leeway(Duration::from_secs(10)),
    ] {
        let fixture = Fixture::new();
        fixture.issuer.parent_always();
        let rotator = fixture
            .signed_in_with(|builder| builder.profile(profile))
            .await;
        fixture.expire().await;
        fixture.issuer.push_action(IssuerAction::LoseAnswer);
        let (took, tokens) = timed(collect_outcomes(spawn_callers(&rotator, 50))).await;
        assert!(took.is_zero());
        for token in tokens {
            assert_eq!(secret(&token.expect("a token")), "access-3");
        }
        assert_eq!(fixture.issuer.refresh_calls(), 2);
        assert_eq!(fixture.issuer.reuse_alarms(), 0);
        let flights = |event: &Event| matches!(event, Event::RefreshStarted { .. });
        assert_eq!(fixture.events.count(flights), 1);
        let again = |event: &Event| {
            matches!(
                event,
                Event::PresentedAgain {
                    last_resort: false,
                    ..
                }
            )
        };
        assert_eq!(fixture.events.count(again), 1);
    }
}

/// A flight also repeats a request without any answer while the reuse window is open. The test uses
/// the default timeouts and the 30 s of Okta or Auth0.
#[tokio::test(start_paused = true)]
async fn an_unanswered_request_is_repeated_inside_the_reuse_window() {
    let fixture = Fixture::new();
    fixture.issuer.parent_always();
    let profile = Profile::leeway(Duration::from_secs(30));
    let rotator = fixture
        .signed_in_with(|builder| builder.profile(profile))
        .await;
    fixture.expire().await;
    fixture.issuer.push_action(IssuerAction::SpendAndHang);
    let (took, token) = timed(rotator.token()).await;
    assert_eq!(secret(&token.expect("a token")), "access-3");
    assert_eq!(took.as_secs(), 15);
    assert_eq!(fixture.issuer.refresh_calls(), 2);
}

/// Outside the reuse window, a flight does not repeat a lost request.
#[tokio::test(start_paused = true)]
async fn a_lost_request_is_not_repeated_outside_the_reuse_window() {
    let fixture = Fixture::new();
    fixture.issuer.parent_always();
    let profile = Profile::leeway(Duration::from_secs(14));
    let rotator = fixture
        .signed_in_with(|builder| builder.profile(profile))
        .await;
    fixture.expire().await;
    fixture.issuer.push_action(IssuerAction::SpendAndHang);
    let error = rotator.token().await;
    assert!(
        matches!(
            error,
            Err(TokenError::Refresh(RefreshError::TimedOut { .. }))
        ),
        "{error:?}"
    );
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// One flight never sends two requests to a strict issuer.
#[tokio::test(start_paused = true)]
async fn a_flight_sends_one_request_to_a_strict_issuer() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    fixture.issuer.push_action(IssuerAction::LoseAnswer);
    for error in collect_outcomes(spawn_callers(&rotator, 50)).await {
        let Err(TokenError::Refresh(error)) = error else {
            panic!("an uncertain outcome, not {error:?}");
        };
        assert_eq!(error.kind(), token_rotator::FailureKind::Uncertain);
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}
