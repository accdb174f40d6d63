//! The steps of a flight as seen from outside, each a point at which a worker can die.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use token_rotator::store::{
    BoxedCoordinator, BoxedStore, Coordinator, Lease, LeaseError, Record, Saved, SessionStore,
    StoreError, Version,
};
use token_rotator::{Refreshed, SessionKey, SourceError, TokenSet, TokenSource};

use crate::said::Said;

/// A step of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Reading without the lease.
    Peek,
    /// Taking the lease.
    Lease,
    /// Reading under the lease.
    Read,
    /// Writing down the intent.
    Journal,
    /// Asking the issuer.
    Refresh,
    /// Saving what it answered.
    Save,
    /// Giving the lease back, the token published.
    Release,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Peek,
        Self::Lease,
        Self::Read,
        Self::Journal,
        Self::Refresh,
        Self::Save,
        Self::Release,
    ];
}

/// Before a step or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// Before it.
    Before,
    /// After it.
    After,
}

/// Where a worker dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DieAt {
    /// At this step.
    pub step: Step,
    /// Before it or after it.
    pub moment: Moment,
}

/// What the parts of a worker share.
#[derive(Clone, Default)]
pub(crate) struct Fate {
    die_at: Option<DieAt>,
    /// The lease is held.
    held: Arc<AtomicBool>,
}

impl Fate {
    pub(crate) fn new(die_at: Option<DieAt>) -> Self {
        Self {
            die_at,
            held: Arc::default(),
        }
    }

    fn at(&self, step: Step, moment: Moment) {
        if self.die_at == Some(DieAt { step, moment }) {
            // As a crash, a full disk's watchdog or an operator would.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}

/// Store and coordinator, watched.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) store: BoxedStore,
    pub(crate) coordinator: BoxedCoordinator,
    pub(crate) fate: Fate,
}

impl SessionStore for Watched {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        let step = if self.fate.held.load(Ordering::SeqCst) {
            Step::Read
        } else {
            Step::Peek
        };
        self.fate.at(step, Moment::Before);
        let found = self.store.load(key).await;
        self.fate.at(step, Moment::After);
        found
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        let step = if let Some(intent) = record.intent() {
            Said::Intent {
                id: format!("{:?}", intent.id),
                attempts: intent.attempts,
                outcome: format!("{:?}", intent.outcome),
            }
            .tell();
            Step::Journal
        } else {
            Step::Save
        };
        self.fate.at(step, Moment::Before);
        let saved = self.store.save(key, expected, record).await;
        if step == Step::Journal && matches!(saved, Ok(Saved::Conflict(_))) {
            Said::IntentLost.tell();
        }
        self.fate.at(step, Moment::After);
        saved
    }

    async fn changed(&self, key: &SessionKey, seen: Option<Version>) {
        self.store.changed(key, seen).await;
    }

    fn is_durable(&self) -> bool {
        self.store.is_durable()
    }
}

impl Coordinator for Watched {
    async fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        self.fate.at(Step::Lease, Moment::Before);
        let lease = self.coordinator.acquire(key, wait).await?;
        self.fate.held.store(true, Ordering::SeqCst);
        self.fate.at(Step::Lease, Moment::After);
        Ok(Box::new(WatchedLease {
            lease: Some(lease),
            fate: self.fate.clone(),
        }))
    }

    fn lease_life(&self) -> Option<Duration> {
        self.coordinator.lease_life()
    }

    async fn settled(&self) {
        self.coordinator.settled().await;
    }
}

struct WatchedLease {
    lease: Option<Box<dyn Lease>>,
    fate: Fate,
}

impl Lease for WatchedLease {
    fn remaining(&self) -> Option<Duration> {
        self.lease.as_ref()?.remaining()
    }

    fn fence(&self) -> Option<u64> {
        self.lease.as_ref()?.fence()
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<(), LeaseError>> {
        match &mut self.lease {
            Some(lease) => lease.renew(),
            None => Box::pin(std::future::ready(Err(LeaseError::Lost))),
        }
    }

    fn release(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.fate.at(Step::Release, Moment::Before);
            if let Some(lease) = self.lease.take() {
                lease.release().await;
            }
            self.fate.held.store(false, Ordering::SeqCst);
            self.fate.at(Step::Release, Moment::After);
        })
    }
}

impl Drop for WatchedLease {
    fn drop(&mut self) {
        self.fate.held.store(false, Ordering::SeqCst);
    }
}

/// The token source, watched.
pub(crate) struct WatchedSource<S> {
    pub(crate) source: S,
    pub(crate) fate: Fate,
}

impl<S> WatchedSource<S> {
    async fn watch<T>(&self, refresh: impl Future<Output = T>) -> T {
        Said::Asking.tell();
        self.fate.at(Step::Refresh, Moment::Before);
        let answer = refresh.await;
        self.fate.at(Step::Refresh, Moment::After);
        answer
    }
}

impl<S: TokenSource> TokenSource for WatchedSource<S> {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        self.watch(self.source.refresh(last)).await
    }

    async fn refresh_session(
        &self,
        session: &SessionKey,
        last: Option<Arc<TokenSet>>,
    ) -> Result<Refreshed, SourceError> {
        self.watch(self.source.refresh_session(session, last)).await
    }

    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        self.source.revoke(tokens).await
    }
}
