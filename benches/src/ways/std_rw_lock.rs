//! A std `RwLock` around the token.

use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderValue;

use super::Way;
use crate::issuer::{Failed, Fresh, Issuer};

/// Its guards cannot be held over an await, so whoever finds no good token refreshes alone.
pub struct StdRwLock {
    fresh: RwLock<Option<Fresh>>,
    issuer: Arc<Issuer>,
}

impl StdRwLock {
    fn good(&self) -> Option<HeaderValue> {
        let fresh = self.fresh.read().unwrap_or_else(PoisonError::into_inner);
        fresh
            .as_ref()
            .filter(|fresh| fresh.is_good())
            .map(|fresh| fresh.header.clone())
    }
}

impl Way for StdRwLock {
    const NAME: &'static str = "std RwLock, each refreshes alone";

    fn new(issuer: Arc<Issuer>) -> Self {
        Self {
            fresh: RwLock::default(),
            issuer,
        }
    }

    async fn header(&self) -> Result<HeaderValue, Failed> {
        if let Some(header) = self.good() {
            return Ok(header);
        }
        let fresh = self.issuer.refresh().await?;
        let header = fresh.header.clone();
        *self.fresh.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        Ok(header)
    }
}
