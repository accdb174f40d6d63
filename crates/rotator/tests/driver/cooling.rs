//! Cool-downs and the end of a session (rule 9).

use std::time::Duration;

use token_rotator::{Event, FailureKind, RefreshError, SourceError, TokenError};

use crate::common::store::following;
use crate::common::{
    Act, Requests as _, ScriptedStore, World, callers, let_run, outcomes, secret, timed,
};

fn ended(event: &Event) -> bool {
    matches!(event, Event::Ended { .. })
}

fn cause(answer: &Result<token_rotator::Token, TokenError>) -> &SourceError {
    match answer {
        Err(TokenError::Refresh(RefreshError::Source(error))) => error,
        other => panic!("the source's error, not {other:?}"),
    }
}

/// During a cool-down calls fail at once with the cause, and the issuer is left alone; it doubles
/// from half a second. After it the next call refreshes.
#[tokio::test(start_paused = true)]
async fn a_cool_down_answers_at_once_with_the_cause() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    for (failures, millis) in [(1, 500_u64), (2, 1_000), (3, 2_000)] {
        world.issuer.next(Act::Fail(SourceError::transient("down")));
        cause(&rotator.token().await);
        let (took, errors) = timed(outcomes(callers(&rotator, 50))).await;
        assert!(took.is_zero());
        for error in &errors {
            assert_eq!(cause(error).message(), "down");
        }
        // The jitter is a fifth at most.
        tokio::time::advance(Duration::from_millis(millis * 4 / 5 - 1)).await;
        cause(&rotator.token().await);
        assert_eq!(world.issuer.calls(), failures);
        tokio::time::advance(Duration::from_millis(millis * 2 / 5 + 1)).await;
    }
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
}

/// `refresh_now` overrides a cool-down, and not the issuer's own word about when to come back,
/// which is believed up to five minutes.
#[tokio::test(start_paused = true)]
async fn retry_after_is_kept_and_a_cool_down_overridden() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    world.issuer.next(Act::Fail(SourceError::transient("down")));
    cause(&rotator.token().await);
    rotator.refresh_now().await.expect("a token");
    assert_eq!(world.issuer.calls(), 2);

    world.expire().await;
    let busy = SourceError::transient("busy").with_retry_after(Duration::from_secs(3_600));
    world.issuer.next(Act::Fail(busy));
    cause(&rotator.token().await);
    tokio::time::advance(Duration::from_secs(299)).await;
    cause(&rotator.token().await);
    cause(&rotator.refresh_now().await);
    assert_eq!(world.issuer.calls(), 3);
    tokio::time::advance(Duration::from_secs(1)).await;
    rotator.token().await.expect("a token");
    assert_eq!(world.issuer.calls(), 4);
}

/// A sign-in ends a cool-down, and the issuer's own as well: it was about another session.
#[tokio::test(start_paused = true)]
async fn a_sign_in_ends_a_cool_down() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    let busy = SourceError::transient("busy").with_retry_after(Duration::from_secs(60));
    world.issuer.next(Act::Fail(busy));
    cause(&rotator.token().await);
    rotator
        .sign_in(world.issuer.login())
        .expect("usable tokens");
    rotator.refresh_now().await.expect("a token");
}

/// A terminal failure ends the session: told once, and nobody asks the issuer again until a
/// sign-in or `refresh_now`.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_is_told_once() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    world
        .issuer
        .next(Act::Fail(SourceError::terminal("invalid_grant")));
    for error in outcomes(callers(&rotator, 50)).await {
        assert_eq!(cause(&error).kind(), FailureKind::Terminal);
    }
    assert!(rotator.has_ended());
    tokio::time::advance(Duration::from_secs(100)).await;
    for error in outcomes(callers(&rotator, 50)).await {
        assert_eq!(cause(&error).kind(), FailureKind::Terminal);
    }
    assert_eq!(world.issuer.calls(), 1);
    world
        .issuer
        .next(Act::Fail(SourceError::terminal("invalid_grant")));
    cause(&rotator.refresh_now().await);
    assert_eq!(world.issuer.calls(), 2);
    assert_eq!(world.heard.count(ended), 1);

    rotator
        .sign_in(world.issuer.login())
        .expect("usable tokens");
    assert!(!rotator.has_ended());
    world.expire().await;
    world
        .issuer
        .next(Act::Fail(SourceError::terminal("invalid_grant")));
    cause(&rotator.token().await);
    assert_eq!(world.heard.count(ended), 2, "another sign-in, another end");
}

/// An ended session serves its access token until that expires.
#[tokio::test(start_paused = true)]
async fn an_ended_session_serves_its_token_while_it_lasts() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world
        .issuer
        .next(Act::Fail(SourceError::terminal("invalid_grant")));
    cause(&rotator.refresh_now().await);
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
    world.almost_expire().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
    let_run().await;
    assert_eq!(
        world.issuer.calls(),
        1,
        "no early refresh of what has ended"
    );
    tokio::time::advance(Duration::from_secs(6)).await;
    cause(&rotator.token().await);
    assert_eq!(world.issuer.calls(), 1);
}

