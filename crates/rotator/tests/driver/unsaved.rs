//! Tokens that the store has not taken yet: memory knows better than the store, whatever happens
//! (rules 4, 6, 7 and 8).

use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator::store::{Intent, LocalCoordinator, TokenHash};
use token_rotator::{Clock as _, Event, Rotator, SourceError, TokenError};

use crate::common::store::{following, with_intent};
use crate::common::{
    Act, ScriptedCoordinator, ScriptedStore, World, callers, let_run, outcomes, secret,
};

const MANY: usize = 1_000;

/// A rotator whose store has refused to save `access-2` and goes on refusing.
async fn unsaved(world: &World) -> (Rotator, ScriptedStore, ScriptedCoordinator) {
    let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()).coordinator(leases.clone()))
        .await;
    world.expire().await;
    store.fail_saves(MANY);
    let token = rotator.token().await.expect("served from memory");
    assert_eq!(secret(&token), "access-2");
    (rotator, store, leases)
}

/// The next flight refreshes from memory, under the lease that is still held; what it brings is
/// what is saved in the end.
#[tokio::test(start_paused = true)]
async fn the_next_flight_works_from_memory() {
    let world = World::new();
    let (rotator, store, leases) = unsaved(&world).await;
    for round in 3..6 {
        world.expire().await;
        let token = rotator.token().await.expect("served from memory");
        assert_eq!(secret(&token), format!("access-{round}"));
        assert!(!leases.is_free().await);
    }
    assert_eq!(leases.script().acquired, 1, "the same lease all the time");
    store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-5"));
    assert!(leases.is_free().await);
    assert_eq!(world.issuer.reuse_alarms(), 0);
}

/// At once, too: between the flight that could not save and the next there is no moment in which
/// the store would be believed.
#[tokio::test(start_paused = true)]
async fn a_flight_right_after_it_works_from_memory() {
    let world = World::new();
    let (rotator, _store, _leases) = unsaved(&world).await;
    let token = rotator.refresh_now().await.expect("from memory");
    assert_eq!(secret(&token), "access-3");
    assert_eq!(world.issuer.reuse_alarms(), 0);
}

/// A flight from memory that fails, panics or loses its answer forgets nothing.
#[tokio::test(start_paused = true)]
async fn a_failed_flight_forgets_nothing() {
    for act in [
        Act::Fail(SourceError::transient("down")),
        Act::Panic,
        Act::Hang,
    ] {
        let world = World::new();
        let (rotator, store, leases) = unsaved(&world).await;
        world.issuer.next(act);
        let error = rotator.refresh_now().await;
        assert!(error.is_err(), "{error:?}");
        assert!(!leases.is_free().await, "the lease is kept");
        world.expire().await;
        let token = rotator.token().await.expect("from memory");
        assert_eq!(secret(&token), "access-3");
        assert_eq!(world.issuer.reuse_alarms(), 0);
        store.fail_saves(0);
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
        assert!(leases.is_free().await);
    }
}

/// However often it fails, one task tries to save, at the pace of one.
#[tokio::test(start_paused = true)]
async fn one_task_saves() {
    let world = World::new();
    let (rotator, store, _leases) = unsaved(&world).await;
    for _ in 0..10 {
        rotator.refresh_now().await.expect("from memory");
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let saves = store.saves();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let later = store.saves() - saves;
    assert!((2..=13).contains(&later), "{later} attempts in a minute");
}

/// A lease that was lost is taken again before a refresh token is spent.
#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_taken_again() {
    let world = World::new();
    let (rotator, _store, leases) = unsaved(&world).await;
    leases.script().lost = true;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(leases.is_free().await, "it was lost");
    leases.script().lost = false;
    let others = leases.busy().await;
    world.expire().await;
    let error = rotator.token().await;
    assert!(matches!(error, Err(TokenError::Refresh(_))), "{error:?}");
    assert_eq!(
        world.issuer.calls(),
        1,
        "nothing is spent without the lease"
    );
    drop(others);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    assert_eq!(world.issuer.reuse_alarms(), 0);
}

/// A sign-out ends the matter: the tokens of before are never written over it, and the lease is
/// given back.
#[tokio::test(start_paused = true)]
async fn a_sign_out_is_not_overwritten() {
    let world = World::new();
    let (rotator, store, leases) = unsaved(&world).await;
    let stored = rotator.sign_out();
    store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    stored.await.expect("a tombstone");
    let record = store.record().await.expect("a record");
    assert!(record.tokens().is_none(), "a tombstone");
    assert!(leases.is_free().await);
    assert_eq!(
        world.heard.count(|event| matches!(event, Event::SignedOut)),
        1
    );
    assert!(rotator.access_token().is_none());
}

