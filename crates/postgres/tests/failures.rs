//! Failures of a `PostgreSQL` server: each is reported with its kind and its cause.

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
async fn a_missing_table_is_reported() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let store_without_table = builder(&server).build().expect("settings that fit");
    assert_fails(
        &store_without_table,
        StoreErrorKind::Refused,
        "call `migrate`",
    )
    .await;
    let error = store_without_table.ping().await.expect_err("no table");
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    store_without_table.migrate().await.expect("a table");
    assert_works(&store_without_table).await;
}

#[tokio::test]
async fn a_read_only_server_refuses_writes() {
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
    // A standby responds like a server with read-only transactions.
    read_only("on");
    let message = "point to the primary";
    eventually("the server is read-only", async || {
        save(&store).await.is_err()
    })
    .await;
    assert_fails(&store, StoreErrorKind::Unavailable, message).await;
    read_only("off");
    eventually("the server is writable", async || {
        save(&store).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn an_unknown_user_is_refused_without_the_password() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let port = server.port();
    for (url, message) in [
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
        assert_fails(&store, StoreErrorKind::Refused, message).await;
        let error = save(&store).await.expect_err("refused");
        let output = format!("{error} {error:?} {store:?}");
        assert!(!output.contains("wr0ng"), "{output}");
    }
}

#[tokio::test]
async fn the_documented_rights_are_sufficient() {
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
    // The user can read that there is nothing to do.
    server.sql("GRANT SELECT ON token_rotator_session_migrations TO app");
    store.migrate().await.expect("nothing to do");
}

#[tokio::test]
async fn a_call_on_a_locked_row_times_out() {
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
    let impatient = builder(&server).operation_timeout(Duration::from_millis(300));
    let impatient = impatient.build().expect("settings that fit");
    assert_no_lease(&impatient, "another database session locks the table").await;
    let saved = impatient.save(&key(), Some(version(1)), record(2)).await;
    let error = saved.expect_err("a lock");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    client.batch_execute("ROLLBACK").await.expect("no lock");
    // The server may have completed the statements that waited. None of them is half done.
    eventually("the store works again", async || {
        let Ok(Some(stored_record)) = store.load(&key()).await else {
            return false;
        };
        let next = record(stored_record.version().revision + 1);
        let saved = store
            .save(&key(), Some(stored_record.version()), next)
            .await;
        matches!(saved, Ok(Saved::Stored))
    })
    .await;
}

#[tokio::test]
async fn values_that_the_table_cannot_store_are_refused() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let store = store(&server).await;
    // A pseudo-random name, because the server compresses a repetitive one.
    let mut state = 1_u64;
    let long: String = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'!' + u8::try_from(state >> 58).expect("six bits"))
    })
    .take(5_000)
    .collect();
    for (name, message) in [
        ("a\0b", "zero byte"),
        (&*long, "choose a shorter session name"),
    ] {
        let key = SessionKey::new(name);
        let error = store.save(&key, None, record(1)).await;
        let error = error.expect_err("no such name");
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        let text = format!("{error}; {}", error.hint().unwrap_or_default());
        assert!(text.contains(message), "{text}");
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
