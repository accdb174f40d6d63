//! Failures of a Redis server: each is reported with its kind and its cause.

mod support;

use std::time::Duration;

use support::{builder, store};
use token_rotator::store::{Coordinator as _, Saved, SessionStore as _, StoreErrorKind};
use token_rotator_redis::RedisStore;
use token_rotator_testkit::RedisServer;
use token_rotator_testkit::conformance::server::{
    acquire, assert_fails, assert_works, codec, key, save,
};

#[tokio::test]
async fn a_replica_refuses_writes_until_it_is_promoted() {
    let Some(primary) = RedisServer::start().await else {
        return;
    };
    let port = primary.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]).await;
    let replica = replica.expect("the server starts");
    let store = store(&replica);
    assert_fails(&store, StoreErrorKind::Unavailable, "point to the primary").await;
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    assert_works(&store).await;
}

#[tokio::test]
async fn a_replica_without_its_primary_returns_no_stale_data() {
    let arguments = [
        "--replicaof",
        "127.0.0.1",
        "1",
        "--replica-serve-stale-data",
        "no",
    ];
    let Some(server) = RedisServer::start_with(&arguments).await else {
        return;
    };
    let store = store(&server);
    assert_fails(&store, StoreErrorKind::Unavailable, "lost its primary").await;
    let error = store.load(&key()).await.expect_err("nothing stale");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_full_server_refuses_writes() {
    let arguments = ["--maxmemory", "1mb", "--maxmemory-policy", "noeviction"];
    let Some(server) = RedisServer::start_with(&arguments).await else {
        return;
    };
    server.command(&["SETRANGE", "filler", "1048576", "x"]);
    let store = store(&server);
    assert_fails(&store, StoreErrorKind::Refused, "raise maxmemory").await;
    server.command(&["CONFIG", "SET", "maxmemory", "100mb"]);
    assert_works(&store).await;
}

#[tokio::test]
async fn a_full_server_releases_a_lease() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let store = store(&server);
    let lease = acquire(&store).await.expect("a free lease");
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    lease.release().await;
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(store.acquire(&key(), Duration::ZERO).await.is_ok());
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "right"]).await else {
        return;
    };
    for (user, message) in [
        ("", "put the password into the address"),
        (":wr0ng-pass@", "correct"),
    ] {
        let url = format!("redis://{user}127.0.0.1:{}", server.port());
        let store = builder(&server).url(url).build().expect("a store");
        assert_fails(&store, StoreErrorKind::Refused, message).await;
        let error = save(&store).await.expect_err("refused");
        let output = format!("{error} {error:?} {store:?}");
        assert!(!output.contains("wr0ng"), "{output}");
    }
    let url = format!("redis://:right@127.0.0.1:{}", server.port());
    assert_works(&builder(&server).url(url).build().expect("a store")).await;
}

#[tokio::test]
async fn a_user_without_permission_is_refused() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    server.command(&[
        "ACL", "SETUSER", "other", "on", "nopass", "~other:*", "&*", "+@all",
    ]);
    let url = format!("redis://other:any@127.0.0.1:{}", server.port());
    let store = builder(&server).url(url.clone()).build().expect("a store");
    assert_fails(&store, StoreErrorKind::Refused, "does not allow this user").await;
    let permitted = builder(&server).url(url).key_prefix("other:");
    assert_works(&permitted.build().expect("a store")).await;
}

#[tokio::test]
async fn a_key_of_another_program_is_not_changed() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let store = store(&server);
    save(&store).await.expect("a store that works");
    let record = server.command(&["KEYS", "*:record"]);
    server.command(&["SET", record.trim(), "mine"]);
    let error = store.load(&key()).await.expect_err("no record");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    let error = save(&store).await.expect_err("no record");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    assert_eq!(server.command(&["GET", record.trim()]).trim(), "mine");
}

#[tokio::test]
async fn flushed_scripts_are_loaded_again() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let store = store(&server);
    let mut lease = acquire(&store).await.expect("a free lease");
    server.command(&["SCRIPT", "FLUSH"]);
    assert!(matches!(save(&store).await, Ok(Saved::Stored)));
    server.command(&["SCRIPT", "FLUSH"]);
    lease.renew().await.expect("still held");
    server.command(&["SCRIPT", "FLUSH"]);
    lease.release().await;
    assert!(store.acquire(&key(), Duration::ZERO).await.is_ok());
}

/// A server with another protocol is recognised.
#[tokio::test]
async fn another_protocol_is_recognised() {
    use tokio::io::AsyncWriteExt as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let response = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            let _ = stream.write_all(response).await;
        }
    });
    let store = RedisStore::builder().url(url).codec(codec());
    let store = store.build().expect("settings that fit");
    assert_fails(&store, StoreErrorKind::Refused, "another protocol").await;
}
