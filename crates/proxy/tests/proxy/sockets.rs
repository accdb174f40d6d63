//! Unix sockets, on both sides.
#![cfg(unix)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use token_rotator_proxy::{Listen, Listener, Route};
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

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("made").permissions().mode() & 0o777
}

impl Scene {
    /// The scene's route with these sockets and nothing else.
    fn with_sockets(&self, sockets: Vec<Listener>) -> token_rotator_proxy::Config {
        let route = Route::new("api", self.upstream.url(), self.rotator.clone());
        let mut config = crate::scene::config(route);
        config.listeners = sockets;
        config
    }
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
    let route = Route::new("api", scene.upstream.url(), rotator);
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
    let route = Route::new("api", scene.upstream.url(), rotator);
    let without = crate::scene::config(route);
    scene.proxy.reload(&without).expect("in force");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_reload_changes_who_may_connect() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let me = std::fs::metadata(directory.path()).expect("made").uid();
    let scene = Scene::with(|config| config.listeners = vec![socket(&path, &[])]).await;
    let mut kept = UnixStream::connect(&path).await.expect("a connection");
    // Who has come in stays, whatever is changed.
    let mut still_in = async || {
        let request = b"GET /download/0 HTTP/1.1\r\nhost: localhost\r\n\r\n";
        kept.write_all(request).await.expect("sent");
        let head = crate::raw::read_head(&mut kept).await.expect("an answer");
        assert!(head.starts_with("http/1.1 200"), "{head}");
    };
    still_in().await;
    // Whom it lets in, by which mode, and whether that is this test.
    for (uids, wanted, admitted) in [
        (&[u32::MAX - 7][..], 0o666, false),
        (&[u32::MAX - 7, me], 0o666, true),
        (&[], 0o600, true),
        (&[u32::MAX - 8], 0o666, false),
        (&[me], 0o666, true),
    ] {
        let changed = scene.with_sockets(vec![socket(&path, uids)]);
        scene.proxy.reload(&changed).expect("in force");
        assert_eq!(mode(&path), wanted, "{uids:?}");
        assert_eq!(
            scene.proxy.listening(),
            [changed.listeners[0].listen.clone()]
        );
        let answer = ask(&path).await;
        assert_eq!(
            answer.starts_with("HTTP/1.1 200"),
            admitted,
            "{uids:?}: {answer}"
        );
        still_in().await;
    }
    // One that cannot be put in force changes nobody's rights.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut broken = scene.with_sockets(vec![socket(&path, &[]), crate::scene::loopback()]);
    broken.listeners[1].listen = Listen::Tcp(taken.local_addr().expect("an address"));
    scene.proxy.reload(&broken).expect_err("the port is taken");
    assert_eq!(mode(&path), 0o666);
    assert!(ask(&path).await.starts_with("HTTP/1.1 200"));
    assert!(scene.proxy.drain(std::time::Duration::from_secs(10)).await);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_reload_does_not_open_what_is_not_its_socket() {
    let directory = tempfile::tempdir().expect("a directory");
    let [first, second, fresh] =
        ["first", "second", "fresh"].map(|name| directory.path().join(name));
    let sockets = vec![socket(&first, &[]), socket(&second, &[])];
    let scene = Scene::with(|config| config.listeners = sockets).await;
    std::fs::remove_file(&second).expect("removed");
    std::fs::write(&second, "another's").expect("written");
    std::fs::set_permissions(&second, PermissionsExt::from_mode(0o600)).expect("set");
    let others = [u32::MAX - 7];
    let changed = [&first, &second, &fresh].map(|path| socket(path, &others));
    let error = scene.proxy.reload(&scene.with_sockets(changed.to_vec()));
    let error = error.expect_err("not a socket");
    assert!(
        error.to_string().contains("second") && error.hint().is_some(),
        "{error}"
    );
    assert_eq!((mode(&first), mode(&second)), (0o600, 0o600));
    assert!(ask(&first).await.starts_with("HTTP/1.1 200"));
    assert!(!fresh.exists(), "nobody listens there");
}

#[tokio::test]
async fn a_socket_is_listed_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let scene = Scene::with(|config| config.listeners = vec![socket(&path, &[])]).await;
    let twice = scene.with_sockets(vec![socket(&path, &[1]), socket(&path, &[2])]);
    let error = scene.proxy.reload(&twice).expect_err("which of them?");
    assert!(
        error.to_string().starts_with("two listeners are at "),
        "{error}"
    );
    assert_eq!(mode(&path), 0o600);
}
