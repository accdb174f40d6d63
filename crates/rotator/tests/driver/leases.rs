//! No refresh token is spent without the lease (rule 7).

use std::time::Duration;

use token_rotator::store::LeaseError;
use token_rotator::{Event, RefreshError, TokenError};

use crate::common::store::following;
use crate::common::{
    Act, Requests as _, ScriptedCoordinator, ScriptedStore, World, callers, let_run, outcomes,
    secret, timed,
};
use crate::succession::Scene;

/// An early flight that finds the lease taken gives way: nobody notices.
#[tokio::test(start_paused = true)]
async fn an_early_flight_gives_way() {
    let world = World::new();
    let leases = ScriptedCoordinator::new();
    let rotator = world
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    world.almost_expire().await;
    let _others = leases.busy().await;
    assert_eq!(
        secret(&rotator.token().await.expect("the old token")),
        "access-1"
    );
    let_run().await;
    assert_eq!(leases.script().waits, [Duration::ZERO]);
    assert_eq!(world.issuer.calls(), 0);
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::RefreshFailed { .. })),
        0
    );
    rotator.token().await.expect("the old token");
    let_run().await;
    assert_eq!(
        leases.script().waits.len(),
        1,
        "not again within ten seconds"
    );
}

/// It does not if somebody waits for it: a request that can be sent only once.
#[tokio::test(start_paused = true)]
async fn an_early_flight_that_is_awaited_waits_for_the_lease() {
    let world = World::new();
    let leases = ScriptedCoordinator::new();
    let rotator = world
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    world.almost_expire().await;
    let others = leases.busy().await;
    let once = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.pass_for_once().await })
    };
    let_run().await;
    assert!(!once.is_finished(), "it waits");
    drop(others);
    let pass = once.await.expect("no panic").expect("a pass");
    assert_eq!(secret(pass.token().expect("a token")), "access-2");
}

/// A lease that stays taken fails the flight; nothing is sent.
#[tokio::test(start_paused = true)]
async fn without_the_lease_nothing_is_sent() {
    let world = World::new();
    let leases = ScriptedCoordinator::new();
    let rotator = world
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    world.expire().await;
    let _others = leases.busy().await;
    let (took, errors) = timed(outcomes(callers(&rotator, 50))).await;
    assert_eq!(took.as_secs(), 10);
    for error in errors {
        assert!(
            matches!(
                error,
                Err(TokenError::Refresh(RefreshError::Lease(
                    LeaseError::Busy { .. }
                )))
            ),
            "{error:?}"
        );
    }
    assert_eq!(world.issuer.calls(), 0);
}

/// Where the lease stays taken because somebody else refreshes, theirs is adopted in the end.
#[tokio::test(start_paused = true)]
async fn a_busy_lease_ends_in_adoption() {
    let world = World::new();
    let (leases, store) = (ScriptedCoordinator::new(), ScriptedStore::new());
    let rotator = world
        .signed_in_with(|builder| builder.coordinator(leases.clone()).store(store.clone()))
        .await;
    world.expire().await;
    let _others = leases.busy().await;
    let calls = callers(&rotator, 50);
    let_run().await;
    let found = store.record().await;
    let newer = world
        .issuer
        .spend(found.as_ref().expect("a record").tokens().expect("tokens"));
    store
        .put(following(found.as_ref(), None, Some(newer)))
        .await;
    for token in outcomes(calls).await {
        assert_eq!(
            secret(&token.expect("adopted, the lease still taken")),
            "access-2"
        );
    }
    assert_eq!(world.issuer.calls(), 0);
}

/// A lease that does not outlast the source is renewed before the request; one that cannot be
/// long enough fails the flight with nothing sent.
#[tokio::test(start_paused = true)]
async fn a_short_lease_is_renewed_before_the_request() {
    let world = World::new();
    let leases = ScriptedCoordinator::new();
    let rotator = world
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    world.expire().await;
    leases.script().remaining = Some(Duration::from_secs(15));
    leases.script().after_renewal = Some(Duration::from_secs(40));
    rotator.token().await.expect("a token");
    assert_eq!(leases.script().renewed, 1);

    for lost in [false, true] {
        world.expire().await;
        leases.script().after_renewal = Some(Duration::from_secs(15));
        leases.script().lost = lost;
        let error = rotator.refresh_now().await;
        assert!(
            matches!(
                error,
                Err(TokenError::Refresh(RefreshError::Lease(LeaseError::Lost)))
            ),
            "{error:?}"
        );
    }
    assert_eq!(world.issuer.calls(), 1);
    assert!(leases.is_free().await);
}

/// While the source takes its time the lease is renewed every 13 s, and not past the source's
/// timeout.
#[tokio::test(start_paused = true)]
async fn the_lease_is_renewed_while_the_source_works() {
    let world = World::new();
    let leases = ScriptedCoordinator::new();
    let rotator = world
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    world.expire().await;
    world.issuer.next(Act::Hang);
    let error = rotator.token().await;
    assert!(error.is_err(), "{error:?}");
    assert_eq!(leases.script().renewed, 1);
    tokio::time::advance(Duration::from_secs(60)).await;
    let_run().await;
    assert_eq!(leases.script().renewed, 1);
    assert!(leases.is_free().await);
}

