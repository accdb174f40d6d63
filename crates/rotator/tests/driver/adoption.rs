//! Tests the adoption of tokens that another process saves: before the lease request, and during
//! the wait for the lease.

use std::time::Duration;

use crate::common::store::{next_record, with_intent};
use crate::common::{
    Fixture, ScriptedCoordinator, ScriptedStore, collect_outcomes, run_ready_tasks, secret,
    spawn_callers, timed,
};
use token_rotator::store::{Intent, TokenHash};
use token_rotator::{Clock as _, Event, Rotator, TokenError};

async fn fixture_parts(fixture: &Fixture) -> (Rotator, ScriptedStore, ScriptedCoordinator) {
    let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()).coordinator(leases.clone()))
        .await;
    fixture.expire().await;
    (rotator, store, leases)
}

async fn save_as_another_process(fixture: &Fixture, store: &ScriptedStore) {
    let found = store.record().await.expect("a record");
    let newer = fixture.issuer.spend(found.tokens().expect("tokens"));
    store
        .put(next_record(Some(&found), None, Some(newer)))
        .await;
}

/// Tokens that are already in the store need no lease, whether it is taken or free.
#[tokio::test(start_paused = true)]
async fn adoption_needs_no_lease() {
    for busy in [true, false] {
        let fixture = Fixture::new();
        let (rotator, store, leases) = fixture_parts(&fixture).await;
        save_as_another_process(&fixture, &store).await;
        let _foreign_lease = if busy {
            Some(leases.acquire_as_another_process().await)
        } else {
            None
        };
        let (took, tokens) = timed(collect_outcomes(spawn_callers(&rotator, 50))).await;
        assert!(took.is_zero());
        for token in tokens {
            assert_eq!(secret(&token.expect("adopted")), "access-2");
        }
        assert!(
            leases.script().waits.is_empty(),
            "no task requested the lease"
        );
        assert_eq!(fixture.issuer.refresh_calls(), 0);
    }
}

/// While the lease is taken, the holder's tokens are adopted as soon as the store reports them. The
/// flight waits neither for an intent before them nor for the lease after them.
#[tokio::test(start_paused = true)]
async fn a_reported_save_ends_the_wait_for_the_lease() {
    let fixture = Fixture::new();
    let (rotator, store, leases) = fixture_parts(&fixture).await;
    store.report_writes();
    let _foreign_lease = leases.acquire_as_another_process().await;
    let tasks = spawn_callers(&rotator, 50);
    run_ready_tasks().await;
    assert_eq!(
        leases.script().waits.len(),
        1,
        "the flight waits for the lease"
    );
    let found = store.record().await.expect("a record");
    let token = TokenHash::of(found.tokens().expect("tokens")).expect("a hash");
    let intent = Intent::new(token, fixture.clock.wall());
    store.put(with_intent(&found, intent)).await;
    run_ready_tasks().await;
    assert!(tasks.iter().all(|call| !call.is_finished()));
    tokio::time::advance(Duration::from_secs(1)).await;
    save_as_another_process(&fixture, &store).await;
    let (took, tokens) = timed(collect_outcomes(tasks)).await;
    assert!(took.is_zero(), "{took:?}");
    for token in tokens {
        assert_eq!(secret(&token.expect("adopted")), "access-2");
    }
    assert_eq!(leases.script().acquired, 0);
    assert_eq!(fixture.issuer.refresh_calls(), 0);
    let adopted = |event: &Event| matches!(event, Event::Adopted { .. });
    assert_eq!(fixture.events.count(adopted), 1);
}

/// A sign-out that the store reports ends the wait for the lease too.
#[tokio::test(start_paused = true)]
async fn a_reported_sign_out_ends_the_wait_for_the_lease() {
    let fixture = Fixture::new();
    let (rotator, store, leases) = fixture_parts(&fixture).await;
    store.report_writes();
    let _foreign_lease = leases.acquire_as_another_process().await;
    let tasks = spawn_callers(&rotator, 50);
    run_ready_tasks().await;
    let found = store.record().await.expect("a record");
    let tombstone = next_record(
        Some(&found),
        Some(token_rotator::store::Epoch::random()),
        None,
    );
    store.put(tombstone).await;
    let (took, errors) = timed(collect_outcomes(tasks)).await;
    assert!(took.is_zero(), "{took:?}");
    for error in errors {
        assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    }
}

/// A store that reports changes without end causes occasional reads. The flight keeps its chance of
/// the lease, and the thread is not blocked.
#[tokio::test(start_paused = true)]
async fn a_store_with_false_reports_is_read_occasionally() {
    let fixture = Fixture::new();
    let (rotator, store, leases) = fixture_parts(&fixture).await;
    store.always_report_changes();
    let foreign_lease = leases.acquire_as_another_process().await;
    let tasks = spawn_callers(&rotator, 5);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(store.loads() < 200, "{} reads", store.loads());
    drop(foreign_lease);
    for token in collect_outcomes(tasks).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    assert_eq!(leases.script().acquired, 1);
}
