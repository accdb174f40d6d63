//! What each answer of a keyring leads to.

use token_rotator::keys::{DataKey, KeySource, KeyVault as _};
use token_rotator::store::StoreErrorKind;
use token_rotator_keyring::Keyring;
use token_rotator_keyring::keyring_core::Error;

use super::fake::{Fake, Mood};
use super::place::{CANARY, Place, read, sealed_from, sign_in, text};

fn key(byte: u8) -> DataKey {
    DataKey::new(KeySource::Keyring, [byte; 32])
}

/// The keyring holds the key as 64 hexadecimal digits, under the name that the program gave it.
#[tokio::test]
async fn a_key_is_kept_as_text_under_its_name() {
    let (place, fake) = (Place::empty(), Fake::default());
    let (usual, other) = (
        fake.keyring(&place),
        fake.keyring(&place).name("other-program"),
    );
    assert_eq!(usual.source(), KeySource::Keyring);
    assert!(usual.load().await.expect("reachable").is_none());
    usual.keep(&key(0xab)).await.expect("kept");
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
    for (keyring, byte) in [(usual, 0xab), (other, 0xcd)] {
        let loaded = keyring.load().await.expect("reachable").expect("a key");
        assert_eq!(loaded.bytes(), &[byte; 32]);
        assert_eq!(loaded.source(), KeySource::Keyring);
    }
}

/// A key that is there by the time another one is to be kept stays.
#[tokio::test]
async fn a_key_is_never_overwritten() {
    let (place, fake) = (Place::empty(), Fake::default());
    let (one, two) = (fake.keyring(&place), fake.keyring(&place));
    assert!(two.load().await.expect("reachable").is_none());
    one.keep(&key(1)).await.expect("kept");
    let error = two.keep(&key(2)).await.expect_err("there is one");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(text(&error).contains("`data-key`"), "{error}");
    assert!(text(&error).contains("try again"), "{error}");

    // Nor is what is no key.
    fake.put("data-key", b"something of somebody else");
    let error = two.keep(&key(2)).await.expect_err("there is something");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert_eq!(fake.set(), 1);
}

/// Of sixteen that found no key and want to keep theirs, one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_one_keeps_its_key() {
    let (place, fake) = (Place::empty(), Fake::default());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let keyring = fake.keyring(&place);
        tasks.spawn(async move { (number, keyring.keep(&key(number)).await) });
    }
    let mut winners = Vec::new();
    for (number, kept) in tasks.join_all().await {
        match kept {
            Ok(()) => winners.push(number),
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}"),
        }
    }
    assert_eq!((winners.len(), fake.set()), (1, 1));
    let loaded = fake.keyring(&place).load().await.expect("reachable");
    assert_eq!(loaded.expect("a key").bytes(), &[winners[0]; 32]);
    let mode = std::fs::metadata(place.lock_file()).expect("a lock file");
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );
}

/// Each failure has its kind, says what to do, and shows nothing of what the entry holds.
#[tokio::test]
async fn failures_are_told_apart() {
    fn platform(what: &str) -> Box<dyn std::error::Error + Send + Sync> {
        what.into()
    }
    type Case = (fn() -> Error, StoreErrorKind, &'static str);
    let cases: [Case; 9] = [
        (
            || Error::NoStorageAccess(platform("it is locked")),
            StoreErrorKind::Unavailable,
            "it is locked; hint: unlock it",
        ),
        (
            || Error::PlatformFailure(platform("no bus")),
            StoreErrorKind::Unavailable,
            "no bus; hint: is a keyring running",
        ),
        (
            || Error::NotSupportedByStore("not here".to_owned()),
            StoreErrorKind::Unavailable,
            "not here",
        ),
        (
            || Error::NoDefaultStore,
            StoreErrorKind::Unavailable,
            "there is none",
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
            "hint: keep the one",
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
    let (place, fake) = (Place::empty(), Fake::default());
    let keyring = fake.keyring(&place);
    for (error, kind, part) in cases {
        fake.becomes(Mood::Fails(error));
        let loaded = keyring.load().await.expect_err("it fails");
        let kept = keyring.keep(&key(1)).await.expect_err("it fails");
        for error in [loaded, kept] {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(text(&error).contains(part), "{error}");
        }
    }
    fake.becomes(Mood::Panics);
    let error = keyring.load().await.expect_err("it panics");
    assert_eq!(error.kind(), StoreErrorKind::Panicked);
    assert!(fake.values().is_empty());
    fake.becomes(Mood::Answers);
    assert!(keyring.load().await.expect("reachable").is_none());
}

/// What is no key is left as it is, and not shown.
#[tokio::test]
async fn what_is_no_key_is_corrupt() {
    let (place, fake) = (Place::empty(), Fake::default());
    let keyring = fake.keyring(&place);
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

/// An entry without a name, and a lock file that cannot be made, are refused before anything is kept.
#[tokio::test]
async fn what_cannot_be_used_is_refused() {
    let (place, fake) = (Place::empty(), Fake::default());
    let nameless = fake.keyring(&place).name("");
    let error = nameless.load().await.expect_err("no name");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(text(&error).contains("name"), "{error}");

    std::fs::write(place.lock_file().parent().expect("a directory"), "").expect("writable");
    let error = fake.keyring(&place).keep(&key(1)).await;
    let error = error.expect_err("no lock file");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(text(&error).contains("`lock_file`"), "{error}");
    assert!(fake.values().is_empty());
}

/// A keyring that is locked at the first sign-in is passed over, for good.
#[tokio::test]
async fn without_a_keyring_the_key_file_it_is() {
    let (place, fake) = (Place::empty(), Fake::default());
    let keyring = fake.keyring(&place);
    fake.becomes(Mood::Fails(|| {
        Error::NoStorageAccess("it is locked".into())
    }));
    let store = place.open(&keyring);
    sign_in(&store).await;
    assert_eq!(sealed_from(&store).await, Some(KeySource::File));
    fake.becomes(Mood::Answers);
    let other = place.open(&keyring);
    assert!(read(&other).await.expect("readable").is_some());
    assert!(fake.values().is_empty());
}

/// The vault shows what it is, and nothing that it holds.
#[tokio::test]
async fn its_debug_output_shows_no_key() {
    let (place, fake) = (Place::empty(), Fake::default());
    let keyring: Keyring = fake.keyring(&place);
    keyring.keep(&key(0xab)).await.expect("kept");
    let text = format!("{keyring:?}");
    assert!(
        text.contains("data-key") && !text.contains("abab"),
        "{text}"
    );
}
