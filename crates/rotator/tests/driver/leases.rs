//! Tests that no refresh token is spent without the lease (rule 7).

use std::time::Duration;

use token_rotator::store::LeaseError;
use token_rotator::{Event, RefreshError, TokenError};

use crate::common::store::next_record;
use crate::common::{
    Fixture, IssuerAction, Requests as _, ScriptedCoordinator, ScriptedStore, collect_outcomes,
    run_ready_tasks, secret, spawn_callers, timed,
};
use crate::next_session::SessionFixture;

/// An early flight that finds the lease taken ends without an effect on callers.
#[tokio::test(start_paused = true)]
async fn an_early_flight_ends_if_the_lease_is_taken() {
    let fixture = Fixture::new();
    let leases = ScriptedCoordinator::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    fixture.almost_expire().await;
    let _foreign_lease = leases.acquire_as_another_process().await;
    assert_eq!(
        secret(&rotator.token().await.expect("the old token")),
        "access-1"
    );
    run_ready_tasks().await;
    assert_eq!(leases.script().waits, [Duration::ZERO]);
    assert_eq!(fixture.issuer.refresh_calls(), 0);
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::RefreshFailed { .. })),
        0
    );
    rotator.token().await.expect("the old token");
    run_ready_tasks().await;
    assert_eq!(
        leases.script().waits.len(),
        1,
        "not again within ten seconds"
    );
}

/// An early flight waits for the lease if a request that can be sent only once waits for the
/// flight.
#[tokio::test(start_paused = true)]
async fn an_early_flight_that_is_awaited_waits_for_the_lease() {
    let fixture = Fixture::new();
    let leases = ScriptedCoordinator::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    fixture.almost_expire().await;
    let foreign_lease = leases.acquire_as_another_process().await;
    let once = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.pass_for_once().await })
    };
    run_ready_tasks().await;
    assert!(!once.is_finished(), "the request waits");
    drop(foreign_lease);
    let pass = once.await.expect("no panic").expect("a pass");
    assert_eq!(secret(pass.token().expect("a token")), "access-2");
}

/// If the lease stays taken, the flight fails and sends nothing.
#[tokio::test(start_paused = true)]
async fn without_the_lease_nothing_is_sent() {
    let fixture = Fixture::new();
    let leases = ScriptedCoordinator::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    fixture.expire().await;
    let _foreign_lease = leases.acquire_as_another_process().await;
    let (took, errors) = timed(collect_outcomes(spawn_callers(&rotator, 50))).await;
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
    assert_eq!(fixture.issuer.refresh_calls(), 0);
}

/// If the lease stays taken because another process refreshes, the flight adopts that process's
/// tokens.
#[tokio::test(start_paused = true)]
async fn a_busy_lease_ends_in_adoption() {
    let fixture = Fixture::new();
    let (leases, store) = (ScriptedCoordinator::new(), ScriptedStore::new());
    let rotator = fixture
        .signed_in_with(|builder| builder.coordinator(leases.clone()).store(store.clone()))
        .await;
    fixture.expire().await;
    let _foreign_lease = leases.acquire_as_another_process().await;
    let tasks = spawn_callers(&rotator, 50);
    run_ready_tasks().await;
    let found = store.record().await;
    let newer = fixture
        .issuer
        .spend(found.as_ref().expect("a record").tokens().expect("tokens"));
    store
        .put(next_record(found.as_ref(), None, Some(newer)))
        .await;
    for token in collect_outcomes(tasks).await {
        assert_eq!(
            secret(&token.expect("adopted, the lease still taken")),
            "access-2"
        );
    }
    assert_eq!(fixture.issuer.refresh_calls(), 0);
}

