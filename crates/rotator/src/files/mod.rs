//! Files that the operator names: settings, secrets, keys and certificates.
//!
//! Another user who can change such a file can send the session's tokens elsewhere.
//! [`TrustedFile::read`] is the one place of the check.
//!
//! - `mod.rs`: reads a file of bounded length after the check.
//! - `path.rs`: checks each directory and each link on the way to the file.
//! - `access.rs`: judges owner and mode. `groups.rs`: finds the groups that have one member.

#[cfg(unix)]
pub(crate) mod access;
#[cfg(unix)]
mod groups;
#[cfg(unix)]
mod path;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The content of a regular file that only its user and root can change.
///
/// *On Unix* the user of this process or root owns the file and each directory on the way to it.
/// Other users cannot write there, nor can a group with other members. Links are followed, and the
/// check covers their targets. A directory that other users can write is accepted if it is root's
/// and sticky, or if its file system is mounted read-only.
///
/// *On other systems* the file must be a regular file. The user's profile protects it.
pub struct TrustedFile {
    bytes: Zeroizing<Vec<u8>>,
    readers: Option<Readers>,
}

/// The users who can read a file, besides its user and root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readers {
    /// The members of its group.
    Group {
        /// The permission bits of the file.
        mode: u32,
    },
    /// Every user of the machine.
    Everyone {
        /// The permission bits of the file.
        mode: u32,
    },
}

impl std::fmt::Display for Readers {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Group { mode } => write!(out, "can be read by its group (mode {mode:03o})"),
            Self::Everyone { mode } => {
                write!(
                    out,
                    "can be read by every user of this machine (mode {mode:03o})"
                )
            }
        }
    }
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refuses to open or read the file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The path leads to a pipe, a device or a socket.
    #[error("it is no regular file")]
    NotRegular,
    /// The file is longer than any valid file of its kind.
    #[error("it is longer than {limit} bytes")]
    TooLong {
        /// The longest file that is read.
        limit: u64,
    },
    /// The file contains bytes that are not UTF-8.
    #[error("stream did not contain valid UTF-8")]
    NotText,
    /// Another user can change the file, or replace it.
    #[error("{}{access}", subject(.path.as_deref()))]
    Exposed {
        /// The directory or link concerned. `None` for the file itself.
        path: Option<PathBuf>,
        /// Who can change it.
        access: String,
        /// The action that ends the exposure.
        hint: String,
    },
}

fn subject(path: Option<&Path>) -> String {
    path.map_or_else(
        || "the file ".to_owned(),
        |path| format!("{} on the way to it ", path.display()),
    )
}

impl FileError {
    /// Returns the action for this cause. Returns `None` if the cause does not tell.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Io(_) | Self::NotText => None,
            Self::NotRegular => Some("name a regular file"),
            Self::TooLong { .. } => Some("name a shorter file"),
            Self::Exposed { hint, .. } => Some(hint),
        }
    }
}

impl TrustedFile {
    /// Reads a file of at most `limit` bytes. Returns `None` if there is no file at this path.
    ///
    /// Never waits for a pipe: the file is opened without waiting, and only regular files are read.
    pub fn read(path: impl AsRef<Path>, limit: u64) -> Result<Option<Self>, FileError> {
        match Self::read_existing(path, limit) {
            Ok(file) => Ok(Some(file)),
            Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a file like [`TrustedFile::read`]. Fails if there is no file at this path.
    pub fn read_existing(path: impl AsRef<Path>, limit: u64) -> Result<Self, FileError> {
        let path = path.as_ref();
        let file = open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            // Reading fails with the system's own words for a directory.
            let error = { &file }.read(&mut [0]).err();
            return Err(error
                .unwrap_or_else(|| io::ErrorKind::IsADirectory.into())
                .into());
        }
        if !metadata.is_file() {
            return Err(FileError::NotRegular);
        }
        let readers = check(path, &file)?;
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(FileError::TooLong { limit });
        }
        Ok(Self { bytes, readers })
    }

    /// The content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The content as text.
    pub fn text(&self) -> Result<&str, FileError> {
        std::str::from_utf8(&self.bytes).map_err(|_| FileError::NotText)
    }

    /// The other users who can read the file. Returns `None` if there are none.
    pub fn readers(&self) -> Option<Readers> {
        self.readers
    }
}

impl std::fmt::Debug for TrustedFile {
    /// Omits the content, which may be a secret.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TrustedFile")
            .field("length", &self.bytes.len())
            .field("readers", &self.readers)
            .finish()
    }
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    // Without this flag, opening a pipe waits for its writer.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    OpenOptions::new()
        .read(true)
        .custom_flags(i32::from_ne_bytes(flags.bits().to_ne_bytes()))
        .open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}

/// Checks the file and the way to it. Returns who else can read the file.
#[cfg(unix)]
fn check(path: &Path, file: &File) -> Result<Option<Readers>, FileError> {
    let metadata = file.metadata()?;
    if let Some(access) = access::foreign_writers(&metadata, || access::has_access_list(file)) {
        let hint = access::hint(path, &metadata);
        return Err(FileError::Exposed {
            path: None,
            access,
            hint,
        });
    }
    path::check(path)?;
    Ok(access::foreign_readers(&metadata))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the version for Unix can fail")]
fn check(_path: &Path, _file: &File) -> Result<Option<Readers>, FileError> {
    Ok(None)
}
