//! A coordinator whose lease a test can make busy, lost or short.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use token_rotator::SessionKey;
use token_rotator::store::{Coordinator, Lease, LeaseError, LocalCoordinator};

use super::lock;

#[derive(Clone, Default)]
pub(crate) struct ScriptedCoordinator {
    local: LocalCoordinator,
    script: Arc<Mutex<LeaseScript>>,
}

#[derive(Default)]
pub(crate) struct LeaseScript {
    /// Remaining life that a lease reports.
    pub(crate) remaining: Option<Duration>,
    /// Remaining life that a lease reports after a renewal.
    pub(crate) after_renewal: Option<Duration>,
    /// A renewal fails.
    pub(crate) lost: bool,
    pub(crate) panic: bool,
    /// A release never completes.
    pub(crate) hang_release: bool,
    /// An acquisition never completes.
    pub(crate) hang_acquire: bool,
    /// A renewal never completes.
    pub(crate) hang_renew: bool,
    /// The lease lives until its process ends, as a kernel lock does.
    pub(crate) kernel: bool,
    pub(crate) acquired: usize,
    pub(crate) renewed: usize,
    pub(crate) released: usize,
    /// The wait that each acquisition allowed.
    pub(crate) waits: Vec<Duration>,
}

impl ScriptedCoordinator {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn script(&self) -> std::sync::MutexGuard<'_, LeaseScript> {
        lock(&self.script)
    }

    /// Acquires the lease as another process. Dropping the returned lease releases it.
    pub(crate) async fn acquire_as_another_process(&self) -> Box<dyn Lease> {
        let lease = self
            .local
            .acquire(&SessionKey::default(), Duration::ZERO)
            .await;
        lease.expect("a free lease")
    }

    pub(crate) async fn is_free(&self) -> bool {
        let key = SessionKey::default();
        self.local.acquire(&key, Duration::ZERO).await.is_ok()
    }
}

impl Coordinator for ScriptedCoordinator {
    async fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        {
            let mut script = self.script();
            script.waits.push(wait);
            assert!(
                !script.panic,
                "the coordinator panics, as the test wants it"
            );
        }
        if self.script().hang_acquire {
            std::future::pending::<()>().await;
        }
        let lease = self.local.acquire(key, wait).await?;
        self.script().acquired += 1;
        Ok(Box::new(ScriptedLease {
            _lease: lease,
            script: Arc::clone(&self.script),
            renewed: false,
        }))
    }

    fn lease_life(&self) -> Option<Duration> {
        (!self.script().kernel).then_some(Duration::from_secs(40))
    }
}

struct ScriptedLease {
    _lease: Box<dyn Lease>,
    script: Arc<Mutex<LeaseScript>>,
    renewed: bool,
}

impl Lease for ScriptedLease {
    fn remaining(&self) -> Option<Duration> {
        let script = lock(&self.script);
        if self.renewed {
            script.after_renewal
        } else {
            script.remaining
        }
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<(), LeaseError>> {
        let mut script = lock(&self.script);
        script.renewed += 1;
        self.renewed = true;
        if script.hang_renew {
            return Box::pin(std::future::pending());
        }
        let answer = if script.lost {
            Err(LeaseError::Lost)
        } else {
            Ok(())
        };
        Box::pin(std::future::ready(answer))
    }

    fn release(self: Box<Self>) -> BoxFuture<'static, ()> {
        lock(&self.script).released += 1;
        let hang = lock(&self.script).hang_release;
        Box::pin(async move {
            if hang {
                std::future::pending::<()>().await;
            }
            drop(self);
        })
    }
}
