//! Tests with a real GNOME Keyring.

use std::time::Duration;

use token_rotator::SessionKey;
use token_rotator::keys::{KeySource, KeyVault as _};
use token_rotator::store::{SessionStore as _, StoreErrorKind};
use token_rotator_keyring::Keyring;

use super::directory::{CANARY, TestDirectory, login, read, sealed_from, session, sign_in, text};
use super::login_session::run_in_login_session;

/// A timeout that is long enough on a busy machine.
fn keyring() -> Keyring {
    Keyring::of_system().timeout(Duration::from_secs(60))
}

/// The first sign-in stores the key in the keyring, as text, and in no file. Another process finds it there, also after
/// the next login.
#[test]
fn a_sign_in_stores_the_key() {
    run_in_login_session(
        "secret_service::a_sign_in_stores_the_key",
        async |mut login| {
            let directory = TestDirectory::empty();
            let store = directory.open(&keyring());
            assert!(read(&store).await.expect("readable").is_none());
            assert!(login.values().is_empty());

            sign_in(&store).await;
            assert_eq!(sealed_from(&store).await, Some(KeySource::Keyring));
            assert!(!directory.key_file().exists());
            let values = login.values();
            let [(label, value)] = &values[..] else {
                panic!("{} entries", values.len())
            };
            assert_eq!(label, "token-rotator: the key of its sessions");
            assert_eq!(value.len(), 64);
            assert!(value.iter().all(u8::is_ascii_hexdigit));
            let lock_file = login.home().join(".local/state/token-rotator/keyring.lock");
            assert!(lock_file.exists());

            let text = Some(format!("{CANARY}-access-1"));
            let other = directory.open(&keyring());
            assert_eq!(read(&other).await.expect("readable"), text);
            login.restart_keyring();
            let later = directory.open(&keyring());
            assert_eq!(read(&later).await.expect("readable"), text);
            assert_eq!(login.values(), values);
        },
    );
}

/// Two directories share the key of one entry.
#[test]
fn stores_share_the_key() {
    run_in_login_session("secret_service::stores_share_the_key", async |login| {
        let (first, second) = (TestDirectory::empty(), TestDirectory::empty());
        sign_in(&first.open(&keyring())).await;
        sign_in(&second.open(&keyring())).await;
        assert_eq!(login.values().len(), 1);
        for directory in [&first, &second] {
            assert!(!directory.key_file().exists());
            assert!(
                read(&directory.open(&keyring()))
                    .await
                    .expect("readable")
                    .is_some()
            );
        }
        // A program with another name has its own key.
        let other = keyring().name("other-program");
        assert!(other.load().await.expect("reachable").is_none());
    });
}

/// If the keyring has ended, the store fails, creates no other key and changes no file.
#[test]
fn a_keyring_that_has_ended_is_an_error() {
    let name = "secret_service::a_keyring_that_has_ended_is_an_error";
    run_in_login_session(name, async |mut login_session| {
        let directory = TestDirectory::empty();
        sign_in(&directory.open(&keyring())).await;
        let before = directory.data();

        login_session.kill_keyring();
        let store = directory.open(&keyring());
        let error = read(&store).await.expect_err("no key");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert!(text(&error).contains("hint: start a keyring"), "{error}");
        let over = store
            .save(&session(), Some(login(1).version()), login(2))
            .await;
        let other_session = store.save(&SessionKey::new("other"), None, login(1)).await;
        for error in [over, other_session] {
            let error = error.expect_err("no key");
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
            text(&error);
        }
        assert_eq!(directory.data(), before);
        assert!(!directory.key_file().exists());

        // The same store works once the keyring is back.
        login_session.restart_keyring();
        assert!(read(&store).await.expect("readable").is_some());
        assert_eq!(login_session.values().len(), 1);
    });
}

/// A locked keyring whose prompt cannot be shown is an error, and does not count as empty, with or without an entry.
#[test]
fn a_locked_keyring_is_an_error() {
    let name = "secret_service::a_locked_keyring_is_an_error";
    run_in_login_session(name, async |mut login_session| {
        login_session.restart_locked();
        let empty = keyring().load().await.expect_err("locked");
        assert_eq!(empty.kind(), StoreErrorKind::Unavailable, "{empty}");

        login_session.restart_keyring();
        let directory = TestDirectory::empty();
        sign_in(&directory.open(&keyring())).await;
        let before = directory.data();
        login_session.restart_locked();
        let store = directory.open(&keyring());
        let error = read(&store).await.expect_err("locked");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert!(
            text(&error).contains("it is locked; hint: unlock the keyring"),
            "{error}"
        );
        assert_eq!(directory.data(), before);

        login_session.restart_keyring();
        assert!(read(&store).await.expect("readable").is_some());
    });
}

