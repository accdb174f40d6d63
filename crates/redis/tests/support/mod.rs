//! A Redis server as the fixture of the conformance suites.
#![allow(dead_code)] // Each test binary uses its own part.

use token_rotator::SessionKey;
use token_rotator::store::server::Timing;
use token_rotator::store::{HeldLease, LeaseError, RecordCodec, StoreError};
use token_rotator_redis::{RedisStore, RedisStoreBuilder};
use token_rotator_testkit::RedisServer;
use token_rotator_testkit::conformance::StoreFixture;
use token_rotator_testkit::conformance::server::{ServerFixture, codec};

pub(crate) struct Redis(RedisServer);

/// Creates a builder for a store on this server.
pub(crate) fn builder(server: &RedisServer) -> RedisStoreBuilder {
    RedisStore::builder().url(server.url()).codec(codec())
}

pub(crate) fn store(server: &RedisServer) -> RedisStore {
    builder(server).build().expect("settings that fit")
}

impl Redis {
    /// Runs a command on the key of the only record.
    fn change_record(&self, command: &str, arguments: &[&str]) {
        let record = self.0.command(&["KEYS", "*:record"]);
        let message = [&[command, record.trim()], arguments].concat();
        self.0.command(&message);
    }
}

impl StoreFixture for Redis {
    type Store = RedisStore;
    type Coordinator = RedisStore;

    fn skip_reason() -> Option<String> {
        RedisServer::skip_reason()
    }

    async fn new() -> Self {
        Self(RedisServer::start().await.expect("the server starts"))
    }

    async fn store(&self) -> RedisStore {
        self.open_with_one_second_leases()
    }

    async fn coordinator(&self) -> RedisStore {
        self.open_with_one_second_leases()
    }
}

impl ServerFixture for Redis {
    fn open_with(&self, timing: Option<Timing>, codec: RecordCodec) -> RedisStore {
        let mut builder = builder(&self.0).codec(codec);
        if let Some(timing) = timing {
            builder = builder
                .lease_life(timing.lease_life)
                .operation_timeout(timing.operation_timeout);
        }
        builder.build().expect("settings that fit")
    }

    async fn ping(store: &RedisStore) -> Result<(), StoreError> {
        store.ping().await
    }

    async fn holder(store: &RedisStore, key: &SessionKey) -> Result<Option<HeldLease>, LeaseError> {
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
        self.0.restart_empty().await;
    }

    async fn restart_empty(&mut self) {
        self.0.restart_empty().await;
    }

    async fn lose_fences(&mut self) {
        self.0.restart_empty().await;
    }

    fn expire_lease(&self) {
        let lease = self.0.command(&["KEYS", "*:lease"]);
        self.0.command(&["DEL", lease.trim()]);
    }

    fn change_revision(&self) {
        self.change_record("HSET", &["revision", "9"]);
    }

    fn damage_body(&self) {
        self.change_record("HSET", &["revision", "1"]);
        self.change_record("HDEL", &["body"]);
    }

    fn close_connections(&self) {
        let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
        self.0.command(&kill);
    }

    fn notification_connections(&self) -> usize {
        let clients = self.0.command(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        clients.lines().filter(|line| !line.is_empty()).count()
    }

    fn close_notification_connections(&self) {
        self.0.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        let closed = (0..500).any(|_| self.notification_connections() == 0);
        assert!(closed, "a subscription is open after CLIENT KILL");
    }

    fn dump(&self) -> String {
        self.0.dump()
    }

    fn clear(&self) {
        self.0.command(&["FLUSHALL"]);
    }
}
