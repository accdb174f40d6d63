//! Replaces the issuer: the same token for all ways, a counter of refreshes, and a gate that holds
//! answers back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::sync::Semaphore;

/// The lifetime of tokens: longer than any measurement.
pub const LIFETIME: Duration = Duration::from_secs(3600);

/// The state of a hand-written way: the header, ready-made, and its expiry.
#[derive(Clone, Debug)]
pub struct Cached {
    /// `Bearer` and the token.
    pub header: HeaderValue,
    /// When the token expires.
    pub expires_at: SystemTime,
}

impl Cached {
    /// Every hand-written way checks this before it serves a token.
    pub fn is_good(&self) -> bool {
        SystemTime::now() < self.expires_at
    }
}

/// The refresh has failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the refresh failed")]
pub struct Failed;

/// The issuer.
pub struct Issuer {
    refreshes: AtomicU64,
    gate: Semaphore,
}

impl Issuer {
    /// Answers at once.
    pub fn open() -> Arc<Self> {
        let issuer = Self::shut();
        issuer.release();
        issuer
    }

    /// Answers no request before [`Issuer::release`].
    pub fn shut() -> Arc<Self> {
        Arc::new(Self {
            refreshes: AtomicU64::new(0),
            gate: Semaphore::new(0),
        })
    }

    /// Opens the gate. It stays open.
    pub fn release(&self) {
        self.gate.close();
    }

    /// The number of refreshes.
    pub fn refreshes(&self) -> u64 {
        self.refreshes.load(Ordering::Relaxed)
    }

    /// Waits for the gate, and returns the access token.
    pub async fn token(&self) -> String {
        self.refreshes.fetch_add(1, Ordering::Relaxed);
        // Closing the semaphore opens the gate. It has no permits, so `acquire` always fails.
        let _ = self.gate.acquire().await;
        access_token()
    }

    /// Waits for the gate, and returns the header with its expiry for a hand-written way.
    pub async fn refresh(&self) -> Result<Cached, Failed> {
        header(&self.token().await)
            .map(|header| Cached {
                header,
                expires_at: SystemTime::now() + LIFETIME,
            })
            .ok_or(Failed)
    }
}

/// A text as long as a signed token with a few claims.
fn access_token() -> String {
    "eyJhbGciOiJSUzI1NiJ9".repeat(60)
}

fn header(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}
