//! Tests where the encryption key is kept, and what follows if it is missing.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use token_rotator::keys::{DataKey, KeyFile, KeySource, KeyVariable, KeyVault};
use token_rotator::store::{Record, SessionStore as _, StoreError, StoreErrorKind, Version};
use token_rotator::{FileStore, SessionKey};

use super::{StoreDirectory, login, read, save, session, text_about};

/// A vault that a test can make unreachable or forgetful.
#[derive(Clone, Default)]
struct ScriptedVault {
    key: Arc<std::sync::Mutex<Option<DataKey>>>,
    unreachable: Arc<std::sync::atomic::AtomicBool>,
    forgets: bool,
    keep_count: Arc<AtomicUsize>,
}

impl KeyVault for ScriptedVault {
    fn source(&self) -> KeySource {
        KeySource::Keyring
    }

    async fn load(&self) -> Result<Option<DataKey>, StoreError> {
        if self.unreachable.load(Ordering::SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "it is locked"));
        }
        Ok(self.key.lock().expect("no panic").clone())
    }

    async fn keep(&self, key: &DataKey) -> Result<(), StoreError> {
        self.keep_count.fetch_add(1, Ordering::SeqCst);
        if !self.forgets {
            *self.key.lock().expect("no panic") = Some(key.clone());
        }
        Ok(())
    }
}

fn open_with(directory: &StoreDirectory, vault: &ScriptedVault) -> FileStore {
    FileStore::builder(directory.directory())
        .vault(vault.clone())
        .vault(KeyFile::new(directory.key_file()))
        .open()
        .expect("a store")
}

/// The first sign-in makes a key; opening, reading or signing out makes none.
#[tokio::test]
async fn a_key_is_made_at_the_first_sign_in() {
    let directory = StoreDirectory::empty();
    let store = directory.open();
    assert!(store.load(&session()).await.expect("a store").is_none());
    let tombstone = Record::signed_out(login(1).version());
    save(&store, None, tombstone).await;
    assert!(!directory.key_file().exists());
    let other = directory.open();
    let found = other.load(&session()).await.expect("a tombstone");
    assert!(found.is_some_and(|record| record.tokens().is_none()));
    save(&other, Some(login(1).version()), login(2)).await;
    assert!(directory.key_file().exists());
}

/// `prepare` checks before a refresh that a save would work: there is a key, and the directory
/// accepts a file. It leaves no other file behind.
#[tokio::test]
async fn prepare_makes_a_key_and_checks_the_directory() {
    let directory = StoreDirectory::empty();
    let store = directory.open();
    store.check().await.expect("the directory accepts a file");
    assert!(!directory.key_file().exists(), "a check makes no key");
    store.prepare().await.expect("a key");
    let key = read(&directory.key_file());
    let remaining = fs::read_dir(directory.directory()).expect("a directory");
    let remaining: Vec<_> = remaining
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| !name.to_string_lossy().ends_with(".lock"))
        .collect();
    assert!(remaining.is_empty(), "{remaining:?}");
    directory.open().prepare().await.expect("the same key");
    assert_eq!(read(&directory.key_file()), key);

    save(&store, None, login(1)).await;
    fs::remove_file(directory.key_file()).expect("an existing entry");
    let missing_key_error = directory.open().prepare().await.expect_err("no key");
    assert_eq!(missing_key_error.kind(), StoreErrorKind::Refused);
    assert!(
        missing_key_error.to_string().contains("is here already"),
        "{missing_key_error}"
    );
    assert!(!directory.key_file().exists(), "no new key is made");

    fs::remove_dir_all(directory.directory()).expect("an existing entry");
    let missing_directory_error = store.check().await.expect_err("no directory");
    assert!(
        missing_directory_error
            .to_string()
            .contains("cannot write into"),
        "{missing_directory_error}"
    );
    store.prepare().await.expect_err("no directory");
}

/// 16 processes that sign in at once for the first time make one key, and every process can read
/// every session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_sign_ins_make_one_key() {
    let directory = StoreDirectory::empty();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let store = directory.open();
        tasks.spawn(async move {
            let key = SessionKey::new(format!("session-{number}"));
            store.save(&key, None, login(1)).await.expect("stored");
        });
    }
    tasks.join_all().await;
    let store = directory.open();
    let headers = store.sessions().await.expect("a directory");
    assert_eq!(headers.len(), 16);
    for header in headers {
        store.load(&header.session).await.expect("readable");
        assert_eq!(
            header.sealed_with().map(|(source, _)| source),
            Some(KeySource::File)
        );
    }
}