/// A lease that does not outlast the source is renewed before the request. If the renewed lease is
/// still too short, the flight fails and sends nothing.
#[tokio::test(start_paused = true)]
async fn a_short_lease_is_renewed_before_the_request() {
    let fixture = Fixture::new();
    let leases = ScriptedCoordinator::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    fixture.expire().await;
    leases.script().remaining = Some(Duration::from_secs(15));
    leases.script().after_renewal = Some(Duration::from_secs(40));
    rotator.token().await.expect("a token");
    assert_eq!(leases.script().renewed, 1);

    for lost in [false, true] {
        fixture.expire().await;
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
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    assert!(leases.is_free().await);
}

/// While the source works, the flight renews the lease every 13 s until the source's timeout.
#[tokio::test(start_paused = true)]
async fn the_lease_is_renewed_while_the_source_works() {
    let fixture = Fixture::new();
    let leases = ScriptedCoordinator::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    fixture.expire().await;
    fixture.issuer.push_action(IssuerAction::Hang);
    let error = rotator.token().await;
    assert!(error.is_err(), "{error:?}");
    assert_eq!(leases.script().renewed, 1);
    tokio::time::advance(Duration::from_secs(60)).await;
    run_ready_tasks().await;
    assert_eq!(leases.script().renewed, 1);
    assert!(leases.is_free().await);
}

/// Every flight releases the lease, whatever its outcome, and serves the new token first. So an
/// unreachable coordinator delays no caller.
#[tokio::test(start_paused = true)]
async fn releasing_the_lease_delays_no_caller() {
    let fixture = Fixture::new();
    let leases = ScriptedCoordinator::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    fixture.expire().await;
    leases.script().hang_release = true;
    let (took, tokens) = timed(collect_outcomes(spawn_callers(&rotator, 50))).await;
    assert!(
        took.is_zero(),
        "they waited {took:?} for the lease to be given back"
    );
    for token in tokens {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    run_ready_tasks().await;
    assert_eq!(leases.script().released, 1);
}

/// After a failed flight the lease is free, even if the source panicked.
#[tokio::test(start_paused = true)]
async fn the_lease_is_free_after_every_failure() {
    let fixture = Fixture::new();
    let leases = ScriptedCoordinator::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    for act in [
        IssuerAction::Fail(token_rotator::SourceError::transient("down")),
        IssuerAction::Panic,
        IssuerAction::LoseAnswer,
    ] {
        fixture.issuer.push_action(act);
        let error = rotator.refresh_now().await;
        assert!(error.is_err(), "{error:?}");
        run_ready_tasks().await;
        assert!(leases.is_free().await);
    }
}

/// A panicking coordinator fails the flight with a typed error, and the flight sends nothing.
#[tokio::test(start_paused = true)]
async fn a_panicking_coordinator_fails_its_flight() {
    let fixture = Fixture::new();
    let leases = ScriptedCoordinator::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.coordinator(leases.clone()))
        .await;
    fixture.expire().await;
    leases.script().panic = true;
    for error in collect_outcomes(spawn_callers(&rotator, 5)).await {
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
    assert_eq!(fixture.issuer.refresh_calls(), 0);
}

/// A lease that may not outlast the save is renewed first. If it is lost by then, the tokens are
/// saved anyway: compare-and-swap protects the record.
#[tokio::test(start_paused = true)]
async fn a_short_lease_is_renewed_before_the_save() {
    for lost in [false, true] {
        let fixture = Fixture::new();
        let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
        let rotator = fixture
            .signed_in_with(|builder| builder.store(store.clone()).coordinator(leases.clone()))
            .await;
        fixture.expire().await;
        fixture.issuer.hold();
        let tasks = spawn_callers(&rotator, 5);
        fixture.issuer.wait_for_calls(1).await;
        assert_eq!(leases.script().renewed, 0);
        {
            let mut script = leases.script();
            script.remaining = Some(Duration::from_secs(15));
            script.after_renewal = Some(Duration::from_secs(40));
            script.lost = lost;
        }
        store.hold_saves(true);
        let saves = store.saves();
        fixture.issuer.release();
        store.wait_for_saves(saves + 1).await;
        assert_eq!(leases.script().renewed, 1, "renewed before the save only");
        store.hold_saves(false);
        for token in collect_outcomes(tasks).await {
            assert_eq!(secret(&token.expect("a token")), "access-2");
        }
        assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
        assert!(leases.is_free().await);
    }
}

/// A coordinator that hangs at acquisition or renewal ends the flight with a typed error and does
/// not block a sign-in.
#[tokio::test(start_paused = true)]
async fn a_coordinator_that_hangs_ends_the_flight() {
    for when in ["acquire", "renew"] {
        let fixture = SessionFixture::new().await;
        fixture.base.expire().await;
        {
            let mut script = fixture.leases.script();
            script.hang_acquire = when == "acquire";
            script.hang_renew = when == "renew";
            script.remaining = Some(Duration::from_secs(10));
            script.after_renewal = Some(Duration::from_secs(40));
        }
        let (took, errors) = timed(collect_outcomes(spawn_callers(&fixture.rotator, 50))).await;
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
        assert_eq!(fixture.base.issuer.refresh_calls(), 0);
        {
            let mut script = fixture.leases.script();
            script.hang_acquire = false;
            script.hang_renew = false;
        }
        let stored = fixture
            .rotator
            .sign_in(fixture.base.issuer.login())
            .expect("usable");
        stored.await.expect("stored");
        let token = fixture.refresh().await.expect("no panic").expect("a token");
        assert_eq!(secret(&token), "access-3");
        assert_eq!(fixture.base.issuer.reuse_alarms(), 0);
    }
}

/// If the coordinator hangs at the renewal of a lease for unsaved tokens, that lease is lost. The
/// waiting flight and a new session both proceed.
#[tokio::test(start_paused = true)]
async fn a_coordinator_that_hangs_during_a_save_ends_the_flight() {
    let fixture = SessionFixture::unsaved().await;
    fixture.leases.script().hang_renew = true;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (took, token) = timed(fixture.refresh()).await;
    let token = token.expect("no panic").expect("from memory");
    assert_eq!(secret(&token), "access-3");
    assert_eq!(took.as_secs(), 14, "as long as the renewal may take");
    fixture.leases.script().hang_renew = false;
    fixture.store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(
        fixture.store.access_token().await.as_deref(),
        Some("access-3")
    );
    assert_eq!(fixture.base.issuer.reuse_alarms(), 0);
    assert!(fixture.leases.is_free().await);
}
