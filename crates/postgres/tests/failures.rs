//! What goes wrong at the server is told for what it is, in time, and no refresh goes unguarded.

mod support;

use std::time::{Duration, Instant};

use support::{Source, builder, eventually, key, record, soon, store, tokens, version};
use token_rotator::{
    Coordinator as _, Lease, LeaseError, RefreshError, Rotator, Saved, SessionKey,
    SessionStore as _, StoreError, StoreErrorKind, TokenError,
};
use token_rotator_postgres::PostgresStore;
use token_rotator_testkit::PostgresServer;

/// A store that does not wait long for a server that does not answer.
fn hasty(server: &PostgresServer) -> PostgresStore {
    let builder = builder(server).operation_timeout(Duration::from_millis(300));
    builder.build().expect("settings that fit")
}

async fn save(store: &PostgresStore) -> Result<Saved, StoreError> {
    soon("a save", store.save(&key(), None, record(1))).await
}

async fn acquire(store: &PostgresStore) -> Result<Box<dyn Lease>, LeaseError> {
    soon("a lease", store.acquire(&key(), Duration::from_secs(5))).await
}

/// Neither a save nor a lease, and both say so: of this kind, and with these words in it.
async fn assert_fails(store: &PostgresStore, kind: StoreErrorKind, words: &str) {
    let error = save(store).await.expect_err("a save that fails");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert_no_lease(store, words).await;
}

async fn assert_no_lease(store: &PostgresStore, words: &str) {
    match acquire(store).await {
        Err(error @ LeaseError::Unavailable { .. }) => {
            assert!(error.to_string().contains(words), "{error}");
        }
        Err(error) => panic!("not unavailable but: {error}"),
        Ok(_) => panic!("a lease from nobody"),
    }
}

async fn assert_works(store: &PostgresStore) {
    assert!(matches!(save(store).await, Ok(Saved::Stored)));
    let loaded = store.load(&key()).await.expect("a store that works");
    assert_eq!(loaded.expect("a record").version, version(1));
    let lease = acquire(store).await.expect("a free lease");
    lease.release().await;
}

#[tokio::test]
async fn a_table_that_is_missing_is_to_be_made() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let bare = builder(&server).build().expect("settings that fit");
    assert_fails(&bare, StoreErrorKind::Refused, "call `migrate`").await;
    let error = bare.ping().await.expect_err("no table");
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    bare.migrate().await.expect("a table");
    assert_works(&bare).await;
}

#[tokio::test]
async fn a_server_that_is_read_only_takes_no_writes() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let store = store(&server).await;
    let read_only = |on: &str| {
        server.sql(&format!(
            "ALTER SYSTEM SET default_transaction_read_only = {on}"
        ));
        server.sql("SELECT pg_reload_conf()");
    };
    // As a standby answers it.
    read_only("on");
    let words = "point to the primary";
    eventually("it is read-only", async || save(&store).await.is_err()).await;
    assert_fails(&store, StoreErrorKind::Unavailable, words).await;
    read_only("off");
    eventually("it is not", async || save(&store).await.is_ok()).await;
}

#[tokio::test]
async fn a_paused_server_is_given_up_in_time() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    drop(store(&server).await);
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
    let Some(mut server) = PostgresServer::start().await else {
        return;
    };
    let store = store(&server).await;
    store.ping().await.expect("a server");
    server.kill();
    assert_fails(&store, StoreErrorKind::Unavailable, "nothing listens there").await;
    server.restart().await;
    assert_works(&store).await;
}

#[tokio::test]
async fn a_stranger_is_refused_and_the_password_not_told() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let port = server.port();
    for (url, words) in [
        (
            "postgres://stranger:wr0ng@127.0.0.1:PORT/postgres",
            "refuses the user name",
        ),
        (
            "postgres://postgres:wr0ng@127.0.0.1:PORT/nowhere",
            "no such database",
        ),
    ] {
        let url = url.replace("PORT", &port.to_string());
        let store = builder(&server).url(url).build().expect("a store");
        assert_fails(&store, StoreErrorKind::Refused, words).await;
        let error = save(&store).await.expect_err("refused");
        let said = format!("{error} {error:?} {store:?}");
        assert!(!said.contains("wr0ng"), "{said}");
    }
}

#[tokio::test]
async fn a_user_needs_no_more_than_the_docs_say() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    store(&server).await;
    server.sql("CREATE ROLE app LOGIN");
    let url = format!("postgres://app@127.0.0.1:{}/postgres", server.port());
    let store = builder(&server).url(url).build().expect("a store");
    assert_fails(&store, StoreErrorKind::Refused, "does not allow this user").await;
    server.sql("GRANT SELECT, INSERT, UPDATE ON token_rotator_session TO app");
    assert_works(&store).await;
    // Nothing is to be done, and that may be seen.
    server.sql("GRANT SELECT ON token_rotator_session_migrations TO app");
    store.migrate().await.expect("nothing to do");
}

