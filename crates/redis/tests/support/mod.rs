//! A Redis server as the ground of the shared suites.
#![allow(dead_code)] // Each test binary uses its own part.

use std::time::Duration;

use token_rotator::SessionKey;
use token_rotator::store::server::Timing;
use token_rotator::store::{HeldLease, LeaseError, RecordCodec, StoreError};
use token_rotator_redis::{RedisStore, RedisStoreBuilder};
use token_rotator_testkit::RedisServer;
use token_rotator_testkit::conformance::Ground;
use token_rotator_testkit::conformance::server::{ServerGround, codec};

pub(crate) struct Redis(RedisServer);

/// A store on this server, as another process would open it.
pub(crate) fn builder(server: &RedisServer) -> RedisStoreBuilder {
    RedisStore::builder().url(server.url()).codec(codec())
}

pub(crate) fn store(server: &RedisServer) -> RedisStore {
    builder(server).build().expect("settings that fit")
}

impl Redis {
    /// A field of the only record.
    fn change_record(&self, command: &str, more: &[&str]) {
        let record = self.0.command(&["KEYS", "*:record"]);
        let words = [&[command, record.trim()], more].concat();
        self.0.command(&words);
    }

    fn open_for_a_second(&self) -> RedisStore {
        let timing = Timing {
            lease_life: Duration::from_secs(1),
            operation_timeout: Duration::from_millis(900),
        };
        self.open_with(Some(timing), codec())
    }
}

impl Ground for Redis {
    type Store = RedisStore;
    type Coordinator = RedisStore;

    fn missing() -> Option<String> {
        RedisServer::missing()
    }

    async fn new() -> Self {
        Self(RedisServer::start().await.expect("it is not missing"))
    }

    async fn store(&self) -> RedisStore {
        self.open_for_a_second()
    }

    async fn coordinator(&self) -> RedisStore {
        self.open_for_a_second()
    }
}

impl ServerGround for Redis {
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

    fn cut_connections(&self) {
        let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
        self.0.command(&kill);
    }

    fn listening_connections(&self) -> usize {
        let clients = self.0.command(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        clients.lines().filter(|line| !line.is_empty()).count()
    }

    fn cut_listening_connections(&self) {
        self.0.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        let gone = (0..500).any(|_| self.listening_connections() == 0);
        assert!(gone, "a subscription survives CLIENT KILL");
    }

    fn dump(&self) -> String {
        self.0.dump()
    }

    fn clear(&self) {
        self.0.command(&["FLUSHALL"]);
    }
}
