//! Tests that other users cannot access the files, whichever user made them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use token_rotator::FileStore;
use token_rotator::keys::KeyFile;
use token_rotator::store::{SessionStore as _, StoreErrorKind};

use super::{CANARY, StoreDirectory, login, read, save, session, text_about};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("our own file");
}

/// Directories are 0700 and files 0600, whatever the umask, and no file contains a token.
#[tokio::test]
async fn only_the_owner_can_read() {
    let directory = StoreDirectory::empty();
    directory.signed_in().await;
    for directory in [directory.directory(), directory.root.path().join("config")] {
        assert_eq!(mode(&directory), 0o700, "{}", directory.display());
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            let text = String::from_utf8_lossy(&read(&path)).into_owned();
            assert!(!text.contains(CANARY), "{}", path.display());
        }
    }
    // A file with another mode, left by a crash, is not reused for a write.
    let temporary_file = directory.data().with_extension("session.new");
    fs::write(&temporary_file, "half a record").expect("writable");
    set_mode(&temporary_file, 0o666);
    save(&directory.open(), Some(login(1).version()), login(2)).await;
    assert_eq!(mode(&directory.data()), 0o600);
    assert!(!temporary_file.exists());
}

/// A directory, record or key that other users could read is refused. The error names the remedy,
/// and the file stays unchanged.
#[tokio::test]
async fn files_that_other_users_can_read_are_refused() {
    let directory = StoreDirectory::empty();
    directory.signed_in().await;
    let data = directory.data();
    set_mode(&data, 0o640);
    let before = read(&data);
    let store = directory.open();
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

    set_mode(&directory.key_file(), 0o604);
    let error = directory
        .open()
        .load(&session())
        .await
        .expect_err("refused");
    text_about(&error, &directory.key_file());
    set_mode(&directory.key_file(), 0o600);

    set_mode(&directory.directory(), 0o750);
    let error = directory.try_open().expect_err("refused");
    let text = text_about(&error, &directory.directory());
    assert!(text.contains("hint: chmod 700"), "{text}");
}

/// Links are resolved when the store is opened. Later the store follows neither a link in place of
/// a file nor a directory that replaces the opened directory.
#[tokio::test]
async fn links_are_not_followed() {
    let directory = StoreDirectory::empty();
    directory.signed_in().await;
    let foreign_file = directory.root.path().join("elsewhere");
    fs::write(&foreign_file, "precious").expect("writable");

    let link = directory.root.path().join("link");
    symlink(directory.directory(), &link).expect("a link");
    let store = FileStore::builder(&link)
        .vault(KeyFile::new(directory.key_file()))
        .open()
        .expect("a store");
    assert_eq!(
        store.directory(),
        directory
            .directory()
            .canonicalize()
            .expect("an existing directory")
    );

    // The link now leads to another directory, and the store keeps using its own.
    let foreign_directory = directory.root.path().join("trap");
    fs::create_dir(&foreign_directory).expect("writable");
    fs::remove_file(&link).expect("ours");
    symlink(&foreign_directory, &link).expect("a link");
    save(&store, Some(login(1).version()), login(2)).await;
    assert_eq!(
        fs::read_dir(&foreign_directory)
            .expect("a directory")
            .count(),
        0
    );

    // The store also keeps its directory after the directory is moved.
    let moved = directory.root.path().join("moved");
    fs::rename(directory.directory(), &moved).expect("ours");
    symlink(&foreign_directory, directory.directory()).expect("a link");
    save(&store, Some(login(2).version()), login(3)).await;
    assert_eq!(
        fs::read_dir(&foreign_directory)
            .expect("a directory")
            .count(),
        0
    );
    fs::remove_file(directory.directory()).expect("ours");
    fs::rename(&moved, directory.directory()).expect("ours");

    let data = directory.data();
    let temporary_file = data.with_extension("session.new");
    symlink(&foreign_file, &temporary_file).expect("a link");
    let error = store
        .save(&session(), Some(login(3).version()), login(4))
        .await;
    text_about(&error.expect_err("refused"), &data);
    assert_eq!(read(&foreign_file), b"precious");
    fs::remove_file(&temporary_file).expect("ours");

    fs::remove_file(&data).expect("ours");
    symlink(&foreign_file, &data).expect("a link");
    let error = store.load(&session()).await.expect_err("refused");
    text_about(&error, &data);
}
