//! A private directory: its files can be read by its owner alone.
//!
//! The path is resolved once, when the directory is opened. All later calls work relative to the
//! open directory and follow no links in it.

use std::env;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{StoreError, StoreErrorKind};

#[cfg(unix)]
use super::unix as system;
#[cfg(not(unix))]
use super::windows as system;

/// The most bytes that are read from a file. No valid file is that long.
const BYTES_MAX: u64 = 2 * 1024 * 1024;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    handle: system::DirectoryHandle,
    path: PathBuf,
}

impl Directory {
    /// Opens a private directory. Creates it and its missing parents (0700).
    pub(crate) fn create(path: &Path) -> Result<Self, StoreError> {
        system::create_directory(path).map_err(|error| failed("make", path, &error))?;
        Self::open(path)
    }

    /// Opens a private directory. Fails if other users can read it or write to it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let directory = Self::open_any(path)?;
        directory.refuse(system::access_by_others(&directory.handle), "700")?;
        Ok(directory)
    }

    /// Opens a directory whose file names are not secret, such as a configuration directory. Fails
    /// only if other users can write to it.
    pub(crate) fn open_public(path: &Path) -> Result<Self, StoreError> {
        let directory = Self::open_any(path)?;
        directory.refuse(system::write_access_by_others(&directory.handle), "go-w")?;
        Ok(directory)
    }

    /// Opens a directory like [`Directory::open_public`]. Creates it and its missing parents (0700).
    pub(crate) fn create_public(path: &Path) -> Result<Self, StoreError> {
        system::create_directory(path).map_err(|error| failed("make", path, &error))?;
        Self::open_public(path)
    }

    fn open_any(path: &Path) -> Result<Self, StoreError> {
        let path = path
            .canonicalize()
            .map_err(|error| failed("open", path, &error))?;
        let handle =
            system::open_directory(&path).map_err(|error| failed("open", &path, &error))?;
        Ok(Self { handle, path })
    }

    /// Fails if other users have access to the directory. `mode` is the mode that the hint suggests.
    fn refuse(&self, access: io::Result<Option<String>>, mode: &str) -> Result<(), StoreError> {
        let access = access.map_err(|error| failed("look at", &self.path, &error))?;
        match access {
            Some(access) => Err(exposed("the directory", &self.path, &access, mode)),
            None => Ok(()),
        }
    }

    /// The path of this file, for messages.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file. Returns `None` if there is none. Fails if other users can read it.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path_of(name);
        let file = match system::open_to_read(&self.handle, name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &path, &error)),
        };
        if let Some(access) =
            system::access_by_others(&file).map_err(|error| failed("look at", &path, &error))?
        {
            return Err(exposed("the file", &path, &access, "600"));
        }
        let mut bytes = Vec::with_capacity(8 * 1024);
        let read = file.take(BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|error| failed("read", &path, &error))?;
        Ok(Some(bytes))
    }

    /// Replaces the file: writes a new file and renames it over the old one. A reader gets the whole
    /// old file or the whole new file, even after a crash. The caller must hold a lock, so that only
    /// one process at a time replaces the file.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let temporary = format!("{name}.new");
        let path = self.path_of(name);
        let written = self
            .write_temporary(&temporary, bytes)
            .and_then(|()| system::rename(&self.handle, &temporary, name))
            .and_then(|()| system::sync_directory(&self.handle));
        written.map_err(|error| failed("write", &path, &error))
    }

    /// Creates a file with these bytes, or nothing. Fails if the file exists.
    pub(crate) fn write_new(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // Each of several concurrent writers has its own temporary file.
        let temporary = format!("{name}.{:016x}.new", crate::runtime::random::bits() as u64);
        let written = self
            .write_temporary(&temporary, bytes)
            .and_then(|()| system::link(&self.handle, &temporary, name));
        let _ = system::remove(&self.handle, &temporary);
        written.and_then(|()| system::sync_directory(&self.handle))
    }

    /// Checks that so many bytes can be written: writes a temporary file and removes it.
    pub(crate) fn try_to_write(&self, bytes: usize) -> Result<(), StoreError> {
        let name = format!("room.{:016x}.new", crate::runtime::random::bits() as u64);
        let written = self.write_temporary(&name, &vec![0; bytes]);
        let _ = system::remove(&self.handle, &name);
        written.map_err(|error| failed("write into", &self.path, &error))
    }

    fn write_temporary(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // This overwrites a file that a killed writer has left.
        let mut file = system::open_to_write(&self.handle, name)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Opens a file for a kernel lock. Creates it if it is missing. Lock files are never removed,
    /// because a lock on a removed file protects nothing.
    pub(crate) fn lock_file(&self, name: &str) -> Result<File, StoreError> {
        system::open_to_lock(&self.handle, name)
            .map_err(|error| failed("open", &self.path_of(name), &error))
    }

    /// The names of the files in the directory.
    pub(crate) fn names(&self) -> Result<Vec<String>, StoreError> {
        let entries =
            std::fs::read_dir(&self.path).map_err(|error| failed("list", &self.path, &error))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", &self.path, &error))?;
            names.extend(entry.file_name().into_string());
        }
        Ok(names)
    }
}

