//! The ways to a header that carries a good token: token-rotator's and those that people write by
//! hand, each as it is usually written, with the expiry check and a header ready-made.

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

/// A way to a header that carries a good token.
pub trait Way: Send + Sync + 'static {
    /// What the tables call it.
    const NAME: &'static str;

    /// Without a token yet.
    fn new(issuer: Arc<Issuer>) -> Self;

    /// The header, after a refresh if there has to be one.
    fn header(&self) -> impl Future<Output = Result<HeaderValue, Failed>> + Send;

    /// With a token that is good.
    ///
    /// # Panics
    ///
    /// If there is none, although the issuer answers at once.
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
