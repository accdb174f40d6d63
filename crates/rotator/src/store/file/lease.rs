//! Leases by kernel locks: they end with their holder's process, and with nothing else.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;

use super::names::Names;
use super::{FileStore, wait_for_lock};
use crate::error::LeaseError;
use crate::runtime::clock::{at_unix_millis, unix_millis};
use crate::store::SessionKey;
use crate::store::coordinator::{Coordinator, Lease};

/// Grants leases on the sessions of a [`FileStore`] by kernel locks on a file for each.
///
/// A lease holds until it is released or its holder's process has ended, however it ends: killed
/// processes give way at once, stopped ones do not, and whoever waits behind one fails with
/// [`LeaseError::Busy`] when the wait is over.
#[derive(Clone, Debug)]
pub struct FileLock(FileStore);

/// Who holds a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseHolder {
    /// Its process.
    pub process: u32,
    /// Since when.
    pub since: SystemTime,
    /// The number of the lease.
    pub fence: u64,
}

impl FileLock {
    pub(super) fn new(store: FileStore) -> Self {
        Self(store)
    }

    /// Who holds the session's lease now, for whoever wants to show it; `None`: nobody.
    pub fn holder(&self, session: &SessionKey) -> Result<Option<LeaseHolder>, LeaseError> {
        let mut file = self.file(session)?;
        match file.try_lock() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(read(&mut file)),
            Err(TryLockError::Error(error)) => Err(self.unavailable(session, error)),
        }
    }

    fn file(&self, session: &SessionKey) -> Result<File, LeaseError> {
        let directory = &self.0.0.directory;
        let file = directory.lock_file(&Names::of(session).lease);
        file.map_err(|error| LeaseError::Unavailable {
            message: Arc::from(error.to_string()),
            cause: Some(Arc::new(error)),
        })
    }

    fn unavailable(&self, session: &SessionKey, error: std::io::Error) -> LeaseError {
        let path = self.0.0.directory.path_of(&Names::of(session).lease);
        LeaseError::Unavailable {
            message: Arc::from(format!("{}: {error}", path.display())),
            cause: Some(Arc::new(error)),
        }
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
            Err(error) => return Err(self.unavailable(key, error)),
        }
        // What cannot be read is of no use to anybody but those who look on.
        let last = read(&mut file).map_or(0, |holder| holder.fence);
        let holder = LeaseHolder {
            process: std::process::id(),
            since: SystemTime::now(),
            fence: last.saturating_add(1),
        };
        write(&mut file, holder).map_err(|error| self.unavailable(key, error))?;
        Ok(Box::new(HeldLock {
            _file: file,
            fence: holder.fence,
        }))
    }
}

/// The lock lives as long as its open file.
struct HeldLock {
    _file: File,
    fence: u64,
}

impl Lease for HeldLock {
    fn fence(&self) -> Option<u64> {
        Some(self.fence)
    }

    fn release(self: Box<Self>) -> BoxFuture<'static, ()> {
        drop(self);
        Box::pin(std::future::ready(()))
    }
}

/// A line of fixed length, so that it is never half of an old one.
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
    let mut words = text.split_whitespace();
    Some(LeaseHolder {
        fence: words.next()?.parse().ok()?,
        process: words.next()?.parse().ok()?,
        since: at_unix_millis(words.next()?.parse().ok()?),
    })
}
