//! One session after another in the same rotator: what belongs to the first is never done with the
//! second's (rule 4).

use std::time::Duration;

use token_rotator::{Epoch, Event, LeaseError, RefreshError, Rotator, TokenError};
use tokio::task::JoinHandle;

use crate::common::store::following;
use crate::common::{
    ScriptedCoordinator, ScriptedStore, World, callers, let_run, outcomes, secret, timed,
};

const MANY: usize = 1_000;

struct Scene {
    world: World,
    rotator: Rotator,
    store: ScriptedStore,
    leases: ScriptedCoordinator,
}

impl Scene {
    /// Alice is signed in.
    async fn new() -> Self {
        let world = World::new();
        let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
        let rotator = world
            .signed_in_with(|builder| builder.store(store.clone()).coordinator(leases.clone()))
            .await;
        Self {
            world,
            rotator,
            store,
            leases,
        }
    }

    /// Her tokens of now are not in the store, which goes on failing.
    async fn unsaved() -> Self {
        let scene = Self::new().await;
        scene.world.expire().await;
        scene.store.fail_saves(MANY);
        let token = scene.rotator.token().await.expect("served from memory");
        assert_eq!(secret(&token), "access-2");
        scene
    }

    fn refresh(&self) -> JoinHandle<Result<token_rotator::Token, TokenError>> {
        let rotator = self.rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    }

    /// Bob signs in; nothing of his is sent to the issuer by whatever was begun before. Then he
    /// refreshes, and his refresh token is good.
    async fn bob_signs_in(&self, let_go: impl FnOnce()) {
        let calls = self.world.issuer.calls();
        let stored = self
            .rotator
            .sign_in(self.world.issuer.login())
            .expect("usable");
        let bobs = self.rotator.token().await.expect("bob's");
        let_run().await;
        let_go();
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(
            self.world.issuer.calls(),
            calls,
            "Alice's flight has sent something"
        );
        // If the store was down, it has it by now.
        let _first_outcome = stored.await;
        let now = self.rotator.token().await.expect("bob's");
        assert_eq!(secret(&now), secret(&bobs));
        self.world.expire().await;
        let next = self.rotator.token().await.expect("bob's next");
        assert_eq!(next.stamp().epoch, bobs.stamp().epoch);
        assert_eq!(
            self.store.access_token().await,
            Some(secret(&next)),
            "and it is stored"
        );
        assert_eq!(self.world.issuer.calls(), calls + 1);
        assert_eq!(self.world.issuer.reuse_alarms(), 0);
        assert!(self.leases.is_free().await);
    }
}

fn changed(outcome: &Result<token_rotator::Token, TokenError>) {
    assert!(
        matches!(outcome, Err(TokenError::SessionChanged)),
        "{outcome:?}"
    );
}

/// While Alice's flight waits for the lease.
#[tokio::test(start_paused = true)]
async fn a_flight_that_waits_for_the_lease_is_nothing_to_the_next_session() {
    let scene = Scene::new().await;
    let others = scene.leases.busy().await;
    let alices = scene.refresh();
    let_run().await;
    scene.bob_signs_in(|| drop(others)).await;
    changed(&alices.await.expect("no panic"));
}

/// While it reads the record, before the lease and under it.
#[tokio::test(start_paused = true)]
async fn a_flight_that_reads_is_nothing_to_the_next_session() {
    for under_the_lease in [false, true] {
        let scene = Scene::new().await;
        let loads = scene.store.loads_begun();
        let others = scene.leases.busy().await;
        if !under_the_lease {
            scene.store.hold_loads(true);
        }
        let alices = scene.refresh();
        scene.store.loading(loads + 1).await;
        if under_the_lease {
            let_run().await;
            scene.store.hold_loads(true);
            drop(others);
            scene.store.loading(loads + 2).await;
        } else {
            drop(others);
        }
        let store = scene.store.clone();
        scene.bob_signs_in(|| store.hold_loads(false)).await;
        changed(&alices.await.expect("no panic"));
    }
}

/// While it writes down what it is about to do, be that taken or refused.
#[tokio::test(start_paused = true)]
async fn a_flight_that_writes_its_intent_is_nothing_to_the_next_session() {
    for fails in [false, true] {
        let scene = Scene::new().await;
        scene.store.hold_intents(true);
        let alices = scene.refresh();
        scene.store.writing_intent(1).await;
        let store = scene.store.clone();
        store.fail_intents(usize::from(fails));
        scene.bob_signs_in(|| store.hold_intents(false)).await;
        changed(&alices.await.expect("no panic"));
        let record = scene.store.record().await.expect("a record");
        assert_eq!(record.intent, None);
    }
}

