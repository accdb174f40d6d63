//! A replica crashes before and after each step of a flight. The next replica reaches the outcome in the table of
//! `docs/stores.md`.

use futures_util::future::join_all;
use token_rotator::Event;

use super::crash_plan::{CrashPlan, FlightStep, Moment};
use super::scripted_issuer::{ReusePolicy, access_token};
use super::shared_session::SharedSession;
use crate::conformance::{StoreFixture, within_ten_seconds};

/// Strict issuer: a refresh token that may be spent is presented as the last resort. It is lost if it was spent.
pub async fn a_crash_at_each_step_with_a_strict_issuer(fixture: &impl StoreFixture) {
    at_each_step(fixture, ReusePolicy::Strict).await;
}

/// Forgiving issuer: the previous refresh token stays valid, so it is presented again and no session is lost.
pub async fn a_crash_at_each_step_with_a_forgiving_issuer(fixture: &impl StoreFixture) {
    at_each_step(fixture, ReusePolicy::ParentAlways).await;
}

/// Multi-use issuer: no refresh token is ever in doubt, and the flight writes no intent.
pub async fn a_crash_at_each_step_with_a_multi_use_issuer(fixture: &impl StoreFixture) {
    at_each_step(fixture, ReusePolicy::MultiUse).await;
}

/// Runs all crashes at once, each in its own session, because most of the time passes waiting for leases to expire.
async fn at_each_step<G: StoreFixture>(fixture: &G, policy: ReusePolicy) {
    if !SharedSession::new(fixture, policy).is_durable().await {
        // A store in memory ends with its process, so another replica finds nothing after a crash.
        return;
    }
    let steps = FlightStep::ALL
        .into_iter()
        .filter(|step| *step != FlightStep::Journal || policy != ReusePolicy::MultiUse);
    let crashes = steps.flat_map(|step| [(step, Moment::Before), (step, Moment::After)]);
    join_all(crashes.map(|(step, moment)| crash_case(fixture, policy, step, moment))).await;
}

async fn crash_case<G: StoreFixture>(
    fixture: &G,
    policy: ReusePolicy,
    step: FlightStep,
    moment: Moment,
) {
    let name = format!("{policy:?}-{step:?}-{moment:?}");
    let session = SharedSession::with_name(fixture, policy, &name);
    session.sign_in_expired().await;
    let crash_plan = CrashPlan::crash_at(step, moment);
    let crashing = session.replica_with(crash_plan.clone()).await;
    let call = crashing.spawn_token_call();
    within_ten_seconds("a crash", crash_plan.crashed()).await;
    let next_replica = session.replica().await;
    let token = next_replica.token_after_retries().await;
    // The call of the crashed replica may never end, unless it crashed after it had published the token.
    call.abort();
    let repeated_presentations = next_replica.events.filter_map(|event| match event {
        Event::PresentedAgain { last_resort, .. } => Some(*last_resort),
        _ => None,
    });
    let (refreshes, presentations, reuses_detected, number) =
        expected_outcome(policy, refresh_token_state(step, moment));
    let outcome = (
        session.issuer.refreshes(),
        repeated_presentations,
        session.issuer.reuses_detected(),
    );
    assert_eq!(
        outcome,
        (refreshes, presentations, reuses_detected),
        "{name}: {token:?}"
    );
    match number {
        Some(number) => assert_eq!(token.expect(&name), access_token(0, number), "{name}"),
        None => assert!(token.is_err(), "{name}: {token:?}"),
    }
}

/// State of the refresh token after a crash.
enum RefreshTokenState {
    Untouched,
    InDoubt,
    Spent,
    Replaced,
}

fn refresh_token_state(step: FlightStep, moment: Moment) -> RefreshTokenState {
    match (step, moment) {
        (FlightStep::Peek | FlightStep::Lease | FlightStep::Read, _)
        | (FlightStep::Journal, Moment::Before) => RefreshTokenState::Untouched,
        (FlightStep::Journal, Moment::After) | (FlightStep::Refresh, Moment::Before) => {
            RefreshTokenState::InDoubt
        }
        (FlightStep::Refresh, Moment::After) | (FlightStep::Save, Moment::Before) => {
            RefreshTokenState::Spent
        }
        (FlightStep::Save, Moment::After) | (FlightStep::Release, _) => RefreshTokenState::Replaced,
    }
}

/// Returns the expected outcome: number of refreshes, repeated presentations (true: as the last resort), detected
/// reuses, and the number of the next replica's token.
fn expected_outcome(
    policy: ReusePolicy,
    state: RefreshTokenState,
) -> (usize, Vec<bool>, usize, Option<usize>) {
    match (state, policy) {
        (RefreshTokenState::Untouched | RefreshTokenState::Replaced, _)
        | (RefreshTokenState::InDoubt, ReusePolicy::MultiUse) => (1, Vec::new(), 0, Some(1)),
        (RefreshTokenState::InDoubt, ReusePolicy::Strict) => (1, vec![true], 0, Some(1)),
        (RefreshTokenState::InDoubt, ReusePolicy::ParentAlways) => (1, vec![false], 0, Some(1)),
        // Unavoidable: the crash lost the response with the only valid refresh token.
        (RefreshTokenState::Spent, ReusePolicy::Strict) => (1, vec![true], 1, None),
        (RefreshTokenState::Spent, ReusePolicy::ParentAlways) => (2, vec![false], 0, Some(2)),
        (RefreshTokenState::Spent, ReusePolicy::MultiUse) => (2, Vec::new(), 0, Some(2)),
    }
}