#[tokio::test]
async fn a_row_that_somebody_locks_is_given_up_in_time() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let store = store(&server).await;
    assert_works(&store).await;
    let (client, connection) = token_rotator_postgres::tokio_postgres::connect(
        &server.url(),
        token_rotator_postgres::tokio_postgres::NoTls,
    )
    .await
    .expect("a server");
    tokio::spawn(connection);
    let lock = "BEGIN; SELECT FROM token_rotator_session FOR UPDATE";
    client.batch_execute(lock).await.expect("a lock");
    let hasty = hasty(&server);
    assert_no_lease(&hasty, "somebody locks the table").await;
    let saved = hasty.save(&key(), Some(version(1)), record(2)).await;
    let error = saved.expect_err("a lock");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    client.batch_execute("ROLLBACK").await.expect("no lock");
    // The statements that waited may have been done since; none has been done half.
    eventually("it works again", async || {
        let Ok(Some(found)) = store.load(&key()).await else {
            return false;
        };
        let next = record(found.version.revision + 1);
        let saved = store.save(&key(), Some(found.version), next).await;
        matches!(saved, Ok(Saved::Stored))
    })
    .await;
}

#[tokio::test]
async fn a_record_that_was_tampered_with_is_corrupt() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let store = store(&server).await;
    save(&store).await.expect("a store that works");
    server.sql("UPDATE token_rotator_session SET revision = 9");
    let error = store.load(&key()).await.expect_err("not its version");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    server.sql("UPDATE token_rotator_session SET revision = 1, body = '\\x00'");
    let error = store.load(&key()).await.expect_err("no record");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn what_the_table_cannot_hold_is_refused() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let store = store(&server).await;
    // Not to be compressed.
    let mut state = 1_u64;
    let long: String = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'!' + u8::try_from(state >> 58).expect("six bits"))
    })
    .take(20_000)
    .collect();
    for (name, words) in [("a\0b", "zero byte"), (&*long, "choose a shorter one")] {
        let key = SessionKey::new(name);
        let error = store.save(&key, None, record(1)).await;
        let error = error.expect_err("no such name");
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        let lease = store.acquire(&key, Duration::ZERO).await;
        assert!(matches!(lease, Err(LeaseError::Unavailable { .. })));
    }
    let mut large = record(1);
    large.version.revision = u64::MAX;
    let error = store
        .save(&key(), None, large)
        .await
        .expect_err("too large");
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
}

/// The numbers of leases grow, also where the server has lost the last one.
#[tokio::test]
async fn fences_grow_over_a_lost_row() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let store = store(&server).await;
    let mut last = None;
    for turn in 0..12 {
        if turn % 4 == 3 {
            server.sql("TRUNCATE token_rotator_session");
        }
        let lease = acquire(&store).await.expect("a free lease");
        assert!(lease.fence() > last, "{:?} after {last:?}", lease.fence());
        last = lease.fence();
        lease.release().await;
    }
}

/// An idle connection that was closed meanwhile costs nobody a failed call.
#[tokio::test]
async fn a_closed_connection_is_made_again() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let store = store(&server).await;
    for _ in 0..3 {
        store.ping().await.expect("a server");
        cut(&server);
    }
    assert_works(&store).await;
    cut(&server);
    assert!(store.acquire(&key(), Duration::ZERO).await.is_ok());
}

fn cut(server: &PostgresServer) {
    server.sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
         WHERE application_name = 'token-rotator'",
    );
}

/// The connection's runtime ends, the store is used on another.
#[test]
fn a_store_outlives_its_runtime() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    };
    let first = runtime();
    let Some(server) = first.block_on(PostgresServer::start()) else {
        return;
    };
    let store = first.block_on(store(&server));
    first.block_on(assert_works(&store));
    drop(first);
    let second = runtime();
    let lease = second.block_on(store.acquire(&key(), Duration::from_secs(1)));
    assert!(lease.is_ok());
}

/// Rule 7, and what a failover to an empty server is: a lost store and no sign-out.
#[tokio::test]
async fn a_rotator_sends_nothing_without_a_lease_and_survives_an_empty_server() {
    let Some(mut server) = PostgresServer::start().await else {
        return;
    };
    let source = Source::default();
    drop(store(&server).await);
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
    store.migrate().await.expect("a table");
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
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let source = Source::default();
    let rotator = Rotator::builder(source.clone()).session(key());
    let rotator = rotator
        .store(store(&server).await)
        .build()
        .expect("a rotator");
    let stored = rotator.sign_in(tokens(0)).expect("tokens");
    stored.await.expect("a store that works");
    source.hold();
    let flight = tokio::spawn({
        let rotator = rotator.clone();
        async move { rotator.refresh_now().await }
    });
    source.arrived(1).await;

    server.sql("UPDATE token_rotator_session SET lease_expires_at = now()");
    let successor = store(&server).await;
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
