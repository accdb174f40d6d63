//! The keyrings of the supported systems.

use std::collections::HashMap;
use std::sync::Arc;

use keyring_core::{CredentialStore, Entry, Error, Result};

use crate::failure::Hints;

/// Hints for keyrings that the user unlocks, at the login or later.
const LOGIN_HINTS: Hints = Hints {
    locked: "unlock the keyring, and answer its prompt",
    unreachable: "start a keyring in this login session",
};

/// How to open a keyring.
#[derive(Clone)]
pub(crate) struct Backend {
    kind: &'static str,
    /// Opens and unlocks the keyring, so that an entry that is not found is really missing.
    open: Arc<dyn Fn() -> Result<Arc<CredentialStore>> + Send + Sync>,
    /// Attributes of new entries.
    modifiers: &'static [(&'static str, &'static str)],
    hints: Hints,
}

impl Backend {
    /// The Secret Service.
    ///
    /// The D-Bus client is written in Rust, because a client over the C library would need that library on every
    /// machine.
    #[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd"))]
    pub(crate) fn of_system() -> Self {
        Self {
            kind: "Secret Service",
            open: Arc::new(|| {
                unlock_secret_service()?;
                Ok(zbus_secret_service_keyring_store::Store::new()?)
            }),
            modifiers: &[("label", "token-rotator: the key of its sessions")],
            hints: LOGIN_HINTS,
        }
    }

    /// The login keychain. The data protection keychain needs a provisioning profile.
    #[cfg(target_os = "macos")]
    pub(crate) fn of_system() -> Self {
        Self {
            kind: "login keychain",
            open: Arc::new(|| Ok(apple_native_keyring_store::keychain::Store::new()?)),
            modifiers: &[],
            hints: LOGIN_HINTS,
        }
    }

    /// The Credential Manager.
    #[cfg(windows)]
    pub(crate) fn of_system() -> Self {
        Self {
            kind: "Credential Manager",
            open: Arc::new(|| Ok(windows_native_keyring_store::Store::new()?)),
            // The sessions stay on this machine, so a key that roams over a domain would open nothing.
            modifiers: &[("persistence", "Local")],
            hints: LOGIN_HINTS,
        }
    }

    /// No keyring.
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
                let what = "this program supports none on this operating system";
                Err(Error::NotSupportedByStore(what.to_owned()))
            }),
            modifiers: &[],
            hints: LOGIN_HINTS,
        }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn kernel_keyutils() -> Self {
        Self {
            kind: "kernel keyutils",
            open: Arc::new(|| {
                join_session_keyring()?;
                Ok(linux_keyutils_keyring_store::Store::new()?)
            }),
            modifiers: &[],
            hints: Hints {
                locked: "allow this program to change the kernel keyrings of its login session and its user",
                unreachable: "allow this program to use the kernel's keys; containers commonly deny it",
            },
        }
    }

    pub(crate) fn of_store(store: Arc<CredentialStore>) -> Self {
        Self {
            kind: "the program's",
            open: Arc::new(move || Ok(Arc::clone(&store))),
            modifiers: &[],
            hints: LOGIN_HINTS,
        }
    }

    pub(crate) fn hints(&self) -> Hints {
        self.hints
    }

    /// Returns the entry of this service and user, whether or not it exists.
    ///
    /// *Waits* without a limit if the keyring asks for a password.
    pub(crate) fn entry(&self, service: &str, user: &str) -> Result<Entry> {
        if user.is_empty() {
            return Err(Error::Invalid("name".into(), "must not be empty".into()));
        }
        let modifiers: HashMap<_, _> = self.modifiers.iter().copied().collect();
        (self.open)()?.build(service, user, Some(&modifiers))
    }
}

/// Unlocks the default collection if it is locked, which asks the user for the password.
///
/// Some services report no entries while they are locked. Without the unlock, the vault would overwrite the key with a
/// new one.
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
            // A service may report success for a prompt that the user did not answer.
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

/// Joins a new session keyring on this thread if the program was started without one, as by cron.
///
/// The fallback is the user session keyring, in which a key can be stored but not read. From its own session keyring
/// the thread reaches the user's persistent keyring, where the key outlives the thread.
#[cfg(target_os = "linux")]
fn join_session_keyring() -> Result<()> {
    use linux_keyutils::{KeyRing, KeyRingIdentifier};

    match KeyRing::from_special_id(KeyRingIdentifier::Session, true) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::PlatformFailure(error.into())),
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.kind)
    }
}
