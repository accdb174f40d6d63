//! The least work that serves a header.

use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use http::HeaderValue;

use super::Way;
use crate::issuer::{Cached, Failed, Issuer};

/// Loads an arc-swap, clones the header and reads the clock once, without comparing the time.
///
/// Fetches one token and never refreshes it. This way is the baseline of the hot path.
pub struct Swap {
    cached: ArcSwapOption<Cached>,
    issuer: Arc<Issuer>,
}

impl Way for Swap {
    const NAME: &'static str = "arc-swap load + header clone + clock read";

    fn new(issuer: Arc<Issuer>) -> Self {
        Self {
            cached: ArcSwapOption::empty(),
            issuer,
        }
    }

    async fn header(&self) -> Result<HeaderValue, Failed> {
        if let Some(header) = self.load() {
            return Ok(header);
        }
        let cached = self.issuer.refresh().await?;
        let header = cached.header.clone();
        self.cached.store(Some(Arc::new(cached)));
        Ok(header)
    }
}

impl Swap {
    /// The baseline without a future.
    #[inline]
    pub fn load(&self) -> Option<HeaderValue> {
        black_box(SystemTime::now());
        self.cached
            .load()
            .as_ref()
            .map(|cached| cached.header.clone())
    }
}
