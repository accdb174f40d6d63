//! Tests cool-downs and the end of a session (rule 9).

use std::time::Duration;

use token_rotator::{Event, FailureKind, RefreshError, SourceError, TokenError};

use crate::common::store::next_record;
use crate::common::{
    Fixture, IssuerAction, Requests as _, ScriptedStore, collect_outcomes, run_ready_tasks, secret,
    spawn_callers, timed,
};

fn ended(event: &Event) -> bool {
    matches!(event, Event::Ended { .. })
}

fn cause(answer: &Result<token_rotator::Token, TokenError>) -> &SourceError {
    match answer {
        Err(TokenError::Refresh(RefreshError::Source(error))) => error,
        answer => panic!("the source's error, not {answer:?}"),
    }
}

/// During a cool-down every caller gets the cause at once and the issuer gets no request. The
/// cool-down starts at 0.5 s and doubles. After it, the next call refreshes.
#[tokio::test(start_paused = true)]
async fn a_call_during_a_cool_down_fails_at_once_with_the_cause() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    for (failures, millis) in [(1, 500_u64), (2, 1_000), (3, 2_000)] {
        fixture
            .issuer
            .push_action(IssuerAction::Fail(SourceError::transient("down")));
        cause(&rotator.token().await);
        let (took, errors) = timed(collect_outcomes(spawn_callers(&rotator, 50))).await;
        assert!(took.is_zero());
        for error in &errors {
            assert_eq!(cause(error).message(), "down");
        }
        // The jitter is at most a fifth.
        tokio::time::advance(Duration::from_millis(millis * 4 / 5 - 1)).await;
        cause(&rotator.token().await);
        assert_eq!(fixture.issuer.refresh_calls(), failures);
        tokio::time::advance(Duration::from_millis(millis * 2 / 5 + 1)).await;
    }
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
}

/// `refresh_now` overrides a cool-down but not the issuer's `Retry-After`, which counts for up to 5
/// minutes.
#[tokio::test(start_paused = true)]
async fn refresh_now_overrides_a_cool_down_but_not_retry_after() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::transient("down")));
    cause(&rotator.token().await);
    rotator.refresh_now().await.expect("a token");
    assert_eq!(fixture.issuer.refresh_calls(), 2);

    fixture.expire().await;
    let busy = SourceError::transient("busy").with_retry_after(Duration::from_secs(3_600));
    fixture.issuer.push_action(IssuerAction::Fail(busy));
    cause(&rotator.token().await);
    tokio::time::advance(Duration::from_secs(299)).await;
    cause(&rotator.token().await);
    cause(&rotator.refresh_now().await);
    assert_eq!(fixture.issuer.refresh_calls(), 3);
    tokio::time::advance(Duration::from_secs(1)).await;
    rotator.token().await.expect("a token");
    assert_eq!(fixture.issuer.refresh_calls(), 4);
}

/// A sign-in ends a cool-down and a `Retry-After`, because both concern the previous session.
#[tokio::test(start_paused = true)]
async fn a_sign_in_ends_a_cool_down() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    let busy = SourceError::transient("busy").with_retry_after(Duration::from_secs(60));
    fixture.issuer.push_action(IssuerAction::Fail(busy));
    cause(&rotator.token().await);
    rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    rotator.refresh_now().await.expect("a token");
}

/// A terminal failure ends the session with one event. No caller causes a request to the issuer
/// until a sign-in or `refresh_now`.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_is_reported_once() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::terminal("invalid_grant")));
    for error in collect_outcomes(spawn_callers(&rotator, 50)).await {
        assert_eq!(cause(&error).kind(), FailureKind::Terminal);
    }
    assert!(rotator.has_ended());
    tokio::time::advance(Duration::from_secs(100)).await;
    for error in collect_outcomes(spawn_callers(&rotator, 50)).await {
        assert_eq!(cause(&error).kind(), FailureKind::Terminal);
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::terminal("invalid_grant")));
    cause(&rotator.refresh_now().await);
    assert_eq!(fixture.issuer.refresh_calls(), 2);
    assert_eq!(fixture.events.count(ended), 1);

    rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    assert!(!rotator.has_ended());
    fixture.expire().await;
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::terminal("invalid_grant")));
    cause(&rotator.token().await);
    assert_eq!(fixture.events.count(ended), 2, "one end for each sign-in");
}

