//! Tests refused tokens: one refresh, and one replay of each request.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use token_rotator_proxy::{Observed, Observer, RequestId};
use token_rotator_testkit::Fault;

use crate::fixture::{ProxyFixture, problem};

#[tokio::test]
async fn fifty_refused_requests_cause_one_refresh() {
    let fixture = ProxyFixture::with(|config| config.workers = 2).await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.gate().close();
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let request = fixture.client.get(fixture.url("/echo")).send();
            tokio::spawn(async move { request.await.expect("an answer").status().as_u16() })
        })
        .collect();
    fixture.issuer.gate().arrived(1).await;
    fixture.issuer.gate().open();
    for answer in requests {
        assert_eq!(answer.await.expect("no panic"), 200);
    }
    assert_eq!(fixture.issuer.counters().refreshes, 1);
    let counters = fixture.upstream.counters();
    assert_eq!(counters.served, 50);
    assert_eq!(counters.by_generation.get(&2), Some(&50));
}

#[tokio::test]
async fn a_request_that_is_always_refused_is_sent_twice_and_handed_back() {
    let fixture = ProxyFixture::start().await;
    let answer = fixture.get("/always-401").await;
    assert_eq!(answer.status(), 401);
    assert!(
        answer.headers()["www-authenticate"]
            .to_str()
            .expect("text")
            .contains("testkit")
    );
    assert_eq!(fixture.upstream.record().len(), 2);
    assert_eq!(fixture.issuer.counters().refreshes, 1);
    // This endpoint refuses the newest token too, so the proxy does not refresh again.
    fixture.get("/always-401").await;
    fixture.get("/always-401").await;
    assert!(fixture.issuer.counters().refreshes <= 3);
}

#[tokio::test]
async fn a_late_refusal_uses_the_current_token() {
    let fixture = ProxyFixture::start().await;
    fixture.issuer.expire_access_tokens();
    let late = fixture.client.get(fixture.url("/slow-401")).send();
    let late = tokio::spawn(async move { late.await.expect("an answer").status() });
    fixture.upstream.slow_arrived(1).await;
    assert_eq!(fixture.echo().await["generation"], 2);
    fixture.upstream.release_slow();
    assert_eq!(late.await.expect("no panic"), 200);
    assert_eq!(fixture.issuer.counters().refreshes, 1);
}

#[tokio::test]
async fn the_first_caller_may_be_dropped_and_the_others_are_served() {
    let fixture = ProxyFixture::start().await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.gate().close();
    let first = tokio::spawn(fixture.client.get(fixture.url("/echo")).send());
    fixture.issuer.gate().arrived(1).await;
    let second = tokio::spawn(fixture.client.get(fixture.url("/echo")).send());
    first.abort();
    assert!(first.await.is_err_and(|error| error.is_cancelled()));
    fixture.issuer.gate().open();
    let answer = second.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(fixture.issuer.counters().refreshes, 1);
}

#[tokio::test]
async fn an_ended_session_hands_the_refusal_back_and_then_reports_its_end() {
    let fixture = ProxyFixture::start().await;
    fixture.issuer.revoke_family(&fixture.grant);
    let answer = fixture.get("/echo").await;
    assert_eq!(answer.status(), 401);
    assert!(
        answer.headers().contains_key("www-authenticate"),
        "unchanged"
    );
    let answer = fixture.get("/echo").await;
    assert_eq!(answer.status(), 503);
    assert_eq!(problem(answer).await, "session-ended");
    assert_eq!(fixture.upstream.record().len(), 1);
}

#[tokio::test]
async fn an_outage_of_the_issuer_hands_refusals_back_and_starts_a_cool_down() {
    let fixture = ProxyFixture::start().await;
    let down = Fault::Status {
        status: 503,
        retry_after: Some("30".to_owned()),
    };
    fixture.issuer.faults().push(down.always());
    fixture.issuer.expire_access_tokens();
    assert_eq!(fixture.get("/echo").await.status(), 401);
    // The token is now known to be refused and is not sent again.
    for _ in 0..5 {
        let answer = fixture.get("/echo").await;
        assert_eq!(answer.status(), 503);
        assert_eq!(problem(answer).await, "no-token");
    }
    assert_eq!(fixture.upstream.record().len(), 1);
    assert_eq!(fixture.issuer.counters().token_requests, 1);
    assert!(!fixture.rotator.has_ended());
}

#[tokio::test]
async fn an_answer_without_a_token_has_retry_after() {
    let fixture = ProxyFixture::start().await;
    let down = Fault::Status {
        status: 503,
        retry_after: Some("30".to_owned()),
    };
    fixture.issuer.faults().push(down.always());
    let grant = fixture.issuer.sign_in("alice");
    let dead = token_rotator::TokenSet::bearer(grant.access_token.as_str())
        .with_refresh_token(grant.refresh_token.as_str())
        .expires_in(Duration::from_millis(1));
    fixture
        .rotator
        .sign_in(dead)
        .expect("usable")
        .await
        .expect("stored");
    let answer = loop {
        // A token with a lifetime of 1 ms is served for 1 ms.
        let answer = fixture.get("/echo").await;
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
struct ObservationLog(Mutex<Vec<(RequestId, Instant, String)>>);

impl Observer for ObservationLog {
    fn observe(&self, request: RequestId, at: Instant, observed: Observed<'_>) {
        let mut observations = self.0.lock().expect("no panic");
        observations.push((request, at, format!("{observed:?}")));
    }
}

#[tokio::test]
async fn an_observer_sees_every_step_of_a_request() {
    let observations = Arc::new(ObservationLog::default());
    let observer: Arc<dyn Observer> = Arc::clone(&observations) as _;
    let fixture = ProxyFixture::with(|config| config.observer = Some(observer)).await;
    fixture.issuer.expire_access_tokens();
    let answer = fixture.get("/echo?secret=1").await;
    assert_eq!(answer.status(), 200);
    let observations = observations.0.lock().expect("no panic");
    let what: Vec<&str> = observations
        .iter()
        .map(|(_, _, what)| what.as_str())
        .collect();
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
    assert!(
        observations
            .iter()
            .all(|(request, _, _)| *request == observations[0].0)
    );
    assert!(observations.windows(2).all(|pair| pair[0].1 <= pair[1].1));
}
