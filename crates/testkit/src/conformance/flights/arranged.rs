//! The real store, coordinator and issuer, with what is to go wrong in between.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use token_rotator::store::{
    BoxedCoordinator, Coordinator, Lease, LeaseError, Record, Saved, SessionStore, StoreError,
    StoreErrorKind, Version,
};
use token_rotator::{Refreshed, SessionKey, SourceError, TokenSet, TokenSource};

use super::fate::{Fate, Moment, Step};
use super::issuer::Desk;

/// What is to go wrong for one replica.
#[derive(Default)]
pub(super) struct Trouble {
    /// So many of the next saves of tokens fail.
    pub(super) failing_saves: AtomicUsize,
    /// So many of the next intents fail.
    pub(super) failing_intents: AtomicUsize,
    /// The lease it holds has been lost.
    pub(super) lost_lease: AtomicBool,
    /// Somebody else writes this before its next intent.
    pub(super) foreign: std::sync::Mutex<Option<TokenSet>>,
}

impl Trouble {
    fn fails(count: &AtomicUsize) -> Result<(), StoreError> {
        let left = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        match left {
            Ok(_) => Err(StoreError::new(StoreErrorKind::Unavailable, "told to fail")),
            Err(_) => Ok(()),
        }
    }
}

/// A handle of the store.
pub(super) struct ArrangedStore<S> {
    pub(super) inner: S,
    pub(super) fate: Fate,
    pub(super) trouble: Arc<Trouble>,
}

impl<S: SessionStore> ArrangedStore<S> {
    async fn write_as_somebody_else(&self, key: &SessionKey) -> Result<(), StoreError> {
        let foreign = self.trouble.foreign.lock();
        let tokens = foreign
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let (Some(tokens), Some(found)) = (tokens, self.inner.load(key).await?) {
            let version = Version::new(found.version().epoch, found.version().revision + 1);
            let newer = Record::signed_in(version, Arc::new(tokens));
            self.inner.save(key, Some(found.version()), newer).await?;
        }
        Ok(())
    }
}

impl<S: SessionStore> SessionStore for ArrangedStore<S> {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        let step = if self.fate.holds() {
            Step::Read
        } else {
            Step::Peek
        };
        self.fate.pass(step, Moment::Before).await;
        let loaded = self.inner.load(key).await;
        self.fate.pass(step, Moment::After).await;
        loaded
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        let (step, failing) = if record.intent().is_some() {
            (Step::Journal, &self.trouble.failing_intents)
        } else {
            (Step::Save, &self.trouble.failing_saves)
        };
        self.fate.pass(step, Moment::Before).await;
        Trouble::fails(failing)?;
        if step == Step::Journal {
            self.write_as_somebody_else(key).await?;
        }
        let saved = self.inner.save(key, expected, record).await;
        self.fate.pass(step, Moment::After).await;
        saved
    }

    fn changed(&self, key: &SessionKey, seen: Option<Version>) -> impl Future<Output = ()> + Send {
        self.inner.changed(key, seen)
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn coordinator(&self) -> Option<BoxedCoordinator> {
        None
    }
}

/// A handle of the coordinator.
pub(super) struct ArrangedCoordinator<C> {
    pub(super) inner: C,
    pub(super) fate: Fate,
    pub(super) trouble: Arc<Trouble>,
}

impl<C: Coordinator> Coordinator for ArrangedCoordinator<C> {
    async fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        self.fate.pass(Step::Lease, Moment::Before).await;
        let lease = self.inner.acquire(key, wait).await?;
        self.fate.hold(lease, self.inner.lease_life().is_some());
        self.fate.pass(Step::Lease, Moment::After).await;
        Ok(Box::new(ArrangedLease {
            fate: self.fate.clone(),
            trouble: Arc::clone(&self.trouble),
        }))
    }

    fn lease_life(&self) -> Option<Duration> {
        self.inner.lease_life()
    }

    async fn settled(&self) {
        self.inner.settled().await;
    }
}

/// The lease that the fate holds.
struct ArrangedLease {
    fate: Fate,
    trouble: Arc<Trouble>,
}

impl ArrangedLease {
    fn is_lost(&self) -> bool {
        self.trouble.lost_lease.load(Ordering::SeqCst)
    }
}

impl Lease for ArrangedLease {
    fn remaining(&self) -> Option<Duration> {
        if self.is_lost() {
            return Some(Duration::ZERO);
        }
        self.fate.looking(Lease::remaining).flatten()
    }

    fn fence(&self) -> Option<u64> {
        self.fate.looking(Lease::fence).flatten()
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<(), LeaseError>> {
        Box::pin(async move {
            self.fate.pass(Step::Refresh, Moment::Before).await;
            if self.is_lost() {
                return Err(LeaseError::Lost);
            }
            let Some(mut lease) = self.fate.let_go() else {
                return Err(LeaseError::Lost);
            };
            let runs_out = lease.remaining().is_some();
            let renewed = lease.renew().await;
            self.fate.hold(lease, runs_out);
            renewed
        })
    }

    fn release(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.fate.pass(Step::Release, Moment::Before).await;
            if let Some(lease) = self.fate.let_go() {
                lease.release().await;
            }
            self.fate.pass(Step::Release, Moment::After).await;
        })
    }
}

impl Drop for ArrangedLease {
    fn drop(&mut self) {
        drop(self.fate.let_go());
    }
}

/// The way to the issuer.
pub(super) struct ArrangedSource {
    pub(super) desk: Desk,
    pub(super) fate: Fate,
}

impl TokenSource for ArrangedSource {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        self.fate.pass(Step::Refresh, Moment::Before).await;
        let refreshed = self.desk.refresh(last).await;
        self.fate.pass(Step::Refresh, Moment::After).await;
        refreshed
    }

    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        self.desk.revoke(tokens).await
    }
}
