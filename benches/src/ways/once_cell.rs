//! A tokio `OnceCell` for each token.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use tokio::sync::OnceCell;

use super::Way;
use crate::issuer::{Failed, Fresh, Issuer};

/// A cell holds one token; whoever finds it expired puts an empty cell in its place.
pub struct TokioOnceCell {
    cell: Mutex<Arc<OnceCell<Fresh>>>,
    issuer: Arc<Issuer>,
}

impl TokioOnceCell {
    fn cell(&self) -> Arc<OnceCell<Fresh>> {
        let mut cell = self.cell.lock().unwrap_or_else(PoisonError::into_inner);
        if cell.get().is_some_and(|fresh| !fresh.is_good()) {
            *cell = Arc::default();
        }
        Arc::clone(&cell)
    }
}

impl Way for TokioOnceCell {
    const NAME: &'static str = "tokio OnceCell in a std Mutex";

    fn new(issuer: Arc<Issuer>) -> Self {
        Self {
            cell: Mutex::default(),
            issuer,
        }
    }

    async fn header(&self) -> Result<HeaderValue, Failed> {
        let cell = self.cell();
        let fresh = cell.get_or_try_init(|| self.issuer.refresh()).await?;
        Ok(fresh.header.clone())
    }
}
