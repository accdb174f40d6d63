//! What the store asks of `PostgreSQL`: its statements, and what they answer.

use std::future::{Future, ready};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{StreamExt as _, TryStreamExt as _};
use token_rotator::SessionKey;
use token_rotator::store::server::{
    HashedKey, LISTENING_CHECK, LeaseAttempt, Server, StoredRecord, Swap, Swapped,
};
use token_rotator::store::{Epoch, HeldLease, StoreError, StoreErrorKind, Version};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Error, Row};

use crate::connector::{Connector, Messages};
use crate::fault::Fault;
use crate::link::{Link, address};
use crate::parameter::Body;
use crate::schema::Table;
use crate::statements::Statements;

/// A `PostgreSQL` server and the table there.
pub(crate) struct Postgres {
    link: Link,
    listen: Option<ListenAddress>,
    statements: Statements,
    table: Table,
    /// The connection that a notification arrived on, until the next read takes it.
    awake: Mutex<Option<Arc<Client>>>,
}

/// Where calls and the listening connection go.
pub(crate) struct Addresses {
    pub(crate) config: Config,
    /// `None`: there is no listening connection.
    pub(crate) listen: Option<Config>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) table: Table,
    pub(crate) connections: usize,
    pub(crate) limit: Duration,
    /// Whether a record may be read over the listening connection.
    pub(crate) reads_where_it_listens: bool,
}

/// Where the listening connection goes.
struct ListenAddress {
    config: Config,
    connector: Arc<dyn Connector>,
    address: String,
    limit: Duration,
    /// Whether a record may be read over it.
    for_reads: bool,
}

impl Postgres {
    pub(crate) fn new(addresses: Addresses) -> Self {
        let Addresses {
            config,
            listen,
            connector,
            table,
            connections,
            limit,
            reads_where_it_listens: for_reads,
        } = addresses;
        Self {
            link: Link::new(config, &*connector, connections, limit),
            listen: listen.map(|config| ListenAddress {
                address: address(&config),
                config,
                connector,
                limit,
                for_reads,
            }),
            statements: Statements::new(&table),
            table,
            awake: Mutex::default(),
        }
    }

    pub(crate) fn address(&self) -> &str {
        self.link.address()
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        Ok(self.link.migrate(&self.table).await?)
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let session = HashedKey::new(&SessionKey::default());
        self.version(&session).await.map(drop)
    }

    /// Runs a statement about a session, which is its first parameter.
    async fn row(
        &self,
        statement: &str,
        session: &HashedKey,
        more: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Option<Row>, StoreError> {
        let session = name(session)?;
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&session, Type::TEXT)];
        parameters.extend_from_slice(more);
        Ok(self.link.row(statement, &parameters).await?)
    }

    fn awake(&self) -> MutexGuard<'_, Option<Arc<Client>>> {
        self.awake.lock().unwrap_or_else(PoisonError::into_inner)
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
        let parameters = [(&name(session)? as &(dyn ToSql + Sync), Type::TEXT)];
        // After a notification, the listening connection is awake: a read over it is answered
        // sooner than over a connection that has to wake up first.
        let awake = self.awake().take();
        let load = &self.statements.load;
        let Some(row) = self.link.row_over(awake, load, &parameters).await? else {
            return Ok(None);
        };
        let body = row.try_get(2);
        let version = version(session, &row)?;
        let body = body.map_err(|_| Self::corrupt(session, "its body is none"))?;
        Ok(Some(StoredRecord::new(version, body)))
    }

    async fn save(&self, session: &HashedKey, swap: Swap<'_>) -> Result<Swapped, StoreError> {
        let (channel, topic) = (self.table.channel(), session.record_topic());
        let next = VersionColumns::new(session, swap.version)?;
        let body = Body(swap.body);
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
        let millis = millis(life);
        let parameters = [(&owner as _, Type::TEXT), (&millis as _, Type::FLOAT8)];
        let row = self
            .row(&self.statements.take, session, &parameters)
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
        let millis = millis(life);
        let parameters = [(&owner as _, Type::TEXT), (&millis as _, Type::FLOAT8)];
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
        let row = self.row(&self.statements.look, session, &[]).await?;
        Ok(row.map(|row| {
            let left = row.try_get::<_, f64>(1).unwrap_or_default();
            // It may have run out between the two looks at the clock.
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
        let (client, mut messages) = address.bounded(connect).await?;
        {
            // The connection sends and receives only while its messages are read.
            let read = messages.by_ref().try_for_each(|_| ready(Ok(())));
            let listen = address.bounded(client.batch_execute(&self.statements.listen));
            match select(pin!(listen), read).await {
                Either::Left((listens, _)) => listens?,
                Either::Right(_) => return Err(Fault::closed(&address.address).into()),
            }
        }
        Ok((Arc::new(client), messages))
    }

    async fn notification(
        &self,
        (client, messages): &mut Self::Listening,
    ) -> Result<Option<String>, StoreError> {
        let address = self.listen_address()?;
        let next = async {
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(message) = message {
                    return Ok(Some(message.payload().to_owned()));
                }
            }
            Err(Fault::closed(&address.address))
        };
        let lost = async {
            loop {
                tokio::time::sleep(LISTENING_CHECK).await;
                if let Err(fault) = address.bounded(client.check_connection()).await {
                    return fault;
                }
            }
        };
        let outcome = match select(pin!(next), pin!(lost)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((fault, _)) => Err(fault),
        };
        // A connection to another address, as another role, might read another table.
        *self.awake() = (outcome.is_ok() && address.for_reads).then(|| Arc::clone(client));
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
    async fn bounded<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Fault> {
        match tokio::time::timeout(self.limit, work).await {
            Ok(answer) => answer.map_err(|error| Fault::new(error, &self.address)),
            Err(_) => Err(Fault::timed_out(self.limit, &self.address)),
        }
    }
}

/// A version, as the table takes it.
struct VersionColumns {
    epoch: Vec<u8>,
    revision: i64,
}

impl VersionColumns {
    fn new(session: &HashedKey, version: Version) -> Result<Self, StoreError> {
        // At a thousand saves a second, a bigint lasts for ages.
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

/// The session's name, as the table takes it.
fn name(session: &HashedKey) -> Result<&str, StoreError> {
    let name = session.key().as_str();
    if name.contains('\0') {
        return Err(StoreError::new(
            StoreErrorKind::Refused,
            "PostgreSQL cannot store a session name with a zero byte in it",
        )
        .with_hint("choose another name for the session"));
    }
    Ok(name)
}

fn millis(life: Duration) -> f64 {
    life.as_secs_f64() * 1_000.0
}

/// The first column, as the number of a lease.
fn fence(row: &Row) -> u64 {
    let fence = row.try_get::<_, i64>(0).unwrap_or_default();
    u64::try_from(fence).unwrap_or_default()
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
        _ => Err(Postgres::corrupt(session, "its version is none")),
    }
}
