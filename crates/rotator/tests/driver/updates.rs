//! Tests updates: newer tokens of the same sign-in from outside the rotator.

use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator::store::LocalCoordinator;
use token_rotator::{Rotator, UpdateError};

use crate::common::{Fixture, ScriptedStore, run_ready_tasks, secret};

/// After another user's sign-in or a sign-out, an update for the previous token is ignored.
#[tokio::test(start_paused = true)]
async fn an_update_of_the_previous_session_is_ignored() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    let alices = rotator.token().await.expect("alice's");
    let newer = fixture.issuer.spend(alices.token_set());
    let stored = rotator.sign_in(fixture.issuer.login()).expect("usable");
    stored.await.expect("stored");
    let bobs = rotator.token().await.expect("bob's");
    for stale in [alices.stamp(), (&alices).into()] {
        let refused = rotator.update(stale, newer.clone());
        assert!(matches!(refused, Err(UpdateError::SessionChanged)));
    }
    assert_eq!(rotator.token().await.expect("bob's").stamp(), bobs.stamp());
    assert_eq!(store.access_token().await, Some(secret(&bobs)));
    rotator.sign_out().await.expect("a tombstone");
    for stale in [alices.stamp(), bobs.stamp()] {
        let refused = rotator.update(stale, newer.clone());
        assert!(matches!(refused, Err(UpdateError::SessionChanged)));
    }
    run_ready_tasks().await;
    assert!(store.record().await.expect("a record").tokens().is_none());
    assert!(rotator.access_token().is_none());
}

/// An update arrives while a sign-in is being written or after its write failed. The store ends
/// with the update, under its sign-in.
#[tokio::test(start_paused = true)]
async fn an_update_right_after_a_sign_in_ends_in_the_store() {
    for failures in 0..3 {
        let fixture = Fixture::new();
        let store = ScriptedStore::new();
        let rotator = fixture
            .builder()
            .store(store.clone())
            .build()
            .expect("a rotator");
        store.hold_saves(true);
        let signed_in = rotator.sign_in(fixture.issuer.login()).expect("usable");
        store.wait_for_saves(1).await;
        let old = rotator.token().await.expect("a token");
        let newer = fixture.issuer.spend(old.token_set());
        let updated = rotator.update(&old, newer).expect("usable");
        run_ready_tasks().await;
        store.fail_saves(failures);
        store.hold_saves(false);
        let outcomes = (signed_in.await.is_ok(), updated.await.is_ok());
        assert_eq!(outcomes, (failures < 1, failures < 2), "{failures}");
        assert!(rotator.shutdown(Duration::from_secs(30)).await);
        assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
    }
}

/// An update arrives before any write of the sign-in. It wins over another process's record,
/// because the sign-in is later.
#[tokio::test(start_paused = true)]
async fn an_update_does_not_undo_its_sign_in() {
    use token_rotator::store::Epoch;
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let theirs = crate::common::store::next_record(
        None,
        Some(Epoch::random()),
        Some(fixture.issuer.login()),
    );
    store.put(theirs).await;
    let rotator = fixture
        .builder()
        .store(store.clone())
        .build()
        .expect("a rotator");
    store.fail_saves(1);
    let _signed_in = rotator.sign_in(fixture.issuer.login()).expect("usable");
    let old = rotator.token().await.expect("a token");
    let newer = fixture.issuer.spend(old.token_set());
    let _updated = rotator.update(&old, newer).expect("usable");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
    assert_eq!(secret(&rotator.token().await.expect("ours")), "access-3");
    assert_eq!(
        fixture
            .events
            .names()
            .iter()
            .filter(|name| *name == "SignedIn")
            .count(),
        1
    );
}

/// Other rotators refresh from the updated tokens, and adopt them while they are good.
#[tokio::test(start_paused = true)]
async fn other_rotators_use_an_update() {
    let fixture = Fixture::new();
    let (store, leases) = (ScriptedStore::new(), LocalCoordinator::new());
    let build = || -> Rotator {
        let builder = fixture
            .builder()
            .store(store.clone())
            .coordinator(leases.clone());
        builder.build().expect("a rotator")
    };
    let (first, second) = (build(), build());
    let stored = first.sign_in(fixture.issuer.login()).expect("usable");
    stored.await.expect("stored");
    let old = first.token().await.expect("a token");
    second.token().await.expect("adopted");
    let newer = fixture.issuer.spend(old.token_set());
    let stored = first.update(&old, newer).expect("usable");
    stored.await.expect("stored");
    let adopted = second.refresh_now().await.expect("adopted");
    assert_eq!(secret(&adopted), "access-2");
    assert_eq!(fixture.issuer.refresh_calls(), 0);
    fixture.expire().await;
    assert_eq!(secret(&second.token().await.expect("a token")), "access-3");
    assert_eq!(secret(&first.token().await.expect("adopted")), "access-3");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// An update whose save fails takes effect at once and is saved later. If a second update replaces
/// it before that, the second is saved.
#[tokio::test(start_paused = true)]
async fn an_update_that_cannot_be_saved_takes_effect() {
    for lost in [false, true] {
        let fixture = Fixture::new();
        let store = ScriptedStore::new();
        let rotator = fixture
            .signed_in_with(|builder| builder.store(store.clone()))
            .await;
        // With `lost` the store has the first update, but its answer was lost.
        if lost {
            store.lose_answers(1);
        } else {
            store.fail_saves(1);
        }
        let mut token = rotator.token().await.expect("a token");
        for _ in 0..2 {
            let newer = fixture.issuer.spend(token.token_set());
            let stored = rotator.update(&token, newer).expect("usable");
            stored.await.expect_err("the store is down");
            store.fail_saves(2);
            token = rotator.token().await.expect("the newer");
        }
        assert_eq!(secret(&token), "access-3");
        let next = rotator.refresh_now().await.expect("from memory");
        assert_eq!(secret(&next), "access-4");
        store.fail_saves(0);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(store.access_token().await.as_deref(), Some("access-4"));
        rotator.refresh_now().await.expect("a token");
        assert_eq!(fixture.issuer.reuse_alarms(), 0);
    }
}
