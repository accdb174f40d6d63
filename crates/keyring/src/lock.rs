//! A file lock that all processes of the user share.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use token_rotator::store::{StoreError, StoreErrorKind};

/// Location of the lock file.
#[derive(Clone)]
pub(crate) enum LockLocation {
    /// In the user's state directory.
    UserDirectory,
    /// At the path that the program sets.
    Path(PathBuf),
}

/// Acquires the lock. Closing the file releases it.
///
/// *Waits* without a limit: call it on a thread that may block.
///
/// The file is never removed, because a lock on a removed file excludes no process.
pub(crate) fn acquire(location: &LockLocation) -> Result<File, StoreError> {
    let path = match location {
        LockLocation::Path(path) => path.clone(),
        LockLocation::UserDirectory => user_lock_file().ok_or_else(|| {
            refused("storing a key needs a lock file, and there is no home directory for it")
        })?,
    };
    let locked = open(&path).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| {
        let path = path.display();
        refused(&format!(
            "storing a key needs the lock file {path}, which cannot be locked: {error}"
        ))
    })
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        let mut directory = fs::DirBuilder::new();
        directory.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut directory, 0o700);
        directory.create(parent)?;
    }
    let mut file = File::options();
    file.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    file.open(path)
}

/// Returns the path in the state directory of `token-rotator`.
fn user_lock_file() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let state = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else {
        absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))
    };
    Some(state?.join("token-rotator").join("keyring.lock"))
}

fn refused(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Refused, what).with_hint("name another with `lock_file`")
}
