//! Leases that are lost while a flight is in the air.

use std::sync::atomic::Ordering;

use token_rotator::store::LeaseError;
use token_rotator::{RefreshError, TokenError};

use super::issuer::{Policy, access_token};
use super::scene::Scene;
use crate::conformance::{Ground, soon};

/// A lease that is gone before the request is sent: nothing is sent, nothing is in doubt, and the next
/// flight refreshes once.
pub async fn a_lease_lost_before_the_request_sends_nothing(ground: &impl Ground) {
    let scene = Scene::new(ground, Policy::Strict);
    scene.sign_in_expired().await;
    let replica = scene.replica().await;
    replica.trouble.lost_lease.store(true, Ordering::SeqCst);
    let lost = replica.token().await;
    assert!(
        matches!(
            lost,
            Err(TokenError::Refresh(RefreshError::Lease(LeaseError::Lost)))
        ),
        "{lost:?}"
    );
    assert_eq!(scene.desk.requests(), 0);
    replica.trouble.lost_lease.store(false, Ordering::SeqCst);
    let other = scene.replica().await;
    assert_eq!(other.settled().await.expect("a token"), access_token(0, 1));
    assert_eq!((scene.desk.requests(), scene.desk.alarms()), (1, 0));
}

/// A lease that is gone while the request is in the air: what it brings is saved all the same if the
/// record is still the one it was refreshed from.
pub async fn a_lease_lost_after_the_request_saves_all_the_same(ground: &impl Ground) {
    let scene = Scene::new(ground, Policy::Strict);
    scene.sign_in_expired().await;
    let replica = scene.replica().await;
    scene.desk.hold_the_next();
    let call = replica.asking();
    soon("a request", scene.desk.arrived(1)).await;
    replica.trouble.lost_lease.store(true, Ordering::SeqCst);
    scene.desk.let_go();
    let token = soon("a token", call).await.expect("no panic");
    assert_eq!(token.expect("a token"), access_token(0, 1));
    assert_eq!(scene.stored().await, Some(access_token(0, 1)));
    let other = scene.replica().await;
    assert_eq!(other.token().await.expect("a token"), access_token(0, 1));
    assert_eq!(scene.desk.requests(), 1);
}

/// A holder whose lease went to a successor, and whose answer comes when that has saved its own: it
/// cannot save over it, and serves what the successor saved.
pub async fn a_successor_is_adopted(ground: &impl Ground) {
    let scene = Scene::new(ground, Policy::ParentAlways);
    if !scene.is_durable().await {
        // Without a journal nobody could tell that a request is in the air.
        return;
    }
    scene.sign_in_expired().await;
    let paused = scene.replica().await;
    scene.desk.hold_the_next();
    let call = paused.asking();
    soon("a request", scene.desk.arrived(1)).await;
    paused.trouble.lost_lease.store(true, Ordering::SeqCst);
    // It goes to somebody else, as when it has run out.
    drop(paused.fate.let_go());
    let successor = scene.replica().await;
    let token = successor.settled().await.expect("a token");
    assert_eq!(token, access_token(0, 2));
    scene.desk.let_go();
    let adopted = soon("a token", call).await.expect("no panic");
    assert_eq!(adopted.expect("a token"), token);
    assert_eq!(scene.stored().await, Some(token));
    assert_eq!(scene.desk.alarms(), 0);
}