/// The lease is given back after every flight, whatever became of it, and the new token is served
/// before that: a coordinator that has gone away delays nobody.
#[tokio::test(start_paused = true)]
async fn giving_the_lease_back_delays_nobody() {
    let world = World::new();
    let leases = ScriptedCoordinator::new();
    let rotator = world
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    world.expire().await;
    leases.script().hang_release = true;
    let (took, tokens) = timed(outcomes(callers(&rotator, 50))).await;
    assert!(
        took.is_zero(),
        "they waited {took:?} for the lease to be given back"
    );
    for token in tokens {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    let_run().await;
    assert_eq!(leases.script().released, 1);
}

/// After a failed flight the lease is free again, and a panicking source does not keep it.
#[tokio::test(start_paused = true)]
async fn the_lease_is_free_after_every_failure() {
    let world = World::new();
    let leases = ScriptedCoordinator::new();
    let rotator = world
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    for act in [
        Act::Fail(token_rotator::SourceError::transient("down")),
        Act::Panic,
        Act::LoseAnswer,
    ] {
        world.issuer.next(act);
        let error = rotator.refresh_now().await;
        assert!(error.is_err(), "{error:?}");
        let_run().await;
        assert!(leases.is_free().await);
    }
}

/// A panicking coordinator fails the flight, typed, with nothing sent.
#[tokio::test(start_paused = true)]
async fn a_panicking_coordinator_fails_its_flight() {
    let world = World::new();
    let leases = ScriptedCoordinator::new();
    let rotator = world
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    world.expire().await;
    leases.script().panic = true;
    for error in outcomes(callers(&rotator, 5)).await {
        assert!(
            matches!(
                error,
                Err(TokenError::Refresh(RefreshError::Panicked {
                    sent: false,
                    ..
                }))
            ),
            "{error:?}"
        );
    }
    assert_eq!(world.issuer.calls(), 0);
}

/// A lease that might not outlast the save is renewed before it; one that is lost by then does not
/// keep the tokens from being saved, which is what compare-and-swap is for.
#[tokio::test(start_paused = true)]
async fn a_short_lease_is_renewed_before_the_save() {
    for lost in [false, true] {
        let world = World::new();
        let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
        let rotator = world
            .signed_in_with(|builder| builder.store(store.clone()).coordinator(leases.clone()))
            .await;
        world.expire().await;
        world.issuer.hold();
        let calls = callers(&rotator, 5);
        world.issuer.arrived(1).await;
        assert_eq!(leases.script().renewed, 0);
        {
            let mut script = leases.script();
            script.remaining = Some(Duration::from_secs(15));
            script.after_renewal = Some(Duration::from_secs(40));
            script.lost = lost;
        }
        store.hold_saves(true);
        let saves = store.saves();
        world.issuer.let_go();
        store.saving(saves + 1).await;
        assert_eq!(leases.script().renewed, 1, "before, and not after");
        store.hold_saves(false);
        for token in outcomes(calls).await {
            assert_eq!(secret(&token.expect("a token")), "access-2");
        }
        assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
        assert!(leases.is_free().await);
    }
}

/// A coordinator that never answers ends the flight, typed, and stands in no sign-in's way: when
/// the lease is taken, and when it is renewed before the request.
#[tokio::test(start_paused = true)]
async fn a_coordinator_that_hangs_ends_the_flight() {
    for when in ["acquire", "renew"] {
        let scene = Scene::new().await;
        scene.world.expire().await;
        {
            let mut script = scene.leases.script();
            script.hang_acquire = when == "acquire";
            script.hang_renew = when == "renew";
            script.remaining = Some(Duration::from_secs(10));
            script.after_renewal = Some(Duration::from_secs(40));
        }
        let (took, errors) = timed(outcomes(callers(&scene.rotator, 50))).await;
        assert_eq!(took.as_secs(), if when == "acquire" { 25 } else { 15 });
        for error in errors {
            assert!(
                matches!(
                    error,
                    Err(TokenError::Refresh(RefreshError::Lease(
                        LeaseError::Unavailable { .. }
                    )))
                ),
                "{error:?}"
            );
        }
        assert_eq!(scene.world.issuer.calls(), 0);
        {
            let mut script = scene.leases.script();
            script.hang_acquire = false;
            script.hang_renew = false;
        }
        let stored = scene
            .rotator
            .sign_in(scene.world.issuer.login())
            .expect("usable");
        stored.await.expect("stored");
        let token = scene.refresh().await.expect("no panic").expect("a token");
        assert_eq!(secret(&token), "access-3");
        assert_eq!(scene.world.issuer.reuse_alarms(), 0);
    }
}

/// One that never answers the renewal of a lease for unsaved tokens has lost it; the flight that
/// waits for that ends, and so does the session if another begins.
#[tokio::test(start_paused = true)]
async fn a_coordinator_that_hangs_under_the_saver_ends_the_flight() {
    let scene = Scene::unsaved().await;
    scene.leases.script().hang_renew = true;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (took, token) = timed(scene.refresh()).await;
    let token = token.expect("no panic").expect("from memory");
    assert_eq!(secret(&token), "access-3");
    assert_eq!(took.as_secs(), 14, "as long as the renewal may take");
    scene.leases.script().hang_renew = false;
    scene.store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(
        scene.store.access_token().await.as_deref(),
        Some("access-3")
    );
    assert_eq!(scene.world.issuer.reuse_alarms(), 0);
    assert!(scene.leases.is_free().await);
}
