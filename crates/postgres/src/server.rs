//! The operations of the store on `PostgreSQL`: statements and their results.

use std::future::{Future, ready};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use futures_util::{StreamExt as _, TryStreamExt as _};
use token_rotator::SessionKey;
use token_rotator::store::server::{
    HashedKey, LISTENING_CHECK, LeaseAttempt, Server, StoredRecord, Swap, Swapped,
};
use token_rotator::store::{Epoch, HeldLease, StoreError, StoreErrorKind, StoreTime, Version};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Error, Row};

use crate::call_error::CallError;
use crate::connector::{Messages, PostgresConnector};
use crate::parameter::BodyParameter;
use crate::pool::{ConnectionPool, address};
use crate::schema::SessionTable;
use crate::statements::Statements;

/// Returns the server's clock in milliseconds since 1970.
const NOW: &str = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// A `PostgreSQL` server, and the table of the store.
pub(crate) struct Postgres {
    pool: ConnectionPool,
    listen: Option<ListenAddress>,
    statements: Statements,
    table: SessionTable,
    /// The connection that received the last notification, until the next load takes it.
    notified_client: Mutex<Option<Arc<Client>>>,
}

/// Addresses and limits of the connections.
pub(crate) struct ConnectionSettings {
    pub(crate) config: Config,
    /// `None` if the store opens no connection for notifications.
    pub(crate) listen: Option<Config>,
    pub(crate) connector: Arc<dyn PostgresConnector>,
    pub(crate) table: SessionTable,
    pub(crate) connections: usize,
    pub(crate) limit: Duration,
    /// Whether a load may use the connection for notifications.
    pub(crate) reads_over_listen_connection: bool,
}

/// Address of the connection for notifications.
struct ListenAddress {
    config: Config,
    connector: Arc<dyn PostgresConnector>,
    address: String,
    limit: Duration,
    /// Whether a load may use this connection.
    allows_reads: bool,
}

impl Postgres {
    pub(crate) fn new(settings: ConnectionSettings) -> Self {
        let ConnectionSettings {
            config,
            listen,
            connector,
            table,
            connections,
            limit,
            reads_over_listen_connection: allows_reads,
        } = settings;
        Self {
            pool: ConnectionPool::new(config, &*connector, connections, limit),
            listen: listen.map(|config| ListenAddress {
                address: address(&config),
                config,
                connector,
                limit,
                allows_reads,
            }),
            statements: Statements::new(&table),
            table,
            notified_client: Mutex::default(),
        }
    }

    pub(crate) fn address(&self) -> &str {
        self.pool.address()
    }

