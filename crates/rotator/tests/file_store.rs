//! Runs the store conformance suite on the file store, and tests its permissions, keys and damaged
//! files.
#![cfg(feature = "file")]
#![cfg(unix)]

mod file;

use file::StoreDirectory;
use token_rotator::{FileLock, FileStore};
use token_rotator_testkit::conformance::StoreFixture;

impl StoreFixture for StoreDirectory {
    type Store = FileStore;
    type Coordinator = FileLock;

    async fn new() -> Self {
        StoreDirectory::empty()
    }

    async fn store(&self) -> FileStore {
        self.open()
    }

    async fn coordinator(&self) -> FileLock {
        self.open().locks()
    }
}

token_rotator_testkit::conformance!(StoreDirectory);
