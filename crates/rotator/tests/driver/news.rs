//! What others save is adopted as soon as it can be known: before the lease is asked for, and while
//! it is waited for.

use std::time::Duration;

use crate::common::store::{following, with_intent};
use crate::common::{
    ScriptedCoordinator, ScriptedStore, World, callers, let_run, outcomes, secret, timed,
};
use token_rotator::store::{Intent, TokenHash};
use token_rotator::{Clock as _, Event, Rotator, TokenError};

async fn scene(world: &World) -> (Rotator, ScriptedStore, ScriptedCoordinator) {
    let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()).coordinator(leases.clone()))
        .await;
    world.expire().await;
    (rotator, store, leases)
}

async fn others_save(world: &World, store: &ScriptedStore) {
    let found = store.record().await.expect("a record");
    let newer = world.issuer.spend(found.tokens().expect("tokens"));
    store.put(following(Some(&found), None, Some(newer))).await;
}

/// What is in the store already needs no lease, be it taken or free.
#[tokio::test(start_paused = true)]
async fn what_others_have_saved_needs_no_lease() {
    for busy in [true, false] {
        let world = World::new();
        let (rotator, store, leases) = scene(&world).await;
        others_save(&world, &store).await;
        let _others = if busy {
            Some(leases.busy().await)
        } else {
            None
        };
        let (took, tokens) = timed(outcomes(callers(&rotator, 50))).await;
        assert!(took.is_zero());
        for token in tokens {
            assert_eq!(secret(&token.expect("adopted")), "access-2");
        }
        assert!(
            leases.script().waits.is_empty(),
            "it was not even asked for"
        );
        assert_eq!(world.issuer.calls(), 0);
    }
}

/// While the lease is taken, what its holder saves is adopted as soon as the store tells; neither
/// its intent before nor the lease after is waited for.
#[tokio::test(start_paused = true)]
async fn what_the_store_tells_ends_the_wait_for_the_lease() {
    let world = World::new();
    let (rotator, store, leases) = scene(&world).await;
    store.tell_of_writes();
    let _others = leases.busy().await;
    let calls = callers(&rotator, 50);
    let_run().await;
    assert_eq!(leases.script().waits.len(), 1, "it waits for the lease");
    let found = store.record().await.expect("a record");
    let token = TokenHash::of(found.tokens().expect("tokens")).expect("a hash");
    let intent = Intent::new(token, world.clock.wall());
    store.put(with_intent(&found, intent)).await;
    let_run().await;
    assert!(calls.iter().all(|call| !call.is_finished()));
    tokio::time::advance(Duration::from_secs(1)).await;
    others_save(&world, &store).await;
    let (took, tokens) = timed(outcomes(calls)).await;
    assert!(took.is_zero(), "{took:?}");
    for token in tokens {
        assert_eq!(secret(&token.expect("adopted")), "access-2");
    }
    assert_eq!(leases.script().acquired, 0);
    assert_eq!(world.issuer.calls(), 0);
    let adopted = |event: &Event| matches!(event, Event::Adopted { .. });
    assert_eq!(world.heard.count(adopted), 1);
}

/// A sign-out that the store tells of ends the wait as well.
#[tokio::test(start_paused = true)]
async fn a_sign_out_that_the_store_tells_of_ends_the_wait() {
    let world = World::new();
    let (rotator, store, leases) = scene(&world).await;
    store.tell_of_writes();
    let _others = leases.busy().await;
    let calls = callers(&rotator, 50);
    let_run().await;
    let found = store.record().await.expect("a record");
    let tombstone = following(
        Some(&found),
        Some(token_rotator::store::Epoch::random()),
        None,
    );
    store.put(tombstone).await;
    let (took, errors) = timed(outcomes(calls)).await;
    assert!(took.is_zero(), "{took:?}");
    for error in errors {
        assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    }
}

/// A store that tells of news at every turn costs a reading now and then, and neither the lease nor
/// the thread.
#[tokio::test(start_paused = true)]
async fn a_store_that_cries_wolf_is_read_now_and_then() {
    let world = World::new();
    let (rotator, store, leases) = scene(&world).await;
    store.cry_wolf();
    let others = leases.busy().await;
    let calls = callers(&rotator, 5);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(store.loads() < 200, "{} readings", store.loads());
    drop(others);
    for token in outcomes(calls).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    assert_eq!(leases.script().acquired, 1);
}
