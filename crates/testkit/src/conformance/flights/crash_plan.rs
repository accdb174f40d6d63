//! When a replica crashes: between two steps, like a killed process.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use token_rotator::store::Lease;
use tokio::sync::watch;

/// A step of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlightStep {
    Peek,
    Lease,
    Read,
    Journal,
    Refresh,
    Save,
    Release,
}

impl FlightStep {
    pub(super) const ALL: [Self; 7] = [
        Self::Peek,
        Self::Lease,
        Self::Read,
        Self::Journal,
        Self::Refresh,
        Self::Save,
        Self::Release,
    ];
}

/// Directly before or directly after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    After,
}

/// The crash plan of one replica.
#[derive(Clone)]
pub(super) struct CrashPlan(Arc<Inner>);

struct Inner {
    crash_point: Option<(FlightStep, Moment)>,
    has_crashed: watch::Sender<bool>,
    lease: Mutex<Option<ReplicaLease>>,
}

/// A lease that the replica holds.
struct ReplicaLease {
    lease: Box<dyn Lease>,
    /// Whether the lease expires by itself. Otherwise it ends with its holder.
    expires: bool,
}

impl CrashPlan {
    pub(super) fn no_crash() -> Self {
        Self::new(None)
    }

    pub(super) fn crash_at(step: FlightStep, moment: Moment) -> Self {
        Self::new(Some((step, moment)))
    }

    fn new(crash_point: Option<(FlightStep, Moment)>) -> Self {
        Self(Arc::new(Inner {
            crash_point,
            has_crashed: watch::Sender::new(false),
            lease: Mutex::default(),
        }))
    }

    /// Returns, or crashes at this point. After a crash it never returns.
    pub(super) async fn pass(&self, step: FlightStep, moment: Moment) {
        if self.0.crash_point == Some((step, moment)) {
            self.crash();
        }
        if *self.0.has_crashed.borrow() {
            pending::<()>().await;
        }
    }

    /// Waits until the replica has crashed.
    pub(super) async fn crashed(&self) {
        let mut has_crashed = self.0.has_crashed.subscribe();
        has_crashed
            .wait_for(|has_crashed| *has_crashed)
            .await
            .expect("the sender exists");
    }

    /// Leaves what a killed process leaves: a kernel lock is free, and a lease expires later.
    fn crash(&self) {
        self.0.has_crashed.send_replace(true);
        if let Some(held) = self.lock().take()
            && held.expires
        {
            // Dropping the lease would release it. A crashed process does not release its lease.
            std::mem::forget(held.lease);
        }
    }

    pub(super) fn put_lease(&self, lease: Box<dyn Lease>, expires: bool) {
        *self.lock() = Some(ReplicaLease { lease, expires });
    }

    /// Removes and returns the lease, if the replica holds one.
    pub(super) fn take_lease(&self) -> Option<Box<dyn Lease>> {
        self.lock().take().map(|held| held.lease)
    }

    /// Calls `inspect` with the lease, if the replica holds one.
    pub(super) fn inspect_lease<T>(&self, inspect: impl FnOnce(&dyn Lease) -> T) -> Option<T> {
        self.lock().as_ref().map(|held| inspect(&*held.lease))
    }

    pub(super) fn holds_lease(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ReplicaLease>> {
        self.0.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
