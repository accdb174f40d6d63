//! The session store.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use token_rotator::{
    Epoch, Record, RecordCodec, Saved, SessionKey, SessionStore, SharedCoordinator, StoreError,
    StoreErrorKind, Version,
};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Config, Row};
use tokio_util::task::TaskTracker;

use crate::builder::PostgresStoreBuilder;
use crate::connector::Connector;
use crate::link::{Link, address};
use crate::listener::{Listener, Place};
use crate::parameter::Body;
use crate::schema::Table;
use crate::statements::Statements;

/// Keeps sessions in a table of `PostgreSQL`, and grants their leases there.
///
/// Clones share a few connections for calls and, once somebody waits for others, one for listening.
#[derive(Clone)]
pub struct PostgresStore(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) link: Link,
    pub(crate) listener: Listener,
    pub(crate) statements: Statements,
    pub(crate) table: Table,
    codec: RecordCodec,
    pub(crate) lease_life: Duration,
    /// Attempts to take leases, and leases on their way back.
    pub(crate) background: TaskTracker,
}

/// What the builder has gathered.
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) listen: Option<Config>,
    /// Whether calls go there too.
    pub(crate) for_calls: bool,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) codec: RecordCodec,
    pub(crate) table: Table,
    pub(crate) connections: usize,
    pub(crate) lease_life: Duration,
    pub(crate) limit: Duration,
}

impl PostgresStore {
    /// Begins a store.
    pub fn builder() -> PostgresStoreBuilder {
        PostgresStoreBuilder::new()
    }

    pub(crate) fn new(settings: Settings) -> Self {
        let Settings {
            config,
            listen,
            for_calls,
            connector,
            codec,
            table,
            connections,
            lease_life,
            limit,
        } = settings;
        let statements = Statements::new(&table);
        let place = listen.map(|config| Place {
            address: address(&config),
            config,
            connector: Arc::clone(&connector),
            statement: statements.listen.clone(),
            limit,
            for_calls,
        });
        let background = TaskTracker::new();
        // So that it can be waited for at any time.
        background.close();
        Self(Arc::new(Inner {
            link: Link::new(config, &*connector, connections, limit),
            listener: Listener::new(place),
            statements,
            table,
            codec,
            lease_life,
            background,
        }))
    }

    /// Makes the table where it is missing, and brings an older one up to date. It may be called
    /// with every start, by as many processes at once as there are: they take turns. Where there
    /// is nothing to do, no right is needed but to read. It waits ten times as long as other calls.
    ///
    /// Fails with [`StoreErrorKind::Newer`] where a newer version of this program was here before.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        Ok(self.0.link.migrate(&self.0.table).await?)
    }

    /// The SQL that [`migrate`](Self::migrate) runs, for whoever runs it by hand. Running it again
    /// does no harm.
    pub fn migration_sql(&self) -> String {
        self.0.table.script()
    }

    /// Asks the server whether it is there, lets this store in and has its table: for programs that
    /// would rather not start than find out later.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.version(&SessionKey::default()).await.map(drop)
    }

    /// Which version is stored.
    async fn version(&self, key: &SessionKey) -> Result<Option<Version>, StoreError> {
        let Inner {
            link, statements, ..
        } = &*self.0;
        let session = name(key)?;
        let row = link
            .row(&statements.version, &[(&session, Type::TEXT)])
            .await?;
        row.map(|row| version(key, &row)).transpose()
    }

    /// The body that is stored, with the version beside it.
    async fn body(&self, key: &SessionKey) -> Result<Option<(Version, Vec<u8>)>, StoreError> {
        let Inner {
            link,
            listener,
            statements,
            ..
        } = &*self.0;
        let session = name(key)?;
        let row = link
            .row_over(
                listener.awake(),
                &statements.load,
                &[(&session, Type::TEXT)],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let body = row.try_get(2);
        let body = body.map_err(|_| corrupt(key, "its body is none"))?;
        Ok(Some((version(key, &row)?, body)))
    }

    fn decode(
        &self,
        key: &SessionKey,
        stored: Option<(Version, Vec<u8>)>,
    ) -> Result<Option<Record>, StoreError> {
        let Some((version, body)) = stored else {
            return Ok(None);
        };
        let record = self.0.codec.decode(key, &body)?;
        if record.version != version {
            // The body says, and is sealed; what stands beside it was changed by somebody else.
            return Err(corrupt(key, "its version is not that of its body"));
        }
        Ok(Some(record))
    }
}

