//! A store, source or vault whose type is erased does what it does with its type.
#![cfg(feature = "codec")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use token_rotator::keys::{BoxedVault, DataKey, KeySource, KeyVault};
use token_rotator::store::{
    BoxedCoordinator, BoxedStore, Coordinator as _, LeaseError, LocalCoordinator, Record, Saved,
    SessionStore, StoreError, StoreTime, Version,
};
use token_rotator::{
    BoxedSource, MemoryStore, Refreshed, Rotator, SessionKey, SourceError, TokenSet, TokenSource,
};

type Calls = Arc<Mutex<Vec<String>>>;

fn note(calls: &Calls, call: impl Into<String>) {
    let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    calls.push(call.into());
}

fn noted(calls: &Calls) -> Vec<String> {
    std::mem::take(&mut *calls.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A store that overrides every default of its trait.
struct Overriding {
    records: MemoryStore,
    coordinator: BoxedCoordinator,
    calls: Calls,
}

impl SessionStore for Overriding {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        note(&self.calls, "load");
        self.records.load(key).await
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        note(&self.calls, "save");
        self.records.save(key, expected, record).await
    }

    async fn now(&self) -> Result<Option<StoreTime>, StoreError> {
        note(&self.calls, "now");
        self.records.now().await
    }

    async fn changed(&self, _key: &SessionKey, _seen: Option<Version>) {
        note(&self.calls, "changed");
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn coordinator(&self) -> Option<BoxedCoordinator> {
        Some(self.coordinator.clone())
    }
}

#[tokio::test]
async fn a_boxed_store_forwards_every_method() {
    let calls = Calls::default();
    let coordinator = BoxedCoordinator::new(LocalCoordinator::new());
    let store = BoxedStore::new(Overriding {
        records: MemoryStore::new(),
        coordinator: coordinator.clone(),
        calls: Arc::clone(&calls),
    });
    let key = SessionKey::new("work");
    let version = Version::new(token_rotator::store::Epoch::random(), 1);
    let saved = store.save(&key, None, Record::signed_out(version)).await;
    assert!(matches!(saved, Ok(Saved::Stored)), "{saved:?}");
    let found = store.clone().load(&key).await.expect("memory");
    assert_eq!(found.expect("a record").version(), version);
    assert!(store.now().await.expect("memory").is_some());
    store.changed(&key, None).await;
    assert_eq!(noted(&calls), ["save", "load", "now", "changed"]);
    assert!(!store.is_durable());

    let lease = coordinator.acquire(&key, Duration::ZERO).await;
    let _held = lease.expect("a free lease");
    let other = store.coordinator().expect("the coordinator of the store");
    let busy = other.acquire(&key, Duration::ZERO).await.err();
    assert!(matches!(busy, Some(LeaseError::Busy { .. })), "{busy:?}");
}

/// A source that overrides every default of its trait.
struct Named(Calls);

impl TokenSource for Named {
    async fn refresh(&self, _last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        note(&self.0, "refresh");
        Ok(TokenSet::bearer("token").into())
    }

    async fn refresh_session(
        &self,
        session: &SessionKey,
        _last: Option<Arc<TokenSet>>,
    ) -> Result<Refreshed, SourceError> {
        note(&self.0, format!("refresh of {session}"));
        Ok(TokenSet::bearer("token").with_refresh_token("r").into())
    }

    async fn revoke(&self, _tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        note(&self.0, "revoke");
        Ok(())
    }
}

#[tokio::test]
async fn a_boxed_source_forwards_every_method() {
    let calls = Calls::default();
    let source = BoxedSource::new(Named(Arc::clone(&calls)));
    source.refresh(None).await.expect("tokens");
    assert_eq!(noted(&calls), ["refresh"]);

    let builder = Rotator::builder(source).session(SessionKey::new("work"));
    let rotator = builder.build().expect("a rotator");
    rotator.token().await.expect("a token");
    rotator.sign_out().await.expect("in memory");
    assert!(rotator.shutdown(Duration::from_secs(10)).await);
    assert_eq!(noted(&calls), ["refresh of work", "revoke"]);
}

struct One(Mutex<Option<[u8; 32]>>);

impl KeyVault for One {
    fn source(&self) -> KeySource {
        KeySource::Program
    }

    async fn load(&self) -> Result<Option<DataKey>, StoreError> {
        let key = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(key.map(|bytes| DataKey::new(KeySource::Program, bytes)))
    }

    async fn keep(&self, key: &DataKey) -> Result<(), StoreError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(*key.bytes());
        Ok(())
    }
}

#[tokio::test]
async fn a_boxed_vault_forwards_every_method() {
    let vault = BoxedVault::new(One(Mutex::new(None)));
    assert_eq!(vault.source(), KeySource::Program);
    assert!(vault.load().await.expect("a vault").is_none());
    let key = DataKey::new(KeySource::Program, [7; 32]);
    vault.keep(&key).await.expect("kept");
    let loaded = vault.clone().load().await.expect("a vault");
    assert_eq!(loaded.expect("the key").id(), key.id());
}
