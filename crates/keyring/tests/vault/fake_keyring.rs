//! A keyring whose behaviour the tests set.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use token_rotator_keyring::Keyring;
use token_rotator_keyring::keyring_core::api::{CredentialApi, CredentialStoreApi};
use token_rotator_keyring::keyring_core::{Credential, Entry, Error, Result};

use super::directory::TestDirectory;

/// How the keyring responds.
#[derive(Clone, Copy, Default)]
pub(crate) enum Behaviour {
    #[default]
    Responds,
    /// Until the behaviour changes.
    Hangs,
    Panics,
    Fails(fn() -> Error),
}

#[derive(Clone, Default)]
pub(crate) struct FakeKeyring(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<FakeState>,
    changed: Condvar,
    read_count: AtomicUsize,
    write_count: AtomicUsize,
}

#[derive(Default)]
struct FakeState {
    behaviour: Behaviour,
    entries: HashMap<(String, String), Vec<u8>>,
}

/// An entry of the keyring.
struct FakeEntry(FakeKeyring, (String, String));

impl FakeKeyring {
    /// Creates a vault in this keyring, as another process would.
    pub(crate) fn keyring(&self, directory: &TestDirectory) -> Keyring {
        Keyring::of_store(Arc::new(self.clone())).lock_file(directory.lock_file())
    }

    pub(crate) fn set_behaviour(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
        self.0.changed.notify_all();
    }

    pub(crate) fn put(&self, name: &str, value: &[u8]) {
        let entry = ("token-rotator".to_owned(), name.to_owned());
        self.state().entries.insert(entry, value.to_vec());
    }

    /// Returns the entries of the service as pairs of name and value.
    pub(crate) fn values(&self) -> Vec<(String, Vec<u8>)> {
        let entries = self.state().entries.clone();
        let entry = |((service, name), value)| {
            assert_eq!(service, "token-rotator");
            (name, value)
        };
        entries.into_iter().map(entry).collect()
    }

    /// Returns the number of reads.
    pub(crate) fn read_count(&self) -> usize {
        self.0.read_count.load(Ordering::SeqCst)
    }

    /// Returns the number of writes.
    pub(crate) fn write_count(&self) -> usize {
        self.0.write_count.load(Ordering::SeqCst)
    }

    fn state(&self) -> MutexGuard<'_, FakeState> {
        self.0.state.lock().expect("no panic under the lock")
    }

    fn respond(&self) -> Result<MutexGuard<'_, FakeState>> {
        let mut state = self.state();
        while matches!(state.behaviour, Behaviour::Hangs) {
            state = self.0.changed.wait(state).expect("no panic under the lock");
        }
        match state.behaviour {
            Behaviour::Fails(error) => Err(error()),
            Behaviour::Panics => {
                drop(state);
                panic!("a bug in a library");
            }
            Behaviour::Responds | Behaviour::Hangs => Ok(state),
        }
    }
}

impl CredentialStoreApi for FakeKeyring {
    fn vendor(&self) -> String {
        "a test".to_owned()
    }

    fn id(&self) -> String {
        "fake".to_owned()
    }

    fn build(&self, service: &str, user: &str, _: Option<&HashMap<&str, &str>>) -> Result<Entry> {
        let item = FakeEntry(self.clone(), (service.to_owned(), user.to_owned()));
        Ok(Entry::new_with_credential(Arc::new(item)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn debug_fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Fake")
    }
}

impl CredentialApi for FakeEntry {
    fn set_secret(&self, secret: &[u8]) -> Result<()> {
        let mut state = self.0.respond()?;
        self.0.0.write_count.fetch_add(1, Ordering::SeqCst);
        state.entries.insert(self.1.clone(), secret.to_vec());
        Ok(())
    }

    fn get_secret(&self) -> Result<Vec<u8>> {
        self.0.0.read_count.fetch_add(1, Ordering::SeqCst);
        let value = self.0.respond()?.entries.get(&self.1).cloned();
        // Lets another thread run between this read and the caller's next step.
        std::thread::yield_now();
        value.ok_or(Error::NoEntry)
    }

    fn delete_credential(&self) -> Result<()> {
        let removed = self.0.respond()?.entries.remove(&self.1);
        removed.map(drop).ok_or(Error::NoEntry)
    }

    fn get_credential(&self) -> Result<Option<Arc<Credential>>> {
        Ok(None)
    }

    fn get_specifiers(&self) -> Option<(String, String)> {
        Some(self.1.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn debug_fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Item")
    }
}
