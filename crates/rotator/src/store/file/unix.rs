//! The system calls of a private directory, where there are file modes and open directories.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

pub(crate) type Handle = File;

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

/// Makes the directory for its owner alone. Those above it are made the same way.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(crate) fn open_directory(path: &Path) -> io::Result<Handle> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Who else could get at it, if anybody: in words.
pub(crate) fn exposed(file: impl AsFd) -> io::Result<Option<String>> {
    open_to_others(file, Mode::RWXG | Mode::RWXO, "reached")
}

/// Who else could change it, if anybody: in words.
pub(crate) fn changeable(file: impl AsFd) -> io::Result<Option<String>> {
    open_to_others(file, Mode::WGRP | Mode::WOTH, "changed")
}

fn open_to_others(file: impl AsFd, bits: Mode, how: &str) -> io::Result<Option<String>> {
    let stat = rustix::fs::fstat(file)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    let us = rustix::process::geteuid();
    if stat.st_uid != us.as_raw() {
        let what = format!("belongs to another user ({})", stat.st_uid);
        return Ok(Some(what));
    }
    Ok(mode
        .intersects(bits)
        .then(|| format!("can be {how} by others (mode {:03o})", mode.bits() & 0o777)))
}

fn open(handle: &Handle, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file: OwnedFd = rustix::fs::openat(handle, name, flags, OWNER_ONLY)?;
    Ok(File::from(file))
}

pub(crate) fn open_to_read(handle: &Handle, name: &str) -> io::Result<File> {
    open(handle, name, OFlags::RDONLY)
}

pub(crate) fn open_to_write(handle: &Handle, name: &str) -> io::Result<File> {
    let file = open(
        handle,
        name,
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
    )?;
    // One that was there already may have had another mode.
    rustix::fs::fchmod(&file, OWNER_ONLY)?;
    Ok(file)
}

pub(crate) fn open_to_lock(handle: &Handle, name: &str) -> io::Result<File> {
    open(handle, name, OFlags::RDWR | OFlags::CREATE)
}

pub(crate) fn rename(handle: &Handle, from: &str, to: &str) -> io::Result<()> {
    Ok(rustix::fs::renameat(handle, from, handle, to)?)
}

/// Gives the file a second name, which must be free.
pub(crate) fn link(handle: &Handle, from: &str, to: &str) -> io::Result<()> {
    Ok(rustix::fs::linkat(
        handle,
        from,
        handle,
        to,
        AtFlags::empty(),
    )?)
}

pub(crate) fn remove(handle: &Handle, name: &str) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(handle, name, AtFlags::empty())?)
}

pub(crate) fn sync_directory(handle: &Handle) -> io::Result<()> {
    handle.sync_all()
}
