//! Tests upstreams that fail.

use std::time::Duration;

use crate::fixture::{ProxyFixture, problem};
use crate::raw;

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_502() {
    let closed_address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let fixture = ProxyFixture::with_upstream(&closed_address, |_| {}).await;
    let answer = fixture.get("/").await;
    assert_eq!(answer.status(), 502);
    let body = answer.text().await.expect("text");
    assert!(body.contains("problem:upstream"), "{body}");
    assert!(
        !body.contains("127.0.0.1"),
        "where it lies is not the caller's business: {body}"
    );
}

#[tokio::test]
async fn an_invalid_answer_is_502() {
    for nonsense in [
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ] {
        let upstream = raw::RawUpstream::with_script(&[nonsense]).await;
        let fixture = ProxyFixture::with_upstream(upstream.url(), |_| {}).await;
        let post = fixture.client.post(fixture.url("/")).body("x").send().await;
        let answer = post.expect("an answer");
        assert_eq!(answer.status(), 502, "{nonsense}");
        assert_eq!(problem(answer).await, "upstream");
        // The upstream may have carried out the request, so the proxy does not repeat it.
        assert_eq!(upstream.heads().len(), 1);
    }
}

/// Property: an answer without a body whose length is ambiguous is a 502, and the connection stays open.
#[tokio::test]
async fn an_answer_to_head_with_two_lengths_is_502() {
    for (lengths, status) in [
        ("content-length: 1\r\ncontent-length: 2\r\n", 502),
        ("content-length: 1, 2\r\n", 502),
        ("content-length: one\r\n", 502),
        ("content-length: +1\r\n", 502),
        ("content-length: \r\n", 502),
        ("content-length: 99999999999999999999\r\n", 502),
        ("content-length: 7\r\ncontent-length: 7\r\n", 200),
        ("content-length: 7, 7\r\n", 200),
        ("content-length: 7\r\n", 200),
        ("", 200),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{lengths}\r\n");
        let upstream = raw::RawUpstream::with_script(&[&head]).await;
        let fixture = ProxyFixture::with_upstream(upstream.url(), |_| {}).await;
        let mut caller = raw::Caller::to(fixture.port()).await;
        for more in ["", "", "connection: upgrade\r\nupgrade: websocket\r\n"] {
            caller
                .send_bytes(format!("HEAD / HTTP/1.1\r\nhost: localhost\r\n{more}\r\n"))
                .await;
            let answer = caller.head().await;
            assert!(
                answer.starts_with(&format!("http/1.1 {status}")),
                "{lengths:?}: {answer}"
            );
            if status == 200 && !lengths.is_empty() {
                assert_eq!(
                    answer.matches("content-length: 7\r\n").count(),
                    1,
                    "{answer}"
                );
            }
        }
    }
    // The length of a 304 is that of the answer to a GET without a condition.
    let two = "HTTP/1.1 304 Not Modified\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n";
    let upstream = raw::RawUpstream::with_script(&[two]).await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |_| {}).await;
    assert_eq!(fixture.get("/").await.status(), 502);
}

#[tokio::test]
async fn an_incomplete_answer_is_incomplete_for_the_caller() {
    let upstream = raw::RawUpstream::with_script(&[
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n12345",
    ])
    .await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |_| {}).await;
    // The part before the break may reach the caller, but a complete answer must not.
    if let Ok(answer) = fixture.client.get(fixture.url("/")).send().await {
        assert_eq!(answer.status(), 200);
        assert!(answer.bytes().await.is_err());
    }
}

#[tokio::test]
async fn a_long_refusal_is_dropped_and_the_request_replayed() {
    for length in ["endless", "100", "100000"] {
        let fixture = ProxyFixture::start().await;
        fixture.issuer.expire_access_tokens();
        let answer = fixture.get(&format!("/long-401/{length}")).await;
        assert_eq!(answer.status(), 200, "{length}");
        assert_eq!(fixture.issuer.counters().refreshes, 1);
    }
}

#[tokio::test]
async fn other_refusals_and_failures_pass_unchanged() {
    let fixture = ProxyFixture::start().await;
    for status in [400, 403, 404, 407, 429, 500, 503] {
        let answer = fixture.get(&format!("/status/{status}")).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], "application/json");
    }
    assert_eq!(fixture.issuer.counters().refreshes, 0);
}

#[tokio::test]
async fn a_wait_for_a_shared_connection_counts_against_the_timeout() {
    // The upstream accepts connections and never negotiates a protocol.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    let limit = Duration::from_millis(300);
    let fixture = ProxyFixture::with_upstream(&format!("https://{address}"), |config| {
        config.limits.connect_timeout = limit;
    })
    .await;
    let requests = (0..40).map(|_| fixture.client.get(fixture.url("/")).send());
    let answers = tokio::time::timeout(limit * 20, futures_util::future::join_all(requests)).await;
    // In turn, the requests would wait twice as long.
    for answer in answers.expect("in time") {
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 504);
        assert_eq!(problem(answer).await, "upstream-timeout");
    }
}
