//! Tests that sign-in and sign-out win over a flight (rule 4).

use token_rotator::middleware::RotatorExt as _;
use token_rotator::store::{Epoch, LocalCoordinator};
use token_rotator::{Event, Profile, TokenError};

use crate::common::{
    Fixture, ScriptedStore, collect_outcomes, run_ready_tasks, secret, spawn_callers, timed,
};

/// A sign-out during a flight releases every waiter at once. Nothing is installed or saved, the
/// rotated token is revoked too, and the store has a tombstone.
#[tokio::test(start_paused = true)]
async fn sign_out_during_a_flight_leaves_no_tokens() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    let before = store.record().await.expect("a record").version();
    fixture.expire().await;
    fixture.issuer.hold();
    let tasks = spawn_callers(&rotator, 50);
    fixture.issuer.wait_for_calls(1).await;
    run_ready_tasks().await;

    rotator.sign_out().await.expect("a tombstone");
    let (took, errors) = timed(collect_outcomes(tasks)).await;
    assert!(took.is_zero(), "released at once, not after {took:?}");
    for error in errors {
        assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    }
    let tombstone = store.record().await.expect("a record");
    assert!(tombstone.tokens().is_none());
    assert_ne!(tombstone.version().epoch, before.epoch);
    assert!(tombstone.version().revision > before.revision);

    fixture.issuer.release();
    assert!(rotator.shutdown(std::time::Duration::from_secs(5)).await);
    assert_eq!(
        fixture.issuer.refreshes(),
        1,
        "the request was already sent"
    );
    assert_eq!(fixture.issuer.revoked(), ["refresh-1", "refresh-2"]);
    assert!(rotator.access_token().is_none());
    let record = store.record().await.expect("a record");
    assert_eq!(record.version(), tombstone.version(), "nothing was saved");
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::LateTokens { .. })),
        1
    );
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::SignedOut)),
        1
    );
}

/// Another user signs in during a flight. The new session stays, waiters of the old session get
/// `SessionChanged`, and nothing is revoked: many issuers would end the new login with the old
/// grant.
#[tokio::test(start_paused = true)]
async fn a_sign_in_during_a_flight_stays() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    fixture.issuer.hold();
    let tasks = spawn_callers(&rotator, 50);
    fixture.issuer.wait_for_calls(1).await;
    run_ready_tasks().await;
    rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    assert_eq!(secret(&rotator.token().await.expect("bob's")), "access-2");
    let (took, errors) = timed(collect_outcomes(tasks)).await;
    assert!(took.is_zero());
    for error in errors {
        assert!(
            matches!(error, Err(TokenError::SessionChanged)),
            "{error:?}"
        );
    }
    fixture.issuer.release();
    assert!(rotator.shutdown(std::time::Duration::from_secs(5)).await);
    assert_eq!(fixture.issuer.refreshes(), 1);
    assert_eq!(secret(&rotator.access_token().expect("bob's")), "access-2");
    assert!(fixture.issuer.revoked().is_empty());
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::LateTokens { .. })),
        1
    );
}

/// If revocation is per token, a sign-in over a session revokes the replaced tokens and the late
/// result.
#[tokio::test(start_paused = true)]
async fn revocation_per_token_reaches_the_old_session() {
    let fixture = Fixture::new();
    let profile = Profile::strict().with_revocation_per_token();
    let rotator = fixture
        .signed_in_with(|builder| builder.profile(profile))
        .await;
    fixture.expire().await;
    fixture.issuer.hold();
    let tasks = spawn_callers(&rotator, 2);
    fixture.issuer.wait_for_calls(1).await;
    rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    fixture.issuer.release();
    drop(collect_outcomes(tasks).await);
    assert!(rotator.shutdown(std::time::Duration::from_secs(5)).await);
    assert_eq!(fixture.issuer.revoked(), ["refresh-1", "refresh-3"]);
    assert_eq!(secret(&rotator.access_token().expect("bob's")), "access-2");
}

/// The new session can refresh while a flight of the old session runs; each result goes to its own
/// session.
#[tokio::test(start_paused = true)]
async fn a_flight_of_the_previous_session_does_not_block_the_new_session() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.expire().await;
    fixture.issuer.hold();
    let old = spawn_callers(&rotator, 1);
    fixture.issuer.wait_for_calls(1).await;
    rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    let forced = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    fixture.issuer.wait_for_calls(2).await;
    fixture.issuer.release();
    let token = forced.await.expect("no panic").expect("a token");
    let error = collect_outcomes(old).await.remove(0);
    assert!(
        matches!(error, Err(TokenError::SessionChanged)),
        "{error:?}"
    );
    let current = rotator.access_token().expect("a token");
    assert_eq!(current.generation(), token.generation());
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::LateTokens { .. })),
        1
    );
}

/// Revisions grow with every record, including intents, and do not restart after a sign-out.
#[tokio::test(start_paused = true)]
async fn revisions_never_restart() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    fixture.expire().await;
    rotator.token().await.expect("a token");
    rotator.sign_out().await.expect("stored");
    let login = rotator.sign_in(fixture.issuer.login()).expect("usable");
    login.await.expect("stored");
    fixture.expire().await;
    rotator.token().await.expect("a token");
    assert_eq!(store.revisions(), [1, 3, 4, 5, 7]);
}

/// A revision is never used for a second record, even if the store has lost all records: other
/// processes may remember it.
#[tokio::test(start_paused = true)]
async fn revisions_do_not_restart_with_a_lost_store() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| {
            builder
                .store(store.clone())
                .coordinator(LocalCoordinator::new())
        })
        .await;
    fixture.expire().await;
    rotator.token().await.expect("a token");
    store.clear();
    fixture.expire().await;
    let token = rotator.token().await.expect("memory goes on");
    assert_eq!(secret(&token), "access-3");
    assert_eq!(store.revisions(), [1, 3, 5]);
    store.clear();
    rotator.sign_out().await.expect("stored");
    assert_eq!(store.revisions(), [1, 3, 5, 6]);
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// A tombstone at the first read counts as a sign-out: nothing is refreshed.
#[tokio::test(start_paused = true)]
async fn a_tombstone_is_obeyed_at_the_first_read() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let tombstone = crate::common::store::next_record(None, Some(Epoch::random()), None);
    store.put(tombstone).await;
    let rotator = fixture.builder().store(store).build().expect("a rotator");
    let error = rotator.token().await;
    assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    assert_eq!(fixture.issuer.refresh_calls(), 0);
}

/// Revocation is best effort: its failure is an event, and the sign-out stays.
#[tokio::test(start_paused = true)]
async fn a_failed_revocation_is_an_event() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.issuer.fail_revocation();
    rotator.sign_out().await.expect("no store");
    assert!(rotator.shutdown(std::time::Duration::from_secs(1)).await);
    let failed = |event: &Event| matches!(event, Event::Revoked { error: Some(_) });
    assert_eq!(fixture.events.count(failed), 1);
    assert!(rotator.access_token().is_none());
}
