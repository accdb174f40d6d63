//! Refused tokens: one refresh, and every request once more.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use token_rotator_proxy::{Observed, Observer, RequestId};
use token_rotator_testkit::Fault;

use crate::scene::{Scene, problem};

#[tokio::test]
async fn fifty_refused_requests_make_one_refresh() {
    let scene = Scene::with(|config| config.workers = 2).await;
    scene.issuer.expire_access_tokens();
    scene.issuer.gate().close();
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let request = scene.client.get(scene.url("/echo")).send();
            tokio::spawn(async move { request.await.expect("an answer").status().as_u16() })
        })
        .collect();
    scene.issuer.gate().arrived(1).await;
    scene.issuer.gate().open();
    for answer in asked {
        assert_eq!(answer.await.expect("no panic"), 200);
    }
    assert_eq!(scene.issuer.counters().refreshes, 1);
    let counters = scene.upstream.counters();
    assert_eq!(counters.served, 50);
    assert_eq!(counters.by_generation.get(&2), Some(&50));
}

#[tokio::test]
async fn what_is_refused_always_is_sent_twice_and_handed_back() {
    let scene = Scene::start().await;
    let answer = scene.get("/always-401").await;
    assert_eq!(answer.status(), 401);
    assert!(
        answer.headers()["www-authenticate"]
            .to_str()
            .expect("text")
            .contains("testkit")
    );
    assert_eq!(scene.upstream.record().len(), 2);
    assert_eq!(scene.issuer.counters().refreshes, 1);
    // The newest token is known to be refused there: nobody refreshes again and again for it.
    scene.get("/always-401").await;
    scene.get("/always-401").await;
    assert!(scene.issuer.counters().refreshes <= 3);
}

#[tokio::test]
async fn a_late_refusal_takes_the_token_that_is_there() {
    let scene = Scene::start().await;
    scene.issuer.expire_access_tokens();
    let late = scene.client.get(scene.url("/slow-401")).send();
    let late = tokio::spawn(async move { late.await.expect("an answer").status() });
    scene.upstream.slow_arrived(1).await;
    assert_eq!(scene.echo().await["generation"], 2);
    scene.upstream.release_slow();
    assert_eq!(late.await.expect("no panic"), 200);
    assert_eq!(scene.issuer.counters().refreshes, 1);
}

#[tokio::test]
async fn the_first_caller_may_go_and_the_others_are_served() {
    let scene = Scene::start().await;
    scene.issuer.expire_access_tokens();
    scene.issuer.gate().close();
    let first = tokio::spawn(scene.client.get(scene.url("/echo")).send());
    scene.issuer.gate().arrived(1).await;
    let second = tokio::spawn(scene.client.get(scene.url("/echo")).send());
    first.abort();
    assert!(first.await.is_err_and(|error| error.is_cancelled()));
    scene.issuer.gate().open();
    let answer = second.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(scene.issuer.counters().refreshes, 1);
}

#[tokio::test]
async fn a_session_that_ends_hands_the_refusal_back_and_then_says_so() {
    let scene = Scene::start().await;
    scene.issuer.revoke_family(&scene.grant);
    let answer = scene.get("/echo").await;
    assert_eq!(answer.status(), 401);
    assert!(
        answer.headers().contains_key("www-authenticate"),
        "as it came"
    );
    let answer = scene.get("/echo").await;
    assert_eq!(answer.status(), 503);
    assert_eq!(problem(answer).await, "session-ended");
    assert_eq!(scene.upstream.record().len(), 1);
}

#[tokio::test]
async fn an_issuer_that_is_down_hands_refusals_back_and_is_asked_no_more_for_a_while() {
    let scene = Scene::start().await;
    let down = Fault::Status {
        status: 503,
        retry_after: Some("30".to_owned()),
    };
    scene.issuer.faults().push(down.always());
    scene.issuer.expire_access_tokens();
    assert_eq!(scene.get("/echo").await.status(), 401);
    // From here on the token is known to be refused, and is not sent any more.
    for _ in 0..5 {
        let answer = scene.get("/echo").await;
        assert_eq!(answer.status(), 503);
        assert_eq!(problem(answer).await, "no-token");
    }
    assert_eq!(scene.upstream.record().len(), 1);
    assert_eq!(scene.issuer.counters().token_requests, 1);
    assert!(!scene.rotator.has_ended());
}

#[tokio::test]
async fn without_any_token_the_caller_hears_when_to_come_again() {
    let scene = Scene::start().await;
    let down = Fault::Status {
        status: 503,
        retry_after: Some("30".to_owned()),
    };
    scene.issuer.faults().push(down.always());
    let grant = scene.issuer.sign_in("alice");
    let dead = token_rotator::TokenSet::bearer(grant.access_token.as_str())
        .with_refresh_token(grant.refresh_token.as_str())
        .expires_in(Duration::from_millis(1));
    scene
        .rotator
        .sign_in(dead)
        .expect("usable")
        .await
        .expect("stored");
    let answer = loop {
        // A token of a millisecond is good for a millisecond.
        let answer = scene.get("/echo").await;
        if answer.status() != 200 {
            break answer;
        }
    };
    assert_eq!(answer.status(), 503);
    let wait: u64 = answer.headers()["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("seconds");
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(problem(answer).await, "no-token");
}

#[derive(Default)]
struct Seen(Mutex<Vec<(RequestId, Instant, String)>>);

impl Observer for Seen {
    fn observe(&self, request: RequestId, at: Instant, observed: Observed<'_>) {
        let mut seen = self.0.lock().expect("no panic");
        seen.push((request, at, format!("{observed:?}")));
    }
}

#[tokio::test]
async fn whoever_watches_sees_a_requests_way() {
    let seen = Arc::new(Seen::default());
    let observer: Arc<dyn Observer> = Arc::clone(&seen) as _;
    let scene = Scene::with(|config| config.observer = Some(observer)).await;
    scene.issuer.expire_access_tokens();
    let answer = scene.get("/echo?secret=1").await;
    assert_eq!(answer.status(), 200);
    let seen = seen.0.lock().expect("no panic");
    let what: Vec<&str> = seen.iter().map(|(_, _, what)| what.as_str()).collect();
    assert_eq!(
        what,
        [
            "Arrived { route: \"api\", method: GET }",
            "Sent { generation: Some(1) }",
            "Refused",
            "Waiting",
            "Replayed",
            "Sent { generation: Some(2) }",
            "Answered { status: 200 }",
        ]
    );
    assert!(seen.iter().all(|(request, _, _)| *request == seen[0].0));
    assert!(seen.windows(2).all(|pair| pair[0].1 <= pair[1].1));
}
