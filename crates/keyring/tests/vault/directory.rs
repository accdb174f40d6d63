//! A temporary directory for each test, and a store in it.

use std::path::PathBuf;
use std::sync::Arc;

use token_rotator::keys::{KeyFile, KeySource};
use token_rotator::store::{Epoch, Record, Saved, SessionStore as _, StoreError, Version};
use token_rotator::{FileStore, SessionKey, TokenSet};
use token_rotator_keyring::Keyring;

/// A prefix that no error and no file may contain.
pub(crate) const CANARY: &str = "CANARY-7f3a-keyring";

pub(crate) struct TestDirectory(tempfile::TempDir);

impl TestDirectory {
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.0.path().join("config").join("key")
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.0.path().join("locks").join("keyring.lock")
    }

    fn directory(&self) -> PathBuf {
        self.0.path().join("sessions")
    }

    /// Opens the store as another process would, with the keyring and a key file as vaults.
    pub(crate) fn open(&self, keyring: &Keyring) -> FileStore {
        let builder = FileStore::builder(self.directory());
        let builder = builder.vault(keyring.clone());
        let builder = builder.vault(KeyFile::new(self.key_file()));
        builder.open().expect("a store")
    }

    /// Reads all data files.
    pub(crate) fn data(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(self.directory()).expect("a directory");
        let mut files: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "session"))
            .map(|path| {
                let bytes = std::fs::read(&path).expect("readable");
                (path, bytes)
            })
            .collect();
        files.sort();
        files
    }
}

pub(crate) fn session() -> SessionKey {
    SessionKey::new("work")
}

pub(crate) fn login(revision: u64) -> Record {
    let tokens = TokenSet::bearer(format!("{CANARY}-access-{revision}"))
        .with_refresh_token(format!("{CANARY}-refresh-{revision}"));
    let version = Version::new(Epoch::from_bits(1), revision);
    Record::signed_in(version, Arc::new(tokens))
}

pub(crate) async fn sign_in(store: &FileStore) {
    let saved = store.save(&session(), None, login(1)).await;
    assert!(matches!(saved, Ok(Saved::Stored)), "{saved:?}");
}

/// Returns the session's access token, or `None` if the session is signed out.
pub(crate) async fn read(store: &FileStore) -> Result<Option<String>, StoreError> {
    use token_rotator::ExposeSecret as _;
    let record = store.load(&session()).await?;
    let tokens = record.and_then(Record::into_tokens);
    Ok(tokens.map(|tokens| tokens.access_token().expose_secret().to_owned()))
}

/// Returns the source of the key that seals the session.
pub(crate) async fn sealed_from(store: &FileStore) -> Option<KeySource> {
    let header = store.header(&session()).await.expect("readable");
    header?.sealed_with().map(|(source, _)| source)
}

/// Returns the text of an error with its hint. Fails the test if the text contains the canary.
pub(crate) fn text(error: &StoreError) -> String {
    let hint = error.hint().map(|hint| format!("; hint: {hint}"));
    let text = format!("{error}{}", hint.unwrap_or_default());
    for shown in [&text, &format!("{error:?}")] {
        assert!(!shown.contains(CANARY), "{shown}");
    }
    text
}
