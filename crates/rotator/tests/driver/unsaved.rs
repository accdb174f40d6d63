//! Tests tokens that the store has not taken: memory is newer than the store and wins (rules 4, 6,
//! 7 and 8).

use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator::store::{Intent, LocalCoordinator, TokenHash};
use token_rotator::{Clock as _, Event, Rotator, SourceError, TokenError};

use crate::common::store::{next_record, with_intent};
use crate::common::{
    Fixture, IssuerAction, ScriptedCoordinator, ScriptedStore, collect_outcomes, run_ready_tasks,
    secret, spawn_callers,
};

const MANY: usize = 1_000;

/// Returns a rotator whose store refused to save `access-2` and keeps refusing.
async fn unsaved(fixture: &Fixture) -> (Rotator, ScriptedStore, ScriptedCoordinator) {
    let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()).coordinator(leases.clone()))
        .await;
    fixture.expire().await;
    store.fail_saves(MANY);
    let token = rotator.token().await.expect("served from memory");
    assert_eq!(secret(&token), "access-2");
    (rotator, store, leases)
}

/// The next flight refreshes from memory under the lease that is still held. The store ends with
/// its tokens.
#[tokio::test(start_paused = true)]
async fn the_next_flight_works_from_memory() {
    let fixture = Fixture::new();
    let (rotator, store, leases) = unsaved(&fixture).await;
    for round in 3..6 {
        fixture.expire().await;
        let token = rotator.token().await.expect("served from memory");
        assert_eq!(secret(&token), format!("access-{round}"));
        assert!(!leases.is_free().await);
    }
    assert_eq!(leases.script().acquired, 1, "one lease for all flights");
    store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-5"));
    assert!(leases.is_free().await);
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// A flight right after the failed save works from memory too: at no moment does a flight use the
/// stale store.
#[tokio::test(start_paused = true)]
async fn a_flight_right_after_a_failed_save_works_from_memory() {
    let fixture = Fixture::new();
    let (rotator, _store, _leases) = unsaved(&fixture).await;
    let token = rotator.refresh_now().await.expect("from memory");
    assert_eq!(secret(&token), "access-3");
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// A flight from memory that fails, panics or loses its answer discards no tokens.
#[tokio::test(start_paused = true)]
async fn a_failed_flight_discards_no_tokens() {
    for act in [
        IssuerAction::Fail(SourceError::transient("down")),
        IssuerAction::Panic,
        IssuerAction::Hang,
    ] {
        let fixture = Fixture::new();
        let (rotator, store, leases) = unsaved(&fixture).await;
        fixture.issuer.push_action(act);
        let error = rotator.refresh_now().await;
        assert!(error.is_err(), "{error:?}");
        assert!(!leases.is_free().await, "the lease is still held");
        fixture.expire().await;
        let token = rotator.token().await.expect("from memory");
        assert_eq!(secret(&token), "access-3");
        assert_eq!(fixture.issuer.reuse_alarms(), 0);
        store.fail_saves(0);
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
        assert!(leases.is_free().await);
    }
}

/// One task repeats the save, at the pace of one task, however many saves fail.
#[tokio::test(start_paused = true)]
async fn one_task_repeats_the_save() {
    let fixture = Fixture::new();
    let (rotator, store, _leases) = unsaved(&fixture).await;
    for _ in 0..10 {
        rotator.refresh_now().await.expect("from memory");
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let saves = store.saves();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let later = store.saves() - saves;
    assert!((2..=13).contains(&later), "{later} attempts in a minute");
}

/// A lost lease is acquired again before a refresh token is spent.
#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_acquired_again() {
    let fixture = Fixture::new();
    let (rotator, _store, leases) = unsaved(&fixture).await;
    leases.script().lost = true;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(leases.is_free().await, "the lease was lost");
    leases.script().lost = false;
    let foreign_lease = leases.acquire_as_another_process().await;
    fixture.expire().await;
    let error = rotator.token().await;
    assert!(matches!(error, Err(TokenError::Refresh(_))), "{error:?}");
    assert_eq!(
        fixture.issuer.refresh_calls(),
        1,
        "nothing is spent without the lease"
    );
    drop(foreign_lease);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// After a sign-out the previous tokens are never written over the tombstone, and the lease is
/// released.
#[tokio::test(start_paused = true)]
async fn a_sign_out_is_not_overwritten() {
    let fixture = Fixture::new();
    let (rotator, store, leases) = unsaved(&fixture).await;
    let stored = rotator.sign_out();
    store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    stored.await.expect("a tombstone");
    let record = store.record().await.expect("a record");
    assert!(record.tokens().is_none(), "a tombstone");
    assert!(leases.is_free().await);
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::SignedOut)),
        1
    );
    assert!(rotator.access_token().is_none());
}

