//! The coordinator: leases that run out, by the server's clock, unless they are renewed.

use std::time::Duration;

use futures_util::future::BoxFuture;
use token_rotator::{
    Clock as _, Coordinator, HeldLease, Lease, LeaseError, SessionKey, SystemClock,
};
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::fault::Fault;
use crate::store::{PostgresStore, name, released};

impl Coordinator for PostgresStore {
    async fn acquire(
        &self,
        key: &SessionKey,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError> {
        let begun = Instant::now();
        let mut lease = PostgresLease::new(self, key)?;
        let mut listening = None;
        loop {
            let (attempt, taken) = lease.try_to_take().await?;
            lease = attempt;
            if taken? {
                return Ok(Box::new(lease));
            }
            let rest = wait.saturating_sub(begun.elapsed());
            if rest.is_zero() {
                return Err(LeaseError::Busy { waited: wait });
            }
            let Some(listening) = &mut listening else {
                // Another look, in case it was given back just before this.
                listening = Some(self.0.listener.listen(&lease.released));
                continue;
            };
            listening.heard(rest).await;
        }
    }

    fn lease_life(&self) -> Option<Duration> {
        Some(self.0.lease_life)
    }

    async fn settled(&self) {
        self.0.background.wait().await;
    }
}

impl PostgresStore {
    /// The session's lease, if somebody holds it now: for whoever wants to show it. Takes nothing.
    ///
    /// Fails as [`acquire`](Coordinator::acquire) does where the server cannot be asked.
    pub async fn holder(&self, key: &SessionKey) -> Result<Option<HeldLease>, LeaseError> {
        let session = name(key).map_err(|error| LeaseError::Unavailable {
            message: error.to_string().into(),
            cause: None,
        })?;
        let parameters = [(&session as _, Type::TEXT)];
        let look = &self.0.statements.look;
        let row = self.0.link.row(look, &parameters).await?;
        Ok(row.map(|row| {
            let fence = row.try_get::<_, i64>(0).unwrap_or_default();
            let left = row.try_get::<_, f64>(1).unwrap_or_default();
            HeldLease {
                fence: u64::try_from(fence).unwrap_or_default(),
                // It may have run out between the two looks at the clock.
                left: Duration::from_secs_f64(left.max(0.0) / 1_000.0),
            }
        }))
    }
}

/// A lease, or the attempt to take one. Dropped, it is given back in the background.
struct PostgresLease {
    store: PostgresStore,
    session: String,
    /// The notification that it was given back.
    released: String,
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

impl PostgresLease {
    fn new(store: &PostgresStore, key: &SessionKey) -> Result<Self, LeaseError> {
        let unavailable = |message: String| LeaseError::Unavailable {
            message: message.into(),
            cause: None,
        };
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| {
            unavailable(format!(
                "the system has no randomness to name a lease with: {error}"
            ))
        })?;
        let session = name(key).map_err(|error| unavailable(error.to_string()))?;
        Ok(Self {
            store: store.clone(),
            session: session.to_owned(),
            released: released(key),
            owner: format!("{:032x}", u128::from_ne_bytes(bytes)),
            fence: 0,
            until: Duration::ZERO,
            held: false,
            attempt: None,
        })
    }

    /// In a task of its own, which goes on if nobody waits for it any more: it sees the end of the
    /// statement, and only then gives back what nobody wants. Given back over another connection
    /// before that, the lease would be taken afterwards, by nobody, for all of its life.
    async fn try_to_take(mut self) -> Result<(Self, Result<bool, Fault>), LeaseError> {
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

    /// False: somebody else has it.
    async fn take(&mut self) -> Result<bool, Fault> {
        // From here on it may be ours, also if nobody waits for the answer any more.
        self.held = true;
        let sent = SystemClock.steady();
        let taken = self.ask(&self.store.0.statements.take).await?;
        self.held = taken.is_some();
        if let Some(row) = taken {
            self.until = sent + self.store.0.lease_life;
            let fence = row.try_get::<_, i64>(0).unwrap_or_default();
            self.fence = u64::try_from(fence).unwrap_or_default();
        }
        Ok(self.held)
    }

    async fn ask(&self, statement: &str) -> Result<Option<Row>, Fault> {
        let millis = self.store.0.lease_life.as_secs_f64() * 1_000.0;
        let parameters = [
            (&self.session as _, Type::TEXT),
            (&self.owner as _, Type::TEXT),
            (&millis as _, Type::FLOAT8),
        ];
        self.store.0.link.row(statement, &parameters).await
    }
}

async fn give_back(
    store: PostgresStore,
    session: String,
    owner: String,
    released: String,
) -> Result<(), Fault> {
    let channel = store.0.table.channel();
    let parameters = [
        (&session as _, Type::TEXT),
        (&owner as _, Type::TEXT),
        (&channel as _, Type::TEXT),
        (&released as _, Type::TEXT),
    ];
    let release = &store.0.statements.release;
    store.0.link.row(release, &parameters).await.map(drop)
}

impl Lease for PostgresLease {
    fn remaining(&self) -> Option<Duration> {
        Some(self.until.saturating_sub(SystemClock.steady()))
    }

    fn fence(&self) -> Option<u64> {
        Some(self.fence)
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<(), LeaseError>> {
        Box::pin(async move {
            let sent = SystemClock.steady();
            if self.ask(&self.store.0.statements.renew).await?.is_some() {
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
            // If it fails the lease runs out by itself.
            let _ = self.give_back().await;
            self.held = false;
        })
    }
}

impl PostgresLease {
    fn give_back(&self) -> impl Future<Output = Result<(), Fault>> + Send + 'static {
        let (session, owner) = (self.session.clone(), self.owner.clone());
        give_back(self.store.clone(), session, owner, self.released.clone())
    }
}

impl Drop for PostgresLease {
    fn drop(&mut self) {
        // Without a runtime it runs out by itself.
        if self.held
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let back = self.give_back();
            self.store.0.background.spawn_on(back, &runtime);
        }
    }
}
