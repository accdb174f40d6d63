//! Upstreams that fail.

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
