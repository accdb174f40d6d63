//! A token source that the tests hold and release.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use token_rotator::{ExposeSecret as _, Refreshed, SourceError, TokenSet, TokenSource};
use tokio::sync::watch;

use super::tokens;

/// Returns `tokens(1)`, `tokens(2)` and so on, each for the one before it.
#[derive(Clone, Default)]
pub struct Source(Arc<State>);

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
    /// Holds refreshes from now on.
    pub fn hold(&self) {
        self.0.held.send_replace(true);
    }

    /// Releases held refreshes, and holds no more.
    pub fn let_go(&self) {
        self.0.held.send_replace(false);
    }

    /// Waits until this many calls have arrived in all.
    pub async fn arrived(&self, calls: usize) {
        let mut arrived = self.0.arrived.subscribe();
        let enough = arrived.wait_for(|arrived| *arrived >= calls).await;
        enough.expect("the source is here");
    }

    /// How many refreshes were asked for.
    pub fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// How many of them presented another refresh token than the last one.
    pub fn reused(&self) -> usize {
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
