//! Session stores, records, leases and sealed records: for authors of stores and tools.
//!
//! - [`SessionStore`] keeps a [`Record`] for each session; [`Coordinator`] grants the [`Lease`].
//! - [`RecordCodec`] writes and reads records; [`RecordHeader`] reads what is not sealed.
//! - [`server`] makes a store of any server that can compare and swap.

#[cfg(feature = "codec")]
pub(crate) mod codec;
pub(crate) mod coordinator;
#[cfg(feature = "file")]
pub(crate) mod file;
pub(crate) mod intent;
pub(crate) mod memory;
#[cfg(feature = "codec")]
pub mod server;
pub(crate) mod session_key;

use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;

#[cfg(feature = "codec")]
pub use self::codec::{RecordCodec, RecordHeader};
pub use self::coordinator::{BoxedCoordinator, Coordinator, HeldLease, Lease, LocalCoordinator};
#[cfg(feature = "file")]
pub use self::file::{FileStoreBuilder, LeaseHolder};
pub use self::intent::{Intent, IntentId, IntentOutcome, TokenHash};
pub use crate::error::{LeaseError, StoreError, StoreErrorKind};

pub(crate) use self::session_key::SessionKey;

use crate::token::token_set::TokenSet;

/// One sign-in or sign-out, named by chance so that no two processes ever name two alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u128);

impl Epoch {
    /// A new one.
    pub fn random() -> Self {
        Self(crate::runtime::random::bits())
    }

    /// The epoch with this number, as a store has kept it.
    pub fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Its number, for a store to keep.
    pub fn bits(self) -> u128 {
        self.0
    }
}

impl std::fmt::Debug for Epoch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Epoch({:032x})", self.0)
    }
}

/// Which version of a record somebody has seen: what compare-and-swap compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// The sign-in or sign-out.
    pub epoch: Epoch,
    /// Grows with every save, intents included, and never restarts, not even after a sign-out.
    pub revision: u64,
}

impl Version {
    /// The version with this epoch and revision.
    pub const fn new(epoch: Epoch, revision: u64) -> Self {
        Self { epoch, revision }
    }
}

/// What a store keeps for a session.
///
/// ```
/// use std::sync::Arc;
/// use token_rotator::TokenSet;
/// use token_rotator::store::{Epoch, Record, Version};
///
/// let version = Version::new(Epoch::random(), 1);
/// let record = Record::signed_in(version, Arc::new(TokenSet::bearer("token")));
/// assert!(record.tokens().is_some() && !record.is_signed_out());
///
/// let next = Version::new(Epoch::random(), record.version().revision + 1);
/// assert!(Record::signed_out(next).is_signed_out());
/// ```
#[derive(Clone, Debug)]
pub struct Record {
    pub(crate) version: Version,
    /// `None`: the session was signed out.
    pub(crate) tokens: Option<Arc<TokenSet>>,
    pub(crate) intent: Option<Intent>,
}

impl Record {
    /// The record of a session with these tokens and without an intent.
    pub fn signed_in(version: Version, tokens: Arc<TokenSet>) -> Self {
        Self {
            version,
            tokens: Some(tokens),
            intent: None,
        }
    }

    /// A tombstone: the record of a session that was signed out.
    pub fn signed_out(version: Version) -> Self {
        Self {
            version,
            tokens: None,
            intent: None,
        }
    }

    /// The record with another version.
    pub fn with_version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The record with this intent.
    pub fn with_intent(mut self, intent: Intent) -> Self {
        self.intent = Some(intent);
        self
    }

    /// The version of the record.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the record is a tombstone.
    pub fn is_signed_out(&self) -> bool {
        self.tokens.is_none()
    }

    /// The token set. Returns `None` if the session was signed out.
    pub fn tokens(&self) -> Option<&Arc<TokenSet>> {
        self.tokens.as_ref()
    }

    /// The token set without the record. Returns `None` if the session was signed out.
    pub fn into_tokens(self) -> Option<Arc<TokenSet>> {
        self.tokens
    }

    /// States that the refresh token of this token set is about to be presented, or may be spent.
    pub fn intent(&self) -> Option<Intent> {
        self.intent
    }
}

