//! Judges who can change a file or a directory, by its owner and mode.

use std::fs::Metadata;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Readers;
use super::groups::has_other_members;

const STICKY: u32 = 0o1000;
const GROUP_WRITE: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_READ: u32 = 0o040;
const OTHERS_READ: u32 = 0o004;

/// Whether this user may own the user's files: the user of this process, or root.
pub(super) fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == rustix::process::geteuid().as_raw()
}

/// Whether other users can create entries here, and only the owner of an entry can replace it.
pub(crate) fn is_shared_safely(directory: &Metadata) -> bool {
    directory.uid() == 0 && directory.mode() & STICKY != 0
}

/// Describes the users who can change this file or directory, besides its user and root. Returns
/// `None` if there are none.
///
/// `has_access_list` is asked if the group can write: see [`has_access_list`].
pub(crate) fn foreign_writers(
    metadata: &Metadata,
    has_access_list: impl FnOnce() -> bool,
) -> Option<String> {
    let (owner, mode) = (metadata.uid(), metadata.mode());
    if !is_trusted(owner) {
        return Some(format!("belongs to another user ({owner})"));
    }
    if mode & OTHERS_WRITE != 0 {
        return Some(format!(
            "can be changed by others (mode {:03o})",
            mode & 0o777
        ));
    }
    if mode & GROUP_WRITE == 0 {
        return None;
    }
    let group = metadata.gid();
    if is_shared(group, owner) || has_access_list() {
        return Some(format!(
            "can be changed by the group {group} (mode {:03o})",
            mode & 0o777
        ));
    }
    None
}

/// Whether the group of a file has members besides its owner, or besides the user of this process.
fn is_shared(group: u32, owner: u32) -> bool {
    let user = rustix::process::geteuid().as_raw();
    has_other_members(group, owner) && has_other_members(group, user)
}

/// Returns the users who can read this file, besides its user and root.
pub(super) fn foreign_readers(file: &Metadata) -> Option<Readers> {
    let mode = file.mode() & 0o777;
    if mode & OTHERS_READ != 0 {
        return Some(Readers::Everyone { mode });
    }
    let for_group = mode & GROUP_READ != 0 && is_shared(file.gid(), file.uid());
    for_group.then_some(Readers::Group { mode })
}

/// The action that takes the write access of other users away.
pub(super) fn hint(path: &Path, metadata: &Metadata) -> String {
    let path = path.display();
    if is_trusted(metadata.uid()) {
        return format!("chmod go-w '{path}'");
    }
    let user = rustix::process::geteuid().as_raw();
    format!("make it yours or root's: chown {user} '{path}'")
}

/// Whether a file grants rights to named users or groups, which the mode shows as rights of its
/// group.
#[cfg(target_os = "linux")]
pub(crate) fn has_access_list(file: impl AsFd) -> bool {
    rustix::fs::fgetxattr(file, ACCESS_LIST, &mut [0; 0]).is_ok_and(|size| size > 0)
}

/// Whether the directory at this path has an access list, like [`has_access_list`].
#[cfg(target_os = "linux")]
pub(super) fn path_has_access_list(path: &Path) -> bool {
    rustix::fs::getxattr(path, ACCESS_LIST, &mut [0; 0]).is_ok_and(|size| size > 0)
}

#[cfg(target_os = "linux")]
const ACCESS_LIST: &str = "system.posix_acl_access";

#[cfg(not(target_os = "linux"))]
pub(crate) fn has_access_list(_file: impl AsFd) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
pub(super) fn path_has_access_list(_path: &Path) -> bool {
    false
}
