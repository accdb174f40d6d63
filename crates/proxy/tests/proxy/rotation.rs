//! Tokens on requests, refusals and replays.

use std::time::Duration;

use token_rotator::Rotator;
use token_rotator_proxy::Route;
use token_rotator_testkit::Fault;

use crate::world::{World, client, config, problem, session, tcp};

#[tokio::test]
async fn a_request_gets_the_token() {
    let world = World::new().await;
    let echo: serde_json::Value = world.get("/echo?a=1").await.json().await.expect("JSON");
    assert_eq!(echo["subject"], "alice");
    assert_eq!(echo["query"], "a=1");
}

/// However many requests meet a 401 for the same token, one refresh serves them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_refusals_is_one_refresh() {
    let world = World::new().await;
    world.issuer.expire_access_tokens();
    let requests = (0..50).map(|number| {
        let url = world.url(&format!("/echo?number={number}"));
        let body = format!("body {number}");
        tokio::spawn(async move {
            let answer = client()
                .post(url)
                .body(body)
                .send()
                .await
                .expect("an answer");
            (
                answer.status(),
                answer.json::<serde_json::Value>().await.expect("JSON"),
            )
        })
    });
    for (number, request) in requests.collect::<Vec<_>>().into_iter().enumerate() {
        let (status, echo) = request.await.expect("no panic");
        assert_eq!(status, 200);
        assert_eq!(echo["query"], format!("number={number}"));
        assert_eq!(echo["body_length"], format!("body {number}").len());
    }
    assert_eq!(world.refreshes(), 1);
    assert_eq!(world.issuer.counters().reuses, 0);
    assert!(world.issuer.session_alive(&world.grant));
}

/// When the refresh fails the caller gets the very answer that refused the request; afterwards the
/// session has ended, which is said.
#[tokio::test]
async fn a_failed_refresh_hands_the_refusal_back() {
    let world = World::new().await;
    world.issuer.revoke_family(&world.grant);
    let answer = world.get("/echo").await;
    assert_eq!(answer.status(), 401);
    let challenge = answer.headers()["www-authenticate"].to_str().expect("text");
    assert!(challenge.contains("invalid_token"), "{challenge}");
    assert!(
        answer
            .text()
            .await
            .expect("a body")
            .contains("invalid_token")
    );
    assert_eq!(
        problem(world.get("/echo").await).await,
        (503, "session-ended".to_owned())
    );
}

/// Nothing to send with, and the issuer asks to be left alone: so is the caller.
#[tokio::test]
async fn an_issuer_that_is_down_is_a_503_with_retry_after() {
    let world = World::new().await;
    let status = Fault::Status {
        status: 503,
        retry_after: Some("7".to_owned()),
    };
    world.issuer.faults().push(status);
    let rotator = session(&world.issuer, &[world.upstream.url()]);
    let expired = token_rotator::TokenSet::bearer("old")
        .with_refresh_token(world.grant.refresh_token.as_str())
        .expires_in(Duration::from_millis(1));
    rotator.sign_in(expired).expect("usable tokens");
    let route = Route::new("api", world.upstream.url(), rotator);
    let proxy = token_rotator_proxy::Handle::start(&config(vec![route])).expect("a proxy");
    let url = format!("http://{}/echo", tcp(&proxy));
    let answer = client().get(url).send().await.expect("an answer");
    let wait: u64 = answer.headers()["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("seconds");
    assert!((1..=7).contains(&wait), "{wait}");
    assert_eq!(problem(answer).await, (503, "no-token".to_owned()));
}

/// Callers of gRPC are told in their own words.
#[tokio::test]
async fn grpc_callers_are_told_in_a_status() {
    let world = World::new().await;
    world.rotator.sign_out();
    let answer = client()
        .post(world.url("/grpc/ok"))
        .header("content-type", "application/grpc")
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    assert_eq!(answer.headers()["grpc-status"], "16");
    let message = answer.headers()["grpc-message"].to_str().expect("text");
    assert!(message.contains("token-rotator login"), "{message}");
}

/// A token that the API refuses though it is fresh causes no loop.
#[tokio::test]
async fn an_api_that_always_refuses_is_asked_at_most_twice() {
    let world = World::new().await;
    assert_eq!(world.get("/always-401").await.status(), 401);
    assert!(world.upstream.counters().refused <= 2);
    assert!(world.refreshes() <= 1);
}

/// 401s that say that another token would not help are the caller's.
#[tokio::test]
async fn refusals_that_are_not_about_the_token_pass() {
    let world = World::new().await;
    let scope = "/challenge?value=Bearer%20error%3D%22insufficient_scope%22";
    assert_eq!(world.get(scope).await.status(), 401);
    assert_eq!(world.refreshes(), 0);
}

/// HTTP/2 with prior knowledge on both sides, and a refused gRPC call sent once more.
#[tokio::test]
async fn grpc_goes_through_and_is_replayed() {
    let world = World::with(|config| {
        config.routes[0].protocol = token_rotator_proxy::Protocol::Http2;
    })
    .await;
    world.issuer.expire_access_tokens();
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    let answer = client
        .post(world.url("/grpc/unauthenticated"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body("message")
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    let answer: http::Response<reqwest::Body> = answer.into();
    let collected = http_body_util::BodyExt::collect(answer.into_body())
        .await
        .expect("a body");
    let trailers = collected.trailers().cloned().expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(collected.to_bytes(), "message");
    assert_eq!(world.refreshes(), 1);
}

/// A rotator without any origin of the upstream's is refused when the proxy is built (rule 11).
#[tokio::test]
async fn a_token_goes_to_no_foreign_origin() {
    let world = World::new().await;
    let foreign: Rotator = session(&world.issuer, &["https://api.example.com"]);
    let route = Route::new("api", world.upstream.url(), foreign);
    let error = token_rotator_proxy::Handle::start(&config(vec![route]))
        .err()
        .expect("refused");
    assert!(
        error.to_string().contains("hint: declare that origin"),
        "{error}"
    );
}
