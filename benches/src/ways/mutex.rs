//! A tokio `Mutex` held across the refresh.

use std::sync::Arc;

use http::HeaderValue;
use tokio::sync::Mutex;

use super::Way;
use crate::issuer::{Cached, Failed, Issuer};

/// The holder of the lock refreshes. Each waiting caller checks again when it gets the lock.
pub struct TokioMutex {
    cached: Mutex<Option<Cached>>,
    issuer: Arc<Issuer>,
}

impl Way for TokioMutex {
    const NAME: &'static str = "tokio Mutex";

    fn new(issuer: Arc<Issuer>) -> Self {
        Self {
            cached: Mutex::new(None),
            issuer,
        }
    }

    async fn header(&self) -> Result<HeaderValue, Failed> {
        let mut cached = self.cached.lock().await;
        match cached.as_ref() {
            Some(cached) if cached.is_good() => Ok(cached.header.clone()),
            _ => Ok(cached.insert(self.issuer.refresh().await?).header.clone()),
        }
    }
}
