//! The vault.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyring_core::{CredentialStore, Entry};
use token_rotator::keys::{DataKey, KeySource, KeyVault};
use token_rotator::store::{StoreError, StoreErrorKind};
use zeroize::Zeroizing;

use crate::failure::{self, refused};
use crate::lock::{self, LockLocation};
use crate::operation::{CancelFlag, OperationQueue};
use crate::system::Backend;

/// Service of the entry in the keyring.
const SERVICE: &str = "token-rotator";
/// User of the entry in the keyring, unless the program sets another name.
const NAME: &str = "data-key";
/// Long enough for an unlocked keyring, and short for a user who waits for a program to start.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A vault that stores the key of a store in the operating system's keyring, as 64 hexadecimal digits.
///
/// The entry has the service `token-rotator` and the user `data-key`, or the user set by [`Keyring::name`]. All stores
/// with the same entry share one key, whatever their directories. A store has at most one keyring.
///
/// Each operation opens the keyring again, on its own thread. If the keyring has ended or was locked, the operation
/// fails. Later operations succeed once the keyring is back.
///
/// *Cancellation*: a dropped or timed-out future does not stop its operation, and a prompt stays on the screen. If the
/// user answers the prompt later, the operation may still store its key, but never over another key. Until then other
/// operations of this vault and its clones wait, each up to its own timeout. A program that ends does not wait.
#[derive(Clone)]
pub struct Keyring {
    system: Backend,
    name: Arc<str>,
    timeout: Duration,
    lock: LockLocation,
    operations: OperationQueue,
}

impl Keyring {
    /// Creates a vault in the system's persistent keyring: the Secret Service on Linux and the BSDs, the login keychain
    /// on macOS, the Credential Manager on Windows.
    ///
    /// The call does not access the keyring. If the system has no such keyring, operations fail with `Unavailable`, and
    /// a store uses its next vault.
    pub fn of_system() -> Self {
        Self::with_backend(Backend::of_system())
    }

    /// Creates a vault in the Linux kernel's key retention service, which is not persistent.
    ///
    /// The kernel drops the key at a reboot, and at the end of the login session. If the kernel has persistent
    /// keyrings, it instead drops the key after some days without use (three by default).
    ///
    /// **Every session sealed with the key is then lost**, and the user must sign in again. Until the files are
    /// removed, reading a session fails, and so does a sign-in of another session. Use this vault on machines without a
    /// Secret Service whose sessions may end with the key. Container runtimes commonly forbid the system calls;
    /// operations then fail with `Unavailable`.
    #[cfg(target_os = "linux")]
    pub fn kernel_keyutils() -> Self {
        Self::with_backend(Backend::kernel_keyutils())
    }

    /// Creates a vault in any other store of `keyring-core`. The store must keep the key as long as the sessions.
    pub fn of_store(store: Arc<CredentialStore>) -> Self {
        Self::with_backend(Backend::of_store(store))
    }

    fn with_backend(system: Backend) -> Self {
        Self {
            system,
            name: NAME.into(),
            timeout: TIMEOUT,
            lock: LockLocation::UserDirectory,
            operations: OperationQueue::default(),
        }
    }

    /// Sets the entry's name instead of `data-key`, so that the program does not share its key with other programs of
    /// the user. A key stored under another name is not found.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the time limit of an operation, including the wait for earlier operations. Default: 5 seconds.
    ///
    /// A locked keyring asks the user for a password within this time. If a user is at the machine, set a minute: the
    /// user must find the window first. For a service without a user, 5 seconds keep it from waiting.
    ///
    /// Everything that needs the key waits as well, within its own limit. Other writers of a store wait for 10 seconds, and
    /// a rotator waits until its flight deadline.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Sets the lock file for storing a first key. The file is created (0600) if it is missing. Default:
    /// `token-rotator/keyring.lock` in `XDG_STATE_HOME`, else in `~/.local/state` (`%LOCALAPPDATA%` on Windows).
    ///
    /// A keyring cannot add an entry only if it is missing. Without a lock, two programs that sign in for the first
    /// time at the same moment would each find no key. The second program would then overwrite the first one's key. All
    /// programs that share an entry must share this file.
    pub fn lock_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.lock = LockLocation::Path(path.into());
        self
    }

    /// Opens and unlocks the keyring, and returns the entry.
    fn entry(&self) -> Result<Entry, StoreError> {
        let entry = self.system.entry(SERVICE, &self.name);
        entry.map_err(|error| self.failed(&error))
    }

    /// Reads the key. Returns `None` if there is no entry.
    fn key_in(&self, entry: &Entry) -> Result<Option<DataKey>, StoreError> {
        let text = match entry.get_secret() {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(keyring_core::Error::NoEntry) => return Ok(None),
            Err(error) => return Err(self.failed(&error)),
        };
        let key = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| DataKey::from_text(KeySource::Keyring, text).ok());
        match key {
            Some(key) => Ok(Some(key)),
            None => Err(StoreError::new(
                StoreErrorKind::Corrupt,
                format!(
                    "the keyring's entry `{name}` of `{SERVICE}` holds no key; it was left as it \
                     is",
                    name = self.name
                ),
            )
            .with_hint("remove it, or use another with `name`")),
        }
    }

    fn failed(&self, error: &keyring_core::Error) -> StoreError {
        failure::store_error(&self.name, self.system.hints(), error)
    }

    /// Stores the key if there is none. The lock makes the check and the write one step.
    fn store_new(&self, key: &DataKey, cancel_flag: &CancelFlag) -> Result<(), StoreError> {
        // Opened before the lock is taken, because a prompt for a password takes time.
        let entry = self.entry()?;
        let _lock = lock::acquire(&self.lock)?;
        if self.key_in(&entry)?.is_some() {
            return Err(refused(
                &self.name,
                "another process has stored a key in the meantime, which was left unchanged; try again",
            ));
        }
        // The caller has its result by now, and a store may have used another vault.
        cancel_flag.check()?;
        let result = entry.set_secret(key.to_text().as_bytes());
        result.map_err(|error| self.failed(&error))
    }
}

impl KeyVault for Keyring {
    fn source(&self) -> KeySource {
        KeySource::Keyring
    }

    async fn load(&self) -> Result<Option<DataKey>, StoreError> {
        let keyring = self.clone();
        let load = move |_: &CancelFlag| keyring.entry().and_then(|entry| keyring.key_in(&entry));
        self.operations.run(self.timeout, load).await
    }

    async fn keep(&self, key: &DataKey) -> Result<(), StoreError> {
        let (keyring, key) = (self.clone(), key.clone());
        let keep = move |cancel_flag: &CancelFlag| keyring.store_new(&key, cancel_flag);
        self.operations.run(self.timeout, keep).await
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Keyring")
            .field("system", &self.system)
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
