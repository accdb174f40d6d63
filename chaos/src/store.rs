//! Opens a store by its address. The storm passes the address to its worker processes.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use token_rotator::FileStore;
use token_rotator::keys::{DataKey, KeyFile, KeySource};
use token_rotator::store::{BoxedStore, RecordCodec, StoreError, StoreErrorKind};
use token_rotator_postgres::PostgresStore;
use token_rotator_redis::RedisStore;
use token_rotator_testkit::{PostgresServer, RedisServer};

/// The kinds of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Files and kernel locks.
    File,
    /// A Redis server.
    Redis,
    /// A `PostgreSQL` server.
    Postgres,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::File, Self::Redis, Self::Postgres];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }
}

/// A new, empty store. Its directory or server ends when this value is dropped.
pub enum TestStore {
    /// A directory.
    File(tempfile::TempDir),
    /// A server.
    Redis(RedisServer),
    /// A server with the table in it.
    Postgres(PostgresServer),
}

impl TestStore {
    /// Makes an empty store. Returns `None`, and prints a message, if the machine lacks the server.
    ///
    /// # Panics
    ///
    /// If the directory or the server cannot be made.
    pub async fn make(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::File => Self::File(tempfile::tempdir().expect("a temporary directory")),
            Kind::Redis => Self::Redis(RedisServer::start().await?),
            Kind::Postgres => {
                let server = PostgresServer::start().await?;
                let store = postgres(&server.url(), OPERATION * 2);
                let store = store.expect("settings that fit");
                store.migrate().await.expect("a new table");
                Self::Postgres(server)
            }
        })
    }

    /// The address of the store.
    pub fn address(&self) -> StoreAddress {
        match self {
            Self::File(root) => StoreAddress::File {
                directory: root.path().join("state"),
                key: root.path().join("config").join("key"),
            },
            Self::Redis(server) => StoreAddress::Redis { url: server.url() },
            Self::Postgres(server) => StoreAddress::Postgres { url: server.url() },
        }
    }
}

/// The address of a store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum StoreAddress {
    /// A directory, and the file of its key.
    File {
        /// The directory of the sessions.
        directory: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// A Redis server.
    Redis {
        /// The address of the server.
        url: String,
    },
    /// A `PostgreSQL` server.
    Postgres {
        /// The address of the server.
        url: String,
    },
}

/// The timeout of one operation at a server.
const OPERATION: Duration = Duration::from_millis(800);

fn codec() -> RecordCodec {
    RecordCodec::sealed(DataKey::new(KeySource::Program, [7; 32]))
}

fn settings(error: impl std::fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Refused, error.to_string())
}

fn postgres(url: &str, life: Duration) -> Result<PostgresStore, StoreError> {
    let store = PostgresStore::builder()
        .url(url)
        .codec(codec())
        .connections(2)
        .lease_life(life)
        .operation_timeout(OPERATION);
    store.build().map_err(settings)
}

impl StoreAddress {
    /// Opens the store, which brings its coordinator along. `life` is the life of a lease at a server.
    pub fn open(&self, life: Duration) -> Result<BoxedStore, StoreError> {
        Ok(match self {
            Self::File { directory, key } => BoxedStore::new(
                FileStore::builder(directory)
                    .vault(KeyFile::new(key))
                    .open()?,
            ),
            Self::Redis { url } => {
                let store = RedisStore::builder()
                    .url(url)
                    .codec(codec())
                    .lease_life(life)
                    .operation_timeout(OPERATION);
                BoxedStore::new(store.build().map_err(settings)?)
            }
            Self::Postgres { url } => BoxedStore::new(postgres(url, life)?),
        })
    }

    /// The kind of the store.
    pub fn kind(&self) -> Kind {
        match self {
            Self::File { .. } => Kind::File,
            Self::Redis { .. } => Kind::Redis,
            Self::Postgres { .. } => Kind::Postgres,
        }
    }
}
