//! A tokio `RwLock` with double check.

use std::sync::Arc;

use http::HeaderValue;
use tokio::sync::RwLock;

use super::Way;
use crate::issuer::{Cached, Failed, Issuer};

/// Reads under the read lock. Without a good token, takes the write lock, checks again and
/// refreshes under it.
pub struct TokioRwLock {
    cached: RwLock<Option<Cached>>,
    issuer: Arc<Issuer>,
}

impl Way for TokioRwLock {
    const NAME: &'static str = "tokio RwLock, double check";

    fn new(issuer: Arc<Issuer>) -> Self {
        Self {
            cached: RwLock::new(None),
            issuer,
        }
    }

    async fn header(&self) -> Result<HeaderValue, Failed> {
        if let Some(cached) = self.cached.read().await.as_ref()
            && cached.is_good()
        {
            return Ok(cached.header.clone());
        }
        let mut cached = self.cached.write().await;
        match cached.as_ref() {
            Some(cached) if cached.is_good() => Ok(cached.header.clone()),
            _ => Ok(cached.insert(self.issuer.refresh().await?).header.clone()),
        }
    }
}
