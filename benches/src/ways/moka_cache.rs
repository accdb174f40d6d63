//! moka's `try_get_with`.

use std::sync::Arc;

use http::HeaderValue;
use moka::future::Cache;

use super::Way;
use crate::issuer::{Cached, Failed, Issuer, LIFETIME};

/// The cache checks the expiry. One of the callers that miss refreshes for all of them.
pub struct MokaCache {
    cache: Cache<&'static str, Cached>,
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
        let cached = self.cache.try_get_with("session", refresh).await;
        cached.map(|cached| cached.header).map_err(|error| *error)
    }
}
