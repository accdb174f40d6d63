//! Tests with the kernel's key retention service.

use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};
use token_rotator::keys::{DataKey, KeySource, KeyVault as _};
use token_rotator::store::StoreErrorKind;
use token_rotator_keyring::Keyring;

use super::directory::{TestDirectory, read, sealed_from, sign_in, text};

/// An entry that no other test uses. It is removed on drop.
struct Entry(String);

impl Entry {
    /// Returns `None` if the kernel or a container runtime does not let this program store keys.
    fn new(test: &str) -> Option<Self> {
        let entry = Self(format!("{test}-{}", std::process::id()));
        match entry.probe() {
            Ok(()) => Some(entry),
            // Skipped even with `CI=true`, because the tests cannot install this service.
            Err(error) => {
                eprintln!("skipped: the kernel stores no keys for this program: {error}");
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

    fn keyring(&self, directory: &TestDirectory) -> Keyring {
        let keyring = Keyring::kernel_keyutils().name(self.0.as_str());
        keyring.lock_file(directory.lock_file())
    }

    fn remove(&self) {
        let description = format!("keyring:{}@token-rotator", self.0);
        if let Ok(key) = session().and_then(|session| session.search(&description)) {
            key.invalidate().expect("the test's own key");
        }
    }
}

/// Returns this thread's session keyring, from which the user's persistent keyring can be reached. Creates it if the
/// tests were started without one.
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

/// The kernel stores the key, other vaults find it, and no vault overwrites it, although the kernel would allow that.
#[tokio::test]
async fn the_kernel_stores_the_key() {
    let Some(entry) = Entry::new("the_kernel_stores_the_key") else {
        return;
    };
    let directory = TestDirectory::empty();
    let keyring = entry.keyring(&directory);
    assert!(keyring.load().await.expect("reachable").is_none());
    let key = |byte| DataKey::new(KeySource::Keyring, [byte; 32]);
    keyring.keep(&key(1)).await.expect("kept");
    let error = keyring.keep(&key(2)).await.expect_err("a key exists");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    let other = entry.keyring(&directory);
    let loaded = other.load().await.expect("reachable").expect("a key");
    assert_eq!(loaded.bytes(), &[1; 32]);
}

/// If the kernel has dropped the key, the store reports that and creates no other key.
#[tokio::test]
async fn a_dropped_key_is_reported() {
    let Some(entry) = Entry::new("a_dropped_key_is_reported") else {
        return;
    };
    let directory = TestDirectory::empty();
    let store = directory.open(&entry.keyring(&directory));
    sign_in(&store).await;
    assert_eq!(sealed_from(&store).await, Some(KeySource::Keyring));
    let other = directory.open(&entry.keyring(&directory));
    assert!(read(&other).await.expect("readable").is_some());

    let before = directory.data();
    entry.remove();
    let error = read(&directory.open(&entry.keyring(&directory))).await;
    let error = error.expect_err("no key");
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    assert!(text(&error).contains("no key is now"), "{error}");
    assert!(
        entry
            .keyring(&directory)
            .load()
            .await
            .expect("reachable")
            .is_none()
    );
    assert_eq!(directory.data(), before);
}
