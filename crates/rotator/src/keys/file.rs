//! A vault that keeps the key in a key file.

use std::io;
use std::path::{Path, PathBuf};

use super::{DataKey, KeySource, KeyVault};
use crate::error::{StoreError, StoreErrorKind};
use crate::runtime::blocking;
use crate::store::file::directory::{self, Directory};

/// Keeps the key in a file that only its owner may read (0600).
///
/// The file is in the configuration directory, apart from the sessions. A backup or a copy of the
/// sessions' directory alone therefore reveals no token. The key file does not protect against a
/// process that can read all of the user's files.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// A vault with this key file.
    ///
    /// A missing directory of the file is created. A directory that other users can write to is
    /// refused.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// A vault with the key file `token-rotator/key` in the user's configuration directory.
    ///
    /// The directory is `XDG_CONFIG_HOME`, or `~/.config`; `%APPDATA%` on Windows. Fails with
    /// [`StoreErrorKind::Refused`] if the user has none.
    pub fn of_user() -> Result<Self, StoreError> {
        let home = directory::user_directory("XDG_CONFIG_HOME", ".config", "APPDATA")?;
        Ok(Self::new(home.join("token-rotator").join("key")))
    }

    fn parent_and_name(&self) -> Result<(PathBuf, String), StoreError> {
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
        let (parent, name) = self.parent_and_name()?;
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
                "bring the key back; without it the sealed sessions cannot be read, and their \
                 users have to sign in again",
            )),
        }
    }

    async fn keep(&self, key: &DataKey) -> Result<(), StoreError> {
        let (parent, name) = self.parent_and_name()?;
        let text = key.to_text();
        let path = self.path.clone();
        blocking(move || {
            let directory = Directory::create_public(&parent)?;
            match directory.write_new(&name, text.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let refused = refused(&path, "another process has just created it");
                    Err(refused.with_hint("try again"))
                }
                written => written.map_err(|error| directory::failed("write", &path, &error)),
            }
        })
        .await
    }
}

fn refused(path: &Path, problem: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused,
        format!("the key file {}: {problem}", path.display()),
    )
}
