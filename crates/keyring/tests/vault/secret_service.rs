//! GNOME Keyring, for real.

use std::time::Duration;

use token_rotator::SessionKey;
use token_rotator::keys::{KeySource, KeyVault as _};
use token_rotator::store::{SessionStore as _, StoreErrorKind};
use token_rotator_keyring::Keyring;

use super::place::{CANARY, Place, login, read, sealed_from, session, sign_in, text};
use super::session::in_a_session;

/// For a service that answers, on a busy machine too.
fn keyring() -> Keyring {
    Keyring::of_system().timeout(Duration::from_secs(60))
}

/// The key is made in the keyring at the first sign-in, as text, and nowhere else; another process
/// finds it there, after the next login too.
#[test]
fn a_sign_in_makes_the_key() {
    in_a_session(
        "secret_service::a_sign_in_makes_the_key",
        async |mut login| {
            let place = Place::empty();
            let store = place.open(&keyring());
            assert!(read(&store).await.expect("readable").is_none());
            assert!(login.values().is_empty());

            sign_in(&store).await;
            assert_eq!(sealed_from(&store).await, Some(KeySource::Keyring));
            assert!(!place.key_file().exists());
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
            let other = place.open(&keyring());
            assert_eq!(read(&other).await.expect("readable"), text);
            login.restart_keyring();
            let later = place.open(&keyring());
            assert_eq!(read(&later).await.expect("readable"), text);
            assert_eq!(login.values(), values);
        },
    );
}

/// Two directories share the key of one entry.
#[test]
fn stores_share_the_key() {
    in_a_session("secret_service::stores_share_the_key", async |login| {
        let (one, two) = (Place::empty(), Place::empty());
        sign_in(&one.open(&keyring())).await;
        sign_in(&two.open(&keyring())).await;
        assert_eq!(login.values().len(), 1);
        for place in [&one, &two] {
            assert!(!place.key_file().exists());
            assert!(
                read(&place.open(&keyring()))
                    .await
                    .expect("readable")
                    .is_some()
            );
        }
        // And one of its own where a program wants that.
        let other = keyring().name("other-program");
        assert!(other.load().await.expect("reachable").is_none());
    });
}

/// A keyring that is gone is an error: no other key, no other place, and the files as they are.
#[test]
fn a_keyring_that_is_gone_is_an_error() {
    let name = "secret_service::a_keyring_that_is_gone_is_an_error";
    in_a_session(name, async |mut desktop| {
        let place = Place::empty();
        sign_in(&place.open(&keyring())).await;
        let before = place.data();

        desktop.kill_keyring();
        let store = place.open(&keyring());
        let error = read(&store).await.expect_err("no key");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert!(
            text(&error).contains("hint: is a keyring running"),
            "{error}"
        );
        let over = store
            .save(&session(), Some(login(1).version()), login(2))
            .await;
        let beside = store.save(&SessionKey::new("other"), None, login(1)).await;
        for error in [over, beside] {
            let error = error.expect_err("no key");
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
            text(&error);
        }
        assert_eq!(place.data(), before);
        assert!(!place.key_file().exists());

        // The same store, once it is back.
        desktop.restart_keyring();
        assert!(read(&store).await.expect("readable").is_some());
        assert_eq!(desktop.values().len(), 1);
    });
}

/// A locked keyring whose prompt cannot be shown is an error, and is not taken for an empty one, be
/// there an entry in it or not.
#[test]
fn a_locked_keyring_is_an_error() {
    let name = "secret_service::a_locked_keyring_is_an_error";
    in_a_session(name, async |mut desktop| {
        desktop.restart_locked();
        let empty = keyring().load().await.expect_err("locked");
        assert_eq!(empty.kind(), StoreErrorKind::Unavailable, "{empty}");

        desktop.restart_keyring();
        let place = Place::empty();
        sign_in(&place.open(&keyring())).await;
        let before = place.data();
        desktop.restart_locked();
        let store = place.open(&keyring());
        let error = read(&store).await.expect_err("locked");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert!(
            text(&error).contains("it is locked; hint: unlock it"),
            "{error}"
        );
        assert_eq!(place.data(), before);

        desktop.restart_keyring();
        assert!(read(&store).await.expect("readable").is_some());
    });
}

