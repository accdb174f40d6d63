//! The session store.

use std::time::Duration;

use token_rotator::SessionKey;
use token_rotator::store::server::ServerStore;
use token_rotator::store::{
    BoxedCoordinator, Coordinator, HeldLease, Lease, LeaseError, Record, Saved, SessionStore,
    StoreError, Version,
};

use crate::builder::PostgresStoreBuilder;
use crate::server::Postgres;

/// Keeps sessions in a table of `PostgreSQL`, and grants their leases there.
///
/// Clones share a few connections for calls and, from the first wait for another process on, one for
/// listening.
#[derive(Clone)]
pub struct PostgresStore(pub(crate) ServerStore<Postgres>);

impl PostgresStore {
    /// Begins a store.
    pub fn builder() -> PostgresStoreBuilder {
        PostgresStoreBuilder::new()
    }

    /// Makes the table where it is missing, and brings an older one up to date. Any number of
    /// processes may call it at once, with every start: they take turns. Where there is nothing to
    /// do, it needs no right but to read. It waits ten times as long as other calls.
    ///
    /// Fails with [`StoreErrorKind::Newer`](token_rotator::store::StoreErrorKind::Newer) if a newer version
    /// of this program has migrated the table.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.0.server().migrate().await
    }

    /// The SQL that [`migrate`](Self::migrate) runs, to run by hand. Running it again does no harm.
    pub fn migration_sql(&self) -> String {
        self.0.server().table().script()
    }

    /// Checks that the server answers, admits this store and has its table: for programs that would
    /// rather fail at their start.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.0.server().ping().await
    }

    /// The session's lease, if one is held now. Takes nothing.
    ///
    /// Fails as [`acquire`](Coordinator::acquire) does if the server cannot be asked.
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