/// While it renews its lease before the request.
#[tokio::test(start_paused = true)]
async fn a_flight_that_renews_its_lease_is_nothing_to_the_next_session() {
    let scene = Scene::new().await;
    {
        let mut script = scene.leases.script();
        script.remaining = Some(Duration::from_secs(15));
        script.hang_renew = true;
    }
    let alices = scene.refresh();
    let_run().await;
    assert_eq!(scene.leases.script().renewed, 1);
    let calls = scene.world.issuer.calls();
    scene
        .rotator
        .sign_in(scene.world.issuer.login())
        .expect("usable");
    changed(&alices.await.expect("no panic"));
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(scene.world.issuer.calls(), calls);
    assert!(scene.leases.is_free().await);
}

/// While it saves once more what an earlier one could not, be that taken or not.
#[tokio::test(start_paused = true)]
async fn a_flight_that_saves_older_tokens_is_nothing_to_the_next_session() {
    for fails in [false, true] {
        let scene = Scene::unsaved().await;
        scene.store.hold_saves(true);
        scene.store.fail_saves(usize::from(fails));
        let saves = scene.store.saves();
        let alices = scene.refresh();
        scene.store.saving(saves + 1).await;
        let store = scene.store.clone();
        scene.bob_signs_in(|| store.hold_saves(false)).await;
        changed(&alices.await.expect("no panic"));
    }
}

/// While it waits to have the lease again for tokens that are not saved.
#[tokio::test(start_paused = true)]
async fn a_flight_that_lost_its_lease_is_nothing_to_the_next_session() {
    let scene = Scene::unsaved().await;
    scene.leases.script().lost = true;
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(scene.leases.is_free().await, "it was lost");
    scene.leases.script().lost = false;
    let others = scene.leases.busy().await;
    let alices = scene.refresh();
    let_run().await;
    let store = scene.store.clone();
    scene
        .bob_signs_in(|| {
            store.fail_saves(0);
            drop(others);
        })
        .await;
    changed(&alices.await.expect("no panic"));
}

/// What the session before has not saved holds up neither the new one's flight nor its lease, be it
/// that it waits for its next attempt, tries, or renews its lease.
#[tokio::test(start_paused = true)]
async fn what_the_session_before_could_not_save_delays_nobody() {
    for held_up in ["waits", "saves", "renews"] {
        let scene = Scene::unsaved().await;
        // Well into its waits.
        tokio::time::sleep(Duration::from_millis(7_600)).await;
        match held_up {
            "saves" => {
                scene.store.hang_saves(1);
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            "renews" => {
                scene.leases.script().hang_renew = true;
                tokio::time::sleep(Duration::from_secs(10)).await;
                scene.leases.script().hang_renew = false;
            }
            _ => {}
        }
        scene.store.fail_saves(0);
        let stored = scene
            .rotator
            .sign_in(scene.world.issuer.login())
            .expect("usable");
        let (took, token) = timed(scene.refresh()).await;
        let token = token.expect("no panic").expect("bob's next");
        assert!(took.is_zero(), "{held_up}: {took:?}");
        stored.await.expect("stored");
        assert_eq!(scene.store.access_token().await, Some(secret(&token)));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(scene.store.access_token().await, Some(secret(&token)));
        assert!(scene.leases.is_free().await, "{held_up}");
    }
}

/// A save of the session before that fails late does not displace what this one has to save.
#[tokio::test(start_paused = true)]
async fn a_late_failure_of_the_session_before_displaces_nothing() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    store.hang_saves(1);
    let refresh = || {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    let saves = store.saves();
    let alices = refresh();
    store.saving(saves + 1).await;
    let stored = rotator.sign_in(world.issuer.login()).expect("usable");
    stored.await.expect("stored");
    store.fail_saves(MANY);
    let token = refresh().await.expect("no panic").expect("from memory");
    changed(&alices.await.expect("no panic"));
    // Hers gives up after fifteen seconds.
    tokio::time::sleep(Duration::from_secs(16)).await;
    let next = refresh().await.expect("no panic").expect("from memory");
    assert_ne!(secret(&next), secret(&token));
    assert_eq!(world.issuer.reuse_alarms(), 0);
    store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(store.access_token().await, Some(secret(&next)));
    let late = |event: &Event| matches!(event, Event::LateTokens { revoked: false });
    assert_eq!(world.heard.count(late), 1);
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
        assert!(store.record().await.expect("a record").tokens.is_none());
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
    assert!(store.record().await.expect("a record").tokens.is_none());
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
