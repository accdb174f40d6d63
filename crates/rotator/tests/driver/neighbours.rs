//! Several rotators of one session: one refresh in all, and everybody sees what the others did.

use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator::store::{Epoch, LocalCoordinator};
use token_rotator::{Event, MemoryStore, Rotator, TokenError};

use crate::common::store::following;
use crate::common::{ScriptedStore, World, callers, let_run, outcomes, secret};

/// Rotators that share store and coordinator, all knowing the same sign-in.
async fn neighbours(world: &World, count: usize) -> (Vec<Rotator>, MemoryStore) {
    let (store, leases) = (MemoryStore::new(), LocalCoordinator::new());
    let build = || {
        let builder = world
            .builder()
            .store(store.clone())
            .coordinator(leases.clone());
        builder.build().expect("a rotator")
    };
    let rotators: Vec<_> = (0..count).map(|_| build()).collect();
    let login = rotators[0].sign_in(world.issuer.login()).expect("usable");
    login.await.expect("stored");
    for rotator in &rotators {
        assert_eq!(secret(&rotator.token().await.expect("adopted")), "access-1");
    }
    (rotators, store)
}

/// Two and five rotators, fifty callers each, an expired token: one refresh in all, everybody is
/// served, and all but one have adopted.
#[tokio::test(start_paused = true)]
async fn rotators_share_one_refresh() {
    for count in [2, 5] {
        let world = World::new();
        let (rotators, _store) = neighbours(&world, count).await;
        for round in 1..=3 {
            let adopted = |event: &Event| matches!(event, Event::Adopted { .. });
            let before = world.heard.count(adopted);
            world.expire().await;
            let calls = rotators
                .iter()
                .flat_map(|rotator| callers(rotator, 50))
                .collect();
            let expected = format!("access-{}", round + 1);
            for token in outcomes(calls).await {
                assert_eq!(secret(&token.expect("a token")), expected);
            }
            assert_eq!(world.issuer.calls(), round);
            assert_eq!(world.heard.count(adopted) - before, count - 1);
        }
        assert_eq!(world.issuer.reuse_alarms(), 0);
        assert_eq!(world.issuer.most_in_air(), 1);
    }
}

/// A refusal that the others have not seen is answered with what one of them refreshed.
#[tokio::test(start_paused = true)]
async fn a_refusal_adopts_what_a_neighbour_refreshed() {
    let world = World::new();
    let (rotators, _store) = neighbours(&world, 2).await;
    tokio::time::advance(Duration::from_secs(30)).await;
    let (mine, theirs) = (&rotators[0], &rotators[1]);
    let old = (
        mine.token().await.expect("a token"),
        theirs.token().await.expect("a token"),
    );
    let (a, b) = tokio::join!(mine.refused(&old.0), theirs.refused(&old.1));
    assert_eq!(secret(&a.expect("a token")), "access-2");
    assert_eq!(secret(&b.expect("a token")), "access-2");
    assert_eq!(world.issuer.calls(), 1);
}

/// A sign-out elsewhere is obeyed on the next flight: nothing is refreshed, nothing is served.
#[tokio::test(start_paused = true)]
async fn a_sign_out_elsewhere_is_obeyed() {
    let world = World::new();
    let (rotators, _store) = neighbours(&world, 2).await;
    rotators[0].sign_out().await.expect("a tombstone");
    world.expire().await;
    for error in outcomes(callers(&rotators[1], 50)).await {
        assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    }
    assert_eq!(world.issuer.calls(), 0);
    assert!(rotators[1].access_token().is_none());
}

