//! moka's `try_get_with`.

use std::sync::Arc;

use http::HeaderValue;
use moka::future::Cache;

use super::Way;
use crate::issuer::{Failed, Fresh, Issuer, LIFETIME};

/// The cache knows the expiry, and lets one of those who miss refresh for all.
pub struct MokaCache {
    cache: Cache<&'static str, Fresh>,
    issuer: Arc<Issuer>,
}

impl Way for MokaCache {
    const NAME: &'static str = "moka try_get_with";

    fn new(issuer: Arc<Issuer>) -> Self {
        Self {
            cache: Cache::builder().time_to_live(LIFETIME).build(),
            issuer,
        }
    }

    async fn header(&self) -> Result<HeaderValue, Failed> {
        let refresh = self.issuer.refresh();
        let fresh = self.cache.try_get_with("session", refresh).await;
        fresh.map(|fresh| fresh.header).map_err(|error| *error)
    }
}