    pub(crate) fn table(&self) -> &SessionTable {
        &self.table
    }

    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        Ok(self.pool.migrate(&self.table).await?)
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let session = HashedKey::new(&SessionKey::default());
        self.version(&session).await.map(drop)
    }

    /// Runs a statement whose first parameter is the session key.
    async fn row(
        &self,
        statement: &str,
        session: &HashedKey,
        other_parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Option<Row>, StoreError> {
        let session = session_name(session)?;
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&session, Type::TEXT)];
        parameters.extend_from_slice(other_parameters);
        Ok(self.pool.row(statement, &parameters).await?)
    }

    fn notified_client(&self) -> MutexGuard<'_, Option<Arc<Client>>> {
        self.notified_client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server for Postgres {
    const NAME: &'static str = "PostgreSQL";

    type Listening = (Arc<Client>, Messages);

    async fn version(&self, session: &HashedKey) -> Result<Option<Version>, StoreError> {
        let row = self.row(&self.statements.version, session, &[]).await?;
        row.map(|row| version(session, &row)).transpose()
    }

    async fn load(&self, session: &HashedKey) -> Result<Option<StoredRecord>, StoreError> {
        let parameters = [(&session_name(session)? as &(dyn ToSql + Sync), Type::TEXT)];
        // The server process of the connection that received a notification is running, so it responds sooner than an
        // idle one.
        let notified_client = self.notified_client().take();
        let load = &self.statements.load;
        let Some(row) = self
            .pool
            .row_over(notified_client, load, &parameters)
            .await?
        else {
            return Ok(None);
        };
        let body = row.try_get(2);
        let version = version(session, &row)?;
        let body = body.map_err(|_| Self::corrupt(session, "its body is missing"))?;
        if row.try_get::<_, bool>(4).unwrap_or_default() {
            return Err(StoreError::new(
                StoreErrorKind::Unavailable,
                format!("{} is a standby, whose records may be old", self.address()),
            )
            .with_hint("name the primary, or add `target_session_attrs=read-write`"));
        }
        let stored = StoredRecord::new(version, body);
        Ok(Some(match clock(&row, 3) {
            Some(now) => stored.read_at(now),
            None => stored,
        }))
    }

    async fn now(&self) -> Result<Option<StoreTime>, StoreError> {
        let row = self.pool.row(NOW, &[]).await?;
        Ok(row.and_then(|row| clock(&row, 0)))
    }

    async fn save(&self, session: &HashedKey, swap: Swap<'_>) -> Result<Swapped, StoreError> {
        let (channel, topic) = (self.table.channel(), session.record_topic());
        let next = VersionColumns::new(session, swap.version)?;
        let body = BodyParameter(swap.body);
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![
            (&next.epoch, Type::BYTEA),
            (&next.revision, Type::INT8),
            (&body, Type::BYTEA),
            (&channel, Type::TEXT),
            (&topic, Type::TEXT),
        ];
        let expected = swap
            .expected
            .map(|version| VersionColumns::new(session, version));
        let expected = expected.transpose()?;
        let statement = match &expected {
            Some(expected) => {
                parameters.push((&expected.epoch, Type::BYTEA));
                parameters.push((&expected.revision, Type::INT8));
                &self.statements.update
            }
            None => &self.statements.insert,
        };
        if self.row(statement, session, &parameters).await?.is_some() {
            return Ok(Swapped::Stored);
        }
        Ok(Swapped::Conflict(self.load(session).await?))
    }

    async fn take_lease(
        &self,
        session: &HashedKey,
        owner: &str,
        life: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        let milliseconds = milliseconds(life);
        let parameters = [
            (&owner as _, Type::TEXT),
            (&milliseconds as _, Type::FLOAT8),
        ];
        let row = self
            .row(&self.statements.acquire, session, &parameters)
            .await?;
        Ok(match row {
            Some(row) => LeaseAttempt::Taken { fence: fence(&row) },
            None => LeaseAttempt::Busy { left: None },
        })
    }

    async fn renew_lease(
        &self,
        session: &HashedKey,
        owner: &str,
        life: Duration,
    ) -> Result<bool, StoreError> {
        let milliseconds = milliseconds(life);
        let parameters = [
            (&owner as _, Type::TEXT),
            (&milliseconds as _, Type::FLOAT8),
        ];
        let row = self.row(&self.statements.renew, session, &parameters);
        Ok(row.await?.is_some())
    }

    async fn release_lease(&self, session: &HashedKey, owner: &str) -> Result<(), StoreError> {
        let (channel, topic) = (self.table.channel(), session.lease_topic());
        let parameters = [
            (&owner as _, Type::TEXT),
            (&channel as _, Type::TEXT),
            (&topic as _, Type::TEXT),
        ];
        let row = self.row(&self.statements.release, session, &parameters);
        row.await.map(drop)
    }

    async fn held_lease(&self, session: &HashedKey) -> Result<Option<HeldLease>, StoreError> {
        let row = self.row(&self.statements.inspect, session, &[]).await?;
        Ok(row.map(|row| {
            let left = row.try_get::<_, f64>(1).unwrap_or_default();
            // The lease may expire between the two readings of the clock in the statement.
            let left = Duration::from_secs_f64(left.max(0.0) / 1_000.0);
            HeldLease::new(fence(&row), left)
        }))
    }

    fn sends_notifications(&self) -> bool {
        self.listen.is_some()
    }

    async fn listen(&self) -> Result<Self::Listening, StoreError> {
        let address = self.listen_address()?;
        let connect = address.connector.listen(&address.config);
        let (client, mut messages) = address.with_time_limit(connect).await?;
        {
            // The connection sends and receives only while its messages are polled.
            let poll_messages = messages.by_ref().try_for_each(|_| ready(Ok(())));
            let listen = address.with_time_limit(client.batch_execute(&self.statements.listen));
            match select(pin!(listen), poll_messages).await {
                Either::Left((result, _)) => result?,
                Either::Right(_) => return Err(CallError::closed(&address.address).into()),
            }
        }
        Ok((Arc::new(client), messages))
    }

    async fn notification(
        &self,
        (client, messages): &mut Self::Listening,
    ) -> Result<Option<String>, StoreError> {
        let address = self.listen_address()?;
        let notification = async {
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(message) = message {
                    return Ok(Some(message.payload().to_owned()));
                }
            }
            Err(CallError::closed(&address.address))
        };
        let connection_loss = async {
            loop {
                tokio::time::sleep(LISTENING_CHECK).await;
                if let Err(error) = address.with_time_limit(client.check_connection()).await {
                    return error;
                }
            }
        };
        let outcome = match select(pin!(notification), pin!(connection_loss)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((error, _)) => Err(error),
        };
        // A connection to another address may use another role and read another table.
        *self.notified_client() =
            (outcome.is_ok() && address.allows_reads).then(|| Arc::clone(client));
        Ok(outcome?)
    }
}

