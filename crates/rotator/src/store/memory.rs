//! The store in memory, which lasts as long as the process.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::StoreError;
use crate::runtime::sync::{Mutex, lock};
use crate::store::{Record, Saved, SessionKey, SessionStore, Version};

/// Keeps sessions in memory, for rotators that share the store. Clones are the same store.
///
/// A single rotator needs no memory store, because it keeps its session itself. Rotators that share
/// a session in a memory store must share a
/// [`LocalCoordinator`](crate::store::LocalCoordinator) too.
#[derive(Clone, Default)]
pub struct MemoryStore {
    records: Arc<Mutex<HashMap<SessionKey, Record>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sessions = lock(&self.records).len();
        out.debug_struct("MemoryStore")
            .field("sessions", &sessions)
            .finish()
    }
}

impl SessionStore for MemoryStore {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        Ok(lock(&self.records).get(key).cloned())
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        let mut records = lock(&self.records);
        let stored = records.get(key);
        if stored.map(|stored| stored.version) != expected {
            return Ok(Saved::Conflict(stored.cloned()));
        }
        records.insert(key.clone(), record);
        Ok(Saved::Stored)
    }

    fn is_durable(&self) -> bool {
        false
    }
}
