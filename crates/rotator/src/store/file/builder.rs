//! The builder that opens a file store.

use std::path::PathBuf;
use std::sync::Arc;

use super::directory::{self, Directory};
use super::sealing::Sealing;
use super::{FileStore, Inner};
use crate::error::{StoreError, StoreErrorKind};
use crate::keys::{DynVault, KeyVault};

/// Opens a [`FileStore`] with the program's choice of vaults, or as plaintext.
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

    /// Keeps the key in this vault. Call the method again to add vaults for when the first cannot be
    /// reached.
    ///
    /// The first vault that can be reached gets the store's key. From then on, the store loads the
    /// key from that vault alone.
    pub fn vault(mut self, vault: impl KeyVault) -> Self {
        self.vaults.push(Box::new(vault));
        self
    }

    /// Seals nothing: every reader of the files has the tokens. For encrypted file systems and for
    /// debugging.
    pub fn plaintext(mut self) -> Self {
        self.plaintext = true;
        self
    }

    /// Opens the store. Creates the directory (0700) if it is missing.
    ///
    /// *Errors*: [`StoreErrorKind::Refused`] if other users can read the directory or it cannot be
    /// created. The same kind if the builder has neither a vault nor plaintext, or both.
    pub fn open(self) -> Result<FileStore, StoreError> {
        let problem = match (self.vaults.is_empty(), self.plaintext) {
            (true, false) => Some((
                "has no key",
                "call `vault`, or `plaintext` if that is meant",
            )),
            (false, true) => Some((
                "has a vault and is plaintext",
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
