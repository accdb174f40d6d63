//! Newer tokens of the same sign-in that come from elsewhere.

use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator::store::LocalCoordinator;
use token_rotator::{Rotator, UpdateError};

use crate::common::{ScriptedStore, World, let_run, secret};

/// After a sign-in as another or a sign-out, what follows the token of before is not taken.
#[tokio::test(start_paused = true)]
async fn an_update_of_the_session_before_is_not_taken() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    let alices = rotator.token().await.expect("alice's");
    let newer = world.issuer.spend(alices.token_set());
    let stored = rotator.sign_in(world.issuer.login()).expect("usable");
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
    let_run().await;
    assert!(store.record().await.expect("a record").tokens().is_none());
    assert!(rotator.access_token().is_none());
}

/// A sign-in is still being written, or failed to be, when the update comes: the store has the
/// update in the end, under the sign-in that it belongs to.
#[tokio::test(start_paused = true)]
async fn an_update_right_after_a_sign_in_ends_in_the_store() {
    for failures in 0..3 {
        let world = World::new();
        let store = ScriptedStore::new();
        let rotator = world
            .builder()
            .store(store.clone())
            .build()
            .expect("a rotator");
        store.hold_saves(true);
        let signed_in = rotator.sign_in(world.issuer.login()).expect("usable");
        store.saving(1).await;
        let old = rotator.token().await.expect("a token");
        let newer = world.issuer.spend(old.token_set());
        let updated = rotator.update(&old, newer).expect("usable");
        let_run().await;
        store.fail_saves(failures);
        store.hold_saves(false);
        let outcomes = (signed_in.await.is_ok(), updated.await.is_ok());
        assert_eq!(outcomes, (failures < 1, failures < 2), "{failures}");
        assert!(rotator.shutdown(Duration::from_secs(30)).await);
        assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
    }
}

/// One that comes before anything of the sign-in was written does not give way to what somebody
/// else has in the store: the sign-in is later than that.
#[tokio::test(start_paused = true)]
async fn an_update_does_not_undo_its_sign_in() {
    use token_rotator::store::Epoch;
    let world = World::new();
    let store = ScriptedStore::new();
    let theirs =
        crate::common::store::following(None, Some(Epoch::random()), Some(world.issuer.login()));
    store.put(theirs).await;
    let rotator = world
        .builder()
        .store(store.clone())
        .build()
        .expect("a rotator");
    store.fail_saves(1);
    let _signed_in = rotator.sign_in(world.issuer.login()).expect("usable");
    let old = rotator.token().await.expect("a token");
    let newer = world.issuer.spend(old.token_set());
    let _updated = rotator.update(&old, newer).expect("usable");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
    assert_eq!(secret(&rotator.token().await.expect("ours")), "access-3");
    assert_eq!(
        world
            .heard
            .names()
            .iter()
            .filter(|name| *name == "SignedIn")
            .count(),
        1
    );
}

/// Neighbours refresh from the updated tokens, and adopt them while they are good.
#[tokio::test(start_paused = true)]
async fn neighbours_go_on_from_an_update() {
    let world = World::new();
    let (store, leases) = (ScriptedStore::new(), LocalCoordinator::new());
    let build = || -> Rotator {
        let builder = world
            .builder()
            .store(store.clone())
            .coordinator(leases.clone());
        builder.build().expect("a rotator")
    };
    let (one, two) = (build(), build());
    let stored = one.sign_in(world.issuer.login()).expect("usable");
    stored.await.expect("stored");
    let old = one.token().await.expect("a token");
    two.token().await.expect("adopted");
    let newer = world.issuer.spend(old.token_set());
    let stored = one.update(&old, newer).expect("usable");
    stored.await.expect("stored");
    let adopted = two.refresh_now().await.expect("adopted");
    assert_eq!(secret(&adopted), "access-2");
    assert_eq!(world.issuer.calls(), 0);
    world.expire().await;
    assert_eq!(secret(&two.token().await.expect("a token")), "access-3");
    assert_eq!(secret(&one.token().await.expect("adopted")), "access-3");
    assert_eq!(world.issuer.calls(), 1);
    assert_eq!(world.issuer.reuse_alarms(), 0);
}

/// An update whose save fails is gone by all the same, at once, and saved later; one that replaces
/// it before that is the one that stays.
#[tokio::test(start_paused = true)]
async fn an_update_that_cannot_be_saved_is_gone_by() {
    for lost in [false, true] {
        let world = World::new();
        let store = ScriptedStore::new();
        let rotator = world
            .signed_in_with(|builder| builder.store(store.clone()))
            .await;
        // The first is stored in truth, where its answer is what was lost.
        if lost {
            store.lose_answers(1);
        } else {
            store.fail_saves(1);
        }
        let mut token = rotator.token().await.expect("a token");
        for _ in 0..2 {
            let newer = world.issuer.spend(token.token_set());
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
        assert_eq!(world.issuer.reuse_alarms(), 0);
    }
}
