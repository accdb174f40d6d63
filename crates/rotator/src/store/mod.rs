//! Session stores, records, leases and sealed records: for authors of stores and tools.
//!
//! - `mod.rs`: [`SessionStore`] and the [`Record`] that it keeps for each session.
//! - `session_key`, `intent`: the name of a session; the journal entry of a refresh.
//! - `details`: the parts of a record beside its tokens and intent. `time`: the clock of a store.
//! - `failure`: failures that processes share. `binding`: the addresses of a session.
//! - `coordinator`: the [`Coordinator`], which grants the [`Lease`].
//! - `codec`: [`RecordCodec`] encodes records; [`RecordHeader`] reads the part that is not sealed.
//! - `memory`, `file`: the stores in memory and in files.
//! - [`server`]: the common parts of stores on servers that can compare and swap.

pub(crate) mod binding;
#[cfg(feature = "codec")]
pub(crate) mod codec;
pub(crate) mod coordinator;
pub(crate) mod details;
pub(crate) mod failure;
#[cfg(feature = "file")]
pub(crate) mod file;
pub(crate) mod intent;
pub(crate) mod memory;
#[cfg(feature = "codec")]
pub mod server;
pub(crate) mod session_key;
pub(crate) mod time;

use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use self::binding::{Announced, Binding, FollowedAddress, OtherAddress};
#[cfg(feature = "codec")]
pub use self::codec::{RecordCodec, RecordHeader};
pub use self::coordinator::{BoxedCoordinator, Coordinator, HeldLease, Lease, LocalCoordinator};
pub use self::failure::{Fingerprint, RefusedContent, SharedFailure, UnexplainedRefusals};
#[cfg(feature = "file")]
pub use self::file::{FileStoreBuilder, LeaseHolder};
pub use self::intent::{Intent, IntentId, IntentOutcome, TokenHash};
pub use self::time::{Age, StoreTime};
pub use crate::error::{LeaseError, StoreError, StoreErrorKind};

pub(crate) use self::details::RecordDetails;
pub(crate) use self::session_key::SessionKey;

use crate::token::token_set::TokenSet;

/// The random number of a sign-in or sign-out. Random, so that two processes never choose the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u128);

impl Epoch {
    /// A new epoch.
    pub fn random() -> Self {
        Self(crate::runtime::random::bits())
    }

    /// The epoch with this number, which a store has kept.
    pub fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The number of the epoch, for a store to keep.
    pub fn bits(self) -> u128 {
        self.0
    }
}

impl std::fmt::Debug for Epoch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Epoch({:032x})", self.0)
    }
}

/// The version of a stored record, which compare-and-swap compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// The epoch of the last sign-in or sign-out.
    pub epoch: Epoch,
    /// Grows with every save, intents included. Never restarts, not even after a sign-out.
    pub revision: u64,
}

impl Version {
    /// The version with this epoch and revision.
    pub const fn new(epoch: Epoch, revision: u64) -> Self {
        Self { epoch, revision }
    }
}

/// The stored state of a session: its version, token set and intent.
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
    /// `None` if the session was signed out.
    pub(crate) tokens: Option<Arc<TokenSet>>,
    pub(crate) intent: Option<Intent>,
    pub(crate) details: Box<RecordDetails>,
    /// When the store read the record, by its clock.
    pub(crate) read_at: Option<StoreTime>,
}

impl Record {
    /// The record of a session with these tokens and without an intent.
    pub fn signed_in(version: Version, tokens: Arc<TokenSet>) -> Self {
        Self {
            version,
            tokens: Some(tokens),
            intent: None,
            details: Box::default(),
            read_at: None,
        }
    }

