//! When a replica dies: as a process does, between two steps and without a word.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use token_rotator::store::Lease;
use tokio::sync::watch;

/// A step of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Peek,
    Lease,
    Read,
    Journal,
    Refresh,
    Save,
    Release,
}

impl Step {
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

/// Right before a step, or right after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    After,
}

/// One replica's.
#[derive(Clone)]
pub(super) struct Fate(Arc<Inner>);

struct Inner {
    dies_at: Option<(Step, Moment)>,
    dead: watch::Sender<bool>,
    held: Mutex<Option<Held>>,
}

/// A lease that the replica holds.
struct Held {
    lease: Box<dyn Lease>,
    /// Whether it runs out, or ends with its holder.
    runs_out: bool,
}

impl Fate {
    pub(super) fn to_live() -> Self {
        Self::new(None)
    }

    pub(super) fn to_die(step: Step, moment: Moment) -> Self {
        Self::new(Some((step, moment)))
    }

    fn new(dies_at: Option<(Step, Moment)>) -> Self {
        Self(Arc::new(Inner {
            dies_at,
            dead: watch::Sender::new(false),
            held: Mutex::default(),
        }))
    }

    /// Goes on, or dies here. The dead go no further.
    pub(super) async fn pass(&self, step: Step, moment: Moment) {
        if self.0.dies_at == Some((step, moment)) {
            self.die();
        }
        if *self.0.dead.borrow() {
            pending::<()>().await;
        }
    }

    /// Ends when it has died.
    pub(super) async fn sealed(&self) {
        let mut dead = self.0.dead.subscribe();
        dead.wait_for(|dead| *dead).await.expect("it is here");
    }

    /// What a process leaves behind: a kernel's lock is free, a lease runs out.
    fn die(&self) {
        self.0.dead.send_replace(true);
        if let Some(held) = self.lock().take()
            && held.runs_out
        {
            // Dropping it would give it back, which the dead do not do.
            std::mem::forget(held.lease);
        }
    }

    pub(super) fn hold(&self, lease: Box<dyn Lease>, runs_out: bool) {
        *self.lock() = Some(Held { lease, runs_out });
    }

    /// The lease, if it is held.
    pub(super) fn let_go(&self) -> Option<Box<dyn Lease>> {
        self.lock().take().map(|held| held.lease)
    }

    /// Looks at the lease, if it is held.
    pub(super) fn looking<T>(&self, look: impl FnOnce(&dyn Lease) -> T) -> Option<T> {
        self.lock().as_ref().map(|held| look(&*held.lease))
    }

    pub(super) fn holds(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