impl SessionStore for PostgresStore {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        let stored = self.body(key).await?;
        self.decode(key, stored)
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        let Inner {
            link,
            statements,
            table,
            ..
        } = &*self.0;
        let bytes = self.0.codec.encode(key, &record)?;
        let (session, channel, saved) = (name(key)?, table.channel(), saved(key));
        let epoch = record.version.epoch.bits().to_be_bytes();
        let (epoch, revision) = (&epoch[..], revision(key, record.version)?);
        let body = Body(&bytes);
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![
            (&session, Type::TEXT),
            (&epoch, Type::BYTEA),
            (&revision, Type::INT8),
            (&body, Type::BYTEA),
            (&channel, Type::TEXT),
            (&saved, Type::TEXT),
        ];
        let before = match expected {
            Some(version) => {
                let epoch = version.epoch.bits().to_be_bytes().to_vec();
                Some((epoch, self::revision(key, version)?))
            }
            None => None,
        };
        let statement = match &before {
            Some((epoch, revision)) => {
                parameters.push((epoch, Type::BYTEA));
                parameters.push((revision, Type::INT8));
                &statements.update
            }
            None => &statements.insert,
        };
        if link.row(statement, &parameters).await?.is_some() {
            return Ok(Saved::Stored);
        }
        let stored = self.body(key).await?;
        // Ours, by a statement whose answer was lost: sealed, no two bodies are alike.
        if stored
            .as_ref()
            .is_some_and(|(version, body)| *version == record.version && *body == bytes)
        {
            return Ok(Saved::Stored);
        }
        Ok(Saved::Conflict(self.decode(key, stored)?))
    }

    async fn changed(&self, key: &SessionKey, seen: Option<Version>) {
        // First this, then the look: what is saved in between is heard.
        let mut listening = self.0.listener.listen(&saved(key));
        loop {
            if let Ok(stored) = self.version(key).await
                && stored != seen
            {
                return;
            }
            // What is told is news, or as good as: whoever asked reads the record anyway.
            if listening.heard(Duration::MAX).await {
                return;
            }
        }
    }

    fn coordinator(&self) -> Option<SharedCoordinator> {
        Some(SharedCoordinator::new(self.clone()))
    }
}

/// The session's name, as the table takes it.
pub(crate) fn name(key: &SessionKey) -> Result<&str, StoreError> {
    if key.as_str().contains('\0') {
        return Err(StoreError::new(
            StoreErrorKind::Refused,
            "PostgreSQL cannot store a session name with a zero byte in it; choose another",
        ));
    }
    Ok(key.as_str())
}

/// The notification that the session's record was saved.
fn saved(key: &SessionKey) -> String {
    format!("{}:record", hash(key))
}

/// The notification that the session's lease was given back.
pub(crate) fn released(key: &SessionKey) -> String {
    format!("{}:lease", hash(key))
}

/// What stands for the session in notifications.
fn hash(key: &SessionKey) -> String {
    let mut hash = String::with_capacity(64);
    for byte in Sha256::digest(key.as_str()) {
        // Writing to a string cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

/// The revision, as the table takes it: at a thousand saves a second it lasts for ages.
fn revision(key: &SessionKey, version: Version) -> Result<i64, StoreError> {
    i64::try_from(version.revision).map_err(|_| {
        StoreError::new(
            StoreErrorKind::Refused,
            format!(
                "session {key} has come to revision {}, more than a bigint of PostgreSQL holds",
                version.revision
            ),
        )
    })
}

fn version(key: &SessionKey, row: &Row) -> Result<Version, StoreError> {
    let epoch = row.try_get::<_, &[u8]>(0).ok();
    let epoch = epoch.and_then(|epoch| <[u8; 16]>::try_from(epoch).ok());
    let revision = row.try_get::<_, i64>(1).ok();
    let revision = revision.and_then(|revision| u64::try_from(revision).ok());
    match (epoch, revision) {
        (Some(epoch), Some(revision)) => Ok(Version {
            epoch: Epoch::from_bits(u128::from_be_bytes(epoch)),
            revision,
        }),
        _ => Err(corrupt(key, "its version is none")),
    }
}

fn corrupt(key: &SessionKey, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!(
            "the record of session {key} in PostgreSQL cannot be read: {what}; it was left untouched"
        ),
    )
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PostgresStore")
            .field("address", &self.0.link.address())
            .field("table", &self.0.table.name())
            .field("codec", &self.0.codec)
            .field("lease_life", &self.0.lease_life)
            .finish_non_exhaustive()
    }
}
