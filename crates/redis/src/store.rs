//! The session store.

use std::time::Duration;

use token_rotator::SessionKey;
use token_rotator::store::server::ServerStore;
use token_rotator::store::{
    BoxedCoordinator, Coordinator, HeldLease, Lease, LeaseError, Record, Saved, SessionStore,
    StoreError, StoreTime, Version,
};

use crate::builder::RedisStoreBuilder;
use crate::server::Redis;

/// A session store and lease coordinator in Redis.
///
/// Clones share one connection for calls. From the first wait for another process on, they also share one connection
/// for messages.
#[derive(Clone)]
pub struct RedisStore(pub(crate) ServerStore<Redis>);

impl RedisStore {
    /// Creates a builder.
    pub fn builder() -> RedisStoreBuilder {
        RedisStoreBuilder::new()
    }

    /// Checks that the server responds and accepts the store's credentials. Call it at the start of a program that must
    /// not run without its store.
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

impl SessionStore for RedisStore {
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

impl Coordinator for RedisStore {
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

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let server = self.0.server();
        out.debug_struct("RedisStore")
            .field("address", &server.address())
            .field("key_prefix", &server.prefix())
            .field("codec", self.0.codec())
            .field("lease_life", &self.0.lease_life())
            .finish_non_exhaustive()
    }
}
