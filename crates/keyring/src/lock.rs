//! A turn among all processes of the user.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use token_rotator::store::{StoreError, StoreErrorKind};

/// Where the lock file is.
#[derive(Clone)]
pub(crate) enum LockPlace {
    /// In the user's own directory.
    OfUser,
    /// Where the program says.
    At(PathBuf),
}

/// Waits for the turn, without end; it ends when the file is closed. To be called on a thread that
/// may wait.
///
/// The file stays where it is: a lock on a removed file protects nothing.
pub(crate) fn take(place: &LockPlace) -> Result<File, StoreError> {
    let path = match place {
        LockPlace::At(path) => path.clone(),
        LockPlace::OfUser => of_user().ok_or_else(|| {
            refused("there is no home directory for the lock file that keeping a key needs")
        })?,
    };
    let locked = open(&path).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| {
        let path = path.display();
        refused(&format!(
            "keeping a key needs the lock file {path}, which cannot be locked: {error}"
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

/// In the directory that a file store of the user has, too.
fn of_user() -> Option<PathBuf> {
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
