//! Many processes at once on one session.

use std::time::Duration;

use token_rotator_chaos::crash::Scene;
use token_rotator_chaos::{Job, Kind, ProfileName, Report, TestStore, Timing, Workers};

const PROGRAM: &str = env!("CARGO_BIN_EXE_token-rotator-chaos");

/// Two hundred processes start at once and find an expired session on the disk. One refresh serves all
/// of them with a token that the API accepts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_processes_share_one_refresh() {
    let store = TestStore::make(Kind::File).await.expect("a directory");
    let lifetime = Duration::from_secs(600);
    let address = store.address();
    let scene = Scene::start(address, ProfileName::Strict, Timing::PATIENT, lifetime).await;
    scene.issuer.expire_access_tokens();
    scene.sign_in(&scene.grant, Duration::ZERO).await;
    let mut group = Workers::new(PROGRAM);
    let spec = scene.spec(Job::OneToken, None);
    let mut workers: Vec<_> = (0..200).map(|_| group.start(&spec)).collect();
    let all_reports = group.reports_of_all(&mut workers).await;
    for reports in &all_reports {
        assert!(
            matches!(reports.last(), Some(Report::Token { .. })),
            "{reports:?}"
        );
    }
    let counters = scene.issuer.counters();
    assert_eq!(
        (counters.token_requests, counters.refreshes, counters.reuses),
        (1, 1, 0)
    );
    assert!(scene.issuer.session_alive(&scene.grant));
    // The API has refused no request.
    assert_eq!(scene.api.counters().refused, 0);
}
