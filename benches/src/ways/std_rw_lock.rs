//! A std `RwLock` around the token.

use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderValue;

use super::Way;
use crate::issuer::{Cached, Failed, Issuer};

/// A guard of this lock cannot be held over an await, so each caller without a good token refreshes
/// alone.
pub struct StdRwLock {
    cached: RwLock<Option<Cached>>,
    issuer: Arc<Issuer>,
}

impl StdRwLock {
    fn good(&self) -> Option<HeaderValue> {
        let cached = self.cached.read().unwrap_or_else(PoisonError::into_inner);
        cached
            .as_ref()
            .filter(|cached| cached.is_good())
            .map(|cached| cached.header.clone())
    }
}

impl Way for StdRwLock {
    const NAME: &'static str = "std RwLock, each refreshes alone";

    fn new(issuer: Arc<Issuer>) -> Self {
        Self {
            cached: RwLock::default(),
            issuer,
        }
    }

    async fn header(&self) -> Result<HeaderValue, Failed> {
        if let Some(header) = self.good() {
            return Ok(header);
        }
        let cached = self.issuer.refresh().await?;
        let header = cached.header.clone();
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Some(cached);
        Ok(header)
    }
}