impl Postgres {
    fn listen_address(&self) -> Result<&ListenAddress, StoreError> {
        self.listen.as_ref().ok_or_else(|| {
            StoreError::new(
                StoreErrorKind::Refused,
                "this store makes no listening connection",
            )
        })
    }
}

impl ListenAddress {
    async fn with_time_limit<T>(
        &self,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout(self.limit, future).await {
            Ok(result) => result.map_err(|error| CallError::new(error, &self.address)),
            Err(_) => Err(CallError::timed_out(self.limit, &self.address)),
        }
    }
}

/// A version, as the table stores it.
struct VersionColumns {
    epoch: Vec<u8>,
    revision: i64,
}

impl VersionColumns {
    fn new(session: &HashedKey, version: Version) -> Result<Self, StoreError> {
        // At a thousand saves a second, a bigint lasts for 292 million years.
        let revision = i64::try_from(version.revision).map_err(|_| {
            StoreError::new(
                StoreErrorKind::Refused,
                format!(
                    "session {} has come to revision {}, more than a bigint of PostgreSQL holds",
                    session.key(),
                    version.revision
                ),
            )
        })?;
        Ok(Self {
            epoch: version.epoch.bits().to_be_bytes().to_vec(),
            revision,
        })
    }
}

/// Returns the session key, as the table stores it.
fn session_name(session: &HashedKey) -> Result<&str, StoreError> {
    let session_name = session.key().as_str();
    if session_name.contains('\0') {
        return Err(StoreError::new(
            StoreErrorKind::Refused,
            "PostgreSQL cannot store a session name with a zero byte in it",
        )
        .with_hint("choose another name for the session"));
    }
    Ok(session_name)
}

fn milliseconds(life: Duration) -> f64 {
    life.as_secs_f64() * 1_000.0
}

/// Reads the fence in the first column.
fn fence(row: &Row) -> u64 {
    let fence = row.try_get::<_, i64>(0).unwrap_or_default();
    u64::try_from(fence).unwrap_or_default()
}

/// Reads the server's clock from this column.
fn clock(row: &Row, column: usize) -> Option<StoreTime> {
    let now = row.try_get::<_, i64>(column).ok()?;
    let now = Duration::from_millis(u64::try_from(now).ok()?);
    Some(StoreTime::by_wall(SystemTime::UNIX_EPOCH.checked_add(now)?))
}

fn version(session: &HashedKey, row: &Row) -> Result<Version, StoreError> {
    let epoch = row.try_get::<_, &[u8]>(0).ok();
    let epoch = epoch.and_then(|epoch| <[u8; 16]>::try_from(epoch).ok());
    let revision = row.try_get::<_, i64>(1).ok();
    let revision = revision.and_then(|revision| u64::try_from(revision).ok());
    match (epoch, revision) {
        (Some(epoch), Some(revision)) => {
            let epoch = Epoch::from_bits(u128::from_be_bytes(epoch));
            Ok(Version::new(epoch, revision))
        }
        _ => Err(Postgres::corrupt(session, "its version cannot be read")),
    }
}