/// A sign-in elsewhere is obeyed on the next flight: whoever waited is told that the session has
/// changed, and from then on the new one is served. No request goes out as another user.
#[tokio::test(start_paused = true)]
async fn a_sign_in_elsewhere_is_obeyed() {
    let world = World::new();
    let (rotators, _store) = neighbours(&world, 2).await;
    world.expire().await;
    let login = rotators[0].sign_in(world.issuer.login()).expect("usable");
    login.await.expect("stored");
    for error in outcomes(callers(&rotators[1], 50)).await {
        assert!(
            matches!(error, Err(TokenError::SessionChanged)),
            "{error:?}"
        );
    }
    assert_eq!(
        secret(&rotators[1].token().await.expect("bob's")),
        "access-2"
    );
    assert_eq!(world.issuer.calls(), 0);
}

/// A write that loses against a successor adopts it; the successor stays in the store.
#[tokio::test(start_paused = true)]
async fn a_lost_write_adopts_the_successor() {
    let world = World::new();
    world.issuer.parent_always();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    world.expire().await;
    let issuer = world.issuer.clone();
    store.before_next_save(move |found| {
        let newer = issuer.spend(
            found
                .as_ref()
                .and_then(|found| found.tokens())
                .expect("tokens"),
        );
        following(found.as_ref(), None, Some(newer))
    });
    let token = rotator.token().await.expect("a token");
    assert_eq!(Some(secret(&token)), store.access_token().await);
    assert_eq!(secret(&token), "access-3");
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::Adopted { .. })),
        1
    );
}

/// A write that loses against a sign-in elsewhere gives way to it, and what it brought is late.
#[tokio::test(start_paused = true)]
async fn a_lost_write_gives_way_to_a_sign_in() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    world.expire().await;
    let bobs = world.issuer.login();
    store.before_next_save(move |found| {
        following(found.as_ref(), Some(Epoch::random()), Some(bobs))
    });
    let error = rotator.token().await;
    assert!(
        matches!(error, Err(TokenError::SessionChanged)),
        "{error:?}"
    );
    assert_eq!(secret(&rotator.token().await.expect("bob's")), "access-2");
    assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::LateTokens { .. })),
        1
    );
}

/// Two that start together with an empty store and no coordinator: whoever writes second adopts
/// what the first wrote; neither is told that the session changed, for there was none.
#[tokio::test(start_paused = true)]
async fn two_that_begin_together_agree() {
    let world = World::new();
    world.issuer.without_grant();
    let store = ScriptedStore::new();
    let build = || {
        world
            .builder()
            .store(store.clone())
            .build()
            .expect("a rotator")
    };
    let (one, two) = (build(), build());
    world.issuer.hold();
    let mut calls = callers(&one, 5);
    calls.extend(callers(&two, 5));
    world.issuer.arrived(2).await;
    world.issuer.let_go();
    let stored = {
        let tokens = outcomes(calls).await;
        let stored = store.access_token().await.expect("a record");
        for token in tokens {
            assert_eq!(secret(&token.expect("a token")), stored);
        }
        stored
    };
    let_run().await;
    assert_eq!(secret(&one.token().await.expect("a token")), stored);
    assert_eq!(secret(&two.token().await.expect("a token")), stored);
}

/// A record that is missing is a lost store: memory goes on, and writes it anew; the neighbour
/// adopts that.
#[tokio::test(start_paused = true)]
async fn a_lost_store_is_written_anew() {
    let world = World::new();
    let (store, leases) = (ScriptedStore::new(), LocalCoordinator::new());
    let build = || {
        let builder = world
            .builder()
            .store(store.clone())
            .coordinator(leases.clone());
        builder.build().expect("a rotator")
    };
    let (one, two) = (build(), build());
    one.sign_in(world.issuer.login())
        .expect("usable")
        .await
        .expect("stored");
    two.token().await.expect("adopted");
    world.expire().await;
    one.token().await.expect("a token");
    two.token().await.expect("adopted");
    store.lose();
    world.expire().await;
    assert_eq!(
        secret(&one.token().await.expect("memory goes on")),
        "access-3"
    );
    assert_eq!(secret(&two.token().await.expect("adopted")), "access-3");
    assert_eq!(world.issuer.calls(), 2);
    assert_eq!(world.issuer.reuse_alarms(), 0);
}
