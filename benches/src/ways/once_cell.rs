//! A tokio `OnceCell` for each token.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use tokio::sync::OnceCell;

use super::Way;
use crate::issuer::{Cached, Failed, Issuer};

/// A cell holds one token. A caller that finds the token expired replaces the cell with an empty
/// one.
pub struct TokioOnceCell {
    cell: Mutex<Arc<OnceCell<Cached>>>,
    issuer: Arc<Issuer>,
}

impl TokioOnceCell {
    fn cell(&self) -> Arc<OnceCell<Cached>> {
        let mut cell = self.cell.lock().unwrap_or_else(PoisonError::into_inner);
        if cell.get().is_some_and(|cached| !cached.is_good()) {
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
        let cached = cell.get_or_try_init(|| self.issuer.refresh()).await?;
        Ok(cached.header.clone())
    }
}
