//! The vault.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyring_core::{CredentialStore, Entry};
use token_rotator::keys::{DataKey, KeySource, KeyVault};
use token_rotator::store::{StoreError, StoreErrorKind};
use zeroize::Zeroizing;

use crate::failure::{self, refused};
use crate::lock::{self, LockPlace};
use crate::question::{Desk, GivenUp};
use crate::system::System;

/// Under what the key is kept, together with the entry's name.
const SERVICE: &str = "token-rotator";
/// The entry's name, unless the program has another.
const NAME: &str = "data-key";
/// Plenty for a keyring that is unlocked, and not much for somebody who waits for a program to start.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps the key of a store in the operating system's keyring, as 64 hexadecimal digits.
///
/// The entry is that of the service `token-rotator` and of a user called `data-key`, or as
/// [`Keyring::name`] says. All stores with the same entry share one key, whatever their
/// directories; one store has room for one keyring.
///
/// The keyring is opened anew for each question, on a thread of its own: a keyring that has gone
/// away or was locked meanwhile is an error now, and works again as soon as it is back.
///
/// A future of this vault that is dropped, or that has run into its timeout, leaves a question
/// behind that nobody waits for: a prompt stays on the screen. If it is answered after all, a key
/// that was to be kept may still be, but never over another one. Until then other questions of this
/// vault and its clones wait in line, each as long as it may. A program that ends does not wait.
#[derive(Clone)]
pub struct Keyring {
    system: System,
    name: Arc<str>,
    timeout: Duration,
    lock: LockPlace,
    desk: Desk,
}

impl Keyring {
    /// The system's own keyring, one that lasts: the Secret Service on Linux and the BSDs, the login
    /// keychain on macOS, the Credential Manager on Windows.
    ///
    /// Nothing is asked yet. Where there is no such keyring, the vault cannot be reached, and a
    /// store goes on to its next one.
    pub fn of_system() -> Self {
        Self::over(System::of_system())
    }

    /// The Linux kernel's key retention service, which forgets: everything at a reboot; before that
    /// at the end of the login session, or, where the kernel has persistent keyrings, after days
    /// without use (three, unless the administrator has said otherwise).
    ///
    /// **Every session sealed with the key is lost then**, and has to be signed in again: reading it
    /// is an error, and so is a sign-in beside it, until the files are removed. For machines without a
    /// Secret Service whose sessions may end with them. Container runtimes commonly forbid the system
    /// calls; the vault cannot be reached there.
    #[cfg(target_os = "linux")]
    pub fn kernel_keyutils() -> Self {
        Self::over(System::kernel_keyutils())
    }

    /// Any other store of `keyring-core`. It has to last for as long as the sessions are to.
    pub fn of_store(store: Arc<CredentialStore>) -> Self {
        Self::over(System::of_store(store))
    }

    fn over(system: System) -> Self {
        Self {
            system,
            name: NAME.into(),
            timeout: TIMEOUT,
            lock: LockPlace::OfUser,
            desk: Desk::default(),
        }
    }

    /// Calls the entry this instead of `data-key`: for programs that do not want to share a key with
    /// others of the same user. A key that was kept under another name is not found any more.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// How long a question may take, including the wait for earlier ones; 5 seconds unless set.
    ///
    /// A locked keyring asks the user for a password within this time. Where somebody sits in front of
    /// the machine, give it a minute: they have to find the window first. Where nobody does, 5
    /// seconds keep a service from waiting for them.
    ///
    /// Everything that needs the key waits along, and so does what limits it: a store's other
    /// writers, 10 seconds, and a rotator's flight.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Takes turns at keeping a first key by a kernel lock on this file, made (0600) if it is
    /// missing. Unless set it is `token-rotator/keyring.lock` in `XDG_STATE_HOME`, or
    /// `~/.local/state` (`%LOCALAPPDATA%` on Windows).
    ///
    /// Keyrings have no way to add an entry only where there is none. Two programs whose first
    /// sign-ins fall into the same moment would each find no key, and the second would overwrite
    /// that of the first. All that share an entry have to share this file.
    pub fn lock_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.lock = LockPlace::At(path.into());
        self
    }

    /// The entry, in a store that has just been opened and unlocked.
    fn entry(&self) -> Result<Entry, StoreError> {
        let entry = self.system.entry(SERVICE, &self.name);
        entry.map_err(|error| self.failed(&error))
    }

    /// The key in the entry; `None`: there is no entry.
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
        failure::failed(&self.name, self.system.hints(), error)
    }

    /// Keeps the key unless there is one, under the lock that makes the two one step.
    fn keep_new(&self, key: &DataKey, given_up: &GivenUp) -> Result<(), StoreError> {
        // Before the lock: a prompt for a password may take its time.
        let entry = self.entry()?;
        let _turn = lock::take(&self.lock)?;
        if self.key_in(&entry)?.is_some() {
            return Err(refused(
                &self.name,
                "somebody else has put a key there in this very moment, which was left as it is; \
                 try again",
            ));
        }
        // Whoever asked has had their answer, and has perhaps gone to another vault.
        given_up.check()?;
        let kept = entry.set_secret(key.to_text().as_bytes());
        kept.map_err(|error| self.failed(&error))
    }
}

impl KeyVault for Keyring {
    fn source(&self) -> KeySource {
        KeySource::Keyring
    }

    async fn load(&self) -> Result<Option<DataKey>, StoreError> {
        let keyring = self.clone();
        let load = move |_: &GivenUp| keyring.entry().and_then(|entry| keyring.key_in(&entry));
        self.desk.ask(self.timeout, load).await
    }

    async fn keep(&self, key: &DataKey) -> Result<(), StoreError> {
        let (keyring, key) = (self.clone(), key.clone());
        let keep = move |given_up: &GivenUp| keyring.keep_new(&key, given_up);
        self.desk.ask(self.timeout, keep).await
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
