//! Tests that one refresh serves every caller (rules 1, 2 and 5).

use std::time::Duration;

use token_rotator::{Event, FailureKind, RefreshError, SourceError, TokenError};

use crate::common::{
    Fixture, IssuerAction, Requests as _, collect_outcomes, run_ready_tasks, secret, spawn_callers,
    timed,
};

/// 50 callers of an expired single-use session cause one refresh and get its token.
#[tokio::test(start_paused = true)]
async fn fifty_callers_share_one_refresh() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    let tokens = collect_outcomes(spawn_callers(&rotator, 50)).await;
    for token in tokens {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::Refreshed { .. })),
        1
    );
}

/// The caller that started the refresh is dropped while the refresh runs. The refresh goes on, the
/// other 50 callers get its token, and no token is spent twice.
#[tokio::test(start_paused = true)]
async fn a_flight_outlives_the_caller_that_started_it() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    fixture.issuer.hold();
    let leader = spawn_callers(&rotator, 1).remove(0);
    fixture.issuer.wait_for_calls(1).await;
    let followers = spawn_callers(&rotator, 50);
    run_ready_tasks().await;
    leader.abort();
    assert!(leader.await.expect_err("the aborted caller").is_cancelled());
    run_ready_tasks().await;
    fixture.issuer.release();
    for token in collect_outcomes(followers).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// All callers are dropped: the refresh completes, and the next caller gets its token at once.
#[tokio::test(start_paused = true)]
async fn a_flight_completes_without_waiters() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    fixture.issuer.hold();
    let tasks = spawn_callers(&rotator, 10);
    fixture.issuer.wait_for_calls(1).await;
    for call in tasks {
        call.abort();
    }
    fixture.issuer.release();
    run_ready_tasks().await;
    let ready = rotator.ready().expect("a token without a wait");
    assert_eq!(secret(ready.token().expect("a token")), "access-2");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// The issuer is down: one request, and all 50 callers get the same cause at its end. No caller
/// waits for a second request.
#[tokio::test(start_paused = true)]
async fn fifty_callers_share_one_failure() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    let down = SourceError::transient("the issuer is down");
    fixture
        .issuer
        .push_action(IssuerAction::Delay(Duration::from_secs(3)));
    fixture.issuer.push_action(IssuerAction::Fail(down.clone()));
    fixture.issuer.hold();
    // In this control round the delayed answer is a token.
    fixture.issuer.release();
    let (took, tokens) = timed(collect_outcomes(spawn_callers(&rotator, 50))).await;
    assert!(tokens.iter().all(Result::is_ok));
    assert_eq!(took, Duration::from_secs(3));

    fixture.expire().await;
    let (took, errors) = timed(collect_outcomes(spawn_callers(&rotator, 50))).await;
    assert!(
        took < Duration::from_millis(5),
        "no caller waited for a second request: {took:?}"
    );
    assert_eq!(fixture.issuer.refresh_calls(), 2);
    for error in errors {
        let error = error.expect_err("the issuer is down");
        let TokenError::Refresh(RefreshError::Source(source)) = &error else {
            panic!("the issuer's own error, not {error:?}");
        };
        assert_eq!(source.kind(), FailureKind::Transient);
        assert_eq!(source.message(), down.message());
    }
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::RefreshFailed { .. })),
        1
    );
}

/// Callers that join a late failure share it and get it at the same moment.
#[tokio::test(start_paused = true)]
async fn a_late_waiter_shares_the_outcome() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    fixture.issuer.push_action(IssuerAction::Hang);
    let first = spawn_callers(&rotator, 25);
    run_ready_tasks().await;
    tokio::time::advance(Duration::from_secs(10)).await;
    let (took, second) = timed(collect_outcomes(spawn_callers(&rotator, 25))).await;
    // The source's timeout of 15 s began with the first caller.
    assert_eq!(took.as_secs(), 5);
    for error in second.into_iter().chain(collect_outcomes(first).await) {
        assert!(
            matches!(
                error,
                Err(TokenError::Refresh(RefreshError::TimedOut { .. }))
            ),
            "{error:?}"
        );
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}
