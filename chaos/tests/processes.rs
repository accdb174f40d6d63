//! Many processes at once on one session, none of them harmed.

use std::time::Duration;

use token_rotator_chaos::crash::Scene;
use token_rotator_chaos::{Bed, Herd, Job, Kind, ProfileName, Said, Timing};

const PROGRAM: &str = env!("CARGO_BIN_EXE_token-rotator-chaos");

/// Two hundred processes start at once and find an expired session on the disk: one refresh, and
/// every one of them has a token that the API takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_processes_share_one_refresh() {
    let bed = Bed::make(Kind::File).await.expect("a directory");
    let lifetime = Duration::from_secs(600);
    let place = bed.place();
    let scene = Scene::set(place, ProfileName::Strict, Timing::PATIENT, lifetime).await;
    scene.issuer.expire_access_tokens();
    scene.sign_in(&scene.grant, Duration::ZERO).await;
    let mut herd = Herd::new(PROGRAM);
    let spec = scene.spec(Job::OneToken, None);
    let mut workers: Vec<_> = (0..200).map(|_| herd.start(&spec)).collect();
    let stories = herd.whole_stories(&mut workers).await;
    for story in &stories {
        assert!(
            matches!(story.last(), Some(Said::Token { .. })),
            "{story:?}"
        );
    }
    let counters = scene.issuer.counters();
    assert_eq!(
        (counters.token_requests, counters.refreshes, counters.reuses),
        (1, 1, 0)
    );
    assert!(scene.issuer.session_alive(&scene.grant));
    // And nobody was refused on the way.
    assert_eq!(scene.api.counters().refused, 0);
}
