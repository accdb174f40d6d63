//! Each failure of a `PostgreSQL` server is reported as what it is.

mod support;

use std::time::Duration;

use support::{builder, store};
use token_rotator::SessionKey;
use token_rotator::store::{
    Coordinator as _, Epoch, LeaseError, Saved, SessionStore as _, StoreErrorKind, Version,
};
use token_rotator_testkit::PostgresServer;
use token_rotator_testkit::conformance::server::{
    assert_fails, assert_no_lease, assert_works, eventually, key, record, save, version,
};

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
async fn an_unknown_user_is_refused_without_the_password() {
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
async fn a_locked_row_is_given_up_in_time() {
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
    let hasty = builder(&server).operation_timeout(Duration::from_millis(300));
    let hasty = hasty.build().expect("settings that fit");
    assert_no_lease(&hasty, "another session locks the table").await;
    let saved = hasty.save(&key(), Some(version(1)), record(2)).await;
    let error = saved.expect_err("a lock");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    client.batch_execute("ROLLBACK").await.expect("no lock");
    // The statements that waited may have been done since; none has been done half.
    eventually("it works again", async || {
        let Ok(Some(found)) = store.load(&key()).await else {
            return false;
        };
        let next = record(found.version().revision + 1);
        let saved = store.save(&key(), Some(found.version()), next).await;
        matches!(saved, Ok(Saved::Stored))
    })
    .await;
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
        let said = format!("{error}; {}", error.hint().unwrap_or_default());
        assert!(said.contains(words), "{said}");
        let lease = store.acquire(&key, Duration::ZERO).await;
        assert!(matches!(lease, Err(LeaseError::Unavailable { .. })));
    }
    let large = record(1).with_version(Version::new(Epoch::from_bits(1), u64::MAX));
    let error = store
        .save(&key(), None, large)
        .await
        .expect_err("too large");
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
}
