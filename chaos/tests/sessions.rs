//! A sign-in or sign-out in one process applies to the other processes.

use std::time::Duration;

use token_rotator::{Rotator, SessionKey, SessionStore as _, SourceError, TokenSet};
use token_rotator_chaos::crash::{SESSION, Scene};
use token_rotator_chaos::{Job, Kind, ProfileName, Report, TestStore, Timing, Workers};

const PROGRAM: &str = env!("CARGO_BIN_EXE_token-rotator-chaos");

async fn scene(store: &TestStore) -> Scene {
    let address = store.address();
    let lifetime = Duration::from_secs(600);
    Scene::start(address, ProfileName::Strict, Timing::PATIENT, lifetime).await
}

/// A process signs out while another process refreshes. The tokens of that refresh are neither saved
/// nor served, and are revoked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_out_meets_another_processs_flight() {
    let store = TestStore::make(Kind::File).await.expect("a directory");
    let scene = scene(&store).await;
    scene.sign_in(&scene.grant, Duration::ZERO).await;
    let gate = scene.issuer.gate();
    gate.close();
    let mut group = Workers::new(PROGRAM);
    let mut worker = group.start(&scene.spec(Job::OneToken, None));
    gate.arrived(1).await;

    let store = scene
        .address
        .open(Duration::from_secs(40))
        .expect("a store");
    let never_refreshes =
        |_last| async { Err::<TokenSet, _>(SourceError::not_sent("not asked here")) };
    let rotator = Rotator::builder(never_refreshes)
        .store(store.clone())
        .session(SessionKey::new(SESSION))
        .build()
        .expect("a rotator");
    rotator
        .sign_out()
        .await
        .expect("a tombstone without the lease");
    gate.open();

    let reports = group.reports_of(&mut worker).await;
    assert!(reports.contains(&Report::SignedOut), "{reports:?}");
    assert!(
        matches!(reports.last(), Some(Report::GaveUp { .. })),
        "{reports:?}"
    );
    let record = store
        .load(&SessionKey::new(SESSION))
        .await
        .expect("a store");
    assert!(record.expect("a tombstone").tokens.is_none());
    assert!(!scene.issuer.session_alive(&scene.grant), "revoked");
    assert_eq!(scene.issuer.counters().reuses, 0);
}

/// A sign-in in one process revives a session that has ended in another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_elsewhere_revives_an_ended_session() {
    let store = TestStore::make(Kind::File).await.expect("a directory");
    let scene = scene(&store).await;
    scene.issuer.revoke_family(&scene.grant);
    scene.issuer.expire_access_tokens();
    scene.sign_in(&scene.grant, Duration::ZERO).await;
    let mut group = Workers::new(PROGRAM);
    let mut worker = group.start(&scene.spec(Job::Requests, None));
    group
        .until(&worker, |report| matches!(report, Report::Ended))
        .await;
    let grant = scene.issuer.sign_in("bob");
    scene.sign_in(&grant, Duration::from_secs(600)).await;
    group
        .until(&worker, |report| {
            matches!(report, Report::Answered { good: true, .. })
        })
        .await;
    worker.kill().await;
    // One request in vain: the refusal is in the record.
    assert_eq!(scene.issuer.counters().token_requests, 1);
}
