//! A tokio `RwLock` with double check.

use std::sync::Arc;

use http::HeaderValue;
use tokio::sync::RwLock;

use super::Way;
use crate::issuer::{Failed, Fresh, Issuer};

/// Reads under the read lock; else takes the write lock, checks again and refreshes under it.
pub struct TokioRwLock {
    fresh: RwLock<Option<Fresh>>,
    issuer: Arc<Issuer>,
}

impl Way for TokioRwLock {
    const NAME: &'static str = "tokio RwLock, double check";

    fn new(issuer: Arc<Issuer>) -> Self {
        Self {
            fresh: RwLock::new(None),
            issuer,
        }
    }

    async fn header(&self) -> Result<HeaderValue, Failed> {
        if let Some(fresh) = self.fresh.read().await.as_ref()
            && fresh.is_good()
        {
            return Ok(fresh.header.clone());
        }
        let mut fresh = self.fresh.write().await;
        match fresh.as_ref() {
            Some(fresh) if fresh.is_good() => Ok(fresh.header.clone()),
            _ => Ok(fresh.insert(self.issuer.refresh().await?).header.clone()),
        }
    }
}
