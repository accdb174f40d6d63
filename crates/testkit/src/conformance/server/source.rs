//! A token source that tests hold and release.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use token_rotator::{ExposeSecret as _, Refreshed, SourceError, TokenSet, TokenSource};
use tokio::sync::watch;

use super::tokens;

/// A token source that returns `tokens(1)`, `tokens(2)` and so on. It counts a refresh that does not present the latest
/// token set.
#[derive(Clone, Default)]
pub struct TestTokenSource(Arc<SourceState>);

#[derive(Default)]
struct SourceState {
    /// Number of refreshes that presented a refresh token other than the latest.
    reuse_count: AtomicUsize,
    last: AtomicUsize,
    held: watch::Sender<bool>,
    /// Number of refreshes that have arrived.
    arrived: watch::Sender<usize>,
}

impl TestTokenSource {
    /// Holds refreshes from now on.
    pub fn hold(&self) {
        self.0.held.send_replace(true);
    }

    /// Releases the held refreshes, and holds no more.
    pub fn release(&self) {
        self.0.held.send_replace(false);
    }

    /// Waits until this many refreshes have arrived since the start.
    pub async fn wait_for_refreshes(&self, refresh_count: usize) {
        let mut arrived = self.0.arrived.subscribe();
        let arrival = arrived.wait_for(|arrived| *arrived >= refresh_count).await;
        arrival.expect("the source exists");
    }

    /// Returns the number of refreshes.
    pub fn refresh_count(&self) -> usize {
        *self.0.arrived.borrow()
    }

    /// Returns the number of refreshes that presented a refresh token other than the latest.
    pub fn reuse_count(&self) -> usize {
        self.0.reuse_count.load(Ordering::SeqCst)
    }
}

impl TokenSource for TestTokenSource {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        let mut held = self.0.held.subscribe();
        held.wait_for(|held| !held)
            .await
            .expect("the source exists");
        let presented = last.and_then(|last| {
            let token = last.refresh_token()?.expose_secret();
            token.rsplit('-').next()?.parse::<usize>().ok()
        });
        let presented = presented.unwrap_or_default();
        let expected = self.0.last.fetch_add(1, Ordering::SeqCst);
        if presented != expected {
            self.0.reuse_count.fetch_add(1, Ordering::SeqCst);
        }
        Ok(tokens(expected + 1).into())
    }
}
