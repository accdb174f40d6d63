//! The store in files, for sessions that outlive their process on one host.
//!
//! - `file.rs`: the store, and how it waits for kernel locks.
//! - `builder`: opens a store. `names`: the names of its files.
//! - `directory`, `unix`, `windows`: a private directory and its system calls.
//! - `sealing`: the keys that open and seal records.
//! - `lease`: leases by kernel locks. `boot`: the clock of the store.

mod boot;
mod builder;
pub(crate) mod directory;
mod lease;
mod names;
mod sealing;
#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod windows;

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use self::builder::FileStoreBuilder;
pub use self::lease::{FileLock, LeaseHolder};

use self::directory::Directory;
use self::names::SessionFiles;
use self::sealing::Sealing;
use crate::error::{StoreError, StoreErrorKind};
use crate::keys::KeyFile;
use crate::runtime::{self, blocking};
use crate::store::codec::{RecordCodec, RecordHeader};
use crate::store::coordinator::BoxedCoordinator;
use crate::store::{Record, Saved, SessionKey, SessionStore, StoreTime, Version};

/// How long a write may wait for another process's write. A write takes milliseconds, so a process
/// that holds the lock for longer is stopped.
const WRITE_WAIT: Duration = Duration::from_secs(10);
/// The first pause between two checks of a lock or a file. Each check doubles it.
const POLL_MIN: Duration = Duration::from_millis(1);
/// The longest pause between two checks.
const POLL_MAX: Duration = Duration::from_millis(20);
/// The size of a record with large tokens, in bytes.
const CHECK_BYTES: usize = 64 * 1024;

/// Keeps sessions in one directory. Each session has a sealed file that only its owner may read, a
/// lock file for writers and a lock file for its lease.
///
/// Processes that open the same directory share its sessions and their leases: a [`FileLock`] is
/// the store's coordinator. Leases are kernel locks, which end when they are released or when their
/// holder's process ends. So two processes never spend the same refresh token.
///
/// After a save, the record is on the disk. The store writes and syncs a new file, renames it over
/// the old file and syncs the directory. If a record cannot be read, the store leaves it untouched,
/// and the error names its file.
///
/// The directory must be on a local file system. Kernel locks and renames are not reliable on
/// network file systems.
///
/// ```no_run
/// # async fn example(source: impl token_rotator::TokenSource) -> Result<(), Box<dyn std::error::Error>> {
/// use token_rotator::{FileStore, Rotator};
///
/// let rotator = Rotator::builder(source).store(FileStore::of_user()?).build()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct FileStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: Directory,
    sealing: Sealing,
}

