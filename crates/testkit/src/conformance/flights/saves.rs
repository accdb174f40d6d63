//! Saves and intents that fail, and records that another process has written meanwhile.

use std::sync::atomic::Ordering;

use token_rotator::{Event, RefreshError, TokenError};

use super::scripted_issuer::{ReusePolicy, access_token};
use super::shared_session::SharedSession;
use crate::conformance::{StoreFixture, within_ten_seconds};

/// A save fails three times and then succeeds. The replica serves the new token meanwhile and reports each failure. No
/// other replica spends the old refresh token, and at the end every replica has the new token.
pub async fn a_failed_save_is_retried_until_it_succeeds(fixture: &impl StoreFixture) {
    let session = SharedSession::new(fixture, ReusePolicy::Strict);
    session.sign_in_expired().await;
    let (first, second) = (session.replica().await, session.replica().await);
    first.failures.failing_saves.store(3, Ordering::SeqCst);
    assert_eq!(first.token().await.expect("a token"), access_token(0, 1));
    let token_call = second.spawn_token_call();
    let recovered = |event: &Event| matches!(event, Event::SaveRecovered { attempts: 3 });
    first.events.wait_for("a save that works", recovered).await;
    let failures = first.events.filter_map(|event| match event {
        Event::SaveFailed { attempts, .. } => Some(*attempts),
        _ => None,
    });
    assert_eq!(failures, [1, 2, 3]);
    let token = match within_ten_seconds("an answer", token_call)
        .await
        .expect("no panic")
    {
        Err(TokenError::Refresh(RefreshError::InDoubt { .. })) => {
            second.token_after_retries().await
        }
        result => result,
    };
    assert_eq!(token.expect("a token"), access_token(0, 1));
    assert_eq!(
        session.stored_access_token().await,
        Some(access_token(0, 1))
    );
    assert_eq!(
        (session.issuer.requests(), session.issuer.reuses_detected()),
        (1, 0)
    );
}

/// Writing the intent fails: nothing is sent. The next attempt refreshes once.
pub async fn a_failed_journal_write_sends_nothing(fixture: &impl StoreFixture) {
    let session = SharedSession::new(fixture, ReusePolicy::Strict);
    if !session.is_durable().await {
        // A store in memory has no journal.
        return;
    }
    session.sign_in_expired().await;
    let replica = session.replica().await;
    replica.failures.failing_intents.store(1, Ordering::SeqCst);
    let failed = replica.token().await;
    assert!(
        matches!(failed, Err(TokenError::Refresh(RefreshError::Store(_)))),
        "{failed:?}"
    );
    assert_eq!(session.issuer.requests(), 0);
    assert!(session.record().await.intent().is_none());
    let other = session.replica().await;
    assert_eq!(
        other.token_after_retries().await.expect("a token"),
        access_token(0, 1)
    );
    assert_eq!(session.issuer.requests(), 1);
}

/// Another process writes newer tokens between the read of a flight and its intent. The flight's compare-and-swap
/// fails, and the flight reads again and adopts the tokens without a request.
pub async fn a_conflict_before_the_request_adopts_the_newer_tokens(fixture: &impl StoreFixture) {
    let session = SharedSession::new(fixture, ReusePolicy::Strict);
    if !session.is_durable().await {
        // A store in memory has no write between read and request.
        return;
    }
    session.sign_in_expired().await;
    let replica = session.replica().await;
    let newer = session.issuer.login();
    let concurrent_tokens = replica.failures.concurrent_tokens.lock();
    *concurrent_tokens.unwrap_or_else(std::sync::PoisonError::into_inner) = Some(newer);
    assert_eq!(replica.token().await.expect("a token"), access_token(1, 0));
    assert_eq!(session.issuer.requests(), 0);
    assert_eq!(
        session.stored_access_token().await,
        Some(access_token(1, 0))
    );
}
