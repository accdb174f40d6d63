//! Where a session is kept, for whoever is told only its address.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use token_rotator::{
    Coordinator, FileLock, FileStore, KeyFile, Lease, LeaseError, Record, Saved, SessionKey,
    SessionStore, StoreError, Version,
};

/// The address of a store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Place {
    /// A directory, and the file of its key.
    File {
        /// The sessions.
        directory: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

/// An open store with its coordinator.
#[derive(Clone)]
pub enum Ground {
    /// Files and kernel locks.
    File(FileStore, FileLock),
}

impl Place {
    /// A store in this directory.
    pub fn file(root: &std::path::Path) -> Self {
        Self::File {
            directory: root.join("state"),
            key: root.join("config").join("key"),
        }
    }

    /// Opens it. `life`: how long its leases last, where they run out.
    #[expect(clippy::unused_async, reason = "servers have to be connected to")]
    pub async fn open(&self, _life: Duration) -> Result<Ground, StoreError> {
        match self {
            Self::File { directory, key } => {
                let store = FileStore::builder(directory)
                    .vault(KeyFile::new(key))
                    .open()?;
                let locks = store.locks();
                Ok(Ground::File(store, locks))
            }
        }
    }

    /// Its kind.
    pub fn word(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
        }
    }

    /// Whether its leases hold however long their holder is stopped.
    pub fn locks_are_absolute(&self) -> bool {
        matches!(self, Self::File { .. })
    }
}

impl SessionStore for Ground {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        match self {
            Self::File(store, _) => store.load(key).await,
        }
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        match self {
            Self::File(store, _) => store.save(key, expected, record).await,
        }
    }

    async fn changed(&self, key: &SessionKey, seen: Option<Version>) {
        match self {
            Self::File(store, _) => store.changed(key, seen).await,
        }
    }
}

impl Coordinator for Ground {
    async fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        match self {
            Self::File(_, locks) => locks.acquire(key, wait).await,
        }
    }

    fn lease_life(&self) -> Option<Duration> {
        match self {
            Self::File(_, locks) => locks.lease_life(),
        }
    }
}
