//! Runs the store conformance suite on the store and the coordinator of one process.

use token_rotator::MemoryStore;
use token_rotator::store::LocalCoordinator;
use token_rotator_testkit::conformance::StoreFixture;

struct Memory {
    store: MemoryStore,
    coordinator: LocalCoordinator,
}

impl StoreFixture for Memory {
    type Store = MemoryStore;
    type Coordinator = LocalCoordinator;

    async fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            coordinator: LocalCoordinator::new(),
        }
    }

    async fn store(&self) -> MemoryStore {
        self.store.clone()
    }

    async fn coordinator(&self) -> LocalCoordinator {
        self.coordinator.clone()
    }

    fn reports_changes(&self) -> bool {
        false
    }
}

token_rotator_testkit::conformance!(Memory);
