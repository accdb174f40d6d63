//! Tests limits of size, number and time.

use std::time::Duration;

use bytes::Bytes;

use crate::fixture::{ProxyFixture, http2_client, problem};
use crate::raw::{self, Caller};

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn headers_beyond_the_limit_are_431() {
    let fixture = ProxyFixture::with(|config| config.limits.header_bytes = 2000).await;
    let ask = async |length: usize| {
        let request = fixture.client.get(fixture.url("/echo"));
        let answer = request.header("x-long", "x".repeat(length)).send().await;
        answer.expect("an answer")
    };
    assert_eq!(ask(1000).await.status(), 200);
    let answer = ask(2001).await;
    assert_eq!(answer.status(), 431);
    assert_eq!(problem(answer).await, "headers-too-large");
    // The proxy does not read much longer headers to their end, but the caller still gets the
    // reason.
    let mut caller = Caller::to(fixture.port()).await;
    let long = "x".repeat(200_000);
    let head = format!("GET /echo HTTP/1.1\r\nhost: localhost\r\nx-long: {long}\r\n\r\n");
    caller.send_bytes(head).await;
    assert!(caller.rest().await.starts_with("HTTP/1.1 431"));
    assert_eq!(fixture.upstream.record().len(), 1);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413() {
    let fixture = ProxyFixture::with(|config| config.limits.body_bytes = Some(1000)).await;
    let post = fixture.client.post(fixture.url("/upload"));
    let answer = post.body(vec![0; 1001]).send().await.expect("an answer");
    assert_eq!(answer.status(), 413);
    assert_eq!(problem(answer).await, "too-large");
    assert!(fixture.upstream.record().is_empty());
    let pieces = [500, 500, 1].map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![0; size])));
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let post = fixture.client.post(fixture.url("/upload"));
    let answer = post.body(stream).send().await.expect("an answer");
    assert_eq!(answer.status(), 413);
    let post = fixture.client.post(fixture.url("/upload"));
    let answer = post.body(vec![0; 1000]).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn missing_headers_are_408() {
    let fixture = ProxyFixture::with(|config| config.limits.header_timeout = SHORT).await;
    for beginning in ["G", "GET /echo HTTP/1.1\r\nhost: localhost\r\nx-"] {
        let mut caller = Caller::to(fixture.port()).await;
        caller.send_bytes(beginning).await;
        let answer = caller.rest().await;
        assert!(
            answer.starts_with("HTTP/1.1 408"),
            "{beginning:?}: {answer}"
        );
        assert!(answer.contains("problem:header-timeout"), "{answer}");
    }
    // A caller that sends nothing gets no answer.
    assert_eq!(Caller::to(fixture.port()).await.rest().await, "");
    // An unused pooled connection ends without an answer too.
    let mut caller = Caller::to(fixture.port()).await;
    caller
        .send_bytes("GET /download/0 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
    assert_eq!(caller.rest().await, "");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_408() {
    let fixture = ProxyFixture::with(|config| config.limits.body_idle = Some(SHORT)).await;
    let mut caller = Caller::to(fixture.port()).await;
    let head = "POST /upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n1234";
    caller.send_bytes(head).await;
    let answer = caller.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("problem:body-timeout"), "{answer}");
}

#[tokio::test]
async fn the_time_of_a_refresh_does_not_count_against_the_caller() {
    let refused = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer \
        error=\"invalid_token\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let upstream = raw::RawUpstream::with_script(&[refused, ""]).await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |config| {
        config.limits.body_idle = Some(SHORT);
        config.limits.answer_timeout = None;
    })
    .await;
    fixture.issuer.gate().close();
    let mut caller = Caller::to(fixture.port()).await;
    let head = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n01234";
    caller.send_bytes(head).await;
    fixture.issuer.gate().arrived(1).await;
    // Longer than a caller may pause: here the proxy pauses.
    tokio::time::sleep(SHORT * 3).await;
    fixture.issuer.gate().open();
    let sent_again = async {
        while upstream.heads().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    let sent_again = tokio::time::timeout(Duration::from_secs(10), sent_again).await;
    sent_again.expect("the request goes out again");
    caller.send_bytes("56789").await;
    let cut = tokio::time::timeout(SHORT * 3, caller.0.readable()).await;
    assert!(
        cut.is_err(),
        "the second attempt waits for its upstream: {cut:?}"
    );
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_504() {
    let fixture = ProxyFixture::with(|config| config.limits.answer_timeout = Some(SHORT)).await;
    fixture.upstream.gate().close();
    let answer = fixture.get("/echo").await;
    assert_eq!(answer.status(), 504);
    assert_eq!(problem(answer).await, "upstream-timeout");
    fixture.upstream.gate().open();
    assert_eq!(fixture.get("/echo").await.status(), 200);
}

#[tokio::test]
async fn a_request_may_have_a_total_limit() {
    let fixture = ProxyFixture::with(|config| config.limits.total_timeout = Some(SHORT)).await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.gate().close();
    let answer = fixture.get("/echo").await;
    assert_eq!(answer.status(), 504);
    // The flight goes on without the caller.
    fixture.issuer.gate().open();
    assert_eq!(fixture.echo().await["generation"], 2);
    assert_eq!(fixture.issuer.counters().refreshes, 1);
}

#[tokio::test]
async fn a_connection_above_the_limit_is_503() {
    let fixture = ProxyFixture::with(|config| config.limits.connections = 2).await;
    let mut open_connections = Vec::new();
    for _ in 0..2 {
        let mut caller = Caller::to(fixture.port()).await;
        caller
            .send_bytes("GET /download/0 HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        assert!(caller.head().await.starts_with("http/1.1 200"));
        open_connections.push(caller);
    }
    let answer = Caller::to(fixture.port()).await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("problem:connections"), "{answer}");
    drop(open_connections);
    loop {
        // Repeats until the proxy has noticed the closed connections.
        let mut caller = Caller::to(fixture.port()).await;
        let request = "GET /download/0 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let sent = tokio::io::AsyncWriteExt::write_all(&mut caller.0, request.as_bytes()).await;
        if sent.is_ok() && caller.rest().await.starts_with("HTTP/1.1 200") {
            break;
        }
    }
}

#[tokio::test]
async fn a_slow_stream_is_not_cut() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n";
    let upstream = raw::RawUpstream::with_script(&[chunked]).await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |config| {
        config.limits.answer_timeout = Some(SHORT);
        config.limits.total_timeout = Some(SHORT);
        config.limits.body_idle = Some(SHORT);
        config.limits.header_timeout = SHORT;
    })
    .await;
    for client in [fixture.client.clone(), http2_client()] {
        let answer = client.get(fixture.url("/")).send().await;
        let mut answer = answer.expect("an answer");
        assert_eq!(
            answer.chunk().await.expect("a piece"),
            Some(Bytes::from_static(b"a"))
        );
        let next = tokio::time::timeout(SHORT * 4, answer.chunk()).await;
        assert!(
            next.is_err(),
            "the stream is as slow as its upstream: {next:?}"
        );
    }
}

