//! The session store.

use std::time::Duration;

use token_rotator::SessionKey;
use token_rotator::store::server::ServerStore;
use token_rotator::store::{
    BoxedCoordinator, Coordinator, HeldLease, Lease, LeaseError, Record, Saved, SessionStore,
    StoreError, StoreTime, Version,
};

use crate::builder::PostgresStoreBuilder;
use crate::server::Postgres;

/// A session store and lease coordinator in a table of `PostgreSQL`.
///
/// Clones share a pool of connections for calls. From the first wait for another process on, they also share one
/// connection for notifications.
#[derive(Clone)]
pub struct PostgresStore(pub(crate) ServerStore<Postgres>);

impl PostgresStore {
    /// Creates a builder.
    pub fn builder() -> PostgresStoreBuilder {
        PostgresStoreBuilder::new()
    }

    /// Creates the table if it is missing, and upgrades a table of an earlier version.
    ///
    /// Any number of processes may call this at each start: the migrations run one after the other. If there is nothing
    /// to do, the call needs only the right to read.
    ///
    /// *Waits* up to ten times the operation timeout.
    ///
    /// # Errors
    ///
    /// Fails with [`StoreErrorKind::Newer`](token_rotator::store::StoreErrorKind::Newer) if a newer version of this crate has
    /// migrated the table.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.0.server().migrate().await
    }

    /// Returns the SQL that [`migrate`](Self::migrate) runs. Running it again has no effect.
    pub fn migration_sql(&self) -> String {
        self.0.server().table().script()
    }

    /// Checks that the server responds, accepts the store's credentials and has the table. Call it at the start of a
    /// program that must not run without its store.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.0.server().ping().await
    }

    /// Returns the session's lease if a process holds it. Acquires nothing.
    ///
    /// # Errors
    ///
    /// Fails like [`acquire`](Coordinator::acquire) if the server does not respond.
    pub async fn holder(&self, key: &SessionKey) -> Result<Option<HeldLease>, LeaseError> {
        self.0.holder(key).await
    }
}

impl SessionStore for PostgresStore {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        self.0.load(key).await
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        self.0.save(key, expected, record).await
    }

    async fn now(&self) -> Result<Option<StoreTime>, StoreError> {
        self.0.now().await
    }

    async fn changed(&self, key: &SessionKey, seen: Option<Version>) {
        self.0.changed(key, seen).await;
    }

    fn coordinator(&self) -> Option<BoxedCoordinator> {
        self.0.coordinator()
    }
}

impl Coordinator for PostgresStore {
    async fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        self.0.acquire(key, wait).await
    }

    fn lease_life(&self) -> Option<Duration> {
        self.0.lease_life()
    }

    async fn settled(&self) {
        self.0.settled().await;
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let server = self.0.server();
        out.debug_struct("PostgresStore")
            .field("address", &server.address())
            .field("table", &server.table().name())
            .field("codec", self.0.codec())
            .field("lease_life", &self.0.lease_life())
            .finish_non_exhaustive()
    }
}
