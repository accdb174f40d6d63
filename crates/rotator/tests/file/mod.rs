//! Tests the file store; each test has its own directory.
//!
//! `damage` covers damaged files, `keys` encryption keys, `large` oversized records, `locks` leases
//! and write locks, and `permissions` file modes and links.

mod damage;
mod keys;
mod large;
mod locks;
mod permissions;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use token_rotator::keys::KeyFile;
use token_rotator::store::{Epoch, Record, Saved, SessionStore, StoreError, Version};
use token_rotator::{FileStore, SessionKey, TokenSet};

/// A marker in every token, which no file and no message may contain.
const CANARY: &str = "CANARY-7f3a-file";

pub(crate) struct StoreDirectory {
    root: tempfile::TempDir,
}

impl StoreDirectory {
    pub(crate) fn empty() -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        Self { root }
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join("state").join("sessions")
    }

    fn key_file(&self) -> PathBuf {
        self.root.path().join("config").join("key")
    }

    /// Opens the store as another process does.
    pub(crate) fn open(&self) -> FileStore {
        self.try_open().expect("a store")
    }

    fn try_open(&self) -> Result<FileStore, StoreError> {
        FileStore::builder(self.directory())
            .vault(KeyFile::new(self.key_file()))
            .open()
    }

    /// Returns the path of the only data file.
    fn data(&self) -> PathBuf {
        let mut files = self.files(".session");
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.directory()).expect("a directory");
        let mut files: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.to_string_lossy().ends_with(ending))
            .collect();
        files.sort();
        files
    }

    /// Stores a sign-in and returns its record.
    async fn signed_in(&self) -> Record {
        let record = login(1);
        save(&self.open(), None, record.clone()).await;
        record
    }
}

fn session() -> SessionKey {
    SessionKey::new("work")
}

fn login(revision: u64) -> Record {
    let tokens = TokenSet::bearer(format!("{CANARY}-access-{revision}"))
        .with_refresh_token(format!("{CANARY}-refresh-{revision}"));
    let version = Version::new(Epoch::from_bits(1), revision);
    Record::signed_in(version, Arc::new(tokens))
}

async fn save(store: &FileStore, expected: Option<Version>, record: Record) {
    let saved = store.save(&session(), expected, record).await;
    assert!(matches!(saved, Ok(Saved::Stored)), "{saved:?}");
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the text of an error after checking that it names this file and contains no token.
fn text_about(error: &StoreError, path: &Path) -> String {
    let hint = error.hint().map(|hint| format!("; hint: {hint}"));
    let text = format!("{error}{}", hint.unwrap_or_default());
    let name = path
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert!(text.contains(&name), "{text}");
    assert!(!text.contains(CANARY), "{text}");
    text
}
