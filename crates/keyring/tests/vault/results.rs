//! Results of the vault for each response of a keyring.

use token_rotator::keys::{DataKey, KeySource, KeyVault as _};
use token_rotator::store::StoreErrorKind;
use token_rotator_keyring::Keyring;
use token_rotator_keyring::keyring_core::Error;

use super::directory::{CANARY, TestDirectory, read, sealed_from, sign_in, text};
use super::fake_keyring::{Behaviour, FakeKeyring};

fn key(byte: u8) -> DataKey {
    DataKey::new(KeySource::Keyring, [byte; 32])
}

/// The keyring stores the key as 64 hexadecimal digits, under the name that the program sets.
#[tokio::test]
async fn a_key_is_stored_as_text_under_its_name() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let (default_vault, other) = (
        fake.keyring(&directory),
        fake.keyring(&directory).name("other-program"),
    );
    assert_eq!(default_vault.source(), KeySource::Keyring);
    assert!(default_vault.load().await.expect("reachable").is_none());
    default_vault.keep(&key(0xab)).await.expect("kept");
    other.keep(&key(0xcd)).await.expect("kept");
    let mut values = fake.values();
    values.sort();
    assert_eq!(
        values,
        [
            ("data-key".to_owned(), "ab".repeat(32).into_bytes()),
            ("other-program".to_owned(), "cd".repeat(32).into_bytes()),
        ]
    );
    for (keyring, byte) in [(default_vault, 0xab), (other, 0xcd)] {
        let loaded = keyring.load().await.expect("reachable").expect("a key");
        assert_eq!(loaded.bytes(), &[byte; 32]);
        assert_eq!(loaded.source(), KeySource::Keyring);
    }
}

/// Storing a key fails if another key is stored already.
#[tokio::test]
async fn a_key_is_never_overwritten() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let (first, second) = (fake.keyring(&directory), fake.keyring(&directory));
    assert!(second.load().await.expect("reachable").is_none());
    first.keep(&key(1)).await.expect("kept");
    let error = second.keep(&key(2)).await.expect_err("a key exists");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(text(&error).contains("`data-key`"), "{error}");
    assert!(text(&error).contains("try again"), "{error}");

    // A value that is not a key is not overwritten.
    fake.put("data-key", b"a value of another program");
    let error = second.keep(&key(2)).await.expect_err("a value exists");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert_eq!(fake.write_count(), 1);
}

/// Of sixteen concurrent writers, exactly one stores its key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_writers_stores_its_key() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let keyring = fake.keyring(&directory);
        tasks.spawn(async move { (number, keyring.keep(&key(number)).await) });
    }
    let mut winners = Vec::new();
    for (number, stored) in tasks.join_all().await {
        match stored {
            Ok(()) => winners.push(number),
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}"),
        }
    }
    assert_eq!((winners.len(), fake.write_count()), (1, 1));
    let loaded = fake.keyring(&directory).load().await.expect("reachable");
    assert_eq!(loaded.expect("a key").bytes(), &[winners[0]; 32]);
    let mode = std::fs::metadata(directory.lock_file()).expect("a lock file");
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );
}

