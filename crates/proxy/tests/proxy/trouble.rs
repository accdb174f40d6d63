//! Upstreams that fail.

use std::time::Duration;

use crate::raw;
use crate::scene::{Scene, problem};

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_502() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let scene = Scene::before(&gone, |_| {}).await;
    let answer = scene.get("/").await;
    assert_eq!(answer.status(), 502);
    let body = answer.text().await.expect("text");
    assert!(body.contains("problem:upstream"), "{body}");
    assert!(
        !body.contains("127.0.0.1"),
        "where it lies is not the caller's business: {body}"
    );
}

#[tokio::test]
async fn an_answer_that_is_none_is_502() {
    for nonsense in [
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ] {
        let upstream = raw::Upstream::answering(&[nonsense]).await;
        let scene = Scene::before(upstream.url(), |_| {}).await;
        let post = scene.client.post(scene.url("/")).body("x").send().await;
        let answer = post.expect("an answer");
        assert_eq!(answer.status(), 502, "{nonsense}");
        assert_eq!(problem(answer).await, "upstream");
        // What may have been done is not done again.
        assert_eq!(upstream.heads().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_at_the_caller() {
    let upstream = raw::Upstream::answering(&[
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n12345",
    ])
    .await;
    let scene = Scene::before(upstream.url(), |_| {}).await;
    // What came before the break may get through or not; a whole answer must not.
    if let Ok(answer) = scene.client.get(scene.url("/")).send().await {
        assert_eq!(answer.status(), 200);
        assert!(answer.bytes().await.is_err());
    }
}

#[tokio::test]
async fn a_long_refusal_is_given_up_and_the_request_sent_again() {
    for length in ["endless", "100", "100000"] {
        let scene = Scene::start().await;
        scene.issuer.expire_access_tokens();
        let answer = scene.get(&format!("/long-401/{length}")).await;
        assert_eq!(answer.status(), 200, "{length}");
        assert_eq!(scene.issuer.counters().refreshes, 1);
    }
}

#[tokio::test]
async fn other_refusals_and_failures_pass_as_they_are() {
    let scene = Scene::start().await;
    for status in [400, 403, 404, 407, 429, 500, 503] {
        let answer = scene.get(&format!("/status/{status}")).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], "application/json");
    }
    assert_eq!(scene.issuer.counters().refreshes, 0);
}

#[tokio::test]
async fn who_waits_for_anothers_connection_has_no_more_time_than_that() {
    // It accepts, and never says which protocol it speaks.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    let limit = Duration::from_millis(300);
    let scene = Scene::before(&format!("https://{address}"), |config| {
        config.limits.connect_timeout = limit;
    })
    .await;
    let asked = (0..40).map(|_| scene.client.get(scene.url("/")).send());
    let answers = tokio::time::timeout(limit * 20, futures_util::future::join_all(asked)).await;
    // One after the other they would have twice as long to wait.
    for answer in answers.expect("in time") {
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 504);
        assert_eq!(problem(answer).await, "upstream-timeout");
    }
}
