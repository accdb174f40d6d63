//! Leases by kernel locks. A lease ends when it is released or when its holder's process ends.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::time::{Duration, SystemTime};

use super::names::SessionFiles;
use super::{FileStore, directory, wait_for_lock};
use crate::error::LeaseError;
use crate::runtime::clock::{at_unix_millis, unix_millis};
use crate::store::SessionKey;
use crate::store::coordinator::{Coordinator, Lease};

/// Grants leases on the sessions of a [`FileStore`] by kernel locks. Each session has a lock file.
///
/// A lease holds until it is released or its holder's process ends. The kernel releases the lease
/// of a killed process at once. A stopped process keeps its lease: a caller that waits for it fails
/// with [`LeaseError::Busy`] at the end of its wait.
#[derive(Clone, Debug)]
pub struct FileLock(FileStore);

/// The process that holds a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseHolder {
    /// The process id.
    pub process: u32,
    /// When the process took the lease.
    pub since: SystemTime,
    /// The number of the lease.
    pub fence: u64,
}

impl FileLock {
    pub(super) fn new(store: FileStore) -> Self {
        Self(store)
    }

    /// The process that holds the session's lease now, for status pages. Returns `None` if the lease
    /// is free.
    pub fn holder(&self, session: &SessionKey) -> Result<Option<LeaseHolder>, LeaseError> {
        let mut file = self.file(session)?;
        match file.try_lock() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(read(&mut file)),
            Err(TryLockError::Error(error)) => Err(self.unavailable("lock", session, &error)),
        }
    }

    fn file(&self, session: &SessionKey) -> Result<File, LeaseError> {
        let directory = &self.0.0.directory;
        let file = directory.lock_file(&SessionFiles::of(session).lease);
        file.map_err(LeaseError::from)
    }

    fn unavailable(&self, verb: &str, session: &SessionKey, error: &std::io::Error) -> LeaseError {
        let path = self.0.0.directory.path_of(&SessionFiles::of(session).lease);
        directory::failed(verb, &path, error).into()
    }
}

impl Coordinator for FileLock {
    async fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        let mut file = self.file(key)?;
        match wait_for_lock(&file, wait).await {
            Ok(true) => {}
            Ok(false) => return Err(LeaseError::Busy { waited: wait }),
            Err(error) => return Err(self.unavailable("lock", key, &error)),
        }
        // An unreadable fence starts again at zero: it is only shown on status pages.
        let last = read(&mut file).map_or(0, |holder| holder.fence);
        let holder = LeaseHolder {
            process: std::process::id(),
            since: SystemTime::now(),
            fence: last.saturating_add(1),
        };
        write(&mut file, holder).map_err(|error| self.unavailable("write", key, &error))?;
        Ok(Box::new(FileLease {
            _file: file,
            fence: holder.fence,
        }))
    }
}

/// A lease. The kernel lock holds while the file is open.
struct FileLease {
    _file: File,
    fence: u64,
}

impl Lease for FileLease {
    fn fence(&self) -> Option<u64> {
        Some(self.fence)
    }
}

/// Writes the holder into the lock file. The line has a fixed length, so that it replaces the old
/// line completely.
fn write(file: &mut File, holder: LeaseHolder) -> std::io::Result<()> {
    let line = format!(
        "{:020} {:010} {:020}\n",
        holder.fence,
        holder.process,
        unix_millis(holder.since)
    );
    file.seek(SeekFrom::Start(0))?;
    file.write_all(line.as_bytes())
}

fn read(file: &mut File) -> Option<LeaseHolder> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(64).read_to_string(&mut text).ok()?;
    let mut fields = text.split_whitespace();
    Some(LeaseHolder {
        fence: fields.next()?.parse().ok()?,
        process: fields.next()?.parse().ok()?,
        since: at_unix_millis(fields.next()?.parse().ok()?),
    })
}
