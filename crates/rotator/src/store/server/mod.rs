//! The common parts of session stores on servers, for authors of such stores.
//!
//! A crate for one server implements [`Server`]: connections, statements, error texts. A
//! [`ServerStore`] around it is session store and coordinator.
//!
//! - `mod.rs`: the operations of a server, and the store around it.
//! - `lease.rs`: takes, renews and releases leases, and waits for a lease.
//! - `listener.rs`: the connection for notifications, and its reconnects.
//! - `notify.rs`: passes notifications to the waiting tasks of this process.
//! - `settings.rs`: the settings of every such store. `address.rs`: addresses, parsed strictly.

mod address;
mod lease;
mod listener;
mod notify;
mod settings;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hmac_sha256::Hash;
use tokio_util::task::TaskTracker;

pub use self::address::{AddressError, ServerAddress, is_host};
pub use self::notify::{ChangeNotifier, Subscription};
pub use self::settings::{SettingError, Timing};

use self::listener::ChangeListener;
use crate::store::codec::hex;
use crate::store::{
    BoxedCoordinator, HeldLease, Record, RecordCodec, Saved, SessionKey, SessionStore, StoreError,
    StoreErrorKind, StoreTime, Version,
};

/// A server that can keep records and leases: its operations for a [`ServerStore`].
///
/// Each call must end within the store's operation timeout. Callers may drop a call at any time.
pub trait Server: Send + Sync + 'static {
    /// The server's name in error messages, such as `Redis`.
    const NAME: &'static str;

    /// A connection on which the server sends notifications.
    type Listening: Send;

    /// Reads the version of a record. Returns `None` if there is no record.
    fn version(
        &self,
        session: &HashedKey,
    ) -> impl Future<Output = Result<Option<Version>, StoreError>> + Send;

    /// Reads a record and the server's clock, from the primary. Returns `None` if there is no record.
    fn load(
        &self,
        session: &HashedKey,
    ) -> impl Future<Output = Result<Option<StoredRecord>, StoreError>> + Send;

    /// Compares and swaps in one step, and sends [`HashedKey::record_topic`] if it stored something.
    fn save(
        &self,
        session: &HashedKey,
        swap: Swap<'_>,
    ) -> impl Future<Output = Result<Swapped, StoreError>> + Send;

    /// Reads the server's clock. Default: the server has none.
    fn now(&self) -> impl Future<Output = Result<Option<StoreTime>, StoreError>> + Send {
        std::future::ready(Ok(None))
    }

    /// Takes the lease for this owner if it is free, has run out, or is the owner's already.
    fn take_lease(
        &self,
        session: &HashedKey,
        owner: &str,
        life: Duration,
    ) -> impl Future<Output = Result<LeaseAttempt, StoreError>> + Send;

    /// Prolongs the lease of this owner. Returns false if the owner does not hold it.
    fn renew_lease(
        &self,
        session: &HashedKey,
        owner: &str,
        life: Duration,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Frees the lease of this owner, and sends [`HashedKey::lease_topic`] if it was held.
    fn release_lease(
        &self,
        session: &HashedKey,
        owner: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads the lease. Returns `None` if it is free.
    fn held_lease(
        &self,
        session: &HashedKey,
    ) -> impl Future<Output = Result<Option<HeldLease>, StoreError>> + Send;

    /// Whether the server sends notifications. If not, waiting tasks poll.
    fn sends_notifications(&self) -> bool {
        true
    }

    /// Connects for notifications. The connection receives those sent after this call returns.
    fn listen(&self) -> impl Future<Output = Result<Self::Listening, StoreError>> + Send;

    /// Waits for the next notification. Returns its topic, or `None` if the topic is not readable.
    ///
    /// Fails if the connection is lost. Checks a silent connection every [`LISTENING_CHECK`].
    fn notification(
        &self,
        listening: &mut Self::Listening,
    ) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// The error for a record that cannot be read. `problem` completes the text "cannot be read: ".
    fn corrupt(session: &HashedKey, problem: &str) -> StoreError {
        StoreError::new(
            StoreErrorKind::Corrupt,
            format!(
                "the record of session {} in {} cannot be read: {problem}; it was left untouched",
                session.key,
                Self::NAME
            ),
        )
    }
}

/// How often a save replaces an unsealed sign-out that changes meanwhile.
const UNSEALED_MAX: usize = 4;

/// How often a silent listening connection is checked.
pub const LISTENING_CHECK: Duration = Duration::from_secs(20);

/// A session key and its hash, which names its record, its lease and its notifications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedKey {
    key: SessionKey,
    hash: String,
}

impl HashedKey {
    /// Hashes this key.
    pub fn new(key: &SessionKey) -> Self {
        Self {
            key: key.clone(),
            hash: hex(&Hash::hash(key.as_str().as_bytes())),
        }
    }

    /// The session key.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// SHA-256 of the session key, as 64 hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The topic of the notification that the record was saved.
    pub fn record_topic(&self) -> String {
        format!("{}:record", self.hash)
    }

    /// The topic of the notification that the lease was released.
    pub fn lease_topic(&self) -> String {
        format!("{}:lease", self.hash)
    }
}

/// A record as the server holds it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredRecord {
    /// The version that the server compares.
    pub version: Version,
    /// The encoded record, which contains the version too.
    pub body: Vec<u8>,
    /// The server's clock when it read the record.
    pub now: Option<StoreTime>,
}

impl StoredRecord {
    /// The record with this version and body.
    pub fn new(version: Version, body: Vec<u8>) -> Self {
        Self {
            version,
            body,
            now: None,
        }
    }

