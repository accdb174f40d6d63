//! Stands in for the issuer: the same tokens for all, counted, and held back until a gate opens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::sync::Semaphore;

/// How long its tokens live: longer than any measurement.
pub const LIFETIME: Duration = Duration::from_secs(3600);

/// What a hand-written way keeps: the header, ready-made, and until when it is good.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// `Bearer` and the token.
    pub header: HeaderValue,
    /// When the token expires.
    pub expires_at: SystemTime,
}

impl Fresh {
    /// The check that every way makes before it serves a token.
    pub fn is_good(&self) -> bool {
        SystemTime::now() < self.expires_at
    }
}

/// The refresh failed.
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

    /// Answers nobody until [`Issuer::release`].
    pub fn shut() -> Arc<Self> {
        Arc::new(Self {
            refreshes: AtomicU64::new(0),
            gate: Semaphore::new(0),
        })
    }

    /// Opens the gate, for good.
    pub fn release(&self) {
        self.gate.close();
    }

    /// How often it was asked.
    pub fn refreshes(&self) -> u64 {
        self.refreshes.load(Ordering::Relaxed)
    }

    /// One refresh: the access token, after the gate has opened.
    pub async fn token(&self) -> String {
        self.refreshes.fetch_add(1, Ordering::Relaxed);
        // The gate opens by being closed, and gives no permits: this is always an error.
        let _ = self.gate.acquire().await;
        access_token()
    }

    /// The same as a hand-written way wants it.
    pub async fn refresh(&self) -> Result<Fresh, Failed> {
        header(&self.token().await)
            .map(|header| Fresh {
                header,
                expires_at: SystemTime::now() + LIFETIME,
            })
            .ok_or(Failed)
    }
}

/// As long as a signed token with a few claims is.
fn access_token() -> String {
    "eyJhbGciOiJSUzI1NiJ9".repeat(60)
}

fn header(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}
