//! Tests Unix sockets on both sides.
#![cfg(unix)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use token_rotator_proxy::{Listen, Listener, Route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::fixture::ProxyFixture;

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

/// Returns the complete answer of the proxy to a request over the socket.
async fn get_over_socket(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).await.expect("a connection");
    // Any host name is accepted: the socket identifies a caller by its user id.
    let request = "GET /echo HTTP/1.1\r\nhost: any.test\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    // A refused peer may find the socket already closed.
    if stream.write_all(request.as_bytes()).await.is_ok() {
        let _ = stream.read_to_string(&mut answer).await;
    }
    answer
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("made").permissions().mode() & 0o777
}

impl ProxyFixture {
    /// Returns the fixture's route with these sockets and no other listener.
    fn with_sockets(&self, sockets: Vec<Listener>) -> token_rotator_proxy::Config {
        let route = Route::new("api", self.upstream.url(), self.rotator.clone());
        let mut config = crate::fixture::config(route);
        config.listeners = sockets;
        config
    }
}

#[tokio::test]
async fn callers_over_a_socket_are_identified_by_their_user() {
    let directory = tempfile::tempdir().expect("a directory");
    let own = directory.path().join("own");
    let foreign = directory.path().join("foreign");
    let fixture = ProxyFixture::with(|config| {
        config.workers = 2;
        config.listeners = vec![crate::fixture::loopback(), socket(&own, &[])];
        config.listeners.push(socket(&foreign, &[u32::MAX - 7]));
    })
    .await;
    assert_eq!(mode(&own), 0o600);
    assert_eq!(mode(&foreign), 0o666);
    for _ in 0..4 {
        assert!(get_over_socket(&own).await.starts_with("HTTP/1.1 200"));
        assert_eq!(get_over_socket(&foreign).await, "");
    }
    assert_eq!(fixture.upstream.record().len(), 4);
    assert!(
        fixture
            .proxy
            .drain(std::time::Duration::from_secs(10))
            .await
    );
    assert!(!own.exists() && !foreign.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_used_socket_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    let fixture = ProxyFixture::with(|config| config.listeners.push(socket(&path, &[]))).await;
    assert!(get_over_socket(&path).await.starts_with("HTTP/1.1 200"));
    let rotator = fixture.rotator.clone();
    let route = Route::new("api", fixture.upstream.url(), rotator);
    let mut config = crate::fixture::config(route);
    config.listeners = vec![socket(&path, &[])];
    let Err(error) = token_rotator_proxy::Handle::start(&config) else {
        panic!("started");
    };
    assert!(error.to_string().contains("socket"), "{error}");
    assert!(get_over_socket(&path).await.starts_with("HTTP/1.1 200"));
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
    let fixture = ProxyFixture::with_upstream("http://localhost:81", |config| {
        config.routes[0].upstream_socket = Some(path.clone());
    })
    .await;
    assert_eq!(fixture.get("/x").await.status(), 204);
    let head = served.await.expect("no panic");
    assert!(head.contains("host: localhost:81"), "{head}");
    assert!(head.contains("authorization: bearer "), "{head}");
}

#[tokio::test]
async fn a_socket_that_a_reload_removes_is_deleted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let fixture = ProxyFixture::with(|config| config.listeners.push(socket(&path, &[]))).await;
    assert!(get_over_socket(&path).await.starts_with("HTTP/1.1 200"));
    let rotator = fixture.rotator.clone();
    let route = Route::new("api", fixture.upstream.url(), rotator);
    let without = crate::fixture::config(route);
    fixture.proxy.reload(&without).expect("in force");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_reload_changes_who_may_connect() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let me = std::fs::metadata(directory.path()).expect("made").uid();
    let fixture = ProxyFixture::with(|config| config.listeners = vec![socket(&path, &[])]).await;
    let mut connection = UnixStream::connect(&path).await.expect("a connection");
    // A connected caller stays connected after any change.
    let mut assert_connected = async || {
        let request = b"GET /download/0 HTTP/1.1\r\nhost: localhost\r\n\r\n";
        connection.write_all(request).await.expect("sent");
        let head = crate::raw::read_head(&mut connection)
            .await
            .expect("an answer");
        assert!(head.starts_with("http/1.1 200"), "{head}");
    };
    assert_connected().await;
    // The allowed users, the expected file mode, and whether this test is admitted.
    for (uids, wanted, admitted) in [
        (&[u32::MAX - 7][..], 0o666, false),
        (&[u32::MAX - 7, me], 0o666, true),
        (&[], 0o600, true),
        (&[u32::MAX - 8], 0o666, false),
        (&[me], 0o666, true),
    ] {
        let changed = fixture.with_sockets(vec![socket(&path, uids)]);
        fixture.proxy.reload(&changed).expect("in force");
        assert_eq!(mode(&path), wanted, "{uids:?}");
        assert_eq!(
            fixture.proxy.listening(),
            [changed.listeners[0].listen.clone()]
        );
        let answer = get_over_socket(&path).await;
        assert_eq!(
            answer.starts_with("HTTP/1.1 200"),
            admitted,
            "{uids:?}: {answer}"
        );
        assert_connected().await;
    }
    // A configuration that cannot be applied changes no access rights.
    let used_port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut broken = fixture.with_sockets(vec![socket(&path, &[]), crate::fixture::loopback()]);
    broken.listeners[1].listen = Listen::Tcp(used_port.local_addr().expect("an address"));
    fixture
        .proxy
        .reload(&broken)
        .expect_err("the port is taken");
    assert_eq!(mode(&path), 0o666);
    assert!(get_over_socket(&path).await.starts_with("HTTP/1.1 200"));
    assert!(
        fixture
            .proxy
            .drain(std::time::Duration::from_secs(10))
            .await
    );
    assert!(!path.exists());
}

