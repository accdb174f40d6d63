//! The least that one can do.

use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use http::HeaderValue;

use super::Way;
use crate::issuer::{Failed, Fresh, Issuer};

/// Loads an arc-swap, clones the header, reads the clock once; the reading is not even compared.
///
/// It fetches its first token and never another: what the hot path is measured by.
pub struct Swap {
    fresh: ArcSwapOption<Fresh>,
    issuer: Arc<Issuer>,
}

impl Way for Swap {
    const NAME: &'static str = "arc-swap load + header clone + clock read";

    fn new(issuer: Arc<Issuer>) -> Self {
        Self {
            fresh: ArcSwapOption::empty(),
            issuer,
        }
    }

    async fn header(&self) -> Result<HeaderValue, Failed> {
        if let Some(header) = self.load() {
            return Ok(header);
        }
        let fresh = self.issuer.refresh().await?;
        let header = fresh.header.clone();
        self.fresh.store(Some(Arc::new(fresh)));
        Ok(header)
    }
}

impl Swap {
    /// The baseline itself, with no future around it.
    #[inline]
    pub fn load(&self) -> Option<HeaderValue> {
        black_box(SystemTime::now());
        self.fresh.load().as_ref().map(|fresh| fresh.header.clone())
    }
}
