//! Which keyring there is.

use std::collections::HashMap;
use std::sync::Arc;

use keyring_core::{CredentialStore, Entry, Error, Result};

use crate::failure::Hints;

/// For keyrings that somebody unlocks, at a login or later.
const OF_A_LOGIN: Hints = Hints {
    locked: "unlock it, and answer its prompt",
    gone: "is a keyring running in this session?",
};

/// How a keyring is opened.
#[derive(Clone)]
pub(crate) struct System {
    kind: &'static str,
    /// Opens and unlocks it, so that afterwards an entry that is not found is not there.
    open: Arc<dyn Fn() -> Result<Arc<CredentialStore>> + Send + Sync>,
    /// What its entries are made with.
    modifiers: &'static [(&'static str, &'static str)],
    hints: Hints,
}

impl System {
    /// The Secret Service.
    ///
    /// Through a D-Bus client in Rust, not the C library: that would have to be on every machine that
    /// builds or runs a program.
    #[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd"))]
    pub(crate) fn of_system() -> Self {
        Self {
            kind: "Secret Service",
            open: Arc::new(|| {
                unlock_secret_service()?;
                Ok(zbus_secret_service_keyring_store::Store::new()?)
            }),
            modifiers: &[("label", "token-rotator: the key of its sessions")],
            hints: OF_A_LOGIN,
        }
    }

    /// The login keychain: the other one is for programs with a provisioning profile.
    #[cfg(target_os = "macos")]
    pub(crate) fn of_system() -> Self {
        Self {
            kind: "login keychain",
            open: Arc::new(|| Ok(apple_native_keyring_store::keychain::Store::new()?)),
            modifiers: &[],
            hints: OF_A_LOGIN,
        }
    }

    /// The Credential Manager.
    #[cfg(windows)]
    pub(crate) fn of_system() -> Self {
        Self {
            kind: "Credential Manager",
            open: Arc::new(|| Ok(windows_native_keyring_store::Store::new()?)),
            // The sessions stay on this machine; a key that roams over a domain opens nothing there.
            modifiers: &[("persistence", "Local")],
            hints: OF_A_LOGIN,
        }
    }

    /// None.
    #[cfg(not(any(
        target_os = "linux",
        target_os = "freebsd",
        target_os = "openbsd",
        target_os = "macos",
        windows
    )))]
    pub(crate) fn of_system() -> Self {
        Self {
            kind: "none",
            open: Arc::new(|| {
                let what = "this program knows of none for this operating system";
                Err(Error::NotSupportedByStore(what.to_owned()))
            }),
            modifiers: &[],
            hints: OF_A_LOGIN,
        }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn kernel_keyutils() -> Self {
        Self {
            kind: "kernel keyutils",
            open: Arc::new(|| {
                give_thread_a_session()?;
                Ok(linux_keyutils_keyring_store::Store::new()?)
            }),
            modifiers: &[],
            hints: Hints {
                locked: "may this program change the keyrings of its session and its user?",
                gone: "may this program use the kernel's keys? containers commonly may not",
            },
        }
    }

    pub(crate) fn of_store(store: Arc<CredentialStore>) -> Self {
        Self {
            kind: "the program's",
            open: Arc::new(move || Ok(Arc::clone(&store))),
            modifiers: &[],
            hints: OF_A_LOGIN,
        }
    }

    pub(crate) fn hints(&self) -> Hints {
        self.hints
    }

    /// The entry of this service and user, whether it is there or not. May ask for a password, and
    /// wait for it without end.
    pub(crate) fn entry(&self, service: &str, user: &str) -> Result<Entry> {
        if user.is_empty() {
            return Err(Error::Invalid("name".into(), "must not be empty".into()));
        }
        let modifiers: HashMap<_, _> = self.modifiers.iter().copied().collect();
        (self.open)()?.build(service, user, Some(&modifiers))
    }
}

/// Asks for the password if the collection that new entries go to is locked.
///
/// Some services find nothing at all while they are locked. What they would answer then is that there
/// is no key, and the next step would be to overwrite it with a new one.
#[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd"))]
fn unlock_secret_service() -> Result<()> {
    use secret_service::EncryptionType;
    use secret_service::blocking::SecretService;

    let unlock = || {
        // No secret passes through this session.
        let service = SecretService::connect(EncryptionType::Plain)?;
        let collection = service.get_default_collection()?;
        if collection.is_locked()? {
            collection.unlock()?;
            // A service may take a prompt for answered that was not.
            collection.ensure_unlocked()?;
        }
        Ok(())
    };
    unlock().map_err(|error| match error {
        secret_service::Error::NoResult => Error::NoStorageAccess(
            "it has no default collection, or the one it has is closed".into(),
        ),
        secret_service::Error::Locked | secret_service::Error::Prompt => {
            Error::NoStorageAccess("it is locked".into())
        }
        error => Error::PlatformFailure(error.into()),
    })
}

/// Gives this thread, and it alone, a session keyring if the program was started without one, as by
/// cron. The one that all of a user's processes fall back to would let keys in and not out again; from
/// one of its own the thread reaches the user's persistent keyring, where the key outlives it.
#[cfg(target_os = "linux")]
fn give_thread_a_session() -> Result<()> {
    use linux_keyutils::{KeyRing, KeyRingIdentifier};

    match KeyRing::from_special_id(KeyRingIdentifier::Session, true) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::PlatformFailure(error.into())),
    }
}

impl std::fmt::Debug for System {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.kind)
    }
}