/// Where requests may go out bare they do so before the first token and after the end: a login
/// must get through.
#[tokio::test(start_paused = true)]
async fn an_anonymous_session_goes_bare_before_and_after() {
    let world = World::new();
    world.issuer.without_grant();
    let rotator = world.builder().anonymous().build().expect("a rotator");
    let bare = rotator.pass().await.expect("leave to go bare");
    assert!(bare.token().is_none());
    assert_eq!(world.issuer.calls(), 0);
    let token = rotator.refused(&bare).await.expect("the first refresh");
    assert_eq!(world.issuer.calls(), 1);
    let late = rotator.refused(&bare).await.expect("the same token");
    assert_eq!(late.generation(), token.generation());

    world.expire().await;
    world
        .issuer
        .next(Act::Fail(SourceError::terminal("invalid_grant")));
    cause(&rotator.token().await);
    let bare = rotator.pass().await.expect("leave to go bare");
    assert!(bare.token().is_none());
    let error = rotator.refused(&bare).await;
    assert_eq!(cause(&error).kind(), FailureKind::Terminal);
    assert_eq!(world.issuer.calls(), 2);
    rotator.sign_out();
    let bare = rotator.pass().await.expect("leave to go bare");
    let error = rotator.refused(&bare).await;
    assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    assert_eq!(world.issuer.calls(), 2);
}

/// An ended session looks into its store, at most once a second: what another process has saved
/// there revives it.
#[tokio::test(start_paused = true)]
async fn an_ended_session_is_revived_by_a_newer_record() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    world.expire().await;
    world
        .issuer
        .next(Act::Fail(SourceError::terminal("invalid_grant")));
    cause(&rotator.token().await);
    cause(&rotator.token().await);
    let loads = store.loads();
    for _ in 0..10 {
        for error in outcomes(callers(&rotator, 5)).await {
            cause(&error);
        }
        tokio::time::advance(Duration::from_millis(300)).await;
    }
    let looks = store.loads() - loads;
    assert!((2..=3).contains(&looks), "{looks} looks in three seconds");

    tokio::time::advance(Duration::from_secs(1)).await;
    let found = store.record().await;
    let newer = world
        .issuer
        .spend(found.as_ref().expect("a record").tokens().expect("tokens"));
    store
        .put(following(found.as_ref(), None, Some(newer)))
        .await;
    assert_eq!(secret(&rotator.token().await.expect("revived")), "access-2");
    assert!(!rotator.has_ended());
    assert_eq!(world.issuer.calls(), 1, "it was adopted");
    assert_eq!(world.heard.count(ended), 1);
}

/// What revives an ended session may have expired meanwhile: its refresh token is newer all the
/// same.
#[tokio::test(start_paused = true)]
async fn an_ended_session_is_revived_by_a_newer_refresh_token() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    world.expire().await;
    world
        .issuer
        .next(Act::Fail(SourceError::terminal("invalid_grant")));
    cause(&rotator.token().await);
    let found = store.record().await;
    let newer = world
        .issuer
        .spend(found.as_ref().expect("a record").tokens().expect("tokens"))
        .expires_in(Duration::from_secs(1));
    store
        .put(following(found.as_ref(), None, Some(newer)))
        .await;
    // The record does not say when it was received, so it counts from when it is read.
    tokio::time::advance(Duration::from_secs(2)).await;
    rotator.token().await.expect("revived");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    assert_eq!(world.issuer.reuse_alarms(), 0);
}

/// Before a terminal failure ends the session the store is read again: what somebody has saved
/// there meanwhile goes on.
#[tokio::test(start_paused = true)]
async fn a_terminal_failure_reads_the_store_again() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    world.expire().await;
    world.issuer.hold();
    let calls = callers(&rotator, 50);
    world.issuer.arrived(1).await;
    // Somebody without our coordinator is faster.
    let found = store.record().await;
    let newer = world
        .issuer
        .spend(found.as_ref().expect("a record").tokens().expect("tokens"));
    store
        .put(following(found.as_ref(), None, Some(newer)))
        .await;
    world
        .issuer
        .next(Act::Fail(SourceError::terminal("invalid_grant")));
    world.issuer.let_go();
    for token in outcomes(calls).await {
        assert_eq!(secret(&token.expect("adopted")), "access-2");
    }
    assert_eq!(world.heard.count(ended), 0);
    assert!(!rotator.has_ended());
}

/// Reuse of a refresh token is told as what it is, a security event, and ends the session.
#[tokio::test(start_paused = true)]
async fn detected_reuse_is_told() {
    let world = World::new();
    let tokens = world.issuer.login();
    let rotator = world.builder().build().expect("a rotator");
    rotator.sign_in(tokens.clone()).expect("usable tokens");
    world.issuer.spend(&tokens);
    let error = rotator.refresh_now().await;
    assert!(cause(&error).is_reuse_detected());
    let reuse = |event: &Event| matches!(event, Event::ReuseDetected { .. });
    assert_eq!(world.heard.count(reuse), 1);
    assert_eq!(world.heard.count(ended), 1);
}

/// The operator's mistake marks nothing: it is told, and tried again after the cool-down.
#[tokio::test(start_paused = true)]
async fn a_misconfiguration_ends_nothing() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    world
        .issuer
        .next(Act::Fail(SourceError::misconfigured("invalid_client")));
    assert_eq!(
        cause(&rotator.token().await).kind(),
        FailureKind::Misconfigured
    );
    assert!(!rotator.has_ended());
    tokio::time::advance(Duration::from_secs(1)).await;
    rotator.token().await.expect("a token");
    assert_eq!(world.heard.count(ended), 0);
}
