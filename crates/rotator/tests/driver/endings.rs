//! How a session ends, here and elsewhere, and what is left of it (rule 4).

use std::time::Duration;

use token_rotator::Event;
use token_rotator::middleware::RotatorExt as _;
use token_rotator::store::Epoch;

use crate::common::store::following;
use crate::common::{Requests as _, ScriptedStore, World, let_run, secret};
use crate::succession::{Scene, changed};

/// A sign-out in a process that has done nothing yet revokes what is in the store; one with a stale
/// memory revokes both, once each.
#[tokio::test(start_paused = true)]
async fn a_sign_out_revokes_what_is_in_the_store() {
    for (fresh, expected) in [
        (true, vec!["refresh-2"]),
        (false, vec!["refresh-1", "refresh-2"]),
    ] {
        let world = World::new();
        let store = ScriptedStore::new();
        let build = || {
            let builder = world.builder().store(store.clone());
            builder.build().expect("a rotator")
        };
        let (one, two) = (build(), build());
        let stored = one.sign_in(world.issuer.login()).expect("usable");
        stored.await.expect("stored");
        if !fresh {
            two.token().await.expect("adopted");
        }
        one.refresh_now().await.expect("a token");
        two.sign_out().await.expect("a tombstone");
        assert!(two.shutdown(Duration::from_secs(1)).await);
        assert_eq!(world.issuer.revoked(), expected);
        assert!(store.record().await.expect("a record").tokens().is_none());
    }
    // What is in both is revoked once.
    let scene = Scene::new().await;
    scene.rotator.sign_out().await.expect("a tombstone");
    assert!(scene.rotator.shutdown(Duration::from_secs(1)).await);
    assert_eq!(scene.world.issuer.revoked(), ["refresh-1"]);
}

/// A cookie session that another process has begun: signing out before anything else was done is a
/// sign-out, and the next refusal does not sign in again.
#[tokio::test(start_paused = true)]
async fn a_sign_out_before_anything_else_counts() {
    let world = World::new();
    world.issuer.without_grant();
    let store = ScriptedStore::new();
    let login = world.issuer.login();
    store
        .put(following(None, Some(Epoch::random()), Some(login)))
        .await;
    let rotator = world
        .builder()
        .store(store.clone())
        .anonymous()
        .build()
        .expect("a rotator");
    let pass = rotator.pass().await.expect("bare");
    assert!(pass.token().is_none());
    rotator.sign_out().await.expect("a tombstone");
    assert!(store.record().await.expect("a record").tokens().is_none());
    let_run().await;
    assert_eq!(world.issuer.revoked(), ["refresh-1"]);
    let after = rotator.pass().await.expect("bare");
    for pass in [pass, after] {
        let error = rotator.refused(&pass).await;
        assert!(error.is_err(), "{error:?}");
    }
    assert_eq!(world.issuer.calls(), 0);
}

/// A result that comes after a sign-out is revoked, though another has signed in since.
#[tokio::test(start_paused = true)]
async fn a_result_that_comes_after_a_sign_out_is_revoked() {
    for (signs_out, revoked) in [(true, vec!["refresh-1", "refresh-3"]), (false, vec![])] {
        let scene = Scene::new().await;
        scene.world.issuer.hold();
        let alices = scene.refresh();
        scene.world.issuer.arrived(1).await;
        if signs_out {
            scene.rotator.sign_out().await.expect("a tombstone");
        }
        let stored = scene
            .rotator
            .sign_in(scene.world.issuer.login())
            .expect("usable");
        stored.await.expect("stored");
        scene.world.issuer.let_go();
        assert!(alices.await.expect("no panic").is_err());
        assert!(scene.rotator.shutdown(Duration::from_secs(5)).await);
        let late =
            |event: &Event| matches!(event, Event::LateTokens { revoked } if *revoked == signs_out);
        assert_eq!(scene.world.heard.count(late), 1);
        assert_eq!(scene.world.issuer.revoked(), revoked);
        assert_eq!(
            scene.store.access_token().await.as_deref(),
            Some("access-2")
        );
    }
}

/// A sign-in elsewhere whose tokens cannot be sent yet is a sign-in: nothing of the session before
/// is served, and the next refresh goes on from it.
#[tokio::test(start_paused = true)]
async fn a_sign_in_elsewhere_that_cannot_be_sent_is_a_sign_in() {
    let scene = Scene::new().await;
    scene.world.expire().await;
    let found = scene.store.record().await;
    let bobs = scene.world.issuer.login().with_token_type("DPoP");
    scene
        .store
        .put(following(found.as_ref(), Some(Epoch::random()), Some(bobs)))
        .await;
    changed(&scene.rotator.token().await);
    assert!(scene.rotator.ready().is_none());
    assert!(scene.rotator.access_token().is_none());
    let signed_out = |event: &Event| matches!(event, Event::SignedOut);
    assert_eq!(scene.world.heard.count(signed_out), 0);
    let token = scene.rotator.token().await.expect("bob's next");
    assert_eq!(secret(&token), "access-3");
    assert_eq!(scene.world.issuer.reuse_alarms(), 0);
}

/// A record that was lost while a save failed is not written over a sign-in elsewhere.
#[tokio::test(start_paused = true)]
async fn a_lost_record_is_not_written_over_a_sign_in_elsewhere() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    store.lose();
    store.fail_saves(1);
    store.fail_intents(0);
    // The intent finds nothing to stand in and is written anew; then even that is lost.
    world.issuer.hold();
    let call = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    world.issuer.arrived(1).await;
    store.lose();
    store.fail_saves(1);
    world.issuer.let_go();
    call.await.expect("no panic").expect("from memory");
    let bobs = world.issuer.login();
    store
        .put(following(None, Some(Epoch::random()), Some(bobs)))
        .await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
    assert_eq!(secret(&rotator.token().await.expect("bob's")), "access-3");
}
