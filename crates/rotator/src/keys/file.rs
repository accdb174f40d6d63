//! A vault that keeps the key in a key file.

use std::io;
use std::path::{Path, PathBuf};

use super::{DataKey, KeySource, KeyVault};
use crate::error::{StoreError, StoreErrorKind};
use crate::files::{FileError, Readers, TrustedFile};
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
    is_mounted: bool,
}

/// The longest key file that is read, in bytes.
const BYTES_MAX: u64 = 4096;

impl KeyFile {
    /// A vault with this key file.
    ///
    /// A missing directory of the file is created. A directory that other users can write to is
    /// refused.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            is_mounted: false,
        }
    }

    /// A vault with a key file that the operator provides, such as a mounted Secret of Kubernetes.
    ///
    /// The path may be a link, root may own the file, and its group may read it. No other user may
    /// read it, nor change it or its path. A missing file is created as by [`KeyFile::new`].
    pub fn mounted(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            is_mounted: true,
        }
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
        let (path, is_mounted) = (self.path.clone(), self.is_mounted);
        let text = blocking(move || {
            if !parent.exists() {
                return Ok(None);
            }
            if is_mounted && parent.is_dir() {
                return read_mounted(&path);
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
                format!("the key file {} holds no key", self.path.display()),
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

/// Reads a key file of the operator. Refuses it if every user of the machine can read it.
fn read_mounted(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let file = TrustedFile::read(path, BYTES_MAX).map_err(|error| {
        if let FileError::Io(error) = &error {
            return directory::failed("open", path, error);
        }
        let refused = refused(path, &error.to_string());
        match error.hint() {
            Some(hint) => refused.with_hint(hint),
            None => refused,
        }
    })?;
    let Some(file) = file else {
        return Ok(None);
    };
    match file.readers() {
        Some(readers @ Readers::Everyone { .. }) => Err(refused(path, &format!("it {readers}"))
            .with_hint(format!(
                "chmod o-r '{}'; for a Secret of Kubernetes set `defaultMode: 0440`",
                path.display()
            ))),
        Some(readers @ Readers::Group { .. }) => {
            tracing::warn!(file = %path.display(), "the key file {readers}");
            Ok(Some(file.bytes().to_vec()))
        }
        None => Ok(Some(file.bytes().to_vec())),
    }
}

fn refused(path: &Path, problem: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused,
        format!("the key file {}: {problem}", path.display()),
    )
}