#[tokio::test]
async fn a_stalled_answer_is_closed() {
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n";
    let halted = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    let upstream = raw::RawUpstream::with_script(&[events, halted]).await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |config| {
        config.limits.answer_idle = Some(SHORT);
    })
    .await;
    let mut events = fixture.get("/events").await;
    let event = events.chunk().await.expect("an event");
    assert_eq!(event.as_deref(), Some(&b"data: 1\n\n"[..]));
    for client in [fixture.client.clone(), http2_client()] {
        let answer = client.get(fixture.url("/")).send().await;
        if let Ok(answer) = answer {
            assert_eq!(answer.status(), 200);
            assert!(answer.bytes().await.is_err());
        }
    }
    // Events arrive at any time, and this stream has waited longer by now.
    let next = tokio::time::timeout(Duration::ZERO, events.chunk()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test]
async fn a_caller_that_reads_nothing_is_disconnected() {
    let fixture = ProxyFixture::with(|config| {
        config.limits.answer_idle = Some(SHORT);
        config.limits.connections = 1;
    })
    .await;
    let mut caller = Caller::to(fixture.port()).await;
    caller
        .send_bytes("GET /download/50000000 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
    // The proxy allows one connection, and this connection never ends by itself.
    let served = async {
        loop {
            // A caller above the limit may not get an answer.
            let answer = fixture.client.get(fixture.url("/download/0")).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                break;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    let served = tokio::time::timeout(SHORT * 60, served).await;
    served.expect("the connection slot is free again");
    drop(caller);
}