impl FileStore {
    /// Opens a store in this directory, sealed with the key in the user's
    /// [key file](KeyFile::of_user).
    ///
    /// Creates the directory (0700) if it is missing. The first sign-in generates the key.
    ///
    /// *Errors*: [`StoreErrorKind::Refused`] if other users can read the directory.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::builder(directory).vault(KeyFile::of_user()?).open()
    }

    /// Opens a store in the user's own directory, like [`FileStore::open`].
    ///
    /// The directory is `token-rotator` in `XDG_STATE_HOME` or in `~/.local/state`
    /// (`%LOCALAPPDATA%` on Windows).
    pub fn of_user() -> Result<Self, StoreError> {
        Self::open(builder::directory_of_user()?)
    }

    /// A builder for a store in this directory, for other vaults or plaintext.
    pub fn builder(directory: impl AsRef<Path>) -> FileStoreBuilder {
        FileStoreBuilder::new(directory.as_ref().to_owned())
    }

    /// The directory of the store, with its links resolved.
    pub fn directory(&self) -> &Path {
        self.0.directory.path()
    }

    /// The coordinator for the sessions in this directory. Rotators with this store use it by
    /// default.
    pub fn locks(&self) -> FileLock {
        FileLock::new(self.clone())
    }

    /// Makes sure that a session can be saved here, before a sign-in spends a grant.
    ///
    /// Checks the directory as [`FileStore::check`] does. Loads the key that would seal the session,
    /// and generates it if the store has none.
    ///
    /// *Waits* for the vaults, and for another process that generates the key.
    ///
    /// *Cancellation*: a dropped call leaves at most a generated key.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        self.check().await?;
        self.codec_for_tokens().await?;
        Ok(())
    }

    /// Checks that the directory can hold a session: writes a file of that size and removes it.
    ///
    /// *Errors*: [`StoreErrorKind::Refused`] if the process may not write into the directory, its
    /// disk is full or its file system is read-only.
    pub async fn check(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.directory.try_to_write(CHECK_BYTES)).await
    }

    /// The headers of the sessions in the directory, tombstones included, in the order of their
    /// names. Skips files that cannot be read.
    pub async fn sessions(&self) -> Result<Vec<RecordHeader>, StoreError> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.headers()).await
    }

    /// The header of a session's record, which needs no key. Returns `None` if there is no record.
    pub async fn header(&self, session: &SessionKey) -> Result<Option<RecordHeader>, StoreError> {
        let (inner, session) = (Arc::clone(&self.0), session.clone());
        blocking(move || {
            let bytes = inner.read(&session)?;
            let header = bytes.map(|bytes| RecordHeader::read(&session, &bytes));
            header
                .transpose()
                .map_err(|error| inner.in_file(&session, error))
        })
        .await
    }

    async fn read(&self, session: &SessionKey) -> Result<Option<Vec<u8>>, StoreError> {
        let (inner, session) = (Arc::clone(&self.0), session.clone());
        blocking(move || inner.read(&session)).await
    }

    /// Decodes the record in these bytes with the key that sealed it.
    async fn decode_record(
        &self,
        session: &SessionKey,
        bytes: &[u8],
    ) -> Result<Record, StoreError> {
        let inner = &self.0;
        let record = async {
            let header = RecordHeader::read(session, bytes)?;
            match inner.sealing.codec_to_read(&header).await {
                Ok(codec) => codec.decode(session, bytes),
                // The tombstone is honoured without its key, as an unsealed one is.
                Err(_) if header.signed_out => {
                    RecordCodec::tombstones_only().decode(session, bytes)
                }
                Err(error) => Err(error),
            }
        };
        record.await.map_err(|error| inner.in_file(session, error))
    }

    /// Takes a lock file that all processes use. The lock holds while the returned file is open.
    async fn write_lock(&self, name: &str) -> Result<File, StoreError> {
        let file = self.0.directory.lock_file(name)?;
        let locked = wait_for_lock(&file, WRITE_WAIT).await;
        match locked {
            Ok(true) => Ok(file),
            Ok(false) => Err(StoreError::new(
                StoreErrorKind::Unavailable,
                format!(
                    "another process has been writing {} for {WRITE_WAIT:?}",
                    self.0.directory.path_of(name).display()
                ),
            )
            .with_hint("resume or end the process that holds its lock")),
            Err(error) => Err(directory::failed(
                "lock",
                &self.0.directory.path_of(name),
                &error,
            )),
        }
    }

    /// The codec for writing this record. Generates the store's key if the record needs a key and
    /// the store has none.
    async fn codec_to_write(&self, record: &Record) -> Result<RecordCodec, StoreError> {
        match record.tokens {
            Some(_) => self.codec_for_tokens().await,
            // A sign-out must not fail for want of a key. Without one, the tombstone is not sealed.
            None => Ok(self
                .0
                .sealing
                .cached_codec()
                .unwrap_or_else(RecordCodec::plaintext)),
        }
    }

    async fn codec_for_tokens(&self) -> Result<RecordCodec, StoreError> {
        let sealing = &self.0.sealing;
        if let Some(codec) = sealing.cached_codec() {
            return Ok(codec);
        }
        let _lock = self.write_lock(names::KEY_LOCK).await?;
        let inner = Arc::clone(&self.0);
        let headers = blocking(move || inner.headers()).await?;
        sealing.codec_to_write(&headers).await
    }
}

