//! What goes wrong at the server is told for what it is, in time, and no refresh goes unguarded.

mod support;

use std::time::{Duration, Instant};

use support::{Source, builder, eventually, key, record, soon, store, tokens, version};
use token_rotator::{
    Coordinator as _, Lease, LeaseError, RefreshError, Rotator, Saved, SessionStore as _,
    StoreError, StoreErrorKind, TokenError,
};
use token_rotator_redis::RedisStore;
use token_rotator_testkit::RedisServer;

/// A store that does not wait long for a server that does not answer.
fn hasty(server: &RedisServer) -> RedisStore {
    let builder = builder(server).operation_timeout(Duration::from_millis(300));
    builder.build().expect("settings that fit")
}

async fn save(store: &RedisStore) -> Result<Saved, StoreError> {
    soon("a save", store.save(&key(), None, record(1))).await
}

async fn acquire(store: &RedisStore) -> Result<Box<dyn Lease>, LeaseError> {
    soon("a lease", store.acquire(&key(), Duration::from_secs(5))).await
}

/// Neither a save nor a lease, and both say so: of this kind, and with these words in it.
async fn assert_fails(store: &RedisStore, kind: StoreErrorKind, words: &str) {
    let error = save(store).await.expect_err("a save that fails");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert_no_lease(store, words).await;
}

async fn assert_no_lease(store: &RedisStore, words: &str) {
    match acquire(store).await {
        Err(error @ LeaseError::Unavailable { .. }) => {
            assert!(error.to_string().contains(words), "{error}");
        }
        Err(error) => panic!("not unavailable but: {error}"),
        Ok(_) => panic!("a lease from nobody"),
    }
}

async fn assert_works(store: &RedisStore) {
    assert!(matches!(save(store).await, Ok(Saved::Stored)));
    let loaded = store.load(&key()).await.expect("a store that works");
    assert_eq!(loaded.expect("a record").version, version(1));
    let lease = acquire(store).await.expect("a free lease");
    lease.release().await;
}

#[tokio::test]
async fn a_replica_takes_no_writes_until_it_is_promoted() {
    let Some(primary) = RedisServer::start().await else {
        return;
    };
    let port = primary.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]).await;
    let replica = replica.expect("it is not missing");
    let store = store(&replica);
    assert_fails(&store, StoreErrorKind::Unavailable, "point to the primary").await;
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    assert_works(&store).await;
}

#[tokio::test]
async fn a_replica_without_its_primary_answers_nothing_stale() {
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
async fn a_server_that_is_full_takes_no_writes() {
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
async fn a_server_that_is_full_takes_a_lease_back() {
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
async fn a_paused_server_is_given_up_in_time() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let store = hasty(&server);
    store.ping().await.expect("a server");
    server.pause();
    let begun = Instant::now();
    assert_fails(
        &store,
        StoreErrorKind::Unavailable,
        "did not answer within 300ms",
    )
    .await;
    // A store that has no connection yet fares no worse.
    assert_fails(&hasty(&server), StoreErrorKind::Unavailable, "300ms").await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    server.resume();
    // What was asked before may have been done since, by whom nobody knows.
    eventually("it works again", async || {
        store.ping().await.is_ok() && store.acquire(&key(), Duration::ZERO).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_killed_server_cannot_be_reached() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let store = store(&server);
    store.ping().await.expect("a server");
    server.kill();
    assert_fails(&store, StoreErrorKind::Unavailable, "nothing listens there").await;
    server.restart_empty().await;
    assert_works(&store).await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_told() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "right"]).await else {
        return;
    };
    for (user, words) in [("", "put it into the address"), (":wr0ng-pass@", "correct")] {
        let url = format!("redis://{user}127.0.0.1:{}", server.port());
        let store = builder(&server).url(url).build().expect("a store");
        assert_fails(&store, StoreErrorKind::Refused, words).await;
        let error = save(&store).await.expect_err("refused");
        let said = format!("{error} {error:?} {store:?}");
        assert!(!said.contains("wr0ng"), "{said}");
    }
    let url = format!("redis://:right@127.0.0.1:{}", server.port());
    assert_works(&builder(&server).url(url).build().expect("a store")).await;
}

#[tokio::test]
async fn a_user_who_may_not_is_refused() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    server.command(&[
        "ACL", "SETUSER", "other", "on", "nopass", "~other:*", "&*", "+@all",
    ]);
    let url = format!("redis://other:any@127.0.0.1:{}", server.port());
    let store = builder(&server).url(url.clone()).build().expect("a store");
    assert_fails(&store, StoreErrorKind::Refused, "does not allow this user").await;
    let own = builder(&server).url(url).key_prefix("other:");
    assert_works(&own.build().expect("a store")).await;
}

#[tokio::test]
async fn somebody_elses_key_is_left_alone() {
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
async fn a_record_that_was_tampered_with_is_corrupt() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let store = store(&server);
    save(&store).await.expect("a store that works");
    let record = server.command(&["KEYS", "*:record"]);
    server.command(&["HSET", record.trim(), "revision", "9"]);
    let error = store.load(&key()).await.expect_err("not its version");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    server.command(&["HDEL", record.trim(), "body"]);
    let error = store.load(&key()).await.expect_err("no body");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn forgotten_scripts_are_told_again() {
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

/// The numbers of leases grow, also where the server has lost the last one.
#[tokio::test]
async fn fences_grow_over_a_lost_server() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let store = store(&server);
    let mut last = None;
    for turn in 0..12 {
        if turn % 4 == 3 {
            server.restart_empty().await;
        }
        let lease = acquire(&store).await.expect("a free lease");
        assert!(lease.fence() > last, "{:?} after {last:?}", lease.fence());
        last = lease.fence();
        lease.release().await;
    }
}

/// What listens there is no Redis.
#[tokio::test]
async fn another_protocol_is_told_apart() {
    use tokio::io::AsyncWriteExt as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    let store = RedisStore::builder().url(url).codec(support::codec());
    let store = store.build().expect("settings that fit");
    assert_fails(&store, StoreErrorKind::Refused, "another protocol").await;
}

/// An idle connection that was closed meanwhile costs nobody a failed call.
#[tokio::test]
async fn a_closed_connection_is_made_again() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let store = store(&server);
    for _ in 0..3 {
        store.ping().await.expect("a server");
        server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }
    assert_works(&store).await;
    server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert!(store.acquire(&key(), Duration::ZERO).await.is_ok());
}

/// The connection's runtime ends, the store is used on another.
#[test]
fn a_store_outlives_its_runtime() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    };
    let first = runtime();
    let Some(server) = first.block_on(RedisServer::start()) else {
        return;
    };
    let store = store(&server);
    first.block_on(assert_works(&store));
    drop(first);
    let second = runtime();
    let lease = second.block_on(store.acquire(&key(), Duration::from_secs(1)));
    assert!(lease.is_ok());
}