/// Each failure has its kind and a hint, and shows nothing of the entry.
#[tokio::test]
async fn each_failure_has_its_kind() {
    fn platform(what: &str) -> Box<dyn std::error::Error + Send + Sync> {
        what.into()
    }
    type Case = (fn() -> Error, StoreErrorKind, &'static str);
    let cases: [Case; 9] = [
        (
            || Error::NoStorageAccess(platform("it is locked")),
            StoreErrorKind::Unavailable,
            "it is locked; hint: unlock the keyring",
        ),
        (
            || Error::PlatformFailure(platform("no bus")),
            StoreErrorKind::Unavailable,
            "no bus; hint: start a keyring",
        ),
        (
            || Error::NotSupportedByStore("not here".to_owned()),
            StoreErrorKind::Unavailable,
            "not here",
        ),
        (
            || Error::NoDefaultStore,
            StoreErrorKind::Unavailable,
            "this system has none",
        ),
        (
            || Error::BadEncoding(CANARY.into()),
            StoreErrorKind::Corrupt,
            "left as it is",
        ),
        (
            || Error::BadDataFormat(CANARY.into(), platform(CANARY)),
            StoreErrorKind::Corrupt,
            "left as it is",
        ),
        (
            || Error::Ambiguous(Vec::new()),
            StoreErrorKind::Refused,
            "hint: keep the entry",
        ),
        (
            || Error::TooLong("user".to_owned(), 8),
            StoreErrorKind::Refused,
            "longer than 8",
        ),
        (
            || Error::Invalid("user".to_owned(), "has a colon".to_owned()),
            StoreErrorKind::Refused,
            "its user has a colon",
        ),
    ];
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let keyring = fake.keyring(&directory);
    for (error, kind, part) in cases {
        fake.set_behaviour(Behaviour::Fails(error));
        let loaded = keyring.load().await.expect_err("the keyring fails");
        let stored = keyring.keep(&key(1)).await.expect_err("the keyring fails");
        for error in [loaded, stored] {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(text(&error).contains(part), "{error}");
        }
    }
    fake.set_behaviour(Behaviour::Panics);
    let error = keyring.load().await.expect_err("the keyring panics");
    assert_eq!(error.kind(), StoreErrorKind::Panicked);
    assert!(fake.values().is_empty());
    fake.set_behaviour(Behaviour::Responds);
    assert!(keyring.load().await.expect("reachable").is_none());
}

/// An entry that contains no key is left unchanged, and is not shown.
#[tokio::test]
async fn an_entry_without_a_key_is_corrupt() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let keyring = fake.keyring(&directory);
    for value in [
        CANARY.as_bytes(),
        b"",
        b"\xff\xfe",
        "ab".repeat(31).as_bytes(),
    ] {
        fake.put("data-key", value);
        let error = keyring.load().await.expect_err("no key");
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(text(&error).contains("`data-key`"), "{error}");
        assert!(text(&error).contains("hint: "), "{error}");
        assert_eq!(fake.values(), [("data-key".to_owned(), value.to_vec())]);
    }
}

/// An empty name and an unusable lock file are refused before a key is stored.
#[tokio::test]
async fn unusable_settings_are_refused() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let nameless = fake.keyring(&directory).name("");
    let error = nameless.load().await.expect_err("no name");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(text(&error).contains("name"), "{error}");

    std::fs::write(directory.lock_file().parent().expect("a directory"), "").expect("writable");
    let error = fake.keyring(&directory).keep(&key(1)).await;
    let error = error.expect_err("no lock file");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(text(&error).contains("`lock_file`"), "{error}");
    assert!(fake.values().is_empty());
}

/// A keyring that is locked at the first sign-in is not used later either.
#[tokio::test]
async fn without_a_keyring_the_key_file_is_used() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let keyring = fake.keyring(&directory);
    fake.set_behaviour(Behaviour::Fails(|| {
        Error::NoStorageAccess("it is locked".into())
    }));
    let store = directory.open(&keyring);
    sign_in(&store).await;
    assert_eq!(sealed_from(&store).await, Some(KeySource::File));
    fake.set_behaviour(Behaviour::Responds);
    let other = directory.open(&keyring);
    assert!(read(&other).await.expect("readable").is_some());
    assert!(fake.values().is_empty());
}

/// The debug output of the vault contains the entry's name and no key.
#[tokio::test]
async fn the_debug_output_shows_no_key() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let keyring: Keyring = fake.keyring(&directory);
    keyring.keep(&key(0xab)).await.expect("kept");
    let text = format!("{keyring:?}");
    assert!(
        text.contains("data-key") && !text.contains("abab"),
        "{text}"
    );
}
