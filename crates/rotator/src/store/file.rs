//! Sessions in files: for everything on one host that outlives its process.

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
use self::names::Names;
use self::sealing::Sealing;
use crate::error::{StoreError, StoreErrorKind};
use crate::keys::KeyFile;
use crate::runtime::{self, blocking};
use crate::store::codec::{RecordCodec, RecordHeader};
use crate::store::coordinator::BoxedCoordinator;
use crate::store::{Record, Saved, SessionKey, SessionStore, Version};

/// How long a write may wait for another process's. A write takes milliseconds: whoever holds it up
/// for longer is stopped.
const WRITE_WAIT: Duration = Duration::from_secs(10);
/// The first pause between two looks at something that another process holds, and the longest.
const POLL: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(20);
/// What a session with large tokens takes on the disk.
const ROOM: usize = 64 * 1024;

/// Keeps sessions in one directory: a file for each, sealed, that only its owner may read, and
/// beside it the lock files of its writers and of its lease.
///
/// Every process that opens the same directory shares the sessions in it, and the leases: it brings
/// a [`FileLock`] along. Leases are kernel locks, which end with their holder's process and with
/// nothing else, so that no refresh token is spent by two.
///
/// What is saved is on the disk when the save answers: written beside the old file, synced, renamed
/// over it, and the directory synced. A record that cannot be read is left as it is, and the error
/// names its file.
///
/// The directory has to be on a local file system: over a network kernel locks and renames do not
/// hold what they promise.
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
    /// In this directory, which is made (0700) if it is missing; sealed with a key in the user's
    /// [key file](KeyFile::of_user), made at the first sign-in.
    ///
    /// Refused if others could read the directory.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::builder(directory).vault(KeyFile::of_user()?).open()
    }

    /// In the user's own directory: `token-rotator` in `XDG_STATE_HOME`, or `~/.local/state`
    /// (`%LOCALAPPDATA%` on Windows). Otherwise as [`FileStore::open`].
    pub fn of_user() -> Result<Self, StoreError> {
        Self::open(builder::directory_of_user()?)
    }

    /// In this directory, sealed in a way to be chosen.
    pub fn builder(directory: impl AsRef<Path>) -> FileStoreBuilder {
        FileStoreBuilder::new(directory.as_ref().to_owned())
    }

    /// The directory, its links resolved.
    pub fn directory(&self) -> &Path {
        self.0.directory.path()
    }

    /// Leases on the sessions in this directory. Rotators that are given this store have them.
    pub fn locks(&self) -> FileLock {
        FileLock::new(self.clone())
    }

    /// Sees to it that a session can be saved here, before anything is spent for one: the directory takes
    /// a file, as in [`FileStore::check`], and there is the key that would seal the session, made if it is
    /// the first.
    ///
    /// Waits for the vaults, and for another process that does the same. Dropped, it leaves nothing but
    /// perhaps the key.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        self.check().await?;
        self.codec_for_tokens().await?;
        Ok(())
    }

    /// Whether the directory takes a file of a session's size: one is written and removed. Fails where its
    /// owner is another, its disk is full, or its file system is read-only.
    pub async fn check(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.directory.try_to_write(ROOM)).await
    }

    /// The sessions in the directory, tombstones included, in the order of their names. Files that
    /// cannot be read are passed over.
    pub async fn sessions(&self) -> Result<Vec<RecordHeader>, StoreError> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.headers()).await
    }

    /// What can be said of a session's record without its key; `None`: there is none.
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

    /// The record in these bytes, opened with the key that sealed it.
    async fn open_record(&self, session: &SessionKey, bytes: &[u8]) -> Result<Record, StoreError> {
        let inner = &self.0;
        let record = async {
            let header = RecordHeader::read(session, bytes)?;
            let codec = inner.sealing.to_read(&header).await?;
            codec.decode(session, bytes)
        };
        record.await.map_err(|error| inner.in_file(session, error))
    }

    /// The right to write, among all processes.
    async fn write_lock(&self, name: &str) -> Result<File, StoreError> {
        let file = self.0.directory.lock_file(name)?;
        let waited = wait_for_lock(&file, WRITE_WAIT).await;
        match waited {
            Ok(true) => Ok(file),
            Ok(false) => Err(StoreError::new(
                StoreErrorKind::Unavailable,
                format!(
                    "another process has been writing {} for {WRITE_WAIT:?}",
                    self.0.directory.path_of(name).display()
                ),
            )
            .with_hint("is one stopped in the middle of it?")),
            Err(error) => Err(directory::failed(
                "lock",
                &self.0.directory.path_of(name),
                &error,
            )),
        }
    }

    /// How to write this record; a key is made here if it is the first that needs one.
    async fn codec_to_write(&self, record: &Record) -> Result<RecordCodec, StoreError> {
        match record.tokens {
            Some(_) => self.codec_for_tokens().await,
            // A tombstone holds no secret.
            None => Ok(RecordCodec::plaintext()),
        }
    }

    async fn codec_for_tokens(&self) -> Result<RecordCodec, StoreError> {
        let sealing = &self.0.sealing;
        if let Some(codec) = sealing.known() {
            return Ok(codec);
        }
        let _turn = self.write_lock(names::KEY_LOCK).await?;
        let inner = Arc::clone(&self.0);
        let others = blocking(move || inner.headers()).await?;
        sealing.to_write(&others).await
    }
}

impl Inner {
    fn read(&self, session: &SessionKey) -> Result<Option<Vec<u8>>, StoreError> {
        self.directory.read(&Names::of(session).data)
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

    /// The same error, with the file that it is about.
    fn in_file(&self, session: &SessionKey, error: StoreError) -> StoreError {
        let path = self.directory.path_of(&Names::of(session).data);
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
            Some(bytes) => self.open_record(key, &bytes).await.map(Some),
            None => Ok(None),
        }
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        let names = Names::of(key);
        let turn = self.write_lock(&names.lock).await?;
        // Read whole: what cannot be read is not written over.
        let bytes = self.read(key).await?;
        let found = match &bytes {
            Some(bytes) => Some(self.open_record(key, bytes).await?),
            None => None,
        };
        if found.as_ref().map(|found| found.version) != expected {
            return Ok(Saved::Conflict(found));
        }
        // Whatever key opened it is known by now.
        let codec = self.codec_to_write(&record).await?;
        let bytes = codec.encode(key, &record)?;
        let inner = Arc::clone(&self.0);
        blocking(move || {
            // Whoever asked may go: what has begun is written whole, under the lock.
            let _turn = turn;
            inner.directory.replace(&names.data, &bytes)
        })
        .await?;
        Ok(Saved::Stored)
    }

    /// Ends when the file holds another version: it is looked at every few milliseconds.
    async fn changed(&self, key: &SessionKey, seen: Option<Version>) {
        let mut pause = POLL;
        loop {
            match self.header(key).await {
                Ok(header) if header.as_ref().map(|header| header.version) == seen => {}
                // An error is told to whoever reads.
                _ => return,
            }
            runtime::sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    fn coordinator(&self) -> Option<BoxedCoordinator> {
        Some(BoxedCoordinator::new(self.locks()))
    }
}

/// Waits for the kernel lock on this file, at most so long. A blocking lock could not be given up.
async fn wait_for_lock(file: &File, limit: Duration) -> std::io::Result<bool> {
    let begun = tokio::time::Instant::now();
    let mut pause = POLL;
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
        // Not all who wait look in the same moment.
        let jitter = pause.mul_f64(fastrand::f64() / 2.0);
        runtime::sleep((pause + jitter).min(left)).await;
        pause = (pause * 2).min(POLL_MAX);
    }
}