impl Inner {
    fn read(&self, session: &SessionKey) -> Result<Option<Vec<u8>>, StoreError> {
        self.directory.read(&SessionFiles::of(session).data)
    }

    fn headers(&self) -> Result<Vec<RecordHeader>, StoreError> {
        let mut headers = Vec::new();
        for name in self.directory.names()? {
            if names::is_data(&name)
                && let Ok(Some(bytes)) = self.directory.read(&name)
                && let Ok(header) = RecordHeader::read_any(&bytes)
            {
                headers.push(header);
            }
        }
        headers.sort_by(|one, other| one.session.cmp(&other.session));
        Ok(headers)
    }

    /// Adds the session's file to the message of an error, and a hint if the file is corrupt.
    fn in_file(&self, session: &SessionKey, error: StoreError) -> StoreError {
        let path = self.directory.path_of(&SessionFiles::of(session).data);
        let error = error.within(path.display());
        if error.kind() == StoreErrorKind::Corrupt && error.hint().is_none() {
            return error.with_hint("move the file away, then sign in again");
        }
        error
    }
}

impl SessionStore for FileStore {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        match self.read(key).await? {
            Some(bytes) => {
                let record = self.decode_record(key, &bytes).await?;
                Ok(Some(record.read_at(boot::store_time())))
            }
            None => Ok(None),
        }
    }

    async fn now(&self) -> Result<Option<StoreTime>, StoreError> {
        Ok(Some(boot::store_time()))
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        let names = SessionFiles::of(key);
        let lock = self.write_lock(&names.lock).await?;
        // Decodes the whole record, not only its header: an unreadable record is not overwritten.
        let bytes = self.read(key).await?;
        let stored = match &bytes {
            Some(bytes) => match self.decode_record(key, bytes).await {
                Ok(stored) => Some(stored),
                // A sign-out works without the key: the header names the version.
                Err(error) if record.tokens.is_none() => {
                    let header = RecordHeader::read(key, bytes)?;
                    if Some(header.version) != expected {
                        return Err(error);
                    }
                    Some(Record::signed_out(header.version))
                }
                Err(error) => return Err(error),
            },
            None => None,
        };
        if stored.as_ref().map(|stored| stored.version) != expected {
            let stored = stored.map(|stored| stored.read_at(boot::store_time()));
            return Ok(Saved::Conflict(stored));
        }
        // If a key opened the stored record, `sealing` has it and seals the new record with it.
        let codec = self.codec_to_write(&record).await?;
        let bytes = codec.encode(key, &record)?;
        let inner = Arc::clone(&self.0);
        blocking(move || {
            // The lock moves here, so that the write ends under it even if the caller drops the save.
            let _lock = lock;
            inner.directory.replace(&names.data, &bytes)
        })
        .await?;
        Ok(Saved::Stored)
    }

    /// Checks the version in the file every few milliseconds.
    async fn changed(&self, key: &SessionKey, seen: Option<Version>) {
        let mut pause = POLL_MIN;
        loop {
            match self.header(key).await {
                Ok(header) if header.as_ref().map(|header| header.version) == seen => {}
                // The caller reads the record next, and gets the error from that call.
                _ => return,
            }
            runtime::sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    fn spans_hosts(&self) -> bool {
        false
    }

    fn coordinator(&self) -> Option<BoxedCoordinator> {
        Some(BoxedCoordinator::new(self.locks()))
    }
}

/// Waits for the kernel lock on this file, at most `limit`. Returns whether it has the lock.
///
/// Polls, because a blocking call of the kernel could not be cancelled.
async fn wait_for_lock(file: &File, limit: Duration) -> std::io::Result<bool> {
    let begun = tokio::time::Instant::now();
    let mut pause = POLL_MIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let left = limit.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(false);
        }
        // The jitter keeps waiting processes from checking at the same moment.
        let jitter = pause.mul_f64(fastrand::f64() / 2.0);
        runtime::sleep((pause + jitter).min(left)).await;
        pause = (pause * 2).min(POLL_MAX);
    }
}
