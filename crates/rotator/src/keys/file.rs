//! A key in a file of its own.

use std::io;
use std::path::{Path, PathBuf};

use super::{DataKey, KeySource, KeyVault};
use crate::error::{StoreError, StoreErrorKind};
use crate::runtime::blocking;
use crate::store::file::directory::{self, Directory};

/// The key in a file of its own that only its owner may read (0600), in the configuration
/// directory: apart from the sessions, so that a copy of their directory alone tells nothing.
///
/// Protects backups and copies of the sessions. Does not protect against whoever can read all of
/// the user's files.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// In this file. Its directory is made if it is missing, and refused if others could change what
    /// is in it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// `token-rotator/key` in the user's configuration directory (`XDG_CONFIG_HOME`, or
    /// `~/.config`; `%APPDATA%` on Windows). Fails where there is none.
    pub fn of_user() -> Result<Self, StoreError> {
        let home = directory::user_directory("XDG_CONFIG_HOME", ".config", "APPDATA")?;
        Ok(Self::new(home.join("token-rotator").join("key")))
    }

    fn place(&self) -> Result<(PathBuf, String), StoreError> {
        let name = self.path.file_name().and_then(|name| name.to_str());
        match (self.path.parent(), name) {
            (Some(parent), Some(name)) => Ok((parent.to_owned(), name.to_owned())),
            _ => Err(refused(&self.path, "it is not the path of a file").with_hint("name a file")),
        }
    }
}

impl KeyVault for KeyFile {
    fn source(&self) -> KeySource {
        KeySource::File
    }

    async fn load(&self) -> Result<Option<DataKey>, StoreError> {
        let (parent, name) = self.place()?;
        let path = self.path.clone();
        let text = blocking(move || {
            if !parent.exists() {
                return Ok(None);
            }
            Directory::open_public(&parent)?.read(&name)
        })
        .await?;
        let Some(text) = text.map(zeroize::Zeroizing::new) else {
            return Ok(None);
        };
        let key = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| DataKey::from_text(KeySource::File, text).ok());
        match key {
            Some(key) => Ok(Some(key)),
            None => Err(StoreError::new(
                StoreErrorKind::Corrupt,
                format!("the key file {} holds no key", path.display()),
            )
            .with_hint(
                "bring the key back; without it nothing that it sealed can be read, and somebody \
                 has to sign in again",
            )),
        }
    }

    async fn keep(&self, key: &DataKey) -> Result<(), StoreError> {
        let (parent, name) = self.place()?;
        let text = key.to_text();
        let path = self.path.clone();
        blocking(move || {
            let directory = Directory::create_public(&parent)?;
            match directory.write_new(&name, text.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let made = refused(&path, "another process has made it meanwhile");
                    Err(made.with_hint("try again"))
                }
                written => written.map_err(|error| directory::failed("write", &path, &error)),
            }
        })
        .await
    }
}

fn refused(path: &Path, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused,
        format!("the key file {}: {what}", path.display()),
    )
}
