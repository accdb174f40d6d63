//! The store in memory, which lasts as long as the process.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::error::StoreError;
use crate::runtime::sync::{Mutex, lock};
use crate::store::{Record, Saved, SessionKey, SessionStore, StoreTime, Version};

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
        Ok(lock(&self.records).get(key).map(read_now))
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
            return Ok(Saved::Conflict(stored.map(read_now)));
        }
        records.insert(key.clone(), record);
        Ok(Saved::Stored)
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn spans_hosts(&self) -> bool {
        false
    }
}

/// Copies the record, with the time of this process.
fn read_now(record: &Record) -> Record {
    /// The start of the clock, and the number that names it.
    static START: OnceLock<(u128, tokio::time::Instant)> = OnceLock::new();
    let (start, began) =
        START.get_or_init(|| (crate::runtime::random::bits(), tokio::time::Instant::now()));
    record
        .clone()
        .read_at(StoreTime::since_start(*start, began.elapsed()))
}
