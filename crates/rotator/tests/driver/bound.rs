//! Tests that a session is bound to the addresses of its sign-in: no token goes to another one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use token_rotator::store::{Binding, Record, SessionStore as _, Version};
use token_rotator::{
    Event, FailureKind, MemoryStore, RefreshError, Refreshed, Rotator, SessionKey, SourceError,
    TokenError, TokenSet, TokenSource,
};

const ISSUER: &str = "https://issuer.example";

fn sealed() -> Binding {
    Binding::new("https://issuer.example/token")
        .with_issuer(ISSUER)
        .with_revocation_endpoint("https://issuer.example/revoke")
}

/// A source whose addresses the test can change. Counts the requests that would send a token.
#[derive(Clone)]
struct MovingSource {
    addresses: Arc<Mutex<Option<Binding>>>,
    /// Whether the addresses are known without a request.
    known: bool,
    sent: Arc<AtomicUsize>,
}

impl MovingSource {
    fn at(addresses: Binding) -> Self {
        Self {
            addresses: Arc::new(Mutex::new(Some(addresses))),
            known: true,
            sent: Arc::default(),
        }
    }

    fn move_to(&self, addresses: Option<Binding>) {
        *self.addresses.lock().expect("no panic") = addresses;
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    fn addresses(&self) -> Option<Binding> {
        self.addresses.lock().expect("no panic").clone()
    }
}

impl TokenSource for MovingSource {
    async fn refresh(&self, _last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let tokens = TokenSet::bearer(format!("access-{number}"));
        Ok(tokens
            .with_refresh_token(format!("refresh-{number}"))
            .into())
    }