    /// A tombstone: the record of a session that was signed out.
    pub fn signed_out(version: Version) -> Self {
        Self {
            version,
            tokens: None,
            intent: None,
            details: Box::default(),
            read_at: None,
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

    /// The intent to present the refresh token of this token set. Returns `None` if no refresh token
    /// is about to be presented or may be spent.
    pub fn intent(&self) -> Option<Intent> {
        self.intent
    }
}

/// The outcome of a compare-and-swap.
#[derive(Clone, Debug)]
pub enum Saved {
    /// The record is stored, as durably as this store can.
    Stored,
    /// Another process or task saved another version, which is given here. Nothing was changed.
    Conflict(Option<Record>),
}

/// Keeps the records of sessions.
///
/// A missing record means a lost store and not a sign-out, because a sign-out leaves a tombstone.
///
/// *Cancellation*: every call may be dropped at any time. A dropped [`save`](Self::save) has stored
/// its record or not; the next [`load`](Self::load) tells.
pub trait SessionStore: Send + Sync + 'static {
    /// Reads the record of this session. Returns `None` if there is none.
    ///
    /// A store with a clock of its own sets [`Record::read_at`]. Without it, each process measures
    /// ages by its wall clock.
    fn load(
        &self,
        key: &SessionKey,
    ) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;

    /// Stores the record if the stored record has exactly the version `expected`. If `expected` is
    /// `None`, stores the record only if there is none.
    ///
    /// Returns [`Saved::Stored`] only when the record is as durable as this store can make it.
    fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> impl Future<Output = Result<Saved, StoreError>> + Send;

    /// Reads the clock of the store. Default: the store has none.
    ///
    /// The engine asks before it saves the first record of a session, so that every process
    /// measures the age of that record by one clock. Later [`load`](Self::load) tells the time.
    fn now(&self) -> impl Future<Output = Result<Option<StoreTime>, StoreError>> + Send {
        std::future::ready(Ok(None))
    }

    /// Waits until the version of the record may differ from `seen`. Default: waits forever.
    ///
    /// A flight waits for it while it waits for the lease. The call may return although the record
    /// is unchanged.
    fn changed(
        &self,
        _key: &SessionKey,
        _seen: Option<Version>,
    ) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Whether records outlive the process. Default: true.
    ///
    /// A flight saves its intent in a durable store before it presents the refresh token.
    fn is_durable(&self) -> bool {
        true
    }

    /// Whether processes of several hosts may share the store. Default: true.
    ///
    /// If so, a host whose refresh failed lets other hosts try first.
    fn spans_hosts(&self) -> bool {
        true
    }

    /// The coordinator of this store, for rotators without a coordinator of their own. Default:
    /// `None`.
    fn coordinator(&self) -> Option<BoxedCoordinator> {
        None
    }
}

/// A [`SessionStore`] of any type, for programs that choose the store at run time.
///
/// Cheap to clone. All clones are the same store.
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

    async fn now(&self) -> Result<Option<StoreTime>, StoreError> {
        DynStore::now(&*self.0).await
    }

    async fn changed(&self, key: &SessionKey, seen: Option<Version>) {
        DynStore::changed(&*self.0, key, seen).await;
    }

    fn is_durable(&self) -> bool {
        DynStore::is_durable(&*self.0)
    }

    fn spans_hosts(&self) -> bool {
        DynStore::spans_hosts(&*self.0)
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
    fn now(&self) -> BoxFuture<'_, Result<Option<StoreTime>, StoreError>>;
    fn changed<'a>(&'a self, key: &'a SessionKey, seen: Option<Version>) -> BoxFuture<'a, ()>;
    fn is_durable(&self) -> bool;
    fn spans_hosts(&self) -> bool;
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

    fn now(&self) -> BoxFuture<'_, Result<Option<StoreTime>, StoreError>> {
        Box::pin(SessionStore::now(self))
    }

    fn changed<'a>(&'a self, key: &'a SessionKey, seen: Option<Version>) -> BoxFuture<'a, ()> {
        Box::pin(SessionStore::changed(self, key, seen))
    }

    fn is_durable(&self) -> bool {
        SessionStore::is_durable(self)
    }

    fn spans_hosts(&self) -> bool {
        SessionStore::spans_hosts(self)
    }

    fn coordinator(&self) -> Option<BoxedCoordinator> {
        SessionStore::coordinator(self)
    }
}
