//! Opening a file store.

use std::path::PathBuf;
use std::sync::Arc;

use super::directory::{self, Directory};
use super::sealing::Sealing;
use super::{FileStore, Inner};
use crate::error::{StoreError, StoreErrorKind};
use crate::keys::{DynVault, KeyVault};

/// Opens a [`FileStore`] that is sealed in a way to be chosen.
#[must_use = "a builder does nothing until `open` is called"]
pub struct FileStoreBuilder {
    directory: PathBuf,
    vaults: Vec<Box<dyn DynVault>>,
    plaintext: bool,
}

impl FileStoreBuilder {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            vaults: Vec::new(),
            plaintext: false,
        }
    }

    /// Keeps the key here. Call it again for the next best place: the first key is made in the
    /// first vault that can be reached then, and from then on it is looked for there alone.
    pub fn vault(mut self, vault: impl KeyVault) -> Self {
        self.vaults.push(Box::new(vault));
        self
    }

    /// Seals nothing: whoever can read the files has the tokens. For file systems that are
    /// encrypted as they are, and for debugging.
    pub fn plaintext(mut self) -> Self {
        self.plaintext = true;
        self
    }

    /// Opens the directory, making it (0700) if it is missing.
    ///
    /// Fails with [`StoreErrorKind::Refused`] if others could read it, if it cannot be made, and if
    /// neither a vault nor plaintext was asked for, or both.
    pub fn open(self) -> Result<FileStore, StoreError> {
        let problem = match (self.vaults.is_empty(), self.plaintext) {
            (true, false) => Some((
                "has no key",
                "call `vault`, or `plaintext` if that is meant",
            )),
            (false, true) => Some((
                "is to be sealed and plaintext",
                "call `vault` or `plaintext`, not both",
            )),
            _ => None,
        };
        if let Some((problem, hint)) = problem {
            return Err(StoreError::new(
                StoreErrorKind::Refused,
                format!("the store {} {problem}", self.directory.display()),
            )
            .with_hint(hint));
        }
        Ok(FileStore(Arc::new(Inner {
            directory: Directory::create(&self.directory)?,
            sealing: Sealing::new(self.vaults),
        })))
    }
}

impl std::fmt::Debug for FileStoreBuilder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sources: Vec<_> = self.vaults.iter().map(|vault| vault.source()).collect();
        out.debug_struct("FileStoreBuilder")
            .field("directory", &self.directory)
            .field("vaults", &sources)
            .field("plaintext", &self.plaintext)
            .finish()
    }
}

pub(super) fn directory_of_user() -> Result<PathBuf, StoreError> {
    let home = directory::user_directory("XDG_STATE_HOME", ".local/state", "LOCALAPPDATA")?;
    Ok(home.join("token-rotator"))
}
