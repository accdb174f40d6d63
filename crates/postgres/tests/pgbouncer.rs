//! Behind `PgBouncer` in transaction mode: the whole suite, and what is lost there.

mod support;

use std::time::Duration;

use support::listening_connections;
use token_rotator::store::{Saved, SessionStore as _};
use token_rotator_postgres::{PostgresStore, PostgresStoreBuilder};
use token_rotator_testkit::conformance::Ground;
use token_rotator_testkit::conformance::server::{codec, eventually, key, record, soon, version};
use token_rotator_testkit::{PgBouncer, PostgresServer};

struct BehindPgBouncer {
    // Ends before the server that it speaks to.
    bouncer: PgBouncer,
    server: PostgresServer,
}

impl BehindPgBouncer {
    fn builder(&self) -> PostgresStoreBuilder {
        PostgresStore::builder()
            .url(self.bouncer.url())
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
        let server = PostgresServer::start().await.expect("it is not missing");
        let bouncer = PgBouncer::start(&server).await.expect("it is not missing");
        let ground = Self { bouncer, server };
        let store = ground.builder().build().expect("settings that fit");
        store.migrate().await.expect("a table");
        ground
    }
}

impl Ground for BehindPgBouncer {
    type Store = PostgresStore;
    type Coordinator = PostgresStore;

    fn missing() -> Option<String> {
        PostgresServer::missing().or_else(PgBouncer::missing)
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

/// `PgBouncer` loses notifications; a listening connection around it gets them.
#[tokio::test]
async fn a_way_around_it_for_listening() {
    if let Some(reason) = BehindPgBouncer::missing() {
        eprintln!("{reason}");
        return;
    }
    let ground = BehindPgBouncer::start().await;
    let around = ground.builder().listen_url(ground.server.url());
    let around = around.build().expect("settings that fit");
    let saved = around.save(&key(), None, record(1)).await;
    assert!(matches!(saved, Ok(Saved::Stored)));
    let waiting = tokio::spawn({
        let around = around.clone();
        async move { around.changed(&key(), Some(version(1))).await }
    });
    eventually("one listens", async || {
        listening_connections(&ground.server) == 1
    })
    .await;
    // Between two looks: at 1.75 s and at 2.75 s.
    tokio::time::sleep(Duration::from_millis(1_900)).await;
    let saved = std::time::Instant::now();
    let stored = around.save(&key(), Some(version(1)), record(2)).await;
    assert!(matches!(stored, Ok(Saved::Stored)));
    soon("a message", waiting).await.expect("no panic");
    assert!(
        saved.elapsed() < Duration::from_millis(600),
        "found by looking"
    );
    // Nothing else is asked over that connection: it may be another role's.
    let found = around.load(&key()).await.expect("a store that works");
    assert_eq!(found.expect("a record").version(), version(2));
    assert_eq!(listening_connections(&ground.server), 1);
}
