//! Where the key of a file store is kept: apart from what it seals.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;

use crate::error::{StoreError, StoreErrorKind};
use crate::runtime::blocking;
use crate::store::codec::{DataKey, KeySource};
use crate::store::file::directory::{self, Directory};

/// Keeps the one key that seals the sessions of a [`FileStore`](crate::FileStore).
///
/// Asked for the key once by each process, and to keep a new one once, at the first sign-in.
pub trait KeyVault: Send + Sync + 'static {
    /// What is written beside what the key seals, so that it is looked for here.
    fn source(&self) -> KeySource;

    /// The key; `None`: there is none yet. An error means that it cannot be reached now: no other
    /// key is made then, and no other place is asked.
    fn load(&self) -> impl Future<Output = Result<Option<DataKey>, StoreError>> + Send;

    /// Keeps this key. Only called after [`KeyVault::load`] has found none, by one process at a
    /// time for each store; a vault that is shared by several stores fails if it has one by now.
    fn keep(&self, key: &DataKey) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A vault whose type the store has forgotten.
pub(crate) trait DynVault: Send + Sync + 'static {
    fn source(&self) -> KeySource;
    fn load(&self) -> BoxFuture<'_, Result<Option<DataKey>, StoreError>>;
    fn keep<'a>(&'a self, key: &'a DataKey) -> BoxFuture<'a, Result<(), StoreError>>;
}

impl<V: KeyVault> DynVault for V {
    fn source(&self) -> KeySource {
        KeyVault::source(self)
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<DataKey>, StoreError>> {
        Box::pin(KeyVault::load(self))
    }

    fn keep<'a>(&'a self, key: &'a DataKey) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(KeyVault::keep(self, key))
    }
}

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

/// The key in an environment variable: 64 hexadecimal digits, or 32 bytes in base64. For containers
/// whose platform brings secrets this way.
///
/// Other processes of the same user can read it. It is never made, only read.
#[derive(Clone, Debug)]
pub struct KeyVariable {
    name: String,
}

impl KeyVariable {
    /// In this variable.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl KeyVault for KeyVariable {
    fn source(&self) -> KeySource {
        KeySource::Environment
    }

    async fn load(&self) -> Result<Option<DataKey>, StoreError> {
        let name = &self.name;
        let text = std::env::var(name).map(zeroize::Zeroizing::new);
        let text = text.map_err(|_| {
            StoreError::new(
                StoreErrorKind::Refused,
                format!("the environment variable {name}, which is to hold the key, is not set"),
            )
            .with_hint("set it to 32 random bytes as 64 hexadecimal digits")
        })?;
        match DataKey::from_text(KeySource::Environment, &text) {
            Ok(key) => Ok(Some(key)),
            Err(error) => Err(StoreError::new(
                StoreErrorKind::Refused,
                format!("the environment variable {name} holds no key: {error}"),
            )
            .with_hint(
                "`openssl rand -hex 32` makes one, unless there are sessions that another has \
                 sealed",
            )),
        }
    }

    async fn keep(&self, _key: &DataKey) -> Result<(), StoreError> {
        Err(StoreError::new(
            StoreErrorKind::Refused,
            "a key in an environment variable is set from outside, not made",
        )
        .with_hint("set the variable, or choose another place for the key"))
    }
}

fn refused(path: &Path, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused,
        format!("the key file {}: {what}", path.display()),
    )
}
