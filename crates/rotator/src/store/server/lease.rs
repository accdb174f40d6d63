//! Leases on a server. They run out by the server's clock unless they are renewed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{HashedKey, LeaseAttempt, Server, ServerStore};
use crate::store::{Coordinator, HeldLease, Lease, LeaseError, SessionKey, StoreError};
use crate::{Clock as _, SystemClock};

impl<S: Server> Coordinator for ServerStore<S> {
    async fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        let begun = Instant::now();
        let mut lease = ServerLease::new(self, key)?;
        let mut subscription = None;
        loop {
            let (returned, attempt) = lease.attempt().await?;
            lease = returned;
            let left = match attempt? {
                LeaseAttempt::Taken { .. } => return Ok(Box::new(lease)),
                LeaseAttempt::Busy { left } => left,
            };
            let rest = wait.saturating_sub(begun.elapsed());
            if rest.is_zero() {
                return Err(LeaseError::Busy { waited: wait });
            }
            let Some(subscription) = &mut subscription else {
                // The next attempt follows at once, because the lease may have been released before
                // the subscription.
                let topic = lease.session.lease_topic();
                subscription = Some(self.0.listener.subscribe(&topic));
                continue;
            };
            // The server sends no notification when a lease runs out.
            let runs_out = left.map_or(rest, |left| left + Duration::from_millis(1));
            subscription.changed(rest.min(runs_out)).await;
        }
    }

    fn lease_life(&self) -> Option<Duration> {
        Some(self.0.lease_life)
    }

    async fn settled(&self) {
        self.0.background.wait().await;
    }
}

impl<S: Server> ServerStore<S> {
    /// Reads the session's lease. Returns `None` if it is free. Takes no lease.
    ///
    /// *Errors*: [`LeaseError::Unavailable`] if the server cannot be reached.
    pub async fn holder(&self, key: &SessionKey) -> Result<Option<HeldLease>, LeaseError> {
        let session = HashedKey::new(key);
        Ok(self.0.server.held_lease(&session).await?)
    }
}

/// A lease, or the attempt to take one. Dropping it releases the lease in the background.
struct ServerLease<S: Server> {
    store: ServerStore<S>,
    session: Arc<HashedKey>,
    /// The random name of this holder, new for each lease.
    owner: String,
    fence: u64,
    /// When the lease runs out, on the steady clock.
    until: Duration,
    /// Whether the server may regard this lease as held.
    held: bool,
    /// Counts a running attempt in the store's background tasks, also after its caller stopped
    /// waiting.
    attempt: Option<TaskTrackerToken>,
}

impl<S: Server> ServerLease<S> {
    fn new(store: &ServerStore<S>, key: &SessionKey) -> Result<Self, LeaseError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| LeaseError::Unavailable {
            message: format!("the system gives no random bytes to name a lease: {error}").into(),
            cause: None,
        })?;
        Ok(Self {
            store: store.clone(),
            session: Arc::new(HashedKey::new(key)),
            owner: format!("{:032x}", u128::from_ne_bytes(bytes)),
            fence: 0,
            until: Duration::ZERO,
            held: false,
            attempt: None,
        })
    }

    /// Tries to take the lease, in a separate task.
    ///
    /// If the caller stops waiting, the task goes on and releases the lease after the server's
    /// answer. An earlier release on another connection could reach the server before the attempt.
    /// The lease would then be held for its whole life without a holder.
    async fn attempt(mut self) -> Result<(Self, Result<LeaseAttempt, StoreError>), LeaseError> {
        self.attempt = Some(self.store.0.background.token());
        let task = tokio::spawn(async move {
            let attempt = self.take().await;
            (self, attempt)
        });
        let (mut lease, attempt) = task.await.map_err(|_| LeaseError::Unavailable {
            message: "the runtime ended before the lease was taken".into(),
            cause: None,
        })?;
        lease.attempt = None;
        Ok((lease, attempt))
    }

    async fn take(&mut self) -> Result<LeaseAttempt, StoreError> {
        // The server may grant the lease even if its answer does not arrive.
        self.held = true;
        let sent = SystemClock.steady();
        let life = self.store.0.lease_life;
        let server = &self.store.0.server;
        let attempt = server.take_lease(&self.session, &self.owner, life).await?;
        if let LeaseAttempt::Taken { fence } = attempt {
            self.until = sent + life;
            self.fence = fence;
        } else {
            self.held = false;
        }
        Ok(attempt)
    }

    fn release_at_server(&self) -> impl Future<Output = ()> + Send + use<S> {
        let (store, session) = (self.store.clone(), Arc::clone(&self.session));
        let owner = self.owner.clone();
        async move {
            // If the release fails, the lease runs out.
            let _ = store.0.server.release_lease(&session, &owner).await;
        }
    }
}

impl<S: Server> Lease for ServerLease<S> {
    fn remaining(&self) -> Option<Duration> {
        Some(self.until.saturating_sub(SystemClock.steady()))
    }

    fn fence(&self) -> Option<u64> {
        Some(self.fence)
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<(), LeaseError>> {
        Box::pin(async move {
            let sent = SystemClock.steady();
            let life = self.store.0.lease_life;
            let server = &self.store.0.server;
            if server.renew_lease(&self.session, &self.owner, life).await? {
                self.until = sent + life;
                return Ok(());
            }
            self.held = false;
            self.until = Duration::ZERO;
            Err(LeaseError::Lost)
        })
    }

    fn release(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.release_at_server().await;
            self.held = false;
        })
    }
}

impl<S: Server> Drop for ServerLease<S> {
    fn drop(&mut self) {
        // Without a runtime there is no release, and the lease runs out.
        if self.held
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let release = self.release_at_server();
            self.store.0.background.spawn_on(release, &runtime);
        }
    }
}
