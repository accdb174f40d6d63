//! The file store under the suite for all stores, and what is its own: permissions, keys, damage.
#![cfg(feature = "file")]
#![cfg(unix)]

mod file;

use file::Place;
use token_rotator::{FileLock, FileStore};
use token_rotator_testkit::conformance::StoreFixture;

impl StoreFixture for Place {
    type Store = FileStore;
    type Coordinator = FileLock;

    async fn new() -> Self {
        Place::empty()
    }

    async fn store(&self) -> FileStore {
        self.open()
    }

    async fn coordinator(&self) -> FileLock {
        self.open().locks()
    }
}

token_rotator_testkit::conformance!(Place);
