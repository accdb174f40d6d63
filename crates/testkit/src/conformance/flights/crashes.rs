//! A replica dies before and after each step of a flight, and the next one ends where the table in
//! `docs/stores.md` says.

use futures_util::future::join_all;
use token_rotator::Event;

use super::fate::{Fate, Moment, Step};
use super::issuer::{Policy, access_token};
use super::scene::Scene;
use crate::conformance::{Ground, soon};

/// Strict: what may be spent is presented as the last resort, and lost if it was.
pub async fn a_death_at_each_step_of_a_strict_issuer(ground: &impl Ground) {
    at_each_step(ground, Policy::Strict).await;
}

/// The parent is always taken: what may be spent is presented again, and nothing is lost.
pub async fn a_death_at_each_step_of_a_forgiving_issuer(ground: &impl Ground) {
    at_each_step(ground, Policy::ParentAlways).await;
}

/// Refresh tokens may be used many times: nothing is in doubt, and nothing is written down.
pub async fn a_death_at_each_step_where_uses_do_not_count(ground: &impl Ground) {
    at_each_step(ground, Policy::MultiUse).await;
}

/// All at once, each in a session of its own: most of the time is spent waiting for leases to run out.
async fn at_each_step<G: Ground>(ground: &G, policy: Policy) {
    if !Scene::new(ground, policy).is_durable().await {
        // What is not durable does not outlive its process, and has nothing to be found after it.
        return;
    }
    let steps = Step::ALL
        .into_iter()
        .filter(|step| *step != Step::Journal || policy != Policy::MultiUse);
    let deaths = steps.flat_map(|step| [(step, Moment::Before), (step, Moment::After)]);
    join_all(deaths.map(|(step, moment)| death(ground, policy, step, moment))).await;
}

async fn death<G: Ground>(ground: &G, policy: Policy, step: Step, moment: Moment) {
    let session = format!("{policy:?}-{step:?}-{moment:?}");
    let scene = Scene::named(ground, policy, &session);
    scene.sign_in_expired().await;
    let fate = Fate::to_die(step, moment);
    let doomed = scene.replica_of(fate.clone()).await;
    let call = doomed.asking();
    soon("a death", fate.sealed()).await;
    let next = scene.replica().await;
    let token = next.settled().await;
    // Nobody is left who could answer whoever asked the dead, unless it died after publishing.
    call.abort();
    let again = next.heard.picked(|event| match event {
        Event::PresentedAgain { last_resort, .. } => Some(*last_resort),
        _ => None,
    });
    let (refreshes, presented_again, alarms, number) = row(policy, left(step, moment));
    let seen = (scene.desk.refreshes(), again, scene.desk.alarms());
    assert_eq!(
        seen,
        (refreshes, presented_again, alarms),
        "{session}: {token:?}"
    );
    match number {
        Some(number) => assert_eq!(token.expect(&session), access_token(0, number), "{session}"),
        None => assert!(token.is_err(), "{session}: {token:?}"),
    }
}

/// What is left of the refresh token.
enum Left {
    Untouched,
    Doubted,
    Spent,
    Replaced,
}

fn left(step: Step, moment: Moment) -> Left {
    match (step, moment) {
        (Step::Peek | Step::Lease | Step::Read, _) | (Step::Journal, Moment::Before) => {
            Left::Untouched
        }
        (Step::Journal, Moment::After) | (Step::Refresh, Moment::Before) => Left::Doubted,
        (Step::Refresh, Moment::After) | (Step::Save, Moment::Before) => Left::Spent,
        (Step::Save, Moment::After) | (Step::Release, _) => Left::Replaced,
    }
}

/// Refreshes in all, presentations again (true: as the last resort), alarms, and the number of the
/// token that the next one has.
fn row(policy: Policy, left: Left) -> (usize, Vec<bool>, usize, Option<usize>) {
    match (left, policy) {
        (Left::Untouched | Left::Replaced, _) | (Left::Doubted, Policy::MultiUse) => {
            (1, Vec::new(), 0, Some(1))
        }
        (Left::Doubted, Policy::Strict) => (1, vec![true], 0, Some(1)),
        (Left::Doubted, Policy::ParentAlways) => (1, vec![false], 0, Some(1)),
        // Unavoidable: the answer with the only good token went down with the process.
        (Left::Spent, Policy::Strict) => (1, vec![true], 1, None),
        (Left::Spent, Policy::ParentAlways) => (2, vec![false], 0, Some(2)),
        (Left::Spent, Policy::MultiUse) => (2, Vec::new(), 0, Some(2)),
    }
}
