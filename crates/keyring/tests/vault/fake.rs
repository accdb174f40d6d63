//! A keyring that does as it is told.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use token_rotator_keyring::Keyring;
use token_rotator_keyring::keyring_core::api::{CredentialApi, CredentialStoreApi};
use token_rotator_keyring::keyring_core::{Credential, Entry, Error, Result};

use super::place::Place;

/// What happens to whoever asks.
#[derive(Clone, Copy, Default)]
pub(crate) enum Mood {
    #[default]
    Answers,
    /// Until the mood changes.
    Hangs,
    Panics,
    Fails(fn() -> Error),
}

#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    asked: AtomicUsize,
    set: AtomicUsize,
}

#[derive(Default)]
struct State {
    mood: Mood,
    entries: HashMap<(String, String), Vec<u8>>,
}

/// An entry of it.
struct Item(Fake, (String, String));

impl Fake {
    /// A vault over it, as another process would have it.
    pub(crate) fn keyring(&self, place: &Place) -> Keyring {
        Keyring::of_store(Arc::new(self.clone())).lock_file(place.lock_file())
    }

    pub(crate) fn becomes(&self, mood: Mood) {
        self.state().mood = mood;
        self.0.changed.notify_all();
    }

    pub(crate) fn put(&self, name: &str, value: &[u8]) {
        let entry = ("token-rotator".to_owned(), name.to_owned());
        self.state().entries.insert(entry, value.to_vec());
    }

    /// What is in it, under which names of the service.
    pub(crate) fn values(&self) -> Vec<(String, Vec<u8>)> {
        let entries = self.state().entries.clone();
        let entry = |((service, name), value)| {
            assert_eq!(service, "token-rotator");
            (name, value)
        };
        entries.into_iter().map(entry).collect()
    }

    /// How often it was asked for a value.
    pub(crate) fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// How often a value was set.
    pub(crate) fn set(&self) -> usize {
        self.0.set.load(Ordering::SeqCst)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic under the lock")
    }

    fn in_the_mood(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        while matches!(state.mood, Mood::Hangs) {
            state = self.0.changed.wait(state).expect("no panic under the lock");
        }
        match state.mood {
            Mood::Fails(error) => Err(error()),
            Mood::Panics => {
                drop(state);
                panic!("a bug in a library");
            }
            Mood::Answers | Mood::Hangs => Ok(state),
        }
    }
}

impl CredentialStoreApi for Fake {
    fn vendor(&self) -> String {
        "a test".to_owned()
    }

    fn id(&self) -> String {
        "fake".to_owned()
    }

    fn build(&self, service: &str, user: &str, _: Option<&HashMap<&str, &str>>) -> Result<Entry> {
        let item = Item(self.clone(), (service.to_owned(), user.to_owned()));
        Ok(Entry::new_with_credential(Arc::new(item)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn debug_fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Fake")
    }
}

impl CredentialApi for Item {
    fn set_secret(&self, secret: &[u8]) -> Result<()> {
        let mut state = self.0.in_the_mood()?;
        self.0.0.set.fetch_add(1, Ordering::SeqCst);
        state.entries.insert(self.1.clone(), secret.to_vec());
        Ok(())
    }

    fn get_secret(&self) -> Result<Vec<u8>> {
        self.0.0.asked.fetch_add(1, Ordering::SeqCst);
        let found = self.0.in_the_mood()?.entries.get(&self.1).cloned();
        // Time for somebody else between this look and what follows from it.
        std::thread::yield_now();
        found.ok_or(Error::NoEntry)
    }

    fn delete_credential(&self) -> Result<()> {
        let removed = self.0.in_the_mood()?.entries.remove(&self.1);
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
