//! Every limit, and what is said when it is met.

use std::time::Duration;

use token_rotator_proxy::Route;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{World, client, problem};

#[tokio::test]
async fn headers_have_a_size() {
    let world = World::with(|config| config.limits.header_bytes = 4_000).await;
    let get = |size| {
        client()
            .get(world.url("/echo"))
            .header("x", "a".repeat(size))
            .send()
    };
    assert_eq!(get(3_000).await.expect("an answer").status(), 200);
    let answer = get(5_000).await.expect("an answer");
    assert_eq!(problem(answer).await, (431, "headers-too-large".to_owned()));
}

#[tokio::test]
async fn bodies_have_a_size() {
    let world = World::with(|config| config.limits.body_bytes = Some(1_000)).await;
    let post = |body: reqwest::Body| client().post(world.url("/upload")).body(body).send();
    assert_eq!(
        post(vec![0; 1_000].into())
            .await
            .expect("an answer")
            .status(),
        200
    );
    let answer = post(vec![0; 1_001].into()).await.expect("an answer");
    assert_eq!(problem(answer).await, (413, "too-large".to_owned()));
    let chunks = futures_util::stream::iter((0..3).map(|_| Ok::<_, std::io::Error>(vec![0; 500])));
    let answer = post(reqwest::Body::wrap_stream(chunks))
        .await
        .expect("an answer");
    assert_eq!(problem(answer).await, (413, "too-large".to_owned()));
}

/// A caller that stops in the middle of the headers or of the body is told so.
#[tokio::test]
async fn callers_must_not_dawdle() {
    let world = World::with(|config| {
        config.limits.header_timeout = Duration::from_millis(200);
        config.limits.body_idle = Some(Duration::from_millis(200));
    })
    .await;
    for begun in [
        "GET /ec",
        "GET /echo HTTP/1.1\r\nhost: localhost\r\nx-much: abcdefghi",
    ] {
        let answer = world.raw(begun).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("header-timeout"), "{answer}");
    }
    let begun = "POST /upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nabc";
    let answer = world.raw(begun).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("body-timeout"), "{answer}");
}

#[tokio::test]
async fn connections_have_a_number() {
    let world = World::with(|config| config.limits.connections = 1).await;
    let mut held = TcpStream::connect(world.address)
        .await
        .expect("a connection");
    let request = b"GET /open/echo HTTP/1.1\r\nhost: localhost\r\n\r\n";
    held.write_all(request).await.expect("written");
    held.read_exact(&mut [0; 12]).await.expect("an answer");
    let answer = world.raw("").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("problem:connections"), "{answer}");
}

/// An upstream that is not there, or says nothing.
#[tokio::test]
async fn upstreams_that_do_not_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url =
        |listener: &TcpListener| format!("http://{}", listener.local_addr().expect("an address"));
    let (silent_url, closed_url) = (url(&silent), url(&closed));
    drop(closed);
    let world = World::with(|config| {
        config.limits.answer_timeout = Some(Duration::from_millis(200));
        let route = |name: &str, url: &str| {
            let rotator = token_rotator::Rotator::builder(|_| async {
                Ok::<_, token_rotator::SourceError>(token_rotator::TokenSet::bearer("t"))
            });
            let rotator = rotator
                .origin(url)
                .dedicated_thread()
                .build()
                .expect("a rotator");
            let mut route = Route::new(name, url, rotator);
            route.prefix = format!("/{name}");
            route
        };
        config.routes.push(route("silent", &silent_url));
        config.routes.push(route("closed", &closed_url));
    })
    .await;
    assert_eq!(
        problem(world.get("/closed").await).await,
        (502, "upstream".to_owned())
    );
    assert_eq!(
        problem(world.get("/silent").await).await,
        (504, "upstream-timeout".to_owned())
    );
    // One that hangs up without an answer.
    let hang_up = tokio::spawn(async move {
        loop {
            let (mut stream, _) = silent.accept().await.expect("a connection");
            stream.read_exact(&mut [0; 3]).await.expect("a request");
        }
    });
    // Its first, still silent connection was accepted and dropped by now or will be.
    assert_eq!(
        problem(world.get("/silent").await).await,
        (502, "upstream".to_owned())
    );
    hang_up.abort();
}