/// An ended session serves its access token until the token expires.
#[tokio::test(start_paused = true)]
async fn an_ended_session_serves_its_token_while_it_lasts() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::terminal("invalid_grant")));
    cause(&rotator.refresh_now().await);
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
    fixture.almost_expire().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
    run_ready_tasks().await;
    assert_eq!(
        fixture.issuer.refresh_calls(),
        1,
        "no early refresh of what has ended"
    );
    tokio::time::advance(Duration::from_secs(6)).await;
    cause(&rotator.token().await);
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// A session that allows anonymous requests sends them without a token before the first token
/// and after the end. So a login request gets through.
#[tokio::test(start_paused = true)]
async fn an_anonymous_session_sends_no_token_before_sign_in_and_after_its_end() {
    let fixture = Fixture::new();
    fixture.issuer.without_grant();
    let rotator = fixture.builder().anonymous().build().expect("a rotator");
    let bare = rotator.pass().await.expect("a pass without a token");
    assert!(bare.token().is_none());
    assert_eq!(fixture.issuer.refresh_calls(), 0);
    let token = rotator.refused(&bare).await.expect("the first refresh");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    let late = rotator.refused(&bare).await.expect("the same token");
    assert_eq!(late.generation(), token.generation());

    fixture.expire().await;
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::terminal("invalid_grant")));
    cause(&rotator.token().await);
    let bare = rotator.pass().await.expect("a pass without a token");
    assert!(bare.token().is_none());
    let error = rotator.refused(&bare).await;
    assert_eq!(cause(&error).kind(), FailureKind::Terminal);
    assert_eq!(fixture.issuer.refresh_calls(), 2);
    rotator.sign_out();
    let bare = rotator.pass().await.expect("a pass without a token");
    let error = rotator.refused(&bare).await;
    assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    assert_eq!(fixture.issuer.refresh_calls(), 2);
}

/// An ended session reads its store at most once a second. A record that another process saved
/// revives the session.
#[tokio::test(start_paused = true)]
async fn an_ended_session_is_revived_by_a_newer_record() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    fixture.expire().await;
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::terminal("invalid_grant")));
    cause(&rotator.token().await);
    cause(&rotator.token().await);
    let loads = store.loads();
    for _ in 0..10 {
        for error in collect_outcomes(spawn_callers(&rotator, 5)).await {
            cause(&error);
        }
        tokio::time::advance(Duration::from_millis(300)).await;
    }
    let reads = store.loads() - loads;
    assert!((2..=3).contains(&reads), "{reads} reads in three seconds");

    tokio::time::advance(Duration::from_secs(1)).await;
    let found = store.record().await;
    let newer = fixture
        .issuer
        .spend(found.as_ref().expect("a record").tokens().expect("tokens"));
    store
        .put(next_record(found.as_ref(), None, Some(newer)))
        .await;
    assert_eq!(secret(&rotator.token().await.expect("revived")), "access-2");
    assert!(!rotator.has_ended());
    assert_eq!(
        fixture.issuer.refresh_calls(),
        1,
        "the stored token was adopted"
    );
    assert_eq!(fixture.events.count(ended), 1);
}

/// A newer record revives an ended session even if its access token has expired, because its
/// refresh token is newer.
#[tokio::test(start_paused = true)]
async fn an_ended_session_is_revived_by_a_newer_refresh_token() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    fixture.expire().await;
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::terminal("invalid_grant")));
    cause(&rotator.token().await);
    let found = store.record().await;
    let newer = fixture
        .issuer
        .spend(found.as_ref().expect("a record").tokens().expect("tokens"))
        .expires_in(Duration::from_secs(1));
    store
        .put(next_record(found.as_ref(), None, Some(newer)))
        .await;
    // The record has no receipt time, so its age counts from the read.
    tokio::time::advance(Duration::from_secs(2)).await;
    rotator.token().await.expect("revived");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// Before a terminal failure ends the session, the flight reads the store again. If another process
/// has saved newer tokens, the session continues.
#[tokio::test(start_paused = true)]
async fn a_terminal_failure_reads_the_store_again() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    fixture.expire().await;
    fixture.issuer.hold();
    let tasks = spawn_callers(&rotator, 50);
    fixture.issuer.wait_for_calls(1).await;
    // A process without this coordinator refreshes first.
    let found = store.record().await;
    let newer = fixture
        .issuer
        .spend(found.as_ref().expect("a record").tokens().expect("tokens"));
    store
        .put(next_record(found.as_ref(), None, Some(newer)))
        .await;
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::terminal("invalid_grant")));
    fixture.issuer.release();
    for token in collect_outcomes(tasks).await {
        assert_eq!(secret(&token.expect("adopted")), "access-2");
    }
    assert_eq!(fixture.events.count(ended), 0);
    assert!(!rotator.has_ended());
}

/// Reuse of a refresh token ends the session and is reported as a security event.
#[tokio::test(start_paused = true)]
async fn detected_reuse_is_a_security_event() {
    let fixture = Fixture::new();
    let tokens = fixture.issuer.login();
    let rotator = fixture.builder().build().expect("a rotator");
    rotator.sign_in(tokens.clone()).expect("usable tokens");
    fixture.issuer.spend(&tokens);
    let error = rotator.refresh_now().await;
    assert!(cause(&error).is_reuse_detected());
    let reuse = |event: &Event| matches!(event, Event::ReuseDetected { .. });
    assert_eq!(fixture.events.count(reuse), 1);
    assert_eq!(fixture.events.count(ended), 1);
}

/// A misconfiguration does not end the session: it is reported, and retried after the cool-down.
#[tokio::test(start_paused = true)]
async fn a_misconfiguration_ends_no_session() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::misconfigured(
            "invalid_client",
        )));
    assert_eq!(
        cause(&rotator.token().await).kind(),
        FailureKind::Misconfigured
    );
    assert!(!rotator.has_ended());
    tokio::time::advance(Duration::from_secs(1)).await;
    rotator.token().await.expect("a token");
    assert_eq!(fixture.events.count(ended), 0);
}
