//! The kernel's key retention service, for real.

use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};
use token_rotator::keys::{DataKey, KeySource, KeyVault as _};
use token_rotator::store::StoreErrorKind;
use token_rotator_keyring::Keyring;

use super::place::{Place, read, sealed_from, sign_in, text};

/// An entry that no other test has, and that is removed with this value.
struct Entry(String);

impl Entry {
    /// `None` where the kernel, or what stands before it, does not let a program keep keys.
    fn new(test: &str) -> Option<Self> {
        let entry = Self(format!("{test}-{}", std::process::id()));
        match entry.probe() {
            Ok(()) => Some(entry),
            // Not a failure where everything has to be there either: it is not for us to install.
            Err(error) => {
                eprintln!("skipped: the kernel keeps no keys for this program: {error}");
                None
            }
        }
    }

    fn probe(&self) -> Result<(), KeyError> {
        let session = session()?;
        let description = format!("probe:{}", self.0);
        let key = session.add_key(&description, b"probe")?;
        persistent()?.link_key(key)?;
        session.search(&description)?;
        key.invalidate()
    }

    fn keyring(&self, place: &Place) -> Keyring {
        let keyring = Keyring::kernel_keyutils().name(self.0.as_str());
        keyring.lock_file(place.lock_file())
    }

    fn remove(&self) {
        let description = format!("keyring:{}@token-rotator", self.0);
        if let Ok(key) = session().and_then(|session| session.search(&description)) {
            key.invalidate().expect("ours");
        }
    }
}

/// This thread's, from which the user's persistent keyring can be reached; one is made where the tests
/// were started without.
fn session() -> Result<KeyRing, KeyError> {
    let session = KeyRing::from_special_id(KeyRingIdentifier::Session, true)?;
    persistent()?;
    Ok(session)
}

fn persistent() -> Result<KeyRing, KeyError> {
    KeyRing::get_persistent(KeyRingIdentifier::Session)
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The key is kept, found by others, and never overwritten, though the kernel would.
#[tokio::test]
async fn the_kernel_keeps_the_key() {
    let Some(entry) = Entry::new("the_kernel_keeps_the_key") else {
        return;
    };
    let place = Place::empty();
    let keyring = entry.keyring(&place);
    assert!(keyring.load().await.expect("reachable").is_none());
    let key = |byte| DataKey::new(KeySource::Keyring, [byte; 32]);
    keyring.keep(&key(1)).await.expect("kept");
    let error = keyring.keep(&key(2)).await.expect_err("there is one");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    let other = entry.keyring(&place);
    let loaded = other.load().await.expect("reachable").expect("a key");
    assert_eq!(loaded.bytes(), &[1; 32]);
}

/// A store works with it, and tells when the kernel has forgotten the key: no other is made.
#[tokio::test]
async fn a_forgotten_key_is_missed() {
    let Some(entry) = Entry::new("a_forgotten_key_is_missed") else {
        return;
    };
    let place = Place::empty();
    let store = place.open(&entry.keyring(&place));
    sign_in(&store).await;
    assert_eq!(sealed_from(&store).await, Some(KeySource::Keyring));
    let other = place.open(&entry.keyring(&place));
    assert!(read(&other).await.expect("readable").is_some());

    let before = place.data();
    entry.remove();
    let error = read(&place.open(&entry.keyring(&place))).await;
    let error = error.expect_err("no key");
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    assert!(text(&error).contains("no key is now"), "{error}");
    assert!(
        entry
            .keyring(&place)
            .load()
            .await
            .expect("reachable")
            .is_none()
    );
    assert_eq!(place.data(), before);
}
