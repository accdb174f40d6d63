//! The steps of a flight, as store, coordinator and source see them. A worker can die at each step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use token_rotator::store::{
    BoxedCoordinator, BoxedStore, Coordinator, Lease, LeaseError, Record, Saved, SessionStore,
    StoreError, StoreTime, Version,
};
use token_rotator::{Refreshed, SessionKey, SourceError, TokenSet, TokenSource};

use crate::report::Report;

/// A step of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Reads the record without the lease.
    Peek,
    /// Takes the lease.
    Lease,
    /// Reads the record under the lease.
    Read,
    /// Writes the intent.
    Journal,
    /// Asks the issuer.
    Refresh,
    /// Saves the answer.
    Save,
    /// Gives the lease back. The token was published before.
    Release,
}

impl Step {
    /// All steps in their order.
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

/// The side of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// Before the step.
    Before,
    /// After the step.
    After,
}

/// The point at which a worker dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DieAt {
    /// The step.
    pub step: Step,
    /// The side of the step.
    pub moment: Moment,
}

/// The point of death and the state of the lease. Store, coordinator and source of a worker share it.
#[derive(Clone, Default)]
pub(crate) struct CrashPlan {
    die_at: Option<DieAt>,
    /// True while the worker holds the lease.
    held: Arc<AtomicBool>,
}

impl CrashPlan {
    pub(crate) fn new(die_at: Option<DieAt>) -> Self {
        Self {
            die_at,
            held: Arc::default(),
        }
    }

    fn reach(&self, step: Step, moment: Moment) {
        if self.die_at == Some(DieAt { step, moment }) {
            // SIGKILL ends the process before it can run a destructor or a signal handler.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}

/// A store and coordinator that report their calls and die at the planned step.
#[derive(Clone)]
pub(crate) struct ReportingStore {
    pub(crate) store: BoxedStore,
    pub(crate) coordinator: BoxedCoordinator,
    pub(crate) crash_plan: CrashPlan,
}

impl SessionStore for ReportingStore {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        let step = if self.crash_plan.held.load(Ordering::SeqCst) {
            Step::Read
        } else {
            Step::Peek
        };
        self.crash_plan.reach(step, Moment::Before);
        let found = self.store.load(key).await;
        self.crash_plan.reach(step, Moment::After);
        found
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        let step = if let Some(intent) = record.intent() {
            Report::Intent {
                id: format!("{:?}", intent.id),
                attempts: intent.attempts,
                outcome: format!("{:?}", intent.outcome),
            }
            .send();
            Step::Journal
        } else {
            Step::Save
        };
        self.crash_plan.reach(step, Moment::Before);
        let saved = self.store.save(key, expected, record).await;
        if step == Step::Journal && matches!(saved, Ok(Saved::Conflict(_))) {
            Report::IntentLost.send();
        }
        self.crash_plan.reach(step, Moment::After);
        saved
    }

    async fn now(&self) -> Result<Option<StoreTime>, StoreError> {
        self.store.now().await
    }

    async fn changed(&self, key: &SessionKey, seen: Option<Version>) {
        self.store.changed(key, seen).await;
    }

    fn is_durable(&self) -> bool {
        self.store.is_durable()
    }
}

impl Coordinator for ReportingStore {
    async fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        self.crash_plan.reach(Step::Lease, Moment::Before);
        let lease = self.coordinator.acquire(key, wait).await?;
        self.crash_plan.held.store(true, Ordering::SeqCst);
        self.crash_plan.reach(Step::Lease, Moment::After);
        Ok(Box::new(ReportingLease {
            lease: Some(lease),
            crash_plan: self.crash_plan.clone(),
        }))
    }

    fn lease_life(&self) -> Option<Duration> {
        self.coordinator.lease_life()
    }

    async fn settled(&self) {
        self.coordinator.settled().await;
    }
}

struct ReportingLease {
    lease: Option<Box<dyn Lease>>,
    crash_plan: CrashPlan,
}

impl Lease for ReportingLease {
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
            self.crash_plan.reach(Step::Release, Moment::Before);
            if let Some(lease) = self.lease.take() {
                lease.release().await;
            }
            self.crash_plan.held.store(false, Ordering::SeqCst);
            self.crash_plan.reach(Step::Release, Moment::After);
        })
    }
}

impl Drop for ReportingLease {
    fn drop(&mut self) {
        self.crash_plan.held.store(false, Ordering::SeqCst);
    }
}

/// A token source that reports its calls and dies at the planned step.
pub(crate) struct ReportingSource<S> {
    pub(crate) source: S,
    pub(crate) crash_plan: CrashPlan,
}

impl<S> ReportingSource<S> {
    async fn report<T>(&self, refresh: impl Future<Output = T>) -> T {
        Report::Asking.send();
        self.crash_plan.reach(Step::Refresh, Moment::Before);
        let answer = refresh.await;
        self.crash_plan.reach(Step::Refresh, Moment::After);
        answer
    }
}

impl<S: TokenSource> TokenSource for ReportingSource<S> {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        self.report(self.source.refresh(last)).await
    }

    async fn refresh_session(
        &self,
        session: &SessionKey,
        last: Option<Arc<TokenSet>>,
    ) -> Result<Refreshed, SourceError> {
        self.report(self.source.refresh_session(session, last))
            .await
    }

    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        self.source.revoke(tokens).await
    }
}