/// The store uses the keyring if it works, else the file, and keeps using that vault. A keyring
/// that works later is not used. A keyring that fails later is an error and causes neither a new
/// key nor a key in another vault.
#[tokio::test]
async fn the_first_working_vault_is_kept() {
    let directory = StoreDirectory::empty();
    let vault = ScriptedVault::default();
    save(&open_with(&directory, &vault), None, login(1)).await;
    assert_eq!(vault.keep_count.load(Ordering::SeqCst), 1);
    assert!(!directory.key_file().exists());

    vault.unreachable.store(true, Ordering::SeqCst);
    let before = read(&directory.data());
    let store = open_with(&directory, &vault);
    let error = store.load(&session()).await.expect_err("no key");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(text_about(&error, &directory.data()).contains("it is locked"));
    // A sign-in over this record and a sign-in of another session need a key too.
    let version = login(1).version();
    store
        .save(&session(), Some(version), login(2))
        .await
        .expect_err("no key");
    let other = SessionKey::new("other");
    store
        .save(&other, None, login(1))
        .await
        .expect_err("no key");
    assert!(!directory.key_file().exists());
    assert_eq!(read(&directory.data()), before);

    // The file is the first vault that works; the keyring works later.
    let directory = StoreDirectory::empty();
    save(&open_with(&directory, &vault), None, login(1)).await;
    assert!(directory.key_file().exists());
    vault.unreachable.store(false, Ordering::SeqCst);
    open_with(&directory, &vault)
        .load(&session())
        .await
        .expect("from the file");
    assert_eq!(vault.keep_count.load(Ordering::SeqCst), 1);
}

/// A key that cannot be read back is not used.
#[tokio::test]
async fn a_key_is_read_back_before_it_is_used() {
    let directory = StoreDirectory::empty();
    let vault = ScriptedVault {
        forgets: true,
        ..ScriptedVault::default()
    };
    let store = FileStore::builder(directory.directory()).vault(vault);
    let store = store.open().expect("a store");
    let error = store.save(&session(), None, login(1)).await;
    assert_eq!(error.expect_err("no key").kind(), StoreErrorKind::Refused);
    assert!(store.load(&session()).await.expect("a store").is_none());
}

/// A missing key, a different key and a file without a key are typed errors, and the record stays
/// unchanged.
#[tokio::test]
async fn a_lost_key_is_an_error() {
    let directory = StoreDirectory::empty();
    directory.signed_in().await;
    let key = read(&directory.key_file());
    let before = read(&directory.data());
    for (text, kind) in [
        (None, StoreErrorKind::Refused),
        (Some("00".repeat(32)), StoreErrorKind::Refused),
        (Some("no key".to_owned()), StoreErrorKind::Corrupt),
    ] {
        match &text {
            Some(text) => fs::write(directory.key_file(), text).expect("writable"),
            None => fs::remove_file(directory.key_file()).expect("ours"),
        }
        if text.is_some() {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(directory.key_file(), mode).expect("ours");
        }
        let store = directory.open();
        let error = store.load(&session()).await.expect_err("no key");
        assert_eq!(error.kind(), kind, "{error}");
        text_about(&error, &directory.data());
        let version: Version = login(1).version();
        let saved = store.save(&session(), Some(version), login(2)).await;
        assert_eq!(saved.expect_err("no key").kind(), kind);
        assert_eq!(read(&directory.data()), before);
        assert_eq!(
            directory.key_file().exists(),
            text.is_some(),
            "a key was made"
        );
    }
    fs::write(directory.key_file(), key).expect("writable");
    directory
        .open()
        .load(&session())
        .await
        .expect("readable again");
}

/// The store reads a key from an environment variable and never makes one. If the variable is missing, the
/// error names the variable.
#[tokio::test]
async fn a_key_in_the_environment_is_used() {
    let directory = StoreDirectory::empty();
    let open = |name: &str| {
        let builder = FileStore::builder(directory.directory()).vault(KeyVariable::new(name));
        builder.open().expect("a store")
    };
    let error = open("TOKEN_ROTATOR_NO_SUCH_KEY")
        .save(&session(), None, login(1))
        .await;
    let error = error.expect_err("no key");
    assert!(
        error.to_string().contains("TOKEN_ROTATOR_NO_SUCH_KEY"),
        "{error}"
    );
    // Cargo sets this variable for every test, and its value is not a key.
    let error = open("CARGO_MANIFEST_DIR")
        .save(&session(), None, login(1))
        .await;
    assert!(
        error
            .expect_err("no key")
            .to_string()
            .contains("64 hexadecimal")
    );
}

/// A store writes plaintext only if `plaintext` was called. Neither kind of store accepts the
/// records of the other.
#[tokio::test]
async fn plaintext_must_be_requested_explicitly() {
    let directory = StoreDirectory::empty();
    let builder = || FileStore::builder(directory.directory());
    let error = builder().open().expect_err("not chosen");
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("`plaintext`")),
        "{error}"
    );
    let both = builder()
        .plaintext()
        .vault(KeyFile::new(directory.key_file()));
    both.open().expect_err("both chosen");
    let plain = builder().plaintext().open().expect("a store");
    save(&plain, None, login(1)).await;
    assert!(String::from_utf8_lossy(&read(&directory.data())).contains("access-1"));
    let error = directory
        .open()
        .load(&session())
        .await
        .expect_err("plaintext");
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");

    let directory = StoreDirectory::empty();
    directory.signed_in().await;
    let plain = FileStore::builder(directory.directory()).plaintext();
    let error = plain.open().expect("a store").load(&session()).await;
    assert_eq!(error.expect_err("sealed").kind(), StoreErrorKind::Refused);
}
