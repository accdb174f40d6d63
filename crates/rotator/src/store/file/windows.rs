//! The system calls of a private directory on systems without file modes. The directory is in the
//! user's profile, which the system closes to other users.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

pub(crate) type DirectoryHandle = PathBuf;

pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

pub(crate) fn open_directory(path: &Path) -> io::Result<DirectoryHandle> {
    if path.is_dir() {
        Ok(path.to_owned())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the function of the same name for Unix can fail"
)]
pub(crate) fn access_by_others<T>(_file: T) -> io::Result<Option<String>> {
    Ok(None)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the function of the same name for Unix can fail"
)]
pub(crate) fn write_access_by_others<T>(_file: T) -> io::Result<Option<String>> {
    Ok(None)
}

pub(crate) fn open_to_read(handle: &DirectoryHandle, name: &str) -> io::Result<File> {
    File::open(handle.join(name))
}

pub(crate) fn open_to_write(handle: &DirectoryHandle, name: &str) -> io::Result<File> {
    File::create(handle.join(name))
}

pub(crate) fn open_to_lock(handle: &DirectoryHandle, name: &str) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(handle.join(name))
}

pub(crate) fn rename(handle: &DirectoryHandle, from: &str, to: &str) -> io::Result<()> {
    fs::rename(handle.join(from), handle.join(to))
}

pub(crate) fn link(handle: &DirectoryHandle, from: &str, to: &str) -> io::Result<()> {
    fs::hard_link(handle.join(from), handle.join(to))
}

pub(crate) fn remove(handle: &DirectoryHandle, name: &str) -> io::Result<()> {
    fs::remove_file(handle.join(name))
}

/// Does nothing: these systems cannot sync a directory, and their file systems journal the rename.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the function of the same name for Unix can fail"
)]
pub(crate) fn sync_directory(_handle: &DirectoryHandle) -> io::Result<()> {
    Ok(())
}
