//! Walks the way to a file: no other user can replace a directory or a link on it.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::FileError;
use super::access::{self, foreign_writers, is_shared_safely, is_trusted};

/// The most links that are followed, as in Linux.
const LINKS_MAX: usize = 40;

/// Checks each directory and each link from the root to the file, which exists.
pub(super) fn check(path: &Path) -> Result<(), FileError> {
    let absolute = std::path::absolute(path)?;
    let mut left: Vec<OsString> = parts(&absolute);
    let mut here = PathBuf::from("/");
    let mut directory = fs::symlink_metadata(&here)?;
    check_directory(&here, &directory)?;
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part == ".." {
            here.pop();
            directory = fs::symlink_metadata(&here)?;
            continue;
        }
        let next = here.join(&part);
        let metadata = fs::symlink_metadata(&next)?;
        // In a shared directory any user can create an entry, so the owner of the entry counts.
        if is_shared_safely(&directory) && !is_trusted(metadata.uid()) {
            let access = format!("belongs to another user ({})", metadata.uid());
            return Err(exposed(&next, access, &metadata));
        }
        if metadata.is_symlink() {
            // The kernel opens what these links stand for, whatever their text says.
            if is_descriptors(&here) {
                return Ok(());
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(io::Error::other("too many links lead to it").into());
            }
            let target = fs::read_link(&next)?;
            if target.is_absolute() {
                here = PathBuf::from("/");
                directory = fs::symlink_metadata(&here)?;
            }
            left.extend(parts(&target));
        } else if metadata.is_dir() {
            check_directory(&next, &metadata)?;
            here = next;
            directory = metadata;
        }
    }
    Ok(())
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let mut parts: Vec<_> = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect();
    parts.reverse();
    parts
}

fn is_descriptors(directory: &Path) -> bool {
    directory.starts_with("/proc") && directory.ends_with("fd")
}

fn check_directory(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let Some(access) = foreign_writers(metadata, || access::path_has_access_list(path)) else {
        return Ok(());
    };
    if is_trusted(metadata.uid()) && (is_shared_safely(metadata) || is_read_only(path)) {
        return Ok(());
    }
    Err(exposed(path, access, metadata))
}

/// Whether the file system of this directory is mounted read-only, as volumes of Kubernetes are.
fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|system| {
        system
            .f_flag
            .contains(rustix::fs::StatVfsMountFlags::RDONLY)
    })
}

fn exposed(path: &Path, access: String, metadata: &Metadata) -> FileError {
    FileError::Exposed {
        path: Some(path.to_owned()),
        access,
        hint: access::hint(path, metadata),
    }
}
