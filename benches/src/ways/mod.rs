//! The ways to a header with a good token: token-rotator, and the usual hand-written ways, each
//! with the expiry check and a ready-made header.

mod moka_cache;
mod mutex;
mod once_cell;
mod rotator;
mod rw_lock;
mod std_rw_lock;
mod swap;

use std::sync::Arc;

use http::HeaderValue;

pub use moka_cache::MokaCache;
pub use mutex::TokioMutex;
pub use once_cell::TokioOnceCell;
pub use rotator::RotatorWay;
pub use rw_lock::TokioRwLock;
pub use std_rw_lock::StdRwLock;
pub use swap::Swap;

use crate::issuer::{Failed, Issuer};

/// A way to a header with a good token.
pub trait Way: Send + Sync + 'static {
    /// The name in the tables.
    const NAME: &'static str;

    /// Creates the way without a token.
    fn new(issuer: Arc<Issuer>) -> Self;

    /// Returns the header. Refreshes first if there is no good token.
    fn header(&self) -> impl Future<Output = Result<HeaderValue, Failed>> + Send;

    /// Creates the way with a good token.
    ///
    /// # Panics
    ///
    /// If the way has no token although the issuer answers at once.
    fn signed_in() -> Arc<Self>
    where
        Self: Sized,
    {
        let way = Arc::new(Self::new(Issuer::open()));
        let runtime = crate::program::current_thread();
        let header = runtime.block_on(way.header());
        assert!(header.is_ok(), "{} has no token", Self::NAME);
        way
    }
}
