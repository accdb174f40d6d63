//! Sign-ins and sign-outs of other replicas, and concurrent refreshes.

use token_rotator::{Event, TokenError};

use super::scripted_issuer::{ReusePolicy, access_token};
use super::shared_session::{Replica, SharedSession};
use crate::conformance::{StoreFixture, within_ten_seconds};

/// Eight replicas meet an expired token at once: one replica refreshes, and the others adopt the token that it saved.
pub async fn many_replicas_refresh_once(fixture: &impl StoreFixture) {
    let session = SharedSession::new(fixture, ReusePolicy::Strict);
    session.sign_in_expired().await;
    let mut replicas = Vec::new();
    for _ in 0..8 {
        replicas.push(session.replica().await);
    }
    let token_calls: Vec<_> = replicas.iter().map(Replica::spawn_token_call).collect();
    for call in token_calls {
        let token = within_ten_seconds("a token", call).await.expect("no panic");
        assert_eq!(token.expect("a token"), access_token(0, 1));
    }
    assert_eq!(
        (session.issuer.requests(), session.issuer.reuses_detected()),
        (1, 0)
    );
    assert_eq!(
        session.stored_access_token().await,
        Some(access_token(0, 1))
    );
}

/// A replica signs out during a flight of another replica. The flight's tokens are neither served nor saved, and are
/// revoked. The tombstone stays, and both sessions have ended.
pub async fn a_sign_out_by_another_replica_wins(fixture: &impl StoreFixture) {
    let session = SharedSession::new(fixture, ReusePolicy::Strict);
    session.sign_in(session.issuer.login()).await;
    let (first, second) = (session.replica().await, session.replica().await);
    for replica in [&first, &second] {
        assert_eq!(replica.token().await.expect("a token"), access_token(0, 0));
    }
    session.issuer.hold_next_response();
    let refreshed = first.spawn_refresh();
    within_ten_seconds("a request", session.issuer.wait_for_requests(1)).await;
    let stored = within_ten_seconds("a sign-out", second.rotator.sign_out()).await;
    stored.expect("a store that works");
    session.issuer.release_response();
    let refreshed = within_ten_seconds("the call", refreshed)
        .await
        .expect("no panic");
    assert!(
        matches!(
            refreshed,
            Err(TokenError::SessionChanged | TokenError::SignedOut)
        ),
        "{refreshed:?}"
    );
    within_ten_seconds("a revocation", session.issuer.revoked(&access_token(0, 1))).await;
    assert_eq!(session.stored_access_token().await, None);
    for replica in [&first, &second] {
        let result = replica.token().await;
        assert!(matches!(result, Err(TokenError::SignedOut)), "{result:?}");
    }
    let late_tokens = first.events.filter_map(|event| match event {
        Event::LateTokens { revoked } => Some(*revoked),
        _ => None,
    });
    assert_eq!(late_tokens, [true]);
}

/// A replica signs in during a flight of another replica. Both replicas serve the new session, and the flight's tokens
/// are dropped.
pub async fn a_sign_in_by_another_replica_wins(fixture: &impl StoreFixture) {
    let session = SharedSession::new(fixture, ReusePolicy::Strict);
    session.sign_in(session.issuer.login()).await;
    let (first, second) = (session.replica().await, session.replica().await);
    for replica in [&first, &second] {
        assert_eq!(replica.token().await.expect("a token"), access_token(0, 0));
    }
    session.issuer.hold_next_response();
    let refreshed = first.spawn_refresh();
    within_ten_seconds("a request", session.issuer.wait_for_requests(1)).await;
    second.sign_in(session.issuer.login()).await;
    session.issuer.release_response();
    let refreshed = within_ten_seconds("the call", refreshed)
        .await
        .expect("no panic");
    assert!(
        matches!(refreshed, Err(TokenError::SessionChanged)),
        "{refreshed:?}"
    );
    assert_eq!(
        session.stored_access_token().await,
        Some(access_token(1, 0))
    );
    for replica in [&first, &second] {
        assert_eq!(replica.token().await.expect("a token"), access_token(1, 0));
    }
    assert_eq!(session.issuer.requests(), 1);
}