/// The user's directory of one kind: the absolute path in this variable, or else a directory under
/// the home directory.
pub(crate) fn user_directory(
    variable: &str,
    beneath_home: &str,
    on_windows: &str,
) -> Result<PathBuf, StoreError> {
    let absolute = |name: &str| {
        let path = env::var_os(name).map(PathBuf::from)?;
        path.is_absolute().then_some(path)
    };
    let path = if cfg!(windows) {
        absolute(on_windows)
    } else {
        absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(beneath_home)))
    };
    path.ok_or_else(|| {
        StoreError::new(
            StoreErrorKind::Refused,
            "there is no home directory to keep anything in",
        )
        .with_hint(format!("set {variable} or HOME"))
    })
}

pub(crate) fn failed(verb: &str, path: &Path, error: &io::Error) -> StoreError {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::StorageFull
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::NotADirectory => StoreErrorKind::Refused,
        _ => StoreErrorKind::Unavailable,
    };
    let failed = StoreError::new(kind, format!("cannot {verb} {}: {error}", path.display()));
    match hint(error.kind()) {
        Some(hint) => failed.with_hint(hint),
        None => failed,
    }
}

/// The hint for an error of the file system. Returns `None` if its kind has none.
fn hint(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::PermissionDenied => "give this user the right to read and write it",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
        io::ErrorKind::FileTooLarge => "raise the limit of file sizes (`ulimit -f`)",
        io::ErrorKind::IsADirectory => "remove the directory that stands in place of the file",
        io::ErrorKind::AlreadyExists => {
            "remove the file that stands there, or choose another place"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "choose a directory on a file system that can be written to"
        }
        io::ErrorKind::NotADirectory => "a part of the path is a file; choose another directory",
        _ => return None,
    })
}

/// The error for a file or directory that other users can access.
fn exposed(kind: &str, path: &Path, access: &str, mode: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused,
        format!("{kind} {} {access}, and is to hold secrets", path.display()),
    )
    .with_hint(format!("chmod {mode} '{}'", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: each known error of the file system has the hint for its cause. An unknown error
    /// has none.
    #[test]
    fn each_error_has_its_hint() {
        for (kind, expected) in [
            (io::ErrorKind::PermissionDenied, Some("the right to read")),
            (io::ErrorKind::StorageFull, Some("make room")),
            (io::ErrorKind::QuotaExceeded, Some("make room")),
            (io::ErrorKind::ReadOnlyFilesystem, Some("be written to")),
            (io::ErrorKind::NotADirectory, Some("another directory")),
            (io::ErrorKind::FileTooLarge, Some("ulimit -f")),
            (io::ErrorKind::IsADirectory, Some("remove the directory")),
            (io::ErrorKind::AlreadyExists, Some("remove the file")),
            (io::ErrorKind::TooManyLinks, None),
        ] {
            let error = failed("open", Path::new("/there"), &kind.into());
            let hint = error.hint();
            assert_eq!(hint.is_some(), expected.is_some(), "{kind}: {hint:?}");
            let hint = hint.unwrap_or_default();
            assert!(
                hint.contains(expected.unwrap_or_default()),
                "{kind}: {hint}"
            );
        }
        let error = exposed(
            "the file",
            Path::new("/there"),
            "can be read by others",
            "600",
        );
        assert_eq!(error.hint(), Some("chmod 600 '/there'"));
    }
}
