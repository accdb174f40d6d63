//! What the tests share: a key, stores on a server, records, and a source that does as it is told.
#![allow(dead_code)] // Each test binary uses its own part.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use token_rotator::{
    DataKey, Epoch, ExposeSecret as _, KeySource, Record, RecordCodec, Refreshed, SessionKey,
    SourceError, TokenSet, TokenSource, Version,
};
use token_rotator_redis::{RedisStore, RedisStoreBuilder};
use token_rotator_testkit::RedisServer;
use tokio::sync::watch;

/// What every secret of these tests begins with, never in one piece where it could be found in the
/// output by itself.
pub(crate) const CANARY: [&str; 2] = ["CANARY", "-7f3a-"];

pub(crate) fn canary() -> String {
    CANARY.concat()
}

pub(crate) fn codec() -> RecordCodec {
    RecordCodec::sealed(DataKey::new(KeySource::Program, [7; 32]))
}

/// A store on this server, as another process would open it.
pub(crate) fn builder(server: &RedisServer) -> RedisStoreBuilder {
    RedisStore::builder().url(server.url()).codec(codec())
}

pub(crate) fn store(server: &RedisServer) -> RedisStore {
    builder(server).build().expect("settings that fit")
}

pub(crate) fn key() -> SessionKey {
    SessionKey::new("work")
}

pub(crate) fn version(revision: u64) -> Version {
    Version {
        epoch: Epoch::from_bits(1),
        revision,
    }
}

pub(crate) fn record(revision: u64) -> Record {
    Record {
        version: version(revision),
        tokens: Some(Arc::new(tokens(usize::try_from(revision).expect("small")))),
        intent: None,
    }
}

pub(crate) fn tokens(number: usize) -> TokenSet {
    let canary = canary();
    TokenSet::bearer(format!("{canary}access-{number}"))
        .with_refresh_token(format!("{canary}refresh-{number}"))
        .with_id_token(format!("{canary}id-{number}"))
        .with_extra("tenant", format!("{canary}extra-{number}"))
        .expires_in(Duration::from_secs(300))
}

/// A source that hands out `tokens(1)`, `tokens(2)` and so on, each for the one before it.
#[derive(Clone, Default)]
pub(crate) struct Source(Arc<State>);

#[derive(Default)]
struct State {
    calls: AtomicUsize,
    /// Presented a second time.
    reused: AtomicUsize,
    last: AtomicUsize,
    held: watch::Sender<bool>,
    arrived: watch::Sender<usize>,
}

impl Source {
    /// Keeps refreshes in the air from now on.
    pub(crate) fn hold(&self) {
        self.0.held.send_replace(true);
    }

    pub(crate) fn let_go(&self) {
        self.0.held.send_replace(false);
    }

    /// Ends when so many calls have arrived in all.
    pub(crate) async fn arrived(&self, calls: usize) {
        let mut arrived = self.0.arrived.subscribe();
        let enough = arrived.wait_for(|arrived| *arrived >= calls).await;
        enough.expect("the source is here");
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn reused(&self) -> usize {
        self.0.reused.load(Ordering::SeqCst)
    }
}

impl TokenSource for Source {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        let mut held = self.0.held.subscribe();
        held.wait_for(|held| !held)
            .await
            .expect("the source is here");
        let presented = last.and_then(|last| {
            let token = last.refresh_token()?.expose_secret();
            token.rsplit('-').next()?.parse::<usize>().ok()
        });
        let presented = presented.unwrap_or_default();
        let expected = self.0.last.fetch_add(1, Ordering::SeqCst);
        if presented != expected {
            self.0.reused.fetch_add(1, Ordering::SeqCst);
        }
        Ok(tokens(expected + 1).into())
    }
}

/// Asks until it is so.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within ten seconds: {what}");
}

/// Ends soon, or the test fails.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let soon = tokio::time::timeout(Duration::from_secs(10), future).await;
    soon.unwrap_or_else(|_| panic!("{what} took longer than ten seconds"))
}
