//! The suite for all stores and coordinators, on a real server.

mod support;

use std::time::Duration;

use token_rotator_redis::RedisStore;
use token_rotator_testkit::RedisServer;
use token_rotator_testkit::conformance::Ground;

struct Redis(RedisServer);

impl Redis {
    fn open(&self) -> RedisStore {
        let store = support::builder(&self.0)
            .lease_life(Duration::from_secs(1))
            .operation_timeout(Duration::from_millis(900));
        store.build().expect("settings that fit")
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
        self.open()
    }

    async fn coordinator(&self) -> RedisStore {
        self.open()
    }
}

token_rotator_testkit::conformance!(Redis);
