//! Nobody else gets at the files, whoever made them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use token_rotator::FileStore;
use token_rotator::keys::KeyFile;
use token_rotator::store::{SessionStore as _, StoreErrorKind};

use super::{CANARY, Place, login, read, save, session, text_about};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("our own file");
}

/// Directories are 0700 and files 0600, whatever the umask; nothing in them shows a token.
#[tokio::test]
async fn only_the_owner_can_read() {
    let place = Place::empty();
    place.signed_in().await;
    for directory in [place.directory(), place.root.path().join("config")] {
        assert_eq!(mode(&directory), 0o700, "{}", directory.display());
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            let text = String::from_utf8_lossy(&read(&path)).into_owned();
            assert!(!text.contains(CANARY), "{}", path.display());
        }
    }
    // What a crash has left with another mode is not written into as it is.
    let beside = place.data().with_extension("session.new");
    fs::write(&beside, "half a record").expect("writable");
    set_mode(&beside, 0o666);
    save(&place.open(), Some(login(1).version()), login(2)).await;
    assert_eq!(mode(&place.data()), 0o600);
    assert!(!beside.exists());
}

/// A directory, a record or a key that others could read is refused, with what to do; nothing is
/// changed by that.
#[tokio::test]
async fn what_others_can_read_is_refused() {
    let place = Place::empty();
    place.signed_in().await;
    let data = place.data();
    set_mode(&data, 0o640);
    let before = read(&data);
    let store = place.open();
    let error = store.load(&session()).await.expect_err("refused");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    let text = text_about(&error, &data);
    assert!(
        text.contains("640") && text.contains("hint: chmod 600"),
        "{text}"
    );
    let error = store
        .save(&session(), Some(login(1).version()), login(2))
        .await;
    assert_eq!(error.expect_err("refused").kind(), StoreErrorKind::Refused);
    assert_eq!(read(&data), before);
    set_mode(&data, 0o600);

    set_mode(&place.key_file(), 0o604);
    let error = place.open().load(&session()).await.expect_err("refused");
    text_about(&error, &place.key_file());
    set_mode(&place.key_file(), 0o600);

    set_mode(&place.directory(), 0o750);
    let error = place.try_open().expect_err("refused");
    let text = text_about(&error, &place.directory());
    assert!(text.contains("hint: chmod 700"), "{text}");
}

/// Links are resolved when the store is opened. One that somebody puts in the place of a file is
/// not followed, nor is the directory that takes the place of the one that was opened.
#[tokio::test]
async fn links_are_not_followed() {
    let place = Place::empty();
    place.signed_in().await;
    let elsewhere = place.root.path().join("elsewhere");
    fs::write(&elsewhere, "precious").expect("writable");

    let link = place.root.path().join("link");
    symlink(place.directory(), &link).expect("a link");
    let store = FileStore::builder(&link)
        .vault(KeyFile::new(place.key_file()))
        .open()
        .expect("a store");
    assert_eq!(
        store.directory(),
        place.directory().canonicalize().expect("there")
    );

    // The link now leads elsewhere, and the store stays where it is.
    let trap = place.root.path().join("trap");
    fs::create_dir(&trap).expect("writable");
    fs::remove_file(&link).expect("ours");
    symlink(&trap, &link).expect("a link");
    save(&store, Some(login(1).version()), login(2)).await;
    assert_eq!(fs::read_dir(&trap).expect("a directory").count(), 0);

    // So it does when the directory itself is moved away under it.
    let moved = place.root.path().join("moved");
    fs::rename(place.directory(), &moved).expect("ours");
    symlink(&trap, place.directory()).expect("a link");
    save(&store, Some(login(2).version()), login(3)).await;
    assert_eq!(fs::read_dir(&trap).expect("a directory").count(), 0);
    fs::remove_file(place.directory()).expect("ours");
    fs::rename(&moved, place.directory()).expect("ours");

    let data = place.data();
    let beside = data.with_extension("session.new");
    symlink(&elsewhere, &beside).expect("a link");
    let error = store
        .save(&session(), Some(login(3).version()), login(4))
        .await;
    text_about(&error.expect_err("refused"), &data);
    assert_eq!(read(&elsewhere), b"precious");
    fs::remove_file(&beside).expect("ours");

    fs::remove_file(&data).expect("ours");
    symlink(&elsewhere, &data).expect("a link");
    let error = store.load(&session()).await.expect_err("refused");
    text_about(&error, &data);
}
