//! A store, a coordinator, a lease and a token source that forward to the real ones and inject failures.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use token_rotator::store::{
    BoxedCoordinator, Coordinator, Lease, LeaseError, Record, Saved, SessionStore, StoreError,
    StoreErrorKind, StoreTime, Version,
};
use token_rotator::{Refreshed, SessionKey, SourceError, TokenSet, TokenSource};

use super::crash_plan::{CrashPlan, FlightStep, Moment};
use super::scripted_issuer::ScriptedIssuer;

/// The failures to inject into one replica.
#[derive(Default)]
pub(super) struct InjectedFailures {
    /// Number of coming saves of tokens that fail.
    pub(super) failing_saves: AtomicUsize,
    /// Number of coming writes of an intent that fail.
    pub(super) failing_intents: AtomicUsize,
    /// Whether the replica's lease is lost.
    pub(super) lost_lease: AtomicBool,
    /// Tokens that another process saves right before the replica's next write of an intent.
    pub(super) concurrent_tokens: std::sync::Mutex<Option<TokenSet>>,
}

impl InjectedFailures {
    fn take_failure(count: &AtomicUsize) -> Result<(), StoreError> {
        let remaining = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |remaining| {
            remaining.checked_sub(1)
        });
        match remaining {
            Ok(_) => Err(StoreError::new(
                StoreErrorKind::Unavailable,
                "injected failure",
            )),
            Err(_) => Ok(()),
        }
    }
}

/// A store that fails as configured.
pub(super) struct FaultyStore<S> {
    pub(super) inner: S,
    pub(super) crash_plan: CrashPlan,
    pub(super) failures: Arc<InjectedFailures>,
}

impl<S: SessionStore> FaultyStore<S> {
    async fn write_concurrent_tokens(&self, key: &SessionKey) -> Result<(), StoreError> {
        let concurrent_tokens = self.failures.concurrent_tokens.lock();
        let tokens = concurrent_tokens
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let (Some(tokens), Some(stored)) = (tokens, self.inner.load(key).await?) {
            let version = Version::new(stored.version().epoch, stored.version().revision + 1);
            let newer = Record::signed_in(version, Arc::new(tokens));
            self.inner.save(key, Some(stored.version()), newer).await?;
        }
        Ok(())
    }
}

impl<S: SessionStore> SessionStore for FaultyStore<S> {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        let step = if self.crash_plan.holds_lease() {
            FlightStep::Read
        } else {
            FlightStep::Peek
        };
        self.crash_plan.pass(step, Moment::Before).await;
        let loaded = self.inner.load(key).await;
        self.crash_plan.pass(step, Moment::After).await;
        loaded
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        let (step, failure_count) = if record.intent().is_some() {
            (FlightStep::Journal, &self.failures.failing_intents)
        } else {
            (FlightStep::Save, &self.failures.failing_saves)
        };
        self.crash_plan.pass(step, Moment::Before).await;
        InjectedFailures::take_failure(failure_count)?;
        if step == FlightStep::Journal {
            self.write_concurrent_tokens(key).await?;
        }
        let saved = self.inner.save(key, expected, record).await;
        self.crash_plan.pass(step, Moment::After).await;
        saved
    }

    async fn now(&self) -> Result<Option<StoreTime>, StoreError> {
        self.inner.now().await
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

/// A coordinator that crashes as planned.
pub(super) struct FaultyCoordinator<C> {
    pub(super) inner: C,
    pub(super) crash_plan: CrashPlan,
    pub(super) failures: Arc<InjectedFailures>,
}

impl<C: Coordinator> Coordinator for FaultyCoordinator<C> {
    async fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        self.crash_plan
            .pass(FlightStep::Lease, Moment::Before)
            .await;
        let lease = self.inner.acquire(key, wait).await?;
        self.crash_plan
            .put_lease(lease, self.inner.lease_life().is_some());
        self.crash_plan.pass(FlightStep::Lease, Moment::After).await;
        Ok(Box::new(FaultyLease {
            crash_plan: self.crash_plan.clone(),
            failures: Arc::clone(&self.failures),
        }))
    }

    fn lease_life(&self) -> Option<Duration> {
        self.inner.lease_life()
    }

    async fn settled(&self) {
        self.inner.settled().await;
    }
}

/// A lease whose real lease is in the crash plan, so that a crash can drop or leak it.
struct FaultyLease {
    crash_plan: CrashPlan,
    failures: Arc<InjectedFailures>,
}

impl FaultyLease {
    fn is_lost(&self) -> bool {
        self.failures.lost_lease.load(Ordering::SeqCst)
    }
}

impl Lease for FaultyLease {
    fn remaining(&self) -> Option<Duration> {
        if self.is_lost() {
            return Some(Duration::ZERO);
        }
        self.crash_plan.inspect_lease(Lease::remaining).flatten()
    }

    fn fence(&self) -> Option<u64> {
        self.crash_plan.inspect_lease(Lease::fence).flatten()
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<(), LeaseError>> {
        Box::pin(async move {
            self.crash_plan
                .pass(FlightStep::Refresh, Moment::Before)
                .await;
            if self.is_lost() {
                return Err(LeaseError::Lost);
            }
            let Some(mut lease) = self.crash_plan.take_lease() else {
                return Err(LeaseError::Lost);
            };
            let expires = lease.remaining().is_some();
            let renewed = lease.renew().await;
            self.crash_plan.put_lease(lease, expires);
            renewed
        })
    }

    fn release(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.crash_plan
                .pass(FlightStep::Release, Moment::Before)
                .await;
            if let Some(lease) = self.crash_plan.take_lease() {
                lease.release().await;
            }
            self.crash_plan
                .pass(FlightStep::Release, Moment::After)
                .await;
        })
    }
}

impl Drop for FaultyLease {
    fn drop(&mut self) {
        drop(self.crash_plan.take_lease());
    }
}

/// A token source that crashes as planned.
pub(super) struct FaultySource {
    pub(super) issuer: ScriptedIssuer,
    pub(super) crash_plan: CrashPlan,
}

impl TokenSource for FaultySource {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        self.crash_plan
            .pass(FlightStep::Refresh, Moment::Before)
            .await;
        let refreshed = self.issuer.refresh(last).await;
        self.crash_plan
            .pass(FlightStep::Refresh, Moment::After)
            .await;
        refreshed
    }

    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        self.issuer.revoke(tokens).await
    }
}
