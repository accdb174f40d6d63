//! What one process does to the session is done for the others.

use std::time::Duration;

use token_rotator::store::SessionStore as _;
use token_rotator::{Rotator, SessionKey, SourceError, TokenSet};
use token_rotator_chaos::crash::{SESSION, Scene};
use token_rotator_chaos::{Bed, Herd, Job, Kind, ProfileName, Said, Timing};

const PROGRAM: &str = env!("CARGO_BIN_EXE_token-rotator-chaos");

async fn scene(bed: &Bed) -> Scene {
    let place = bed.place();
    let lifetime = Duration::from_secs(600);
    Scene::set(place, ProfileName::Strict, Timing::PATIENT, lifetime).await
}

/// A sign-out in one process while another's refresh is in the air: what that brings is neither
/// saved nor served, and is revoked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_out_meets_another_processs_flight() {
    let bed = Bed::make(Kind::File).await.expect("a directory");
    let scene = scene(&bed).await;
    scene.sign_in(&scene.grant, Duration::ZERO).await;
    let gate = scene.issuer.gate();
    gate.close();
    let mut herd = Herd::new(PROGRAM);
    let mut worker = herd.start(&scene.spec(Job::OneToken, None));
    gate.arrived(1).await;

    let sessions = scene.place.open(Duration::from_secs(40)).expect("a store");
    let nobody = |_last| async { Err::<TokenSet, _>(SourceError::not_sent("not asked here")) };
    let rotator = Rotator::builder(nobody)
        .store(sessions.clone())
        .session(SessionKey::new(SESSION))
        .build()
        .expect("a rotator");
    rotator
        .sign_out()
        .await
        .expect("a tombstone, whoever holds the lease");
    gate.open();

    let story = herd.whole_story(&mut worker).await;
    assert!(story.contains(&Said::SignedOut), "{story:?}");
    assert!(
        matches!(story.last(), Some(Said::GaveUp { .. })),
        "{story:?}"
    );
    let record = sessions
        .load(&SessionKey::new(SESSION))
        .await
        .expect("a store");
    assert!(record.expect("a tombstone").tokens().is_none());
    assert!(!scene.issuer.session_alive(&scene.grant), "revoked");
    assert_eq!(scene.issuer.counters().reuses, 0);
}

/// A session that has ended in one process is revived there by a sign-in in another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_elsewhere_revives_an_ended_session() {
    let bed = Bed::make(Kind::File).await.expect("a directory");
    let scene = scene(&bed).await;
    scene.issuer.revoke_family(&scene.grant);
    scene.issuer.expire_access_tokens();
    scene.sign_in(&scene.grant, Duration::ZERO).await;
    let mut herd = Herd::new(PROGRAM);
    let mut worker = herd.start(&scene.spec(Job::Requests, None));
    herd.until(&worker, |said| matches!(said, Said::Ended))
        .await;
    let grant = scene.issuer.sign_in("bob");
    scene.sign_in(&grant, Duration::from_secs(600)).await;
    herd.until(&worker, |said| {
        matches!(said, Said::Answered { good: true, .. })
    })
    .await;
    worker.kill().await;
    // Once in vain, and never again: what was refused is written down for all.
    assert_eq!(scene.issuer.counters().token_requests, 1);
}
