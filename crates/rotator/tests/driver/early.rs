//! Tests early refreshes: one flight runs while every caller is served the old token.

use std::time::Duration;

use token_rotator::{Event, SourceError, TokenError};

use crate::common::{
    Fixture, IssuerAction, Requests as _, ScriptedStore, collect_outcomes, run_ready_tasks, secret,
    spawn_callers, timed,
};

/// One flight starts in the window before expiry. All 50 callers get the old token without waiting,
/// and the new token after the flight.
#[tokio::test(start_paused = true)]
async fn every_caller_is_served_during_an_early_refresh() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.almost_expire().await;
    fixture.issuer.hold();
    let (took, tokens) = timed(collect_outcomes(spawn_callers(&rotator, 50))).await;
    assert!(took.is_zero());
    for token in tokens {
        assert_eq!(secret(&token.expect("a token")), "access-1");
    }
    fixture.issuer.wait_for_calls(1).await;
    assert!(rotator.ready().is_some(), "ready without a lock or a wait");
    fixture.issuer.release();
    run_ready_tasks().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// After expiry every caller waits for the early flight that still runs.
#[tokio::test(start_paused = true)]
async fn after_expiry_every_caller_waits_for_the_early_flight() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.almost_expire().await;
    fixture.issuer.hold();
    rotator.token().await.expect("the old token");
    fixture.issuer.wait_for_calls(1).await;
    tokio::time::advance(Duration::from_secs(6)).await;
    let tasks = spawn_callers(&rotator, 50);
    run_ready_tasks().await;
    assert!(tasks.iter().all(|call| !call.is_finished()));
    fixture.issuer.release();
    for token in collect_outcomes(tasks).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// A failed early refresh takes no token away and is not repeated at once.
#[tokio::test(start_paused = true)]
async fn a_failed_early_refresh_keeps_the_old_token() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.almost_expire().await;
    let down = || IssuerAction::Fail(SourceError::transient("the issuer is down"));
    fixture.issuer.push_action(down());
    for _ in 0..10 {
        let token = rotator.token().await.expect("the old token");
        assert_eq!(secret(&token), "access-1");
        run_ready_tasks().await;
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
}

/// A request whose body can be sent once waits for a due refresh, whether it starts the refresh or
/// joins it.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_sent_once_waits_near_expiry() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    let now = rotator.pass_for_once().await.expect("a pass");
    assert_eq!(secret(now.token().expect("a token")), "access-1");
    assert_eq!(fixture.issuer.refresh_calls(), 0);
    fixture.almost_expire().await;
    fixture.issuer.hold();
    let once = |_| {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.pass_for_once().await })
    };
    let tasks: Vec<_> = (0..5).map(once).collect();
    fixture.issuer.wait_for_calls(1).await;
    run_ready_tasks().await;
    assert!(tasks.iter().all(|call| !call.is_finished()));
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
    fixture.issuer.release();
    for call in tasks {
        let pass = call.await.expect("no panic").expect("a pass");
        assert_eq!(secret(pass.token().expect("a token")), "access-2");
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// If the awaited refresh fails, the request is sent with the token that is still good, but never
/// with a token of another session.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_sent_once_falls_back_on_the_old_token() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.almost_expire().await;
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::transient("down")));
    let pass = rotator.pass_for_once().await.expect("the old token");
    assert_eq!(secret(pass.token().expect("a token")), "access-1");
    assert_eq!(fixture.issuer.refresh_calls(), 1);

    tokio::time::advance(Duration::from_secs(1)).await;
    fixture.issuer.hold();
    let call = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await.map(|_| ()) })
    };
    fixture.issuer.wait_for_calls(2).await;
    let once = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.pass_for_once().await })
    };
    run_ready_tasks().await;
    rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    let error = once.await.expect("no panic");
    assert!(
        matches!(error, Err(TokenError::SessionChanged)),
        "{error:?}"
    );
    let error = call.await.expect("no panic");
    assert!(
        matches!(error, Err(TokenError::SessionChanged)),
        "{error:?}"
    );
}

/// The margin is at most a quarter of the lifetime, plus at most a fifth of the margin. In the
/// first 70 % of its life a token is never refreshed.
#[tokio::test(start_paused = true)]
async fn a_young_token_is_not_refreshed() {
    let fixture = Fixture::new();
    fixture
        .issuer
        .expiry(token_rotator::Expiry::In(Duration::from_secs(1)));
    let rotator = fixture.signed_in().await;
    tokio::time::advance(Duration::from_millis(699)).await;
    rotator.token().await.expect("a token");
    run_ready_tasks().await;
    assert_eq!(fixture.issuer.refresh_calls(), 0);
    tokio::time::advance(Duration::from_millis(51)).await;
    rotator.token().await.expect("a token");
    run_ready_tasks().await;
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::Refreshed { .. })),
        1
    );
}

/// An ended session serves its token until it expires, to requests that are sent once too. Such a
/// request waits for no look into the store, and carries the token.
#[tokio::test(start_paused = true)]
async fn after_the_end_a_request_that_is_sent_once_carries_the_token() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()).anonymous())
        .await;
    fixture.almost_expire().await;
    let gone = SourceError::terminal("the grant is gone");
    fixture.issuer.push_action(IssuerAction::Fail(gone));
    let token = rotator.token().await.expect("the old token");
    assert_eq!(secret(&token), "access-1");
    run_ready_tasks().await;
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::Ended { .. })),
        1
    );
    let pass = rotator.pass_for_once().await.expect("a pass");
    let token = pass.token().expect("the token that is still good");
    assert_eq!(secret(token), "access-1");
}