/// What became of a compare-and-swap.
#[derive(Clone, Debug)]
pub enum Saved {
    /// The record is stored, as durably as this store can.
    Stored,
    /// Somebody else has written; this is what the store holds now. Nothing was changed.
    Conflict(Option<Record>),
}

/// Keeps token sets.
///
/// A record that is missing is a lost store, not a sign-out: signing out leaves a tombstone.
/// Every call may be dropped half-way: what it was to write is then written or not, and whoever
/// asks next finds out which.
pub trait SessionStore: Send + Sync + 'static {
    /// What the store holds for this session.
    fn load(
        &self,
        key: &SessionKey,
    ) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;

    /// Stores the record if what is stored has exactly the version `expected` (`None`: nothing
    /// is stored). Answers only when the record is as durable as this store can make it.
    fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> impl Future<Output = Result<Saved, StoreError>> + Send;

    /// Ends when the record may be another than the one of this version: at once, after a
    /// notification, or never. It may end too soon. A flight listens to it while it waits for the
    /// lease. Default: never.
    fn changed(
        &self,
        _key: &SessionKey,
        _seen: Option<Version>,
    ) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Whether what is stored outlives the process. If so, intents are journalled in it before a
    /// refresh token is presented. Default: yes.
    fn is_durable(&self) -> bool {
        true
    }

    /// The coordinator that goes with this store, for rotators that are given no other. Default:
    /// none.
    fn coordinator(&self) -> Option<BoxedCoordinator> {
        None
    }
}

/// A [`SessionStore`] of any type, for programs that choose the store at run time. Cheap to clone;
/// all clones are the same store.
///
/// ```
/// use token_rotator::MemoryStore;
/// use token_rotator::store::{BoxedStore, SessionStore};
///
/// fn choose(shared: Option<impl SessionStore>) -> BoxedStore {
///     match shared {
///         Some(store) => BoxedStore::new(store),
///         None => BoxedStore::new(MemoryStore::new()),
///     }
/// }
/// # assert!(!choose(None::<MemoryStore>).is_durable());
/// ```
#[derive(Clone)]
pub struct BoxedStore(Arc<dyn DynStore>);

impl BoxedStore {
    /// Erases the type of this store.
    pub fn new(store: impl SessionStore) -> Self {
        Self(Arc::new(store))
    }
}

impl SessionStore for BoxedStore {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        DynStore::load(&*self.0, key).await
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        DynStore::save(&*self.0, key, expected, record).await
    }

    async fn changed(&self, key: &SessionKey, seen: Option<Version>) {
        DynStore::changed(&*self.0, key, seen).await;
    }

    fn is_durable(&self) -> bool {
        DynStore::is_durable(&*self.0)
    }

    fn coordinator(&self) -> Option<BoxedCoordinator> {
        DynStore::coordinator(&*self.0)
    }
}

impl std::fmt::Debug for BoxedStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("BoxedStore").finish_non_exhaustive()
    }
}

/// A session store whose type is erased.
pub(crate) trait DynStore: Send + Sync + 'static {
    fn load<'a>(&'a self, key: &'a SessionKey)
    -> BoxFuture<'a, Result<Option<Record>, StoreError>>;
    fn save<'a>(
        &'a self,
        key: &'a SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> BoxFuture<'a, Result<Saved, StoreError>>;
    fn changed<'a>(&'a self, key: &'a SessionKey, seen: Option<Version>) -> BoxFuture<'a, ()>;
    fn is_durable(&self) -> bool;
    fn coordinator(&self) -> Option<BoxedCoordinator>;
}

impl<S: SessionStore> DynStore for S {
    fn load<'a>(
        &'a self,
        key: &'a SessionKey,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(SessionStore::load(self, key))
    }

    fn save<'a>(
        &'a self,
        key: &'a SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> BoxFuture<'a, Result<Saved, StoreError>> {
        Box::pin(SessionStore::save(self, key, expected, record))
    }

    fn changed<'a>(&'a self, key: &'a SessionKey, seen: Option<Version>) -> BoxFuture<'a, ()> {
        Box::pin(SessionStore::changed(self, key, seen))
    }

    fn is_durable(&self) -> bool {
        SessionStore::is_durable(self)
    }

    fn coordinator(&self) -> Option<BoxedCoordinator> {
        SessionStore::coordinator(self)
    }
}
