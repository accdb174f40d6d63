//! A tokio `Mutex` held across the refresh.

use std::sync::Arc;

use http::HeaderValue;
use tokio::sync::Mutex;

use super::Way;
use crate::issuer::{Failed, Fresh, Issuer};

/// Whoever holds the lock refreshes; the others check again when they get it.
pub struct TokioMutex {
    fresh: Mutex<Option<Fresh>>,
    issuer: Arc<Issuer>,
}

impl Way for TokioMutex {
    const NAME: &'static str = "tokio Mutex";

    fn new(issuer: Arc<Issuer>) -> Self {
        Self {
            fresh: Mutex::new(None),
            issuer,
        }
    }

    async fn header(&self) -> Result<HeaderValue, Failed> {
        let mut fresh = self.fresh.lock().await;
        match fresh.as_ref() {
            Some(fresh) if fresh.is_good() => Ok(fresh.header.clone()),
            _ => Ok(fresh.insert(self.issuer.refresh().await?).header.clone()),
        }
    }
}