    /// The record, read at this moment by the server's clock.
    pub fn read_at(self, now: StoreTime) -> Self {
        Self {
            now: Some(now),
            ..self
        }
    }
}

/// The arguments of a compare-and-swap.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Swap<'a> {
    /// The version that the stored record must have. `None` if there must be no record.
    pub expected: Option<Version>,
    /// The new version.
    pub version: Version,
    /// The new record, encoded.
    pub body: &'a [u8],
}

/// Outcomes of a compare-and-swap.
#[derive(Clone, Debug)]
pub enum Swapped {
    /// The server stored the record.
    Stored,
    /// Another version was stored. The server changed nothing.
    Conflict(Option<StoredRecord>),
}

/// Outcomes of an attempt to take a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAttempt {
    /// The caller holds the lease.
    Taken {
        /// The number of the lease.
        fence: u64,
    },
    /// Another owner holds the lease.
    Busy {
        /// The time until that lease runs out. `None` if the server did not tell.
        left: Option<Duration>,
    },
}

/// The session store and coordinator on a server. Clones share its connections.
pub struct ServerStore<S: Server>(Arc<Shared<S>>);

struct Shared<S: Server> {
    server: Arc<S>,
    listener: ChangeListener<S>,
    codec: RecordCodec,
    lease_life: Duration,
    /// Attempts to take a lease, and releases of dropped leases.
    background: TaskTracker,
}

impl<S: Server> ServerStore<S> {
    /// A store on this server. It connects with its first call.
    pub fn new(server: S, codec: RecordCodec, lease_life: Duration) -> Self {
        let background = TaskTracker::new();
        // `wait` ends only on a closed tracker. A closed tracker still accepts tasks.
        background.close();
        let server = Arc::new(server);
        Self(Arc::new(Shared {
            listener: ChangeListener::new(Arc::clone(&server)),
            server,
            codec,
            lease_life,
            background,
        }))
    }

    /// The server.
    pub fn server(&self) -> &S {
        &self.0.server
    }

    /// The codec that encodes records.
    pub fn codec(&self) -> &RecordCodec {
        &self.0.codec
    }

    fn decode(
        &self,
        session: &HashedKey,
        stored: Option<StoredRecord>,
    ) -> Result<Option<Record>, StoreError> {
        let Some(StoredRecord { version, body, now }) = stored else {
            return Ok(None);
        };
        let record = self.0.codec.decode(&session.key, &body)?;
        let record = match now {
            Some(now) => record.read_at(now),
            None => record,
        };
        if record.version != version {
            // The version in a sealed body is authentic, so the version beside the body was changed.
            let problem = "its version differs from the version in its body";
            return Err(S::corrupt(session, problem));
        }
        if record.is_unsealed_sign_out() {
            // A writer without the key could sign every user out.
            tracing::warn!(
                target: "token_rotator",
                session = %session.key,
                "a sign-out in {} is not sealed with the key of the store, and counts as no record",
                S::NAME
            );
            return Ok(None);
        }
        Ok(Some(record))
    }
}

impl<S: Server> SessionStore for ServerStore<S> {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        let session = HashedKey::new(key);
        let stored = self.0.server.load(&session).await?;
        self.decode(&session, stored)
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        let session = HashedKey::new(key);
        let (version, body) = (record.version, self.0.codec.encode(key, &record)?);
        let mut swap = Swap {
            expected,
            version,
            body: &body,
        };
        for _ in 0..UNSEALED_MAX {
            let stored = match self.0.server.save(&session, swap).await? {
                Swapped::Stored => return Ok(Saved::Stored),
                // An earlier attempt stored this record, and its answer was lost. The bodies prove
                // it, because no two sealed bodies are equal.
                Swapped::Conflict(Some(stored))
                    if stored.version == version && stored.body == body =>
                {
                    return Ok(Saved::Stored);
                }
                Swapped::Conflict(stored) => stored,
            };
            let stored_version = stored.as_ref().map(|stored| stored.version);
            let found = self.decode(&session, stored)?;
            if found.is_some() || expected.is_some() || stored_version.is_none() {
                return Ok(Saved::Conflict(found));
            }
            // An unsealed sign-out counts as no record, so the save replaces it.
            swap.expected = stored_version;
        }
        Ok(Saved::Conflict(None))
    }

    async fn now(&self) -> Result<Option<StoreTime>, StoreError> {
        self.0.server.now().await
    }

    async fn changed(&self, key: &SessionKey, seen: Option<Version>) {
        let session = HashedKey::new(key);
        // The subscription precedes the read, so that it misses no save between the two.
        let mut subscription = self.0.listener.subscribe(&session.record_topic());
        loop {
            if let Ok(stored) = self.0.server.version(&session).await
                && stored != seen
            {
                return;
            }
            // After a notification the caller reads the record, so this call need not.
            if subscription.changed(Duration::MAX).await {
                return;
            }
        }
    }

    fn coordinator(&self) -> Option<BoxedCoordinator> {
        Some(BoxedCoordinator::new(self.clone()))
    }
}

impl<S: Server> Clone for ServerStore<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_differ_by_session_and_by_change() {
        let one = HashedKey::new(&SessionKey::new("work"));
        let other = HashedKey::new(&SessionKey::new("Work"));
        assert_eq!(one.hash().len(), 64);
        assert_ne!(one.hash(), other.hash());
        assert_eq!(one.record_topic(), format!("{}:record", one.hash()));
        assert_eq!(one.lease_topic(), format!("{}:lease", one.hash()));
    }
}
