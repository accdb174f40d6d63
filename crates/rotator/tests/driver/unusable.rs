//! Answers that cannot be sent: their refresh token is the one to go on with, whatever became of
//! the access token beside it.

use std::time::Duration;

use token_rotator::{Event, ExposeSecret as _, FailureKind, RefreshError, TokenError, TokenSet};

use crate::common::{Act, Requests as _, ScriptedCoordinator, ScriptedStore, World, secret};

/// Rotates, and answers with what nobody can send: another token type, or a control character.
fn unusable(world: &World, last: &TokenSet, kind: &str) {
    let next = world.issuer.spend(last);
    let next = if kind == "type" {
        next.with_token_type("DPoP")
    } else {
        let refresh_token = next.refresh_token().expect("one").expose_secret();
        TokenSet::bearer("access\n2").with_refresh_token(refresh_token)
    };
    world.issuer.next(Act::Answer(next));
}

fn is_unusable<T: std::fmt::Debug>(outcome: Result<T, TokenError>) {
    let Err(TokenError::Refresh(error @ RefreshError::Unusable { .. })) = outcome else {
        panic!("an answer that cannot be used, not {outcome:?}");
    };
    assert_eq!(error.kind(), FailureKind::Misconfigured);
}

/// The next flight refreshes from it; the refresh token it replaces is not presented again. In
/// memory, in a store, and in the process that comes after.
#[tokio::test(start_paused = true)]
async fn the_next_flight_goes_on_from_it() {
    for kind in ["type", "control character"] {
        for (stored, other_process) in [(false, false), (true, false), (true, true)] {
            let world = World::new();
            let store = ScriptedStore::new();
            let build = || {
                let builder = world.builder();
                let builder = if stored {
                    builder.store(store.clone())
                } else {
                    builder
                };
                builder.build().expect("a rotator")
            };
            let rotator = build();
            let login = rotator.sign_in(world.issuer.login()).expect("usable");
            login.await.expect("stored");
            let token = rotator.token().await.expect("a token");
            world.expire().await;
            unusable(&world, token.token_set(), kind);
            is_unusable(rotator.token().await);
            assert!(rotator.ready().is_none());
            tokio::time::advance(Duration::from_secs(1)).await;
            let next = if other_process { build() } else { rotator };
            let token = next.token().await.expect("a token");
            assert_eq!(secret(&token), "access-3");
            assert_eq!(world.issuer.calls(), 2);
            assert_eq!(world.issuer.reuse_alarms(), 0);
            if stored {
                assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
            }
        }
    }
}

/// A process that serves a token of before goes on from it too.
#[tokio::test(start_paused = true)]
async fn a_neighbour_goes_on_from_it() {
    let world = World::new();
    let store = ScriptedStore::new();
    let build = || {
        let builder = world.builder().store(store.clone());
        builder.build().expect("a rotator")
    };
    let (one, two) = (build(), build());
    let login = one.sign_in(world.issuer.login()).expect("usable");
    login.await.expect("stored");
    let token = two.token().await.expect("adopted");
    unusable(&world, token.token_set(), "type");
    is_unusable(one.refresh_now().await);
    assert_eq!(
        secret(&two.refresh_now().await.expect("a token")),
        "access-3"
    );
    assert_eq!(world.issuer.reuse_alarms(), 0);
}

/// The access token of before is served while it lasts.
#[tokio::test(start_paused = true)]
async fn the_token_of_before_is_served_beside_it() {
    let world = World::new();
    let rotator = world.signed_in().await;
    let token = rotator.token().await.expect("a token");
    unusable(&world, token.token_set(), "type");
    is_unusable(rotator.refresh_now().await);
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
}

/// A store that does not take it: the next flight goes on from memory, under the lease that is
/// still held, and the store has it in the end. The same where that happens to a flight that works
/// from memory already.
#[tokio::test(start_paused = true)]
async fn it_is_kept_where_the_store_does_not_take_it() {
    for from_memory in [false, true] {
        let world = World::new();
        let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
        let rotator = world
            .signed_in_with(|builder| builder.store(store.clone()).coordinator(leases.clone()))
            .await;
        store.fail_saves(1_000);
        if from_memory {
            rotator.refresh_now().await.expect("from memory");
        }
        let token = rotator.token().await.expect("a token");
        unusable(&world, token.token_set(), "type");
        is_unusable(rotator.refresh_now().await);
        assert!(!leases.is_free().await);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(!leases.is_free().await);
        let token = rotator.refresh_now().await.expect("from memory");
        assert_eq!(world.issuer.reuse_alarms(), 0);
        unusable(&world, token.token_set(), "type");
        is_unusable(rotator.refresh_now().await);
        store.fail_saves(0);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(leases.is_free().await);
        let record = store.record().await.expect("a record");
        assert_eq!(record.tokens().expect("tokens").token_type(), "DPoP");
        rotator.refresh_now().await.expect("a token");
        assert_eq!(world.issuer.reuse_alarms(), 0);
    }
}

/// One that comes too late is late like any other.
#[tokio::test(start_paused = true)]
async fn one_that_comes_too_late_is_late() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    let token = rotator.token().await.expect("a token");
    unusable(&world, token.token_set(), "type");
    store.hold_saves(true);
    let saves = store.saves();
    let call = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    store.saving(saves + 1).await;
    let stored = rotator.sign_out();
    store.hold_saves(false);
    stored.await.expect("a tombstone");
    let error = call.await.expect("no panic");
    assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    assert!(rotator.shutdown(Duration::from_secs(1)).await);
    assert!(
        world.issuer.revoked().contains(&"refresh-2".to_owned()),
        "{:?} {:?}",
        world.issuer.revoked(),
        world.heard.names()
    );
    assert!(store.record().await.expect("a record").tokens().is_none());
    let ended = |event: &Event| matches!(event, Event::Ended { .. });
    assert_eq!(world.heard.count(ended), 0);
}
