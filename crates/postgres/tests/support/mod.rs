//! A `PostgreSQL` server as the fixture of the conformance suites.
#![allow(dead_code)] // Each test binary uses its own part.

use token_rotator::SessionKey;
use token_rotator::store::server::Timing;
use token_rotator::store::{HeldLease, LeaseError, RecordCodec, StoreError};
use token_rotator_postgres::{PostgresStore, PostgresStoreBuilder};
use token_rotator_testkit::PostgresServer;
use token_rotator_testkit::conformance::StoreFixture;
use token_rotator_testkit::conformance::server::secrecy::hexadecimal;
use token_rotator_testkit::conformance::server::{ServerFixture, codec};

pub(crate) struct Postgres(PostgresServer);

/// Creates a builder for a store on this server.
pub(crate) fn builder(server: &PostgresServer) -> PostgresStoreBuilder {
    PostgresStore::builder().url(server.url()).codec(codec())
}

/// Opens a store and creates its table.
pub(crate) async fn store(server: &PostgresServer) -> PostgresStore {
    let store = builder(server).build().expect("settings that fit");
    store.migrate().await.expect("a table");
    store
}

/// Returns the number of connections that receive notifications.
pub(crate) fn notification_connections(server: &PostgresServer) -> usize {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    server.sql(count).trim().parse().expect("a number")
}

impl StoreFixture for Postgres {
    type Store = PostgresStore;
    type Coordinator = PostgresStore;

    fn skip_reason() -> Option<String> {
        PostgresServer::skip_reason()
    }

    async fn new() -> Self {
        let server = PostgresServer::start().await.expect("the server starts");
        store(&server).await;
        Self(server)
    }

    async fn store(&self) -> PostgresStore {
        self.open_with_one_second_leases()
    }

    async fn coordinator(&self) -> PostgresStore {
        self.open_with_one_second_leases()
    }
}

impl ServerFixture for Postgres {
    fn open_with(&self, timing: Option<Timing>, codec: RecordCodec) -> PostgresStore {
        let mut builder = builder(&self.0).codec(codec);
        if let Some(timing) = timing {
            builder = builder
                .lease_life(timing.lease_life)
                .operation_timeout(timing.operation_timeout);
        }
        builder.build().expect("settings that fit")
    }

    async fn ping(store: &PostgresStore) -> Result<(), StoreError> {
        store.ping().await
    }

    async fn holder(
        store: &PostgresStore,
        key: &SessionKey,
    ) -> Result<Option<HeldLease>, LeaseError> {
        store.holder(key).await
    }

    fn pause(&self) {
        self.0.pause();
    }

    fn resume(&self) {
        self.0.resume();
    }

    fn kill(&mut self) {
        self.0.kill();
    }

    async fn restart(&mut self) {
        self.0.restart().await;
    }

    async fn restart_empty(&mut self) {
        self.0.restart_empty().await;
        store(&self.0).await;
    }

    async fn lose_fences(&mut self) {
        self.0.sql("TRUNCATE token_rotator_session");
    }

    fn expire_lease(&self) {
        self.0
            .sql("UPDATE token_rotator_session SET lease_expires_at = now()");
    }

    fn change_revision(&self) {
        self.0.sql("UPDATE token_rotator_session SET revision = 9");
    }

    fn damage_body(&self) {
        self.0
            .sql("UPDATE token_rotator_session SET revision = 1, body = '\\x00'");
    }

    fn close_connections(&self) {
        self.0.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
             WHERE application_name = 'token-rotator'",
        );
    }

    fn notification_connections(&self) -> usize {
        notification_connections(&self.0)
    }

    fn close_notification_connections(&self) {
        let kill = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                    WHERE query LIKE 'LISTEN%'";
        assert_eq!(self.0.sql(kill).trim(), "t");
    }

    fn dump(&self) -> String {
        self.0.dump()
    }

    fn as_dumped(text: &str) -> String {
        hexadecimal(text)
    }

    fn clear(&self) {
        self.0.sql("DELETE FROM token_rotator_session");
    }
}