#[tokio::test]
async fn a_reload_does_not_open_a_foreign_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let [first, second, third] =
        ["first", "second", "third"].map(|name| directory.path().join(name));
    let sockets = vec![socket(&first, &[]), socket(&second, &[])];
    let fixture = ProxyFixture::with(|config| config.listeners = sockets).await;
    std::fs::remove_file(&second).expect("removed");
    std::fs::write(&second, "foreign").expect("written");
    std::fs::set_permissions(&second, PermissionsExt::from_mode(0o600)).expect("set");
    let others = [u32::MAX - 7];
    let changed = [&first, &second, &third].map(|path| socket(path, &others));
    let error = fixture
        .proxy
        .reload(&fixture.with_sockets(changed.to_vec()));
    let error = error.expect_err("not a socket");
    assert!(
        error.to_string().contains("second") && error.hint().is_some(),
        "{error}"
    );
    assert_eq!((mode(&first), mode(&second)), (0o600, 0o600));
    assert!(get_over_socket(&first).await.starts_with("HTTP/1.1 200"));
    assert!(!third.exists(), "a closed listener has no socket file");
}

/// Property: the proxy deletes only its own socket, at its start, after a failed start and at its end.
#[tokio::test]
async fn a_file_at_the_path_of_a_socket_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    std::fs::write(&path, "foreign").expect("written");
    let is_kept = || std::fs::read_to_string(&path).is_ok_and(|text| text == "foreign");
    let fixture = ProxyFixture::start().await;
    let config = fixture.with_sockets(vec![socket(&path, &[])]);
    let started = token_rotator_proxy::Handle::start(&config);
    assert!(started.is_err_and(|error| error.to_string().contains("socket")));
    assert!(is_kept(), "at the start");
    std::fs::remove_file(&path).expect("removed");
    let started = token_rotator_proxy::Handle::start(&config).expect("a proxy");
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, "foreign").expect("written");
    drop(started);
    assert!(is_kept(), "at the end");
    // The socket of another proxy that has taken the path.
    std::fs::remove_file(&path).expect("removed");
    let first = token_rotator_proxy::Handle::start(&config).expect("a proxy");
    std::fs::remove_file(&path).expect("removed");
    let _second = token_rotator_proxy::Handle::start(&config).expect("a proxy");
    drop(first);
    assert!(get_over_socket(&path).await.starts_with("HTTP/1.1 200"));
}

/// Property: a socket never has a file mode that lets other users connect before its own mode is set.
#[tokio::test]
async fn a_socket_is_created_with_its_mode() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let file = path.clone();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    // Records every mode that the file has while sockets are opened and closed.
    let watcher = std::thread::spawn(move || {
        let mut modes = std::collections::BTreeSet::new();
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            if let Ok(found) = std::fs::symlink_metadata(&file) {
                modes.insert(found.permissions().mode() & 0o777);
            }
        }
        modes
    });
    let fixture = ProxyFixture::start().await;
    let config = fixture.with_sockets(vec![socket(&path, &[])]);
    for _ in 0..200 {
        drop(token_rotator_proxy::Handle::start(&config).expect("a proxy"));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let modes = watcher.join().expect("no panic");
    if cfg!(target_os = "linux") {
        assert!(modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
    }
}

/// `Origin` decides nothing on a unix socket, which browsers cannot reach.
#[tokio::test]
async fn a_caller_over_a_socket_may_send_any_origin() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let _fixture = ProxyFixture::with(|config| config.listeners = vec![socket(&path, &[])]).await;
    let mut stream = UnixStream::connect(&path).await.expect("a connection");
    let request = "GET /echo HTTP/1.1\r\nhost: any.test\r\norigin: http://attacker.test\r\n\
                   sec-fetch-site: cross-site\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_socket_is_listed_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let fixture = ProxyFixture::with(|config| config.listeners = vec![socket(&path, &[])]).await;
    let twice = fixture.with_sockets(vec![socket(&path, &[1]), socket(&path, &[2])]);
    let error = fixture.proxy.reload(&twice).expect_err("which of them?");
    assert!(
        error.to_string().starts_with("two listeners are at "),
        "{error}"
    );
    assert_eq!(mode(&path), 0o600);
}
