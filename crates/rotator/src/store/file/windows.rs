//! The same where there are no file modes: the user's profile, in which all of this lies, is closed
//! to others by the system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

pub(crate) type Handle = PathBuf;

pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

pub(crate) fn open_directory(path: &Path) -> io::Result<Handle> {
    if path.is_dir() {
        Ok(path.to_owned())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
pub(crate) fn exposed<T>(_file: T) -> io::Result<Option<String>> {
    Ok(None)
}

#[expect(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
pub(crate) fn changeable<T>(_file: T) -> io::Result<Option<String>> {
    Ok(None)
}

pub(crate) fn open_to_read(handle: &Handle, name: &str) -> io::Result<File> {
    File::open(handle.join(name))
}

pub(crate) fn open_to_write(handle: &Handle, name: &str) -> io::Result<File> {
    File::create(handle.join(name))
}

pub(crate) fn open_to_lock(handle: &Handle, name: &str) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(handle.join(name))
}

pub(crate) fn rename(handle: &Handle, from: &str, to: &str) -> io::Result<()> {
    fs::rename(handle.join(from), handle.join(to))
}

pub(crate) fn link(handle: &Handle, from: &str, to: &str) -> io::Result<()> {
    fs::hard_link(handle.join(from), handle.join(to))
}

pub(crate) fn remove(handle: &Handle, name: &str) -> io::Result<()> {
    fs::remove_file(handle.join(name))
}

/// A directory cannot be synced here; the rename is in the journal of the file system.
#[expect(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
pub(crate) fn sync_directory(_handle: &Handle) -> io::Result<()> {
    Ok(())
}
