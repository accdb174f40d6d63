//! The suite for all stores and coordinators, on a real server.

mod support;

use std::time::Duration;

use token_rotator_postgres::PostgresStore;
use token_rotator_testkit::PostgresServer;
use token_rotator_testkit::conformance::Ground;

struct Postgres(PostgresServer);

impl Postgres {
    fn open(&self) -> PostgresStore {
        let store = support::builder(&self.0)
            .lease_life(Duration::from_secs(1))
            .operation_timeout(Duration::from_millis(900));
        store.build().expect("settings that fit")
    }
}

impl Ground for Postgres {
    type Store = PostgresStore;
    type Coordinator = PostgresStore;

    fn missing() -> Option<String> {
        PostgresServer::missing()
    }

    async fn new() -> Self {
        let server = PostgresServer::start().await.expect("it is not missing");
        support::store(&server).await;
        Self(server)
    }

    async fn store(&self) -> PostgresStore {
        self.open()
    }

    async fn coordinator(&self) -> PostgresStore {
        self.open()
    }
}

token_rotator_testkit::conformance!(Postgres);
