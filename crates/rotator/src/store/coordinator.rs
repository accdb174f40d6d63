//! The coordinator: grants the lease. A flight spends a refresh token only under the lease.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::LeaseError;
use crate::runtime::sync::lock_std;
use crate::store::SessionKey;

/// Grants the lease of a session to one flight at a time.
pub trait Coordinator: Send + Sync + 'static {
    /// Takes the lease.
    ///
    /// *Waits* at most `wait`. If `wait` is zero, takes the lease only if it is free.
    ///
    /// *Errors*: [`LeaseError::Busy`] if another process or task held the lease all the time.
    ///
    /// *Cancellation*: dropping the future takes no lease.
    fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> impl Future<Output = Result<Box<dyn Lease>, LeaseError>> + Send;

    /// How long a lease holds unless it is renewed. Default: `None`, which means until it is
    /// released or its holder's process ends.
    fn lease_life(&self) -> Option<Duration> {
        None
    }

    /// Waits until no background task takes or releases a lease. Default: returns at once.
    ///
    /// Such a task exists if a caller dropped [`acquire`](Self::acquire) or a lease. If the program
    /// ends before the task, a lease may hold until it runs out.
    /// [`Rotator::shutdown`](crate::Rotator::shutdown) waits for this call.
    fn settled(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// The right to spend the refresh token. Dropping the lease releases it as soon as possible.
pub trait Lease: Send + Sync + 'static {
    /// How long the lease still holds, by a clock that counts suspend. `None` if it holds until it
    /// is released.
    fn remaining(&self) -> Option<Duration> {
        None
    }

    /// The number of the lease, which grows with every lease of a session. `None` if the
    /// coordinator does not count leases.
    fn fence(&self) -> Option<u64> {
        None
    }

    /// Prolongs the lease. After an error, another process may hold the lease.
    fn renew(&mut self) -> BoxFuture<'_, Result<(), LeaseError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Releases the lease.
    fn release(self: Box<Self>) -> BoxFuture<'static, ()> {
        drop(self);
        Box::pin(std::future::ready(()))
    }
}

/// A lease that is held at a server, for status pages. It names no holder, because holders have
/// random names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldLease {
    /// The number of the lease.
    pub fence: u64,
    /// The time until it runs out, by the server's clock, unless it is renewed or released.
    pub left: Duration,
}

impl HeldLease {
    /// The lease with this number, which runs out after `left`.
    pub const fn new(fence: u64, left: Duration) -> Self {
        Self { fence, left }
    }
}

/// A coordinator whose type is erased.
pub(crate) trait DynCoordinator: Send + Sync + 'static {
    fn acquire<'a>(
        &'a self,
        key: &'a SessionKey,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn Lease>, LeaseError>>;
    fn lease_life(&self) -> Option<Duration>;
    fn settled(&self) -> BoxFuture<'_, ()>;
}

impl<C: Coordinator> DynCoordinator for C {
    fn acquire<'a>(
        &'a self,
        key: &'a SessionKey,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn Lease>, LeaseError>> {
        Box::pin(Coordinator::acquire(self, key, wait))
    }

    fn lease_life(&self) -> Option<Duration> {
        Coordinator::lease_life(self)
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        Box::pin(Coordinator::settled(self))
    }
}

/// A [`Coordinator`] of any type.
///
/// Cheap to clone. All clones are the same coordinator. A
/// [store](crate::store::SessionStore::coordinator) returns its coordinator in this type.
#[derive(Clone)]
pub struct BoxedCoordinator(Arc<dyn DynCoordinator>);

impl BoxedCoordinator {
    /// Erases the type of this coordinator.
    pub fn new(coordinator: impl Coordinator) -> Self {
        Self(Arc::new(coordinator))
    }
}

impl Coordinator for BoxedCoordinator {
    async fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        self.0.acquire(key, wait).await
    }

    fn lease_life(&self) -> Option<Duration> {
        self.0.lease_life()
    }

    async fn settled(&self) {
        self.0.settled().await;
    }
}

impl std::fmt::Debug for BoxedCoordinator {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("BoxedCoordinator").finish_non_exhaustive()
    }
}

/// Grants leases within one process, to the rotators that share this coordinator. Clones are the
/// same coordinator.
///
/// Waiting tasks get the lease in the order of their calls. A lease holds until it is released.
#[derive(Clone, Debug, Default)]
pub struct LocalCoordinator {
    sessions: Arc<Mutex<HashMap<SessionKey, Weak<Semaphore>>>>,
}

impl LocalCoordinator {
    /// A coordinator without leases.
    pub fn new() -> Self {
        Self::default()
    }

    fn semaphore(&self, key: &SessionKey) -> Arc<Semaphore> {
        let mut sessions = lock_std(&self.sessions);
        if let Some(semaphore) = sessions.get(key).and_then(Weak::upgrade) {
            return semaphore;
        }
        sessions.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(1));
        sessions.insert(key.clone(), Arc::downgrade(&semaphore));
        semaphore
    }
}

impl Coordinator for LocalCoordinator {
    async fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        let semaphore = self.semaphore(key);
        if let Ok(permit) = Arc::clone(&semaphore).try_acquire_owned() {
            return Ok(Box::new(LocalLease { _permit: permit }));
        }
        if wait.is_zero() {
            return Err(LeaseError::Busy { waited: wait });
        }
        match crate::runtime::timeout(wait, semaphore.acquire_owned()).await {
            Some(Ok(permit)) => Ok(Box::new(LocalLease { _permit: permit })),
            _ => Err(LeaseError::Busy { waited: wait }),
        }
    }
}

struct LocalLease {
    _permit: OwnedSemaphorePermit,
}

impl Lease for LocalLease {}