/// A prompt that the user does not answer fails after the timeout.
#[test]
fn an_unanswered_prompt_is_an_error() {
    let name = "secret_service::an_unanswered_prompt_is_an_error";
    run_in_login_session(name, async |mut login_session| {
        let directory = TestDirectory::empty();
        sign_in(&directory.open(&keyring())).await;
        let before = directory.data();
        login_session.restart_locked();
        // The owner of this bus name shows the keyring's prompts. This owner shows none.
        let prompter = zbus::blocking::Connection::session().expect("a bus");
        let name = "org.gnome.keyring.SystemPrompter";
        prompter.request_name(name).expect("the name is free");

        let impatient = Keyring::of_system().timeout(Duration::from_millis(500));
        let store = directory.open(&impatient);
        let error = read(&store).await.expect_err("no response");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert!(text(&error).contains("within 500ms"), "{error}");
        assert!(text(&error).contains("`timeout`"), "{error}");
        assert_eq!(directory.data(), before);
        assert!(!directory.key_file().exists());
    });
}

/// An entry without a key and two matching entries are left unchanged. At the first sign-in the store uses the key
/// file.
#[test]
fn an_entry_without_a_key_is_left_unchanged() {
    let name = "secret_service::an_entry_without_a_key_is_left_unchanged";
    run_in_login_session(name, async |login_session| {
        login_session.put(CANARY.as_bytes());
        let error = keyring().load().await.expect_err("no key");
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
        assert!(text(&error).contains("`data-key`"), "{error}");
        let directory = TestDirectory::empty();
        let store = directory.open(&keyring());
        sign_in(&store).await;
        assert_eq!(sealed_from(&store).await, Some(KeySource::File));

        login_session.put(&[b'a'; 64]);
        let error = keyring().load().await.expect_err("two entries");
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(text(&error).contains("2 entries"), "{error}");
        let mut values: Vec<_> = login_session
            .values()
            .into_iter()
            .map(|(_, value)| value)
            .collect();
        values.sort();
        assert_eq!(values, [CANARY.as_bytes().to_vec(), vec![b'a'; 64]]);
    });
}

/// A key that the user has removed is reported as missing, and not created again.
#[test]
fn a_removed_key_is_reported() {
    run_in_login_session(
        "secret_service::a_removed_key_is_reported",
        async |login_session| {
            let directory = TestDirectory::empty();
            sign_in(&directory.open(&keyring())).await;
            let before = directory.data();
            login_session.remove();
            let store = directory.open(&keyring());
            let error = read(&store).await.expect_err("no key");
            assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
            assert!(text(&error).contains("no key is now"), "{error}");
            let other_session = store.save(&SessionKey::new("other"), None, login(1)).await;
            other_session.expect_err("no key");
            assert!(login_session.values().is_empty());
            assert_eq!(directory.data(), before);
        },
    );
}

/// Without a keyring at the first sign-in, the store creates the key in its next vault, and keeps using that vault.
#[test]
fn without_a_keyring_the_key_file_is_used() {
    let name = "secret_service::without_a_keyring_the_key_file_is_used";
    run_in_login_session(name, async |mut login_session| {
        login_session.kill_keyring();
        let directory = TestDirectory::empty();
        sign_in(&directory.open(&keyring())).await;
        login_session.restart_keyring();
        let store = directory.open(&keyring());
        assert!(read(&store).await.expect("readable").is_some());
        assert_eq!(sealed_from(&store).await, Some(KeySource::File));
        assert!(login_session.values().is_empty());
    });
}

/// Without a D-Bus, as on a server, the vault fails at once with the same error.
#[test]
fn without_a_bus_there_is_no_keyring() {
    let name = "secret_service::without_a_bus_there_is_no_keyring";
    run_in_login_session(name, async |login_session| {
        drop(login_session);
        let error = keyring().load().await.expect_err("no bus");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert!(text(&error).contains("hint: start a keyring"), "{error}");
    });
}
