//! Tests two sessions in turn in one rotator: operations of the first session never use tokens of
//! the second (rule 4).

use std::time::Duration;

use token_rotator::{Event, Rotator, TokenError};
use tokio::task::JoinHandle;

use crate::common::{Fixture, ScriptedCoordinator, ScriptedStore, run_ready_tasks, secret, timed};

const MANY: usize = 1_000;

pub(crate) struct SessionFixture {
    pub(crate) base: Fixture,
    pub(crate) rotator: Rotator,
    pub(crate) store: ScriptedStore,
    pub(crate) leases: ScriptedCoordinator,
}

impl SessionFixture {
    /// Alice is signed in.
    pub(crate) async fn new() -> Self {
        let fixture = Fixture::new();
        let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
        let rotator = fixture
            .signed_in_with(|builder| builder.store(store.clone()).coordinator(leases.clone()))
            .await;
        Self {
            base: fixture,
            rotator,
            store,
            leases,
        }
    }

    /// Alice's current tokens are not in the store, and every save keeps failing.
    pub(crate) async fn unsaved() -> Self {
        let fixture = Self::new().await;
        fixture.base.expire().await;
        fixture.store.fail_saves(MANY);
        let token = fixture.rotator.token().await.expect("served from memory");
        assert_eq!(secret(&token), "access-2");
        fixture
    }

    pub(crate) fn refresh(&self) -> JoinHandle<Result<token_rotator::Token, TokenError>> {
        let rotator = self.rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    }

    /// Bob signs in. No earlier operation sends Bob's tokens to the issuer. Then Bob refreshes, and
    /// his refresh token is good.
    async fn bob_signs_in(&self, unblock: impl FnOnce()) {
        let calls_before = self.base.issuer.refresh_calls();
        let stored = self
            .rotator
            .sign_in(self.base.issuer.login())
            .expect("usable");
        let bobs = self.rotator.token().await.expect("bob's");
        run_ready_tasks().await;
        unblock();
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(
            self.base.issuer.refresh_calls(),
            calls_before,
            "Alice's flight has sent something"
        );
        // If the store was down, it has the sign-in by now.
        let _first_outcome = stored.await;
        let now = self.rotator.token().await.expect("bob's");
        assert_eq!(secret(&now), secret(&bobs));
        self.base.expire().await;
        let next = self.rotator.token().await.expect("bob's next");
        assert_eq!(next.stamp().epoch, bobs.stamp().epoch);
        assert_eq!(
            self.store.access_token().await,
            Some(secret(&next)),
            "and it is stored"
        );
        assert_eq!(self.base.issuer.refresh_calls(), calls_before + 1);
        assert_eq!(self.base.issuer.reuse_alarms(), 0);
        assert!(self.leases.is_free().await);
    }
}

pub(crate) fn assert_session_changed(outcome: &Result<token_rotator::Token, TokenError>) {
    assert!(
        matches!(outcome, Err(TokenError::SessionChanged)),
        "{outcome:?}"
    );
}

/// Alice's flight waits for the lease.
#[tokio::test(start_paused = true)]
async fn a_flight_that_waits_for_the_lease_does_not_affect_the_next_session() {
    let fixture = SessionFixture::new().await;
    let foreign_lease = fixture.leases.acquire_as_another_process().await;
    let alices = fixture.refresh();
    run_ready_tasks().await;
    fixture.bob_signs_in(|| drop(foreign_lease)).await;
    assert_session_changed(&alices.await.expect("no panic"));
}

/// Alice's flight reads the record, before the lease or under it.
#[tokio::test(start_paused = true)]
async fn a_flight_that_reads_does_not_affect_the_next_session() {
    for under_the_lease in [false, true] {
        let fixture = SessionFixture::new().await;
        let loads = fixture.store.loads_begun();
        let foreign_lease = fixture.leases.acquire_as_another_process().await;
        if !under_the_lease {
            fixture.store.hold_loads(true);
        }
        let alices = fixture.refresh();
        fixture.store.wait_for_loads(loads + 1).await;
        if under_the_lease {
            run_ready_tasks().await;
            fixture.store.hold_loads(true);
            drop(foreign_lease);
            fixture.store.wait_for_loads(loads + 2).await;
        } else {
            drop(foreign_lease);
        }
        let store = fixture.store.clone();
        fixture.bob_signs_in(|| store.hold_loads(false)).await;
        assert_session_changed(&alices.await.expect("no panic"));
    }
}

/// Alice's flight writes its intent. The write succeeds or fails, and the sign-in reaches the store
/// before it or after it.
#[tokio::test(start_paused = true)]
async fn a_flight_that_writes_its_intent_does_not_affect_the_next_session() {
    for (fails, written_first) in [(false, true), (true, true), (false, false), (true, false)] {
        let fixture = SessionFixture::new().await;
        fixture.store.hold_intents(true);
        let alices = fixture.refresh();
        fixture.store.wait_for_intents(1).await;
        let store = fixture.store.clone();
        store.fail_intents(usize::from(fails));
        store.hold_saves(!written_first);
        fixture
            .bob_signs_in(|| {
                store.hold_intents(false);
                let store = store.clone();
                tokio::spawn(async move {
                    run_ready_tasks().await;
                    store.hold_saves(false);
                });
            })
            .await;
        assert_session_changed(&alices.await.expect("no panic"));
        let record = fixture.store.record().await.expect("a record");
        assert_eq!(record.intent(), None);
    }
}

