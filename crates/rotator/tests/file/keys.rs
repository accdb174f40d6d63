//! Where the key is, and what happens where it is not.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use token_rotator::keys::{DataKey, KeyFile, KeySource, KeyVariable, KeyVault};
use token_rotator::store::{Record, SessionStore as _, StoreError, StoreErrorKind, Version};
use token_rotator::{FileStore, SessionKey};

use super::{Place, login, read, save, session, text_about};

/// A vault that does as it is told.
#[derive(Clone, Default)]
struct Vault {
    key: Arc<std::sync::Mutex<Option<DataKey>>>,
    unreachable: Arc<std::sync::atomic::AtomicBool>,
    forgets: bool,
    kept: Arc<AtomicUsize>,
}

impl KeyVault for Vault {
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
        self.kept.fetch_add(1, Ordering::SeqCst);
        if !self.forgets {
            *self.key.lock().expect("no panic") = Some(key.clone());
        }
        Ok(())
    }
}

fn with(place: &Place, vault: &Vault) -> FileStore {
    FileStore::builder(place.directory())
        .vault(vault.clone())
        .vault(KeyFile::new(place.key_file()))
        .open()
        .expect("a store")
}

/// A key is made at the first sign-in and not before: not by opening, looking or signing out.
#[tokio::test]
async fn a_key_is_made_at_the_first_sign_in() {
    let place = Place::empty();
    let store = place.open();
    assert!(store.load(&session()).await.expect("a store").is_none());
    let tombstone = Record::signed_out(login(1).version());
    save(&store, None, tombstone).await;
    assert!(!place.key_file().exists());
    let other = place.open();
    let found = other.load(&session()).await.expect("a tombstone");
    assert!(found.is_some_and(|record| record.tokens().is_none()));
    save(&other, Some(login(1).version()), login(2)).await;
    assert!(place.key_file().exists());
}

/// Before anything is spent for a session it can be seen to that it could be saved: with a key, in a
/// directory that takes a file. Nothing else is left behind.
#[tokio::test]
async fn a_store_is_prepared() {
    let place = Place::empty();
    let store = place.open();
    store.check().await.expect("it takes a file");
    assert!(!place.key_file().exists(), "a look makes no key");
    store.prepare().await.expect("a key");
    let key = read(&place.key_file());
    let left = fs::read_dir(place.directory()).expect("a directory");
    let left: Vec<_> = left
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| !name.to_string_lossy().ends_with(".lock"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    place.open().prepare().await.expect("the same key");
    assert_eq!(read(&place.key_file()), key);

    save(&store, None, login(1)).await;
    fs::remove_file(place.key_file()).expect("it is there");
    let lost = place.open().prepare().await.expect_err("no key");
    assert_eq!(lost.kind(), StoreErrorKind::Refused);
    assert!(lost.to_string().contains("is here already"), "{lost}");
    assert!(!place.key_file().exists(), "no other key is made");

    fs::remove_dir_all(place.directory()).expect("it is there");
    let gone = store.check().await.expect_err("no directory");
    assert!(gone.to_string().contains("cannot write into"), "{gone}");
    store.prepare().await.expect_err("no directory");
}

/// Sixteen processes that sign in at once for the first time make one key, and every session can
/// be read by all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_is_made_by_many() {
    let place = Place::empty();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let store = place.open();
        tasks.spawn(async move {
            let key = SessionKey::new(format!("session-{number}"));
            store.save(&key, None, login(1)).await.expect("stored");
        });
    }
    tasks.join_all().await;
    let store = place.open();
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