/// A sign-in is not overwritten: the recovered store gets the new session and keeps it. The rotator
/// recognises its own sign-in.
#[tokio::test(start_paused = true)]
async fn a_sign_in_is_not_overwritten() {
    let fixture = Fixture::new();
    let (rotator, store, leases) = unsaved(&fixture).await;
    let _stored = rotator.sign_in(fixture.issuer.login()).expect("usable");
    let bobs = rotator.token().await.expect("bob's");
    assert_eq!(secret(&bobs), "access-3");
    // The test holds for either order of the two writes after the store is back.
    tokio::time::sleep(Duration::from_secs(7)).await;
    store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
    assert!(leases.is_free().await);
    let token = rotator.token().await.expect("bob's");
    assert_eq!(token.stamp(), bobs.stamp(), "the same sign-in");
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::SignedIn { .. })),
        2
    );
    fixture.expire().await;
    assert_eq!(secret(&rotator.token().await.expect("bob's")), "access-4");
    assert_eq!(store.access_token().await.as_deref(), Some("access-4"));
}

/// A retry recognises its own earlier save whose answer was lost.
#[tokio::test(start_paused = true)]
async fn a_save_whose_answer_was_lost_is_recognized() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    fixture.expire().await;
    store.lose_answers(1);
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let recovered = |event: &Event| matches!(event, Event::SaveRecovered { attempts: 1 });
    assert_eq!(
        fixture.events.count(recovered),
        1,
        "{:?}",
        fixture.events.names()
    );
    fixture.expire().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    assert_eq!(store.revisions(), [1, 3, 5]);
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::Adopted { .. })),
        0
    );
}

/// A save whose answer was lost is also recognised after further refreshes. The store ends with the
/// newest tokens, whatever their number.
#[tokio::test(start_paused = true)]
async fn a_save_whose_answer_was_lost_displaces_nothing_newer() {
    for rounds in 1..=3 {
        let fixture = Fixture::new();
        let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
        let rotator = fixture
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
        assert_eq!(fixture.issuer.reuse_alarms(), 0);
    }
}

/// Another process has begun to present the saved tokens. Whether or not the issuer refuses it,
/// this process's tokens are newer and stay.
#[tokio::test(start_paused = true)]
async fn an_intent_over_a_save_that_was_lost_displaces_nothing_newer() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    store.lose_answers(1);
    rotator.refresh_now().await.expect("from memory");
    store.fail_saves(MANY);
    rotator.refresh_now().await.expect("from memory");
    let found = store.record().await.expect("a record");
    let token = TokenHash::of(found.tokens().expect("tokens")).expect("a hash");
    let intent = Intent::new(token, fixture.clock.wall());
    store.put(with_intent(&found, intent)).await;
    store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let record = store.record().await.expect("a record");
    assert_eq!(record.intent(), None);
    assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
}

/// The lease of the unsaved tokens was lost, and another process has taken it and saved newer
/// tokens. Those tokens are adopted and not overwritten.
#[tokio::test(start_paused = true)]
async fn behind_a_busy_lease_newer_tokens_are_adopted() {
    let fixture = Fixture::new();
    fixture.issuer.parent_always();
    let (rotator, store, leases) = unsaved(&fixture).await;
    leases.script().lost = true;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(leases.is_free().await, "the lease was lost");
    let _foreign_lease = leases.acquire_as_another_process().await;
    fixture.expire().await;
    let tasks = spawn_callers(&rotator, 50);
    run_ready_tasks().await;
    let found = store.record().await.expect("a record");
    // The other process spends the parent of the token in memory, because it reads only the store.
    let newer = fixture.issuer.spend(found.tokens().expect("tokens"));
    store
        .put(next_record(Some(&found), None, Some(newer)))
        .await;
    for token in collect_outcomes(tasks).await {
        assert_eq!(secret(&token.expect("adopted")), "access-3");
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
    assert_eq!(secret(&rotator.token().await.expect("theirs")), "access-3");
}

/// The tokens of an update are stored. The next flight of any process refreshes from them, not from
/// the replaced tokens.
#[tokio::test(start_paused = true)]
async fn an_update_is_not_undone_by_the_store() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| {
            builder
                .store(store.clone())
                .coordinator(LocalCoordinator::new())
        })
        .await;
    let old = rotator.token().await.expect("a token");
    rotator
        .update(&old, fixture.issuer.spend(old.token_set()))
        .expect("usable")
        .await
        .expect("stored");
    assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
    fixture.expire().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}
