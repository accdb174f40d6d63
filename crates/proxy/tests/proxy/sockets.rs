//! Unix sockets, on both sides.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use token_rotator_proxy::{Listen, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::scene::Scene;

fn socket(path: &Path, uids: &[u32]) -> Listener {
    Listener {
        listen: Listen::Unix {
            path: path.to_owned(),
            uids: uids.to_vec(),
            gids: Vec::new(),
        },
        public: false,
    }
}

/// The whole of what the proxy answers to a request over the socket.
async fn ask(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).await.expect("a connection");
    // Any name will do: whoever reaches the socket is known by its credentials.
    let request = "GET /echo HTTP/1.1\r\nhost: any.test\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    // A peer that is refused may find the socket closed already.
    if stream.write_all(request.as_bytes()).await.is_ok() {
        let _ = stream.read_to_string(&mut answer).await;
    }
    answer
}

#[tokio::test]
async fn callers_over_a_socket_are_known_by_their_user() {
    let directory = tempfile::tempdir().expect("a directory");
    let own = directory.path().join("own");
    let foreign = directory.path().join("foreign");
    let scene = Scene::with(|config| {
        config.workers = 2;
        config.listeners = vec![crate::scene::loopback(), socket(&own, &[])];
        config.listeners.push(socket(&foreign, &[u32::MAX - 7]));
    })
    .await;
    let mode = |path| std::fs::metadata(path).expect("made").permissions().mode() & 0o777;
    assert_eq!(mode(&own), 0o600);
    assert_eq!(mode(&foreign), 0o666);
    for _ in 0..4 {
        assert!(ask(&own).await.starts_with("HTTP/1.1 200"));
        assert_eq!(ask(&foreign).await, "");
    }
    assert_eq!(scene.upstream.record().len(), 4);
    assert!(scene.proxy.drain(std::time::Duration::from_secs(10)).await);
    assert!(!own.exists() && !foreign.exists());
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    let scene = Scene::with(|config| config.listeners.push(socket(&path, &[]))).await;
    assert!(ask(&path).await.starts_with("HTTP/1.1 200"));
    let rotator = scene.rotator.clone();
    let route = token_rotator_proxy::Route::new("api", scene.upstream.url(), rotator);
    let mut config = crate::scene::config(route);
    config.listeners = vec![socket(&path, &[])];
    let Err(error) = token_rotator_proxy::Handle::start(&config) else {
        panic!("started");
    };
    assert!(error.to_string().contains("socket"), "{error}");
    assert!(ask(&path).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_upstream_may_be_behind_a_socket() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("upstream");
    let listener = tokio::net::UnixListener::bind(&path).expect("bound");
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let head = crate::raw::read_head(&mut stream).await.expect("a request");
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(answer).await.expect("sent");
        head
    });
    let scene = Scene::before("http://localhost:81", |config| {
        config.routes[0].upstream_socket = Some(path.clone());
    })
    .await;
    assert_eq!(scene.get("/x").await.status(), 204);
    let head = served.await.expect("no panic");
    assert!(head.contains("host: localhost:81"), "{head}");
    assert!(head.contains("authorization: bearer "), "{head}");
}

#[tokio::test]
async fn a_socket_that_a_reload_leaves_out_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let scene = Scene::with(|config| config.listeners.push(socket(&path, &[]))).await;
    assert!(ask(&path).await.starts_with("HTTP/1.1 200"));
    let rotator = scene.rotator.clone();
    let route = token_rotator_proxy::Route::new("api", scene.upstream.url(), rotator);
    let without = crate::scene::config(route);
    scene.proxy.reload(&without).expect("in force");
    assert!(!path.exists());
}
