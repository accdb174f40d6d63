//! The coordinator: grants the lease under which alone a flight may spend a refresh token.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::LeaseError;
use crate::store::SessionKey;

/// Grants the lease of a session to one flight at a time.
pub trait Coordinator: Send + Sync + 'static {
    /// Takes the lease, waiting for it at most this long; zero: only if it is free.
    ///
    /// Fails with [`LeaseError::Busy`] when somebody else kept it. Cancel safe: dropping the
    /// future takes nothing.
    fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> impl Future<Output = Result<Box<dyn Lease>, LeaseError>> + Send;

    /// How long a lease holds unless it is renewed; `None`: until it is released or its holder's
    /// process has ended. Default: the latter.
    fn lease_life(&self) -> Option<Duration> {
        None
    }

    /// Ends when nothing goes on in the background that may have taken a lease for somebody who
    /// gave up waiting, or is giving one back: a program that ends before that may leave a lease
    /// behind that holds until it runs out. [`Rotator::shutdown`](crate::Rotator::shutdown) waits
    /// for it. Default: at once.
    fn settled(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// The right to spend the refresh token. Dropping it gives it back as soon as that can be done.
pub trait Lease: Send + Sync + 'static {
    /// How long it still holds, by a clock that counts suspend; `None`: until it is released.
    fn remaining(&self) -> Option<Duration> {
        None
    }

    /// Grows with every lease of a session, whoever takes it; `None`: the coordinator does not
    /// count.
    fn fence(&self) -> Option<u64> {
        None
    }

    /// Prolongs it. An error says that it may be held by somebody else by now.
    fn renew(&mut self) -> BoxFuture<'_, Result<(), LeaseError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Gives it back.
    fn release(self: Box<Self>) -> BoxFuture<'static, ()> {
        drop(self);
        Box::pin(std::future::ready(()))
    }
}

/// A lease that somebody holds at a server, for whoever wants to show it. Who that is the server
/// does not know: holders are named by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldLease {
    /// The number of the lease.
    pub fence: u64,
    /// When it runs out, by the server's clock, unless it is renewed or given back before.
    pub left: Duration,
}

impl HeldLease {
    /// The lease with this number, which runs out after `left`.
    pub const fn new(fence: u64, left: Duration) -> Self {
        Self { fence, left }
    }
}

/// A coordinator whose type the rotator has forgotten.
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

/// A [`Coordinator`] of any type. Cheap to clone; all clones are the same coordinator.
///
/// A [store](crate::store::SessionStore::coordinator) brings its coordinator along as one.
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

/// One flight at a time for everybody in this process who shares this coordinator (clones do).
///
/// The lease is first come, first served, and holds until it is released.
#[derive(Clone, Debug, Default)]
pub struct LocalCoordinator {
    sessions: Arc<Mutex<HashMap<SessionKey, Weak<Semaphore>>>>,
}

impl LocalCoordinator {
    /// A coordinator that nobody shares yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn semaphore(&self, key: &SessionKey) -> Arc<Semaphore> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
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
