//! Servers end when their values are dropped, also during a panic or while paused.
#![cfg(unix)]

use std::net::TcpStream;
use std::panic::AssertUnwindSafe;

use token_rotator_testkit::{PostgresServer, RedisServer};

fn accepts_connections(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn processes(port: u16) -> usize {
    // A server's command line contains its port and its directory.
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let port = format!("\0{port}\0");
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(&port))
        .count()
}

#[tokio::test]
async fn redis_ends_with_a_panic() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let port = server.port();
    assert!(accepts_connections(port));
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(move || {
        let _server = server;
        panic!("a panic while the server runs");
    }));
    assert!(panicked.is_err());
    assert!(!accepts_connections(port));
    assert_eq!(processes(port), 0);
}

#[tokio::test]
async fn postgres_ends_while_paused() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let port = server.port();
    assert_eq!(server.sql("SELECT 1").trim(), "1");
    server.pause();
    drop(server);
    assert!(!accepts_connections(port));
    assert_eq!(processes(port), 0);
}
