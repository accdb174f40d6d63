//! One session after another in the same rotator: what belongs to the first is never done with the
//! second's (rule 4).

use std::time::Duration;

use token_rotator::{Event, Rotator, TokenError};
use tokio::task::JoinHandle;

use crate::common::{ScriptedCoordinator, ScriptedStore, World, let_run, secret, timed};

const MANY: usize = 1_000;

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) rotator: Rotator,
    pub(crate) store: ScriptedStore,
    pub(crate) leases: ScriptedCoordinator,
}

impl Scene {
    /// Alice is signed in.
    pub(crate) async fn new() -> Self {
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
    pub(crate) async fn unsaved() -> Self {
        let scene = Self::new().await;
        scene.world.expire().await;
        scene.store.fail_saves(MANY);
        let token = scene.rotator.token().await.expect("served from memory");
        assert_eq!(secret(&token), "access-2");
        scene
    }

    pub(crate) fn refresh(&self) -> JoinHandle<Result<token_rotator::Token, TokenError>> {
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

pub(crate) fn changed(outcome: &Result<token_rotator::Token, TokenError>) {
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

/// While it writes down what it is about to do, be that taken or refused, and be the sign-in in the
/// store before that or after.
#[tokio::test(start_paused = true)]
async fn a_flight_that_writes_its_intent_is_nothing_to_the_next_session() {
    for (fails, written_first) in [(false, true), (true, true), (false, false), (true, false)] {
        let scene = Scene::new().await;
        scene.store.hold_intents(true);
        let alices = scene.refresh();
        scene.store.writing_intent(1).await;
        let store = scene.store.clone();
        store.fail_intents(usize::from(fails));
        store.hold_saves(!written_first);
        scene
            .bob_signs_in(|| {
                store.hold_intents(false);
                let store = store.clone();
                tokio::spawn(async move {
                    let_run().await;
                    store.hold_saves(false);
                });
            })
            .await;
        changed(&alices.await.expect("no panic"));
        let record = scene.store.record().await.expect("a record");
        assert_eq!(record.intent(), None);
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