/// Alice's flight renews its lease before the request.
#[tokio::test(start_paused = true)]
async fn a_flight_that_renews_its_lease_does_not_affect_the_next_session() {
    let fixture = SessionFixture::new().await;
    {
        let mut script = fixture.leases.script();
        script.remaining = Some(Duration::from_secs(15));
        script.hang_renew = true;
    }
    let alices = fixture.refresh();
    run_ready_tasks().await;
    assert_eq!(fixture.leases.script().renewed, 1);
    let calls_before = fixture.base.issuer.refresh_calls();
    fixture
        .rotator
        .sign_in(fixture.base.issuer.login())
        .expect("usable");
    assert_session_changed(&alices.await.expect("no panic"));
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(fixture.base.issuer.refresh_calls(), calls_before);
    assert!(fixture.leases.is_free().await);
}

/// Alice's flight repeats an earlier failed save, which succeeds or fails.
#[tokio::test(start_paused = true)]
async fn a_flight_that_repeats_a_save_does_not_affect_the_next_session() {
    for fails in [false, true] {
        let fixture = SessionFixture::unsaved().await;
        fixture.store.hold_saves(true);
        fixture.store.fail_saves(usize::from(fails));
        let saves = fixture.store.saves();
        let alices = fixture.refresh();
        fixture.store.wait_for_saves(saves + 1).await;
        let store = fixture.store.clone();
        fixture.bob_signs_in(|| store.hold_saves(false)).await;
        assert_session_changed(&alices.await.expect("no panic"));
    }
}

/// Alice's flight waits to regain the lease for unsaved tokens.
#[tokio::test(start_paused = true)]
async fn a_flight_that_lost_its_lease_does_not_affect_the_next_session() {
    let fixture = SessionFixture::unsaved().await;
    fixture.leases.script().lost = true;
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(fixture.leases.is_free().await, "it was lost");
    fixture.leases.script().lost = false;
    let foreign_lease = fixture.leases.acquire_as_another_process().await;
    let alices = fixture.refresh();
    run_ready_tasks().await;
    let store = fixture.store.clone();
    fixture
        .bob_signs_in(|| {
            store.fail_saves(0);
            drop(foreign_lease);
        })
        .await;
    assert_session_changed(&alices.await.expect("no panic"));
}

/// Unsaved tokens of the previous session delay neither the new session's flight nor its lease,
/// whether the save waits, runs or renews its lease.
#[tokio::test(start_paused = true)]
async fn unsaved_tokens_of_the_previous_session_delay_no_caller() {
    for blocked_step in ["waits", "saves", "renews"] {
        let fixture = SessionFixture::unsaved().await;
        // The save is in its later, longer waits.
        tokio::time::sleep(Duration::from_millis(7_600)).await;
        match blocked_step {
            "saves" => {
                fixture.store.hang_saves(1);
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            "renews" => {
                fixture.leases.script().hang_renew = true;
                tokio::time::sleep(Duration::from_secs(10)).await;
                fixture.leases.script().hang_renew = false;
            }
            _ => {}
        }
        fixture.store.fail_saves(0);
        let stored = fixture
            .rotator
            .sign_in(fixture.base.issuer.login())
            .expect("usable");
        let (took, token) = timed(fixture.refresh()).await;
        let token = token.expect("no panic").expect("bob's next");
        assert!(took.is_zero(), "{blocked_step}: {took:?}");
        stored.await.expect("stored");
        assert_eq!(fixture.store.access_token().await, Some(secret(&token)));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(fixture.store.access_token().await, Some(secret(&token)));
        assert!(fixture.leases.is_free().await, "{blocked_step}");
    }
}

/// A late failed save of the previous session does not displace the unsaved tokens of the current
/// session.
#[tokio::test(start_paused = true)]
async fn a_late_failure_of_the_previous_session_displaces_no_tokens() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    store.hang_saves(1);
    let refresh = || {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    let saves = store.saves();
    let alices = refresh();
    store.wait_for_saves(saves + 1).await;
    let stored = rotator.sign_in(fixture.issuer.login()).expect("usable");
    stored.await.expect("stored");
    store.fail_saves(MANY);
    let token = refresh().await.expect("no panic").expect("from memory");
    assert_session_changed(&alices.await.expect("no panic"));
    // Alice's save gives up after 15 s.
    tokio::time::sleep(Duration::from_secs(16)).await;
    let next = refresh().await.expect("no panic").expect("from memory");
    assert_ne!(secret(&next), secret(&token));
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
    store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(store.access_token().await, Some(secret(&next)));
    let late = |event: &Event| matches!(event, Event::LateTokens { revoked: false });
    assert_eq!(fixture.events.count(late), 1);
}