    async fn revoke(&self, _tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn binding(&self, _session: &SessionKey) -> Result<Option<Binding>, SourceError> {
        Ok(self.addresses())
    }

    fn known_binding(&self, _session: &SessionKey) -> Option<Binding> {
        self.addresses().filter(|_| self.known)
    }
}

type Events = Arc<Mutex<Vec<Event>>>;

fn rotator(source: &MovingSource, store: &MemoryStore) -> (Rotator, Events) {
    let events = Events::default();
    let seen = Arc::clone(&events);
    let rotator = Rotator::builder(source.clone())
        .store(store.clone())
        .on_event(move |event| seen.lock().expect("no panic").push(event.clone()))
        .build()
        .expect("valid settings");
    (rotator, events)
}

async fn sign_in(rotator: &Rotator) {
    let tokens = TokenSet::bearer("first").with_refresh_token("first");
    let stored = rotator.sign_in(tokens).expect("usable tokens");
    stored.await.expect("saved");
}

async fn record(store: &MemoryStore) -> Record {
    let record = store.load(&SessionKey::default()).await.expect("readable");
    record.expect("a record")
}

fn count(events: &Events, wanted: impl Fn(&Event) -> bool) -> usize {
    let events = events.lock().expect("no panic");
    events.iter().filter(|event| wanted(event)).count()
}

/// "A token endpoint changed by another user gets the refresh token": an address that differs is
/// refused before anything is sent, in the process of the sign-in and in another one.
#[tokio::test]
async fn another_address_gets_no_token() {
    let store = MemoryStore::new();
    let source = MovingSource::at(sealed());
    let (rotator_of_login, _) = rotator(&source, &store);
    sign_in(&rotator_of_login).await;
    assert_eq!(record(&store).await.binding(), Some(&sealed()));
    let other_process = MovingSource::at(sealed());
    let (other_rotator, _) = rotator(&other_process, &store);
    // The first call of a process adopts the token of the record.
    other_rotator.token().await.expect("a token");
    let elsewhere = |change: fn(Binding) -> Binding| Some(change(sealed()));
    let moved = [
        elsewhere(|it| it.with_issuer("https://other.example")),
        elsewhere(|it| it.with_revocation_endpoint("https://other.example/revoke")),
        Some(Binding::new("https://other.example/token")),
        // The metadata of the sealed issuer, but not over TLS.
        Some(
            Binding::new("https://other.example/token")
                .with_issuer(ISSUER)
                .with_announced(true, true, false),
        ),
    ];
    for addresses in moved {
        for (source, rotator) in [
            (&source, &rotator_of_login),
            (&other_process, &other_rotator),
        ] {
            source.move_to(addresses.clone());
            let error = rotator.refresh_now().await.expect_err("refused");
            let TokenError::Refresh(error @ RefreshError::OtherAddress(_)) = &error else {
                panic!("{error:?}");
            };
            assert_eq!(error.kind(), FailureKind::Misconfigured);
            assert!(error.to_string().contains("other.example"), "{error}");
            assert!(error.hint().is_some());
            assert_eq!(source.sent(), 0, "{addresses:?}");
        }
    }
    assert_eq!(record(&store).await.binding(), Some(&sealed()));
    // The right address again.
    other_process.move_to(Some(sealed()));
    let token = other_rotator.refresh_now().await.expect("a token");
    assert_eq!(token.header(), "Bearer access-0");
}

/// A sign-out sends the refresh token to no other revocation endpoint.
#[tokio::test]
async fn a_sign_out_revokes_at_no_other_address() {
    let store = MemoryStore::new();
    let source = MovingSource::at(sealed());
    let (rotator, events) = rotator(&source, &store);
    sign_in(&rotator).await;
    source.move_to(Some(
        sealed().with_revocation_endpoint("https://other.example/revoke"),
    ));
    rotator.sign_out().await.expect("saved");
    assert!(rotator.shutdown(std::time::Duration::from_secs(60)).await);
    assert_eq!(source.sent(), 0);
    let failed = |event: &Event| matches!(event, Event::Revoked { error: Some(_) });
    let refused = |event: &Event| matches!(event, Event::AddressRefused { .. });
    assert_eq!((count(&events, failed), count(&events, refused)), (1, 1));
}

/// An endpoint that the metadata of the sealed issuer announces over TLS is followed. The event is
/// reported once, because the next save seals the new endpoint.
#[tokio::test]
async fn an_endpoint_that_the_issuer_announces_is_followed() {
    let store = MemoryStore::new();
    let source = MovingSource::at(sealed());
    let (rotator, events) = rotator(&source, &store);
    sign_in(&rotator).await;
    let moved = Binding::new("https://new.example/token")
        .with_issuer(ISSUER)
        .with_announced(true, true, true);
    source.move_to(Some(moved));
    rotator.refresh_now().await.expect("a token");
    rotator.refresh_now().await.expect("a token");
    assert_eq!(source.sent(), 2);
    let followed = |event: &Event| {
        matches!(event, Event::AddressFollowed { address, .. }
            if address.address == "token endpoint" && address.to == "https://new.example/token")
    };
    assert_eq!(count(&events, followed), 1);
    let record = record(&store).await;
    let binding = record.binding().expect("bound");
    let endpoint = binding.token_endpoint.as_deref();
    assert_eq!(endpoint, Some("https://new.example/token"));
    // The source named no revocation endpoint, and that of the sign-in stays.
    assert_eq!(binding.revocation_endpoint, sealed().revocation_endpoint);
}

/// A record without a binding, as an earlier version writes it, is bound at its next save. A source
/// without an address binds nothing and erases no binding.
#[tokio::test]
async fn a_record_without_a_binding_is_bound_at_its_next_save() {
    let store = MemoryStore::new();
    let mut source = MovingSource::at(sealed());
    source.known = false;
    let (rotator, _) = rotator(&source, &store);
    sign_in(&rotator).await;
    assert_eq!(record(&store).await.binding(), None);
    source.move_to(None);
    rotator.refresh_now().await.expect("a token");
    assert_eq!(record(&store).await.binding(), None);
    source.move_to(Some(sealed()));
    rotator.refresh_now().await.expect("a token");
    assert_eq!(record(&store).await.binding(), Some(&sealed()));
    source.move_to(None);
    rotator.refresh_now().await.expect("a token");
    assert_eq!(record(&store).await.binding(), Some(&sealed()));
    source.move_to(Some(Binding::new("https://other.example/token")));
    rotator.refresh_now().await.expect_err("refused");
    assert_eq!(source.sent(), 3);
}

/// A binding that another process moved counts from the next refresh.
#[tokio::test]
async fn a_moved_binding_is_used_from_the_next_refresh() {
    let store = MemoryStore::new();
    let source = MovingSource::at(sealed());
    let (rotator, _) = rotator(&source, &store);
    sign_in(&rotator).await;
    let other = Binding::new("https://other.example/token");
    source.move_to(Some(other.clone()));
    rotator.refresh_now().await.expect_err("refused");
    // The user moves the binding in another process.
    let found = record(&store).await;
    let seen: Version = found.version();
    let moved = found.rebound(&other);
    assert_eq!(moved.version().epoch, seen.epoch);
    let key = SessionKey::default();
    store.save(&key, Some(seen), moved).await.expect("saved");
    let token = rotator.refresh_now().await.expect("a token");
    assert_eq!(token.header(), "Bearer access-0");
    assert_eq!(record(&store).await.binding(), Some(&other));
}
