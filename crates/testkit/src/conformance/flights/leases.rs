//! Leases that are lost during a flight.

use std::sync::atomic::Ordering;

use token_rotator::store::LeaseError;
use token_rotator::{RefreshError, TokenError};

use super::scripted_issuer::{ReusePolicy, access_token};
use super::shared_session::SharedSession;
use crate::conformance::{StoreFixture, within_ten_seconds};

/// A lease is lost before the request is sent: nothing is sent, the refresh token is not in doubt, and the next flight
/// refreshes once.
pub async fn a_lease_lost_before_the_request_sends_nothing(fixture: &impl StoreFixture) {
    let session = SharedSession::new(fixture, ReusePolicy::Strict);
    session.sign_in_expired().await;
    let replica = session.replica().await;
    replica.failures.lost_lease.store(true, Ordering::SeqCst);
    let result = replica.token().await;
    assert!(
        matches!(
            result,
            Err(TokenError::Refresh(RefreshError::Lease(LeaseError::Lost)))
        ),
        "{result:?}"
    );
    assert_eq!(session.issuer.requests(), 0);
    replica.failures.lost_lease.store(false, Ordering::SeqCst);
    let other = session.replica().await;
    assert_eq!(
        other.token_after_retries().await.expect("a token"),
        access_token(0, 1)
    );
    assert_eq!(
        (session.issuer.requests(), session.issuer.reuses_detected()),
        (1, 0)
    );
}

/// A lease is lost after the request is sent. The new tokens are saved if the record still holds the tokens that the
/// flight began with.
pub async fn a_lease_lost_after_the_request_still_saves(fixture: &impl StoreFixture) {
    let session = SharedSession::new(fixture, ReusePolicy::Strict);
    session.sign_in_expired().await;
    let replica = session.replica().await;
    session.issuer.hold_next_response();
    let call = replica.spawn_token_call();
    within_ten_seconds("a request", session.issuer.wait_for_requests(1)).await;
    replica.failures.lost_lease.store(true, Ordering::SeqCst);
    session.issuer.release_response();
    let token = within_ten_seconds("a token", call).await.expect("no panic");
    assert_eq!(token.expect("a token"), access_token(0, 1));
    assert_eq!(
        session.stored_access_token().await,
        Some(access_token(0, 1))
    );
    let other = session.replica().await;
    assert_eq!(other.token().await.expect("a token"), access_token(0, 1));
    assert_eq!(session.issuer.requests(), 1);
}

/// A holder loses its lease to a successor, and its response arrives after the successor has saved. The holder cannot
/// save, and serves the successor's token.
pub async fn a_successors_token_is_adopted(fixture: &impl StoreFixture) {
    let session = SharedSession::new(fixture, ReusePolicy::ParentAlways);
    if !session.is_durable().await {
        // Without a journal the successor cannot see that a request was sent.
        return;
    }
    session.sign_in_expired().await;
    let paused = session.replica().await;
    session.issuer.hold_next_response();
    let call = paused.spawn_token_call();
    within_ten_seconds("a request", session.issuer.wait_for_requests(1)).await;
    paused.failures.lost_lease.store(true, Ordering::SeqCst);
    // Releases the lease, as if it had expired.
    drop(paused.crash_plan.take_lease());
    let successor = session.replica().await;
    let token = successor.token_after_retries().await.expect("a token");
    assert_eq!(token, access_token(0, 2));
    session.issuer.release_response();
    let adopted = within_ten_seconds("a token", call).await.expect("no panic");
    assert_eq!(adopted.expect("a token"), token);
    assert_eq!(session.stored_access_token().await, Some(token));
    assert_eq!(session.issuer.reuses_detected(), 0);
}