/// Rule 7, and what a failover to an empty server is: a lost store and no sign-out.
#[tokio::test]
async fn a_rotator_sends_nothing_without_a_lease_and_survives_an_empty_server() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let source = Source::default();
    let store = hasty(&server);
    let rotator = Rotator::builder(source.clone()).session(key());
    let rotator = rotator.store(store.clone()).build().expect("a rotator");
    let stored = rotator.sign_in(tokens(0)).expect("tokens");
    stored.await.expect("a store that works");

    server.pause();
    let refused = soon("a refresh", rotator.refresh_now()).await;
    let failed = |error| {
        matches!(
            error,
            TokenError::Refresh(RefreshError::Store(_) | RefreshError::Lease(_))
        )
    };
    assert!(failed(refused.expect_err("no store")));
    assert_eq!(source.calls(), 0, "sent without a lease");
    server.resume();

    server.restart_empty().await;
    assert!(store.load(&key()).await.expect("a store").is_none());
    soon("a refresh", rotator.refresh_now())
        .await
        .expect("a token");
    assert_eq!((source.calls(), source.reused()), (1, 0));
    let kept = store.load(&key()).await.expect("a store");
    assert!(kept.is_some(), "what it brought is stored again");
}

/// A holder that was paused until its lease ran out: its successor has saved, its own save is
/// refused, and it serves what the successor has.
#[tokio::test]
async fn a_paused_holder_adopts_what_its_successor_saved() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let source = Source::default();
    let rotator = Rotator::builder(source.clone()).session(key());
    let rotator = rotator.store(store(&server)).build().expect("a rotator");
    let stored = rotator.sign_in(tokens(0)).expect("tokens");
    stored.await.expect("a store that works");
    source.hold();
    let flight = tokio::spawn({
        let rotator = rotator.clone();
        async move { rotator.refresh_now().await }
    });
    source.arrived(1).await;

    let lease = server.command(&["KEYS", "*:lease"]);
    // As if its time were over.
    server.command(&["DEL", lease.trim()]);
    let successor = store(&server);
    let lease = acquire(&successor).await.expect("a free lease");
    let found = successor.load(&key()).await.expect("a store");
    let found = found.expect("the intent").version;
    let mut next = record(7);
    next.version.epoch = found.epoch;
    next.version.revision = found.revision + 1;
    let stored = successor.save(&key(), Some(found), next.clone()).await;
    assert!(matches!(stored, Ok(Saved::Stored)));
    lease.release().await;

    source.let_go();
    let token = soon("the flight", flight).await.expect("no panic");
    let token = token.expect("a token");
    let theirs = next.tokens.expect("tokens");
    assert_eq!(
        token.header().as_bytes(),
        format!("Bearer {}", {
            use token_rotator::ExposeSecret as _;
            theirs.access_token().expose_secret().to_owned()
        })
        .as_bytes()
    );
    let kept = successor.load(&key()).await.expect("a store");
    assert_eq!(kept.expect("a record").version, next.version);
}
