//! The system calls of a private directory on Unix. They work relative to an open directory.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::files::access;

pub(crate) type DirectoryHandle = File;

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

/// Creates the directory and its missing parents with mode 0700.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(crate) fn open_directory(path: &Path) -> io::Result<DirectoryHandle> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Describes the access of other users to the file. Returns `None` if they have none.
pub(crate) fn access_by_others(file: &File) -> io::Result<Option<String>> {
    let stat = rustix::fs::fstat(file)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    let own_user = rustix::process::geteuid();
    if stat.st_uid != own_user.as_raw() {
        let access = format!("belongs to another user ({})", stat.st_uid);
        return Ok(Some(access));
    }
    Ok(mode.intersects(Mode::RWXG | Mode::RWXO).then(|| {
        format!(
            "can be reached by others (mode {:03o})",
            mode.bits() & 0o777
        )
    }))
}

/// Describes the write access of other users to the directory. Returns `None` if only its user and
/// root can write, or if no other user can replace a file there.
pub(crate) fn write_access_by_others(file: &File) -> io::Result<Option<String>> {
    let metadata = file.metadata()?;
    if access::is_shared_safely(&metadata) {
        return Ok(None);
    }
    Ok(access::foreign_writers(&metadata, || {
        access::has_access_list(file)
    }))
}

fn open(handle: &DirectoryHandle, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file: OwnedFd = rustix::fs::openat(handle, name, flags, OWNER_ONLY)?;
    Ok(File::from(file))
}

pub(crate) fn open_to_read(handle: &DirectoryHandle, name: &str) -> io::Result<File> {
    open(handle, name, OFlags::RDONLY)
}

pub(crate) fn open_to_write(handle: &DirectoryHandle, name: &str) -> io::Result<File> {
    let file = open(
        handle,
        name,
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
    )?;
    // An existing file may have another mode.
    rustix::fs::fchmod(&file, OWNER_ONLY)?;
    Ok(file)
}

pub(crate) fn open_to_lock(handle: &DirectoryHandle, name: &str) -> io::Result<File> {
    open(handle, name, OFlags::RDWR | OFlags::CREATE)
}

pub(crate) fn rename(handle: &DirectoryHandle, from: &str, to: &str) -> io::Result<()> {
    Ok(rustix::fs::renameat(handle, from, handle, to)?)
}

/// Links the file to a second name. Fails if a file of that name exists.
pub(crate) fn link(handle: &DirectoryHandle, from: &str, to: &str) -> io::Result<()> {
    Ok(rustix::fs::linkat(
        handle,
        from,
        handle,
        to,
        AtFlags::empty(),
    )?)
}

pub(crate) fn remove(handle: &DirectoryHandle, name: &str) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(handle, name, AtFlags::empty())?)
}

pub(crate) fn sync_directory(handle: &DirectoryHandle) -> io::Result<()> {
    handle.sync_all()
}