/// The keyring where there is one, else the file; and from then on there alone: a keyring that
/// comes up later is not asked, one that goes away is an error and neither a new key nor another
/// place.
#[tokio::test]
async fn the_first_vault_that_works_stays_the_one() {
    let place = Place::empty();
    let vault = Vault::default();
    save(&with(&place, &vault), None, login(1)).await;
    assert_eq!(vault.kept.load(Ordering::SeqCst), 1);
    assert!(!place.key_file().exists());

    vault.unreachable.store(true, Ordering::SeqCst);
    let before = read(&place.data());
    let store = with(&place, &vault);
    let error = store.load(&session()).await.expect_err("no key");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(text_about(&error, &place.data()).contains("it is locked"));
    // A sign-in over it, and one into another session, would need a key too.
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
    assert!(!place.key_file().exists());
    assert_eq!(read(&place.data()), before);

    // The other way round.
    let place = Place::empty();
    save(&with(&place, &vault), None, login(1)).await;
    assert!(place.key_file().exists());
    vault.unreachable.store(false, Ordering::SeqCst);
    with(&place, &vault)
        .load(&session())
        .await
        .expect("from the file");
    assert_eq!(vault.kept.load(Ordering::SeqCst), 1);
}

/// A key that cannot be read back is not used.
#[tokio::test]
async fn a_key_is_read_back_before_it_is_used() {
    let place = Place::empty();
    let vault = Vault {
        forgets: true,
        ..Vault::default()
    };
    let store = FileStore::builder(place.directory()).vault(vault);
    let store = store.open().expect("a store");
    let error = store.save(&session(), None, login(1)).await;
    assert_eq!(error.expect_err("no key").kind(), StoreErrorKind::Refused);
    assert!(store.load(&session()).await.expect("a store").is_none());
}

/// A key that is gone, another in its place, and a file that holds none are typed errors which
/// leave the record as it is.
#[tokio::test]
async fn a_lost_key_is_an_error() {
    let place = Place::empty();
    place.signed_in().await;
    let key = read(&place.key_file());
    let before = read(&place.data());
    for (text, kind) in [
        (None, StoreErrorKind::Refused),
        (Some("00".repeat(32)), StoreErrorKind::Refused),
        (Some("no key".to_owned()), StoreErrorKind::Corrupt),
    ] {
        match &text {
            Some(text) => fs::write(place.key_file(), text).expect("writable"),
            None => fs::remove_file(place.key_file()).expect("ours"),
        }
        if text.is_some() {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(place.key_file(), mode).expect("ours");
        }
        let store = place.open();
        let error = store.load(&session()).await.expect_err("no key");
        assert_eq!(error.kind(), kind, "{error}");
        text_about(&error, &place.data());
        let version: Version = login(1).version();
        let saved = store.save(&session(), Some(version), login(2)).await;
        assert_eq!(saved.expect_err("no key").kind(), kind);
        assert_eq!(read(&place.data()), before);
        assert_eq!(place.key_file().exists(), text.is_some(), "a key was made");
    }
    fs::write(place.key_file(), key).expect("writable");
    place.open().load(&session()).await.expect("readable again");
}

/// A key in the environment is read and never made; without it the error says which variable.
#[tokio::test]
async fn the_environment_holds_a_key() {
    let place = Place::empty();
    let open = |name: &str| {
        let builder = FileStore::builder(place.directory()).vault(KeyVariable::new(name));
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
    // Cargo sets this one for every test, and it is no key.
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

/// Plaintext has to be asked for by name, and neither kind of store takes the other's for its own.
#[tokio::test]
async fn plaintext_is_asked_for_by_name() {
    let place = Place::empty();
    let builder = || FileStore::builder(place.directory());
    let error = builder().open().expect_err("not chosen");
    assert!(error.to_string().contains("`plaintext`"), "{error}");
    let both = builder().plaintext().vault(KeyFile::new(place.key_file()));
    both.open().expect_err("both chosen");
    let plain = builder().plaintext().open().expect("a store");
    save(&plain, None, login(1)).await;
    assert!(String::from_utf8_lossy(&read(&place.data())).contains("access-1"));
    let error = place.open().load(&session()).await.expect_err("plaintext");
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");

    let place = Place::empty();
    place.signed_in().await;
    let plain = FileStore::builder(place.directory()).plaintext();
    let error = plain.open().expect("a store").load(&session()).await;
    assert_eq!(error.expect_err("sealed").kind(), StoreErrorKind::Refused);
}
