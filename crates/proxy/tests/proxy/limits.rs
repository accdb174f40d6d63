//! How much and how long.

use std::time::Duration;

use bytes::Bytes;

use crate::raw::{self, Caller};
use crate::scene::{Scene, http2_client, problem};

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn headers_beyond_the_limit_are_431() {
    let scene = Scene::with(|config| config.limits.header_bytes = 2000).await;
    let ask = async |length: usize| {
        let request = scene.client.get(scene.url("/echo"));
        let answer = request.header("x-long", "x".repeat(length)).send().await;
        answer.expect("an answer")
    };
    assert_eq!(ask(1000).await.status(), 200);
    let answer = ask(2001).await;
    assert_eq!(answer.status(), 431);
    assert_eq!(problem(answer).await, "headers-too-large");
    // Far beyond it they are not even read to their end, but who sent them hears why.
    let mut caller = Caller::to(scene.port()).await;
    let long = "x".repeat(200_000);
    let head = format!("GET /echo HTTP/1.1\r\nhost: localhost\r\nx-long: {long}\r\n\r\n");
    caller.say(head).await;
    assert!(caller.rest().await.starts_with("HTTP/1.1 431"));
    assert_eq!(scene.upstream.record().len(), 1);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413() {
    let scene = Scene::with(|config| config.limits.body_bytes = Some(1000)).await;
    let post = scene.client.post(scene.url("/upload"));
    let answer = post.body(vec![0; 1001]).send().await.expect("an answer");
    assert_eq!(answer.status(), 413);
    assert_eq!(problem(answer).await, "too-large");
    assert!(scene.upstream.record().is_empty());
    let pieces = [500, 500, 1].map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![0; size])));
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let post = scene.client.post(scene.url("/upload"));
    let answer = post.body(stream).send().await.expect("an answer");
    assert_eq!(answer.status(), 413);
    let post = scene.client.post(scene.url("/upload"));
    let answer = post.body(vec![0; 1000]).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn headers_that_do_not_come_are_408() {
    let scene = Scene::with(|config| config.limits.header_timeout = SHORT).await;
    for beginning in ["G", "GET /echo HTTP/1.1\r\nhost: localhost\r\nx-"] {
        let mut caller = Caller::to(scene.port()).await;
        caller.say(beginning).await;
        let answer = caller.rest().await;
        assert!(
            answer.starts_with("HTTP/1.1 408"),
            "{beginning:?}: {answer}"
        );
        assert!(answer.contains("problem:header-timeout"), "{answer}");
    }
    // Who says nothing at all hears nothing.
    assert_eq!(Caller::to(scene.port()).await.rest().await, "");
    // A kept connection that is not used any more ends in the same way.
    let mut caller = Caller::to(scene.port()).await;
    caller
        .say("GET /download/0 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
    assert_eq!(caller.rest().await, "");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_408() {
    let scene = Scene::with(|config| config.limits.body_idle = Some(SHORT)).await;
    let mut caller = Caller::to(scene.port()).await;
    let head = "POST /upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n1234";
    caller.say(head).await;
    let answer = caller.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("problem:body-timeout"), "{answer}");
}

#[tokio::test]
async fn a_caller_is_not_blamed_for_the_time_that_a_new_token_takes() {
    let refused = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer \
        error=\"invalid_token\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let upstream = raw::Upstream::answering(&[refused, ""]).await;
    let scene = Scene::before(upstream.url(), |config| {
        config.limits.body_idle = Some(SHORT);
        config.limits.answer_timeout = None;
    })
    .await;
    scene.issuer.gate().close();
    let mut caller = Caller::to(scene.port()).await;
    let head = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n01234";
    caller.say(head).await;
    scene.issuer.gate().arrived(1).await;
    // Longer than a caller may pause: it is the proxy that pauses.
    tokio::time::sleep(SHORT * 3).await;
    scene.issuer.gate().open();
    let sent_again = async {
        while upstream.heads().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    let sent_again = tokio::time::timeout(Duration::from_secs(10), sent_again).await;
    sent_again.expect("the request goes out again");
    caller.say("56789").await;
    let cut = tokio::time::timeout(SHORT * 3, caller.0.readable()).await;
    assert!(
        cut.is_err(),
        "the second attempt waits for its upstream: {cut:?}"
    );
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_504() {
    let scene = Scene::with(|config| config.limits.answer_timeout = Some(SHORT)).await;
    scene.upstream.gate().close();
    let answer = scene.get("/echo").await;
    assert_eq!(answer.status(), 504);
    assert_eq!(problem(answer).await, "upstream-timeout");
    scene.upstream.gate().open();
    assert_eq!(scene.get("/echo").await.status(), 200);
}

#[tokio::test]
async fn a_request_may_have_a_limit_over_all() {
    let scene = Scene::with(|config| config.limits.total_timeout = Some(SHORT)).await;
    scene.issuer.expire_access_tokens();
    scene.issuer.gate().close();
    let answer = scene.get("/echo").await;
    assert_eq!(answer.status(), 504);
    // The flight goes on without the caller.
    scene.issuer.gate().open();
    assert_eq!(scene.echo().await["generation"], 2);
    assert_eq!(scene.issuer.counters().refreshes, 1);
}

#[tokio::test]
async fn one_connection_too_many_is_503() {
    let scene = Scene::with(|config| config.limits.connections = 2).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut caller = Caller::to(scene.port()).await;
        caller
            .say("GET /download/0 HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        assert!(caller.head().await.starts_with("http/1.1 200"));
        kept.push(caller);
    }
    let answer = Caller::to(scene.port()).await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("problem:connections"), "{answer}");
    drop(kept);
    loop {
        // Until the proxy has noticed.
        let mut caller = Caller::to(scene.port()).await;
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
    let upstream = raw::Upstream::answering(&[chunked]).await;
    let scene = Scene::before(upstream.url(), |config| {
        config.limits.answer_timeout = Some(SHORT);
        config.limits.total_timeout = Some(SHORT);
        config.limits.body_idle = Some(SHORT);
        config.limits.header_timeout = SHORT;
    })
    .await;
    for client in [scene.client.clone(), http2_client()] {
        let answer = client.get(scene.url("/")).send().await;
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
async fn an_answer_that_stands_still_breaks_off() {
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n";
    let halted = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    let upstream = raw::Upstream::answering(&[events, halted]).await;
    let scene = Scene::before(upstream.url(), |config| {
        config.limits.answer_idle = Some(SHORT);
    })
    .await;
    let mut events = scene.get("/events").await;
    let event = events.chunk().await.expect("an event");
    assert_eq!(event.as_deref(), Some(&b"data: 1\n\n"[..]));
    for client in [scene.client.clone(), http2_client()] {
        let answer = client.get(scene.url("/")).send().await;
        if let Ok(answer) = answer {
            assert_eq!(answer.status(), 200);
            assert!(answer.bytes().await.is_err());
        }
    }
    // Events come when something happens: they have waited longer by now.
    let next = tokio::time::timeout(Duration::ZERO, events.chunk()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test]
async fn a_caller_who_reads_nothing_is_let_go() {
    let scene = Scene::with(|config| {
        config.limits.answer_idle = Some(SHORT);
        config.limits.connections = 1;
    })
    .await;
    let mut caller = Caller::to(scene.port()).await;
    caller
        .say("GET /download/50000000 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
    // There is one place, and its connection never ends by itself.
    let served = async {
        loop {
            // Who gets no place may not even hear so.
            let answer = scene.client.get(scene.url("/download/0")).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                break;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    let served = tokio::time::timeout(SHORT * 60, served).await;
    served.expect("the place is free again");
    drop(caller);
}
