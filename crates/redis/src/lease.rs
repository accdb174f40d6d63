//! The coordinator: leases that run out unless they are renewed.

use std::time::Duration;

use futures_util::future::BoxFuture;
use token_rotator::{
    Clock as _, Coordinator, HeldLease, Lease, LeaseError, SessionKey, SystemClock,
};
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::fault::Fault;
use crate::names::Names;
use crate::scripts::{LOOK, RELEASE, RENEW, TAKE};
use crate::store::RedisStore;

impl Coordinator for RedisStore {
    async fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        let begun = Instant::now();
        let mut lease = RedisLease::new(self, key)?;
        let mut listening = None;
        loop {
            let (attempt, taken) = lease.try_to_take().await?;
            lease = attempt;
            let left = match taken? {
                Taken::Yes => return Ok(Box::new(lease)),
                Taken::ByAnother { left } => left,
            };
            let rest = wait.saturating_sub(begun.elapsed());
            if rest.is_zero() {
                return Err(LeaseError::Busy { waited: wait });
            }
            let Some(listening) = &mut listening else {
                // Another look, in case it was given back just before this.
                listening = Some(self.0.subscriber.listen(&lease.names.released));
                continue;
            };
            // Nobody tells when a lease runs out.
            let until_it_runs_out = left + Duration::from_millis(1);
            listening.heard(rest.min(until_it_runs_out)).await;
        }
    }

    fn lease_life(&self) -> Option<Duration> {
        Some(self.0.lease_life)
    }

    async fn settled(&self) {
        self.0.background.wait().await;
    }
}

impl RedisStore {
    /// The session's lease, if somebody holds it now: for whoever wants to show it. Takes nothing.
    ///
    /// Fails as [`acquire`](Coordinator::acquire) does where the server cannot be asked.
    pub async fn holder(&self, key: &SessionKey) -> Result<Option<HeldLease>, LeaseError> {
        let names = self.names(key);
        let mut look = LOOK.key(names.lease);
        look.key(names.fence);
        let (left, fence): (i64, i64) = self.0.link.run(&look).await?;
        Ok(u64::try_from(left).ok().map(|left| HeldLease {
            fence: u64::try_from(fence).unwrap_or_default(),
            left: Duration::from_millis(left),
        }))
    }
}

enum Taken {
    Yes,
    ByAnother { left: Duration },
}

/// A lease, or the attempt to take one. Dropped, it is given back in the background.
struct RedisLease {
    store: RedisStore,
    names: Names,
    /// Who holds it: drawn by chance for each.
    owner: String,
    fence: u64,
    /// By the steady clock.
    until: Duration,
    /// Whether the server may think that we hold it.
    held: bool,
    /// There while an attempt goes on, whether or not anybody waits for it.
    attempt: Option<TaskTrackerToken>,
}

impl RedisLease {
    fn new(store: &RedisStore, key: &SessionKey) -> Result<Self, LeaseError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| LeaseError::Unavailable {
            message: format!("the system has no randomness to name a lease with: {error}").into(),
            cause: None,
        })?;
        Ok(Self {
            store: store.clone(),
            names: store.names(key),
            owner: format!("{:032x}", u128::from_ne_bytes(bytes)),
            fence: 0,
            until: Duration::ZERO,
            held: false,
            attempt: None,
        })
    }

    /// In a task of its own, which goes on if nobody waits for it any more: it sees the end of the
    /// attempt, and only then gives back what nobody wants.
    async fn try_to_take(mut self) -> Result<(Self, Result<Taken, Fault>), LeaseError> {
        self.attempt = Some(self.store.0.background.token());
        let attempt = tokio::spawn(async move {
            let taken = self.take().await;
            (self, taken)
        });
        let ended = attempt.await.map_err(|_| LeaseError::Unavailable {
            message: "the runtime ended before the lease was taken".into(),
            cause: None,
        });
        ended.map(|(mut lease, taken)| {
            lease.attempt = None;
            (lease, taken)
        })
    }

    async fn take(&mut self) -> Result<Taken, Fault> {
        // From here on it may be ours, also if nobody waits for the answer any more.
        self.held = true;
        let sent = SystemClock.steady();
        let mut take = TAKE.key(&self.names.lease);
        take.key(&self.names.fence);
        take.arg(&self.owner).arg(self.life_millis());
        let (taken, number): (u8, i64) = self.store.0.link.run(&take).await?;
        let number = u64::try_from(number).unwrap_or_default();
        if taken == 1 {
            self.until = sent + self.store.0.lease_life;
            self.fence = number;
            return Ok(Taken::Yes);
        }
        self.held = false;
        Ok(Taken::ByAnother {
            left: Duration::from_millis(number),
        })
    }

    fn life_millis(&self) -> u64 {
        // At most a day: the builder has seen to it.
        self.store.0.lease_life.as_millis() as u64
    }
}

async fn give_back(store: RedisStore, names: Names, owner: String) -> Result<(), Fault> {
    let mut release = RELEASE.key(names.lease);
    release.arg(owner);
    release
        .arg(store.0.subscriber.channel())
        .arg(names.released);
    let _given_back: u8 = store.0.link.run(&release).await?;
    Ok(())
}

impl Lease for RedisLease {
    fn remaining(&self) -> Option<Duration> {
        Some(self.until.saturating_sub(SystemClock.steady()))
    }

    fn fence(&self) -> Option<u64> {
        Some(self.fence)
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<(), LeaseError>> {
        Box::pin(async move {
            let sent = SystemClock.steady();
            let mut renew = RENEW.key(&self.names.lease);
            renew.arg(&self.owner).arg(self.life_millis());
            let renewed: u8 = self.store.0.link.run(&renew).await?;
            if renewed == 1 {
                self.until = sent + self.store.0.lease_life;
                return Ok(());
            }
            self.held = false;
            self.until = Duration::ZERO;
            Err(LeaseError::Lost)
        })
    }

    fn release(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let (store, names) = (self.store.clone(), self.names.clone());
            // If it fails the lease runs out by itself.
            let _ = give_back(store, names, self.owner.clone()).await;
            self.held = false;
        })
    }
}

impl Drop for RedisLease {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        // Without a runtime it runs out by itself.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (store, names) = (self.store.clone(), self.names.clone());
            let owner = std::mem::take(&mut self.owner);
            let back = give_back(store, names, owner);
            self.store.0.background.spawn_on(back, &runtime);
        }
    }
}