/// Nor is a sign-in: the store, back again, gets the new session and keeps it, and the rotator
/// does not take its own sign-in for somebody else's.
#[tokio::test(start_paused = true)]
async fn a_sign_in_is_not_overwritten() {
    let world = World::new();
    let (rotator, store, leases) = unsaved(&world).await;
    let _stored = rotator.sign_in(world.issuer.login()).expect("usable");
    let bobs = rotator.token().await.expect("bob's");
    assert_eq!(secret(&bobs), "access-3");
    // Whichever of the two writes comes first when the store is back.
    tokio::time::sleep(Duration::from_secs(7)).await;
    store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
    assert!(leases.is_free().await);
    let token = rotator.token().await.expect("bob's");
    assert_eq!(token.stamp(), bobs.stamp(), "the same sign-in");
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::SignedIn { .. })),
        2
    );
    world.expire().await;
    assert_eq!(secret(&rotator.token().await.expect("bob's")), "access-4");
    assert_eq!(store.access_token().await.as_deref(), Some("access-4"));
}

/// A save whose answer was lost is recognized as our own when it is tried again.
#[tokio::test(start_paused = true)]
async fn a_save_whose_answer_was_lost_is_recognized() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    world.expire().await;
    store.lose_answers(1);
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let recovered = |event: &Event| matches!(event, Event::SaveRecovered { attempts: 1 });
    assert_eq!(world.heard.count(recovered), 1, "{:?}", world.heard.names());
    world.expire().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    assert_eq!(store.revisions(), [1, 3, 5]);
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::Adopted { .. })),
        0
    );
}

/// A save whose answer was lost is known as our own as well where the tokens have been refreshed
/// since: what was brought last is what is stored, however many there were in between.
#[tokio::test(start_paused = true)]
async fn a_save_whose_answer_was_lost_displaces_nothing_newer() {
    for rounds in 1..=3 {
        let world = World::new();
        let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
        let rotator = world
            .signed_in_with(|builder| builder.store(store.clone()).coordinator(leases.clone()))
            .await;
        store.lose_answers(1);
        rotator.refresh_now().await.expect("from memory");
        assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
        store.fail_saves(MANY);
        for _ in 0..rounds {
            rotator.refresh_now().await.expect("from memory");
        }
        store.fail_saves(0);
        tokio::time::sleep(Duration::from_secs(30)).await;
        let last = format!("access-{}", rounds + 2);
        assert_eq!(store.access_token().await.as_deref(), Some(&*last));
        assert_eq!(secret(&rotator.token().await.expect("ours")), last);
        assert!(leases.is_free().await);
        rotator.refresh_now().await.expect("a token");
        assert_eq!(world.issuer.reuse_alarms(), 0);
    }
}

/// The same where a neighbour has begun to present what was saved: theirs is refused by the issuer
/// or not, ours is newer.
#[tokio::test(start_paused = true)]
async fn an_intent_over_a_save_that_was_lost_displaces_nothing_newer() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    store.lose_answers(1);
    rotator.refresh_now().await.expect("from memory");
    store.fail_saves(MANY);
    rotator.refresh_now().await.expect("from memory");
    let found = store.record().await.expect("a record");
    let token = TokenHash::of(found.tokens().expect("tokens")).expect("a hash");
    let intent = Intent::new(token, world.clock.wall());
    store.put(with_intent(&found, intent)).await;
    store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let record = store.record().await.expect("a record");
    assert_eq!(record.intent(), None);
    assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
}

/// The lease of what is not saved was lost, somebody else has it now and has saved newer tokens:
/// theirs are adopted, and ours are not written over them.
#[tokio::test(start_paused = true)]
async fn behind_a_busy_lease_newer_tokens_are_adopted() {
    let world = World::new();
    world.issuer.parent_always();
    let (rotator, store, leases) = unsaved(&world).await;
    leases.script().lost = true;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(leases.is_free().await, "it was lost");
    let _others = leases.busy().await;
    world.expire().await;
    let calls = callers(&rotator, 50);
    let_run().await;
    let found = store.record().await.expect("a record");
    // The parent of what is in memory, as they know no better.
    let newer = world.issuer.spend(found.tokens().expect("tokens"));
    store.put(following(Some(&found), None, Some(newer))).await;
    for token in outcomes(calls).await {
        assert_eq!(secret(&token.expect("adopted")), "access-3");
    }
    assert_eq!(world.issuer.calls(), 1);
    store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
    assert_eq!(secret(&rotator.token().await.expect("theirs")), "access-3");
}

/// Tokens that an update brought are stored, and the next flight, here or next door, refreshes from
/// them and not from those they replace.
#[tokio::test(start_paused = true)]
async fn an_update_is_not_undone_by_the_store() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| {
            builder
                .store(store.clone())
                .coordinator(LocalCoordinator::new())
        })
        .await;
    let old = rotator.token().await.expect("a token");
    rotator
        .update(&old, world.issuer.spend(old.token_set()))
        .expect("usable")
        .await
        .expect("stored");
    assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
    world.expire().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    assert_eq!(world.issuer.reuse_alarms(), 0);
}
