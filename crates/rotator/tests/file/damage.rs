//! Tests damaged files: each gives a typed error that names the file, and no file is overwritten.

use std::fs;

use token_rotator::store::{SessionStore as _, StoreErrorKind};

use super::{StoreDirectory, login, read, session, text_about};

/// Each kind of damage, with the kind of its error.
#[expect(clippy::type_complexity, reason = "a table of closures")]
const DAMAGE: &[(&str, fn(Vec<u8>) -> Vec<u8>, StoreErrorKind)] = &[
    ("emptied", |_| Vec::new(), StoreErrorKind::Corrupt),
    (
        "cut in the line",
        |mut b| {
            b.truncate(40);
            b
        },
        StoreErrorKind::Corrupt,
    ),
    (
        "cut after the line",
        |mut b| {
            let line = b.iter().position(|b| *b == b'\n').unwrap_or(0);
            b.truncate(line + 1);
            b
        },
        StoreErrorKind::Corrupt,
    ),
    (
        "cut by a byte",
        |mut b| {
            b.pop();
            b
        },
        StoreErrorKind::Corrupt,
    ),
    (
        "grown by a byte",
        |mut b| {
            b.push(0);
            b
        },
        StoreErrorKind::Corrupt,
    ),
    (
        "a bit turned at the end",
        |mut b| {
            *b.last_mut().expect("a byte") ^= 1;
            b
        },
        StoreErrorKind::Corrupt,
    ),
    ("zeros", |b| vec![0; b.len()], StoreErrorKind::Corrupt),
    (
        "another program's",
        |_| b"{\"access_token\": \"mine\"}\n".to_vec(),
        StoreErrorKind::Corrupt,
    ),
    (
        "its revision changed",
        |b| {
            let text = String::from_utf8_lossy(&b[..b.len() / 2]).into_owned();
            let at = text.find("\"revision\":1").expect("a revision") + 11;
            let mut b = b;
            b[at] = b'9';
            b
        },
        StoreErrorKind::Corrupt,
    ),
    (
        "very long",
        |mut b| {
            b.resize(3 << 20, b'x');
            b
        },
        StoreErrorKind::Corrupt,
    ),
    (
        "newer",
        |b| {
            let mut newer = b"token-rotator-session 99".to_vec();
            newer.extend_from_slice(&b[23..]);
            newer
        },
        StoreErrorKind::Newer,
    ),
];

#[tokio::test]
async fn damaged_files_are_not_changed() {
    for (name, damage, kind) in DAMAGE {
        let directory = StoreDirectory::empty();
        directory.signed_in().await;
        let data = directory.data();
        let damaged = damage(read(&data));
        fs::write(&data, &damaged).expect("writable");
        let store = directory.open();
        let error = store.load(&session()).await.expect_err(name);
        assert_eq!(error.kind(), *kind, "{name}: {error}");
        text_about(&error, &data);
        for expected in [None, Some(login(1).version()), Some(login(9).version())] {
            let saved = store.save(&session(), expected, login(2)).await;
            assert!(saved.is_err(), "{name}: overwritten");
        }
        assert_eq!(read(&data), damaged, "{name}");
    }
}

/// A file that a crash left beside a record is never read, and the next save removes it.
#[tokio::test]
async fn an_interrupted_write_is_not_a_record() {
    let directory = StoreDirectory::empty();
    directory.signed_in().await;
    let data = directory.data();
    let temporary_file = data.with_extension("session.new");
    fs::write(&temporary_file, &read(&data)[..100]).expect("writable");
    let store = directory.open();
    store.load(&session()).await.expect("the record as it was");
    super::save(&store, Some(login(1).version()), login(2)).await;
    assert!(!temporary_file.exists());
    assert_eq!(directory.files("").len(), 3, "{:?}", directory.files(""));
}