/// A prompt that is shown and not answered ends with the timeout, here and in a store.
#[test]
fn a_prompt_that_nobody_answers_is_an_error() {
    let name = "secret_service::a_prompt_that_nobody_answers_is_an_error";
    in_a_session(name, async |mut desktop| {
        let place = Place::empty();
        sign_in(&place.open(&keyring())).await;
        let before = place.data();
        desktop.restart_locked();
        // Whoever has this name shows the keyring's prompts. This one never gets to it.
        let prompter = zbus::blocking::Connection::session().expect("a bus");
        let name = "org.gnome.keyring.SystemPrompter";
        prompter.request_name(name).expect("nobody has it");

        let impatient = Keyring::of_system().timeout(Duration::from_millis(500));
        let store = place.open(&impatient);
        let error = read(&store).await.expect_err("no answer");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert!(text(&error).contains("within 500ms"), "{error}");
        assert!(text(&error).contains("`timeout`"), "{error}");
        assert_eq!(place.data(), before);
        assert!(!place.key_file().exists());
    });
}

/// What is in the entry and is no key stays there, as do two entries of which nobody knows which is
/// meant; a first sign-in goes on to the key file.
#[test]
fn what_is_no_key_is_left_alone() {
    let name = "secret_service::what_is_no_key_is_left_alone";
    in_a_session(name, async |desktop| {
        desktop.put(CANARY.as_bytes());
        let error = keyring().load().await.expect_err("no key");
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
        assert!(text(&error).contains("`data-key`"), "{error}");
        let place = Place::empty();
        let store = place.open(&keyring());
        sign_in(&store).await;
        assert_eq!(sealed_from(&store).await, Some(KeySource::File));

        desktop.put(&[b'a'; 64]);
        let error = keyring().load().await.expect_err("two");
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(text(&error).contains("2 times"), "{error}");
        let mut values: Vec<_> = desktop
            .values()
            .into_iter()
            .map(|(_, value)| value)
            .collect();
        values.sort();
        assert_eq!(values, [CANARY.as_bytes().to_vec(), vec![b'a'; 64]]);
    });
}

/// A key that somebody has removed is missed, and not made anew.
#[test]
fn a_removed_key_is_missed() {
    in_a_session("secret_service::a_removed_key_is_missed", async |desktop| {
        let place = Place::empty();
        sign_in(&place.open(&keyring())).await;
        let before = place.data();
        desktop.remove();
        let store = place.open(&keyring());
        let error = read(&store).await.expect_err("no key");
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(text(&error).contains("no key is now"), "{error}");
        let beside = store.save(&SessionKey::new("other"), None, login(1)).await;
        beside.expect_err("no key");
        assert!(desktop.values().is_empty());
        assert_eq!(place.data(), before);
    });
}

/// Without a keyring at the first sign-in the key is made in the next vault, and stays there.
#[test]
fn without_a_keyring_the_key_file_it_is() {
    let name = "secret_service::without_a_keyring_the_key_file_it_is";
    in_a_session(name, async |mut desktop| {
        desktop.kill_keyring();
        let place = Place::empty();
        sign_in(&place.open(&keyring())).await;
        desktop.restart_keyring();
        let store = place.open(&keyring());
        assert!(read(&store).await.expect("readable").is_some());
        assert_eq!(sealed_from(&store).await, Some(KeySource::File));
        assert!(desktop.values().is_empty());
    });
}

/// Where there is not even a bus, as on a server, it is the same error, and at once.
#[test]
fn without_a_bus_there_is_no_keyring() {
    let name = "secret_service::without_a_bus_there_is_no_keyring";
    in_a_session(name, async |desktop| {
        drop(desktop);
        let error = keyring().load().await.expect_err("no bus");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert!(
            text(&error).contains("hint: is a keyring running"),
            "{error}"
        );
    });
}
