//! The conformance suite behind a `PgBouncer` in transaction mode, and notifications there.

mod support;

use std::time::Duration;

use support::notification_connections;
use token_rotator::store::{Saved, SessionStore as _};
use token_rotator_postgres::{PostgresStore, PostgresStoreBuilder};
use token_rotator_testkit::conformance::StoreFixture;
use token_rotator_testkit::conformance::server::{
    codec, eventually, key, record, version, within_ten_seconds,
};
use token_rotator_testkit::{PgBouncer, PostgresServer};

struct BehindPgBouncer {
    // Dropped before the server that it is connected to.
    pgbouncer: PgBouncer,
    server: PostgresServer,
}

impl BehindPgBouncer {
    fn builder(&self) -> PostgresStoreBuilder {
        PostgresStore::builder()
            .url(self.pgbouncer.url())
            .codec(codec())
    }

    fn open(&self) -> PostgresStore {
        let store = self
            .builder()
            .lease_life(Duration::from_secs(1))
            .operation_timeout(Duration::from_millis(900));
        store.build().expect("settings that fit")
    }

    async fn start() -> Self {
        let server = PostgresServer::start().await.expect("the server starts");
        let pgbouncer = PgBouncer::start(&server).await.expect("the server starts");
        let fixture = Self { pgbouncer, server };
        let store = fixture.builder().build().expect("settings that fit");
        store.migrate().await.expect("a table");
        fixture
    }
}

impl StoreFixture for BehindPgBouncer {
    type Store = PostgresStore;
    type Coordinator = PostgresStore;

    fn skip_reason() -> Option<String> {
        PostgresServer::skip_reason().or_else(PgBouncer::skip_reason)
    }

    async fn new() -> Self {
        Self::start().await
    }

    async fn store(&self) -> PostgresStore {
        self.open()
    }

    async fn coordinator(&self) -> PostgresStore {
        self.open()
    }
}

token_rotator_testkit::conformance!(BehindPgBouncer);

/// `PgBouncer` drops notifications. A connection directly to the server receives them.
#[tokio::test]
async fn a_direct_connection_receives_notifications() {
    if let Some(reason) = BehindPgBouncer::skip_reason() {
        eprintln!("{reason}");
        return;
    }
    let fixture = BehindPgBouncer::start().await;
    let store = fixture.builder().listen_url(fixture.server.url());
    let store = store.build().expect("settings that fit");
    let saved = store.save(&key(), None, record(1)).await;
    assert!(matches!(saved, Ok(Saved::Stored)));
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.changed(&key(), Some(version(1))).await }
    });
    eventually("the notification connection opens", async || {
        notification_connections(&fixture.server) == 1
    })
    .await;
    // Between the polls at 1.75 s and at 2.75 s.
    tokio::time::sleep(Duration::from_millis(1_900)).await;
    let saved = std::time::Instant::now();
    let stored = store.save(&key(), Some(version(1)), record(2)).await;
    assert!(matches!(stored, Ok(Saved::Stored)));
    within_ten_seconds("a message", waiting)
        .await
        .expect("no panic");
    assert!(
        saved.elapsed() < Duration::from_millis(600),
        "found by polling"
    );
    // The store reads nothing over that connection, because it may use another role.
    let record = store.load(&key()).await.expect("a store that works");
    assert_eq!(record.expect("a record").version(), version(2));
    assert_eq!(notification_connections(&fixture.server), 1);
}
