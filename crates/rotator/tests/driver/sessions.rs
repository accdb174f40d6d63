//! Sign-in and sign-out win (rule 4).

use token_rotator::middleware::RotatorExt as _;
use token_rotator::store::{Epoch, LocalCoordinator};
use token_rotator::{Event, Profile, TokenError};

use crate::common::{ScriptedStore, World, callers, let_run, outcomes, secret, timed};

/// Sign-out during a flight: who waits is released at once, nothing is installed or saved, the
/// rotated token is revoked as well, and the store has a tombstone.
#[tokio::test(start_paused = true)]
async fn sign_out_during_a_flight_leaves_nothing_behind() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    let before = store.record().await.expect("a record").version();
    world.expire().await;
    world.issuer.hold();
    let calls = callers(&rotator, 50);
    world.issuer.arrived(1).await;
    let_run().await;

    rotator.sign_out().await.expect("a tombstone");
    let (took, errors) = timed(outcomes(calls)).await;
    assert!(took.is_zero(), "released at once, not after {took:?}");
    for error in errors {
        assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    }
    let tombstone = store.record().await.expect("a record");
    assert!(tombstone.tokens().is_none());
    assert_ne!(tombstone.version().epoch, before.epoch);
    assert!(tombstone.version().revision > before.revision);

    world.issuer.let_go();
    assert!(rotator.shutdown(std::time::Duration::from_secs(5)).await);
    assert_eq!(world.issuer.refreshes(), 1, "the flight was past recall");
    assert_eq!(world.issuer.revoked(), ["refresh-1", "refresh-2"]);
    assert!(rotator.access_token().is_none());
    let record = store.record().await.expect("a record");
    assert_eq!(record.version(), tombstone.version(), "nothing was saved");
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::LateTokens { .. })),
        1
    );
    assert_eq!(
        world.heard.count(|event| matches!(event, Event::SignedOut)),
        1
    );
}

/// Sign-in as another during a flight: the new session stays, whoever waited for the old one is
/// told so, and nothing is revoked (many issuers would kill the new login with the old grant).
#[tokio::test(start_paused = true)]
async fn sign_in_during_a_flight_stays() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    world.issuer.hold();
    let calls = callers(&rotator, 50);
    world.issuer.arrived(1).await;
    let_run().await;
    rotator
        .sign_in(world.issuer.login())
        .expect("usable tokens");
    assert_eq!(secret(&rotator.token().await.expect("bob's")), "access-2");
    let (took, errors) = timed(outcomes(calls)).await;
    assert!(took.is_zero());
    for error in errors {
        assert!(
            matches!(error, Err(TokenError::SessionChanged)),
            "{error:?}"
        );
    }
    world.issuer.let_go();
    assert!(rotator.shutdown(std::time::Duration::from_secs(5)).await);
    assert_eq!(world.issuer.refreshes(), 1);
    assert_eq!(secret(&rotator.access_token().expect("bob's")), "access-2");
    assert!(world.issuer.revoked().is_empty());
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::LateTokens { .. })),
        1
    );
}

/// Where revocation is per token, sign-in over a session revokes what it replaces, and what comes
/// late.
#[tokio::test(start_paused = true)]
async fn revocation_per_token_reaches_the_old_session() {
    let world = World::new();
    let profile = Profile::strict().with_revocation_per_token();
    let rotator = world
        .signed_in_with(|builder| builder.profile(profile))
        .await;
    world.expire().await;
    world.issuer.hold();
    let calls = callers(&rotator, 2);
    world.issuer.arrived(1).await;
    rotator
        .sign_in(world.issuer.login())
        .expect("usable tokens");
    world.issuer.let_go();
    drop(outcomes(calls).await);
    assert!(rotator.shutdown(std::time::Duration::from_secs(5)).await);
    assert_eq!(world.issuer.revoked(), ["refresh-1", "refresh-3"]);
    assert_eq!(secret(&rotator.access_token().expect("bob's")), "access-2");
}

/// The new session can refresh while the old one's flight is still in the air, and each lands
/// where it belongs.
#[tokio::test(start_paused = true)]
async fn a_flight_of_the_past_does_not_block_the_new_session() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    world.issuer.hold();
    let old = callers(&rotator, 1);
    world.issuer.arrived(1).await;
    rotator
        .sign_in(world.issuer.login())
        .expect("usable tokens");
    let forced = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    world.issuer.arrived(2).await;
    world.issuer.let_go();
    let token = forced.await.expect("no panic").expect("a token");
    let error = outcomes(old).await.remove(0);
    assert!(
        matches!(error, Err(TokenError::SessionChanged)),
        "{error:?}"
    );
    let current = rotator.access_token().expect("a token");
    assert_eq!(current.generation(), token.generation());
    assert_eq!(world.issuer.reuse_alarms(), 0);
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::LateTokens { .. })),
        1
    );
}

/// Revisions grow from record to record, an intent between two of them, and never restart, not
/// after a sign-out either.
#[tokio::test(start_paused = true)]
async fn revisions_never_restart() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    world.expire().await;
    rotator.token().await.expect("a token");
    rotator.sign_out().await.expect("stored");
    let login = rotator.sign_in(world.issuer.login()).expect("usable");
    login.await.expect("stored");
    world.expire().await;
    rotator.token().await.expect("a token");
    assert_eq!(store.revisions(), [1, 3, 4, 5, 7]);
}

/// A revision that was seen once is never given to another record, even where the store has lost
/// everything since: others may remember it.
#[tokio::test(start_paused = true)]
async fn revisions_do_not_restart_with_a_lost_store() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| {
            builder
                .store(store.clone())
                .coordinator(LocalCoordinator::new())
        })
        .await;
    world.expire().await;
    rotator.token().await.expect("a token");
    store.lose();
    world.expire().await;
    let token = rotator.token().await.expect("memory goes on");
    assert_eq!(secret(&token), "access-3");
    assert_eq!(store.revisions(), [1, 3, 5]);
    store.lose();
    rotator.sign_out().await.expect("stored");
    assert_eq!(store.revisions(), [1, 3, 5, 6]);
    assert_eq!(world.issuer.reuse_alarms(), 0);
}

/// A tombstone that is found at the first look is a sign-out: nothing is refreshed.
#[tokio::test(start_paused = true)]
async fn a_tombstone_is_obeyed_from_the_start() {
    let world = World::new();
    let store = ScriptedStore::new();
    let tombstone = crate::common::store::following(None, Some(Epoch::random()), None);
    store.put(tombstone).await;
    let rotator = world.builder().store(store).build().expect("a rotator");
    let error = rotator.token().await;
    assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    assert_eq!(world.issuer.calls(), 0);
}

/// Revocation is best effort: its failure is an event, and a sign-out stands.
#[tokio::test(start_paused = true)]
async fn a_failed_revocation_is_an_event() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.issuer.fail_revocation();
    rotator.sign_out().await.expect("no store");
    assert!(rotator.shutdown(std::time::Duration::from_secs(1)).await);
    let failed = |event: &Event| matches!(event, Event::Revoked { error: Some(_) });
    assert_eq!(world.heard.count(failed), 1);
    assert!(rotator.access_token().is_none());
}
