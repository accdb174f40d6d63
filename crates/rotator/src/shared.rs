//! What a rotator's handles, callers and flights share.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, select};
use token_rotator_core::Policy;

use crate::board::{Arrival, Board};
use crate::clock::{ClockOf, millis, unix_millis};
use crate::coordinator::{DynCoordinator, Lease};
use crate::error::{LeaseError, RefreshError};
use crate::event::{Event, Listeners};
use crate::grants::{Claim, Grants};
use crate::intent::TokenHash;
use crate::journal::Journal;
use crate::origin::Origins;
use crate::profile::Profile;
use crate::runtime::{self, Runtime};
use crate::secret::ExposeSecret as _;
use crate::source::{DynSource, Refreshed};
use crate::store::{DynStore, SessionKey};
use crate::sync::lock_std;
use crate::tasks::Tasks;
use crate::token::{Credential, Placement};
use crate::token_set::TokenSet;
use crate::unsaved::Pending;

/// The hook that runs after a refresh, its type forgotten.
pub(crate) type AfterRefresh =
    Box<dyn Fn(Arc<Refreshed>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// One session.
pub(crate) struct Shared {
    /// Tells rotators apart, so that one may be asked from inside the source of another.
    pub(crate) id: u64,
    pub(crate) key: SessionKey,
    pub(crate) board: Board,
    pub(crate) common: Arc<Common>,
    /// What the store has not taken yet.
    pub(crate) unsaved: crate::sync::Mutex<Option<Arc<Pending>>>,
    /// Whether a task is there that writes a sign-in or sign-out.
    pub(crate) writing: AtomicBool,
    /// The grant that was revoked last.
    pub(crate) revoked: std::sync::Mutex<Option<TokenHash>>,
    /// How many calls to the source are in progress.
    pub(crate) asking: AtomicUsize,
    pub(crate) journal: Journal,
    pub(crate) epoch_writes: tokio::sync::Mutex<()>,
    pub(crate) claim: Claim,
}

/// What all sessions of one configuration have in common.
pub(crate) struct Common {
    pub(crate) clock: ClockOf,
    pub(crate) runtime: Runtime,
    pub(crate) source: Box<dyn DynSource>,
    pub(crate) store: Option<Box<dyn DynStore>>,
    pub(crate) coordinator: Option<Box<dyn DynCoordinator>>,
    pub(crate) policy: Policy,
    pub(crate) profile: Profile,
    pub(crate) limits: Limits,
    pub(crate) placement: Placement,
    pub(crate) origins: Origins,
    pub(crate) listeners: Listeners,
    pub(crate) after_refresh: Option<AfterRefresh>,
    pub(crate) tasks: Tasks,
    pub(crate) closed: AtomicBool,
    pub(crate) grants: Grants,
}

impl std::ops::Deref for Shared {
    type Target = Common;

    #[inline]
    fn deref(&self) -> &Common {
        &self.common
    }
}

impl Shared {
    /// A session of this name that nobody has asked for anything yet.
    pub(crate) fn new(common: Arc<Common>, key: SessionKey) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            key,
            board: Board::new(common.policy),
            common,
            unsaved: crate::sync::Mutex::new(None),
            writing: AtomicBool::new(false),
            revoked: std::sync::Mutex::new(None),
            asking: AtomicUsize::new(0),
            journal: Journal::default(),
            epoch_writes: tokio::sync::Mutex::new(()),
            claim: Claim::default(),
        })
    }
}

/// The life that a JWT of unknown expiry states, counted from its receipt. Returns `None` for other
/// tokens, and if the JWT had expired at the receipt: then the local clock is wrong.
fn hinted_lifetime(tokens: &TokenSet, received: u64) -> Option<u64> {
    let hint = crate::jwt::expiry_hint(tokens.access_token().expose_secret())?;
    let left = hint.expires_at_unix_ms.checked_sub(received)?;
    // An issuer whose clock is ahead states an expiry too far away; the lifetime limits it.
    let whole = hint
        .issued_at_unix_ms
        .map(|at| hint.expires_at_unix_ms - at);
    Some(left.min(whole.unwrap_or(left))).filter(|left| *left > 0)
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) lease_wait: Duration,
    pub(crate) source_timeout: Duration,
    pub(crate) flight_deadline: Duration,
    pub(crate) wait_timeout: Duration,
    pub(crate) after_hook: Duration,
}

tokio::task_local! {
    /// The rotator whose source is being asked in this task.
    static ASKING: u64;
}

impl Shared {
    pub(crate) fn tell(&self, event: &Event) {
        self.listeners.tell(&self.key, event);
    }

    /// Whether this call comes from inside this rotator's own source.
    #[inline]
    pub(crate) fn reentered(&self) -> bool {
        // The hot path sees a zero and goes on.
        self.asking.load(Ordering::Relaxed) != 0
            && ASKING.try_with(|id| *id == self.id).unwrap_or(false)
    }

    /// Whether intents are written into the store.
    pub(crate) fn journals(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.is_durable())
    }

    /// How long a lease holds unless it is renewed.
    pub(crate) fn lease_life(&self) -> Option<Duration> {
        self.coordinator.as_ref()?.lease_life()
    }

    /// How long whoever has lost the lease, or never had one, may still be at work on a refresh.
    pub(crate) fn linger(&self) -> Duration {
        match &self.coordinator {
            Some(coordinator) => coordinator.lease_life().unwrap_or_default(),
            // Nobody keeps others from refreshing at the same time.
            None => self.limits.source_timeout,
        }
    }

    /// Takes the lease. A coordinator that does not answer is as good as none.
    pub(crate) async fn acquire(&self, wait: Duration) -> Result<Box<dyn Lease>, LeaseError> {
        let unavailable = |message: String| LeaseError::Unavailable {
            message: Arc::from(message),
            cause: None,
        };
        let Some(coordinator) = &self.coordinator else {
            return Err(unavailable("there is none".to_owned()));
        };
        let limit = wait.saturating_add(self.limits.source_timeout);
        let lease = coordinator.acquire(&self.key, wait);
        match runtime::timeout(limit, lease).await {
            Some(answer) => answer,
            None => Err(unavailable(format!("it did not answer within {limit:?}"))),
        }
    }

    /// Makes a token set ready to be sent; the error says what is wrong with it.
    pub(crate) fn arrival(&self, tokens: Arc<TokenSet>) -> Result<Arrival, &'static str> {
        let obtained_at = tokens.obtained_at().unwrap_or_else(|| self.clock.wall());
        let lifetime = match tokens.lifetime() {
            Some(lifetime) => Some(millis(lifetime)),
            None => hinted_lifetime(&tokens, unix_millis(obtained_at)),
        };
        let jitter = fastrand::u32(0..=200);
        Ok(Arrival {
            validity: self
                .policy
                .validity(unix_millis(obtained_at), lifetime, jitter),
            credential: Credential::new(tokens, &self.placement)?,
        })
    }

    /// One request to the issuer, the lease kept alive meanwhile.
    pub(crate) async fn ask_once(
        &self,
        last: Option<&Arc<TokenSet>>,
        lease: &mut Option<Box<dyn Lease>>,
    ) -> Result<Refreshed, RefreshError> {
        let limit = self.limits.source_timeout;
        let _asking = Asking::begin(&self.asking);
        let call = ASKING.scope(self.id, self.source.refresh(&self.key, last.cloned()));
        let call = Box::pin(runtime::timeout(limit, call));
        let answer = match lease {
            None => call.await,
            Some(lease) => {
                // A third of its life, so that two renewals may fail.
                let Some(life) = self.lease_life() else {
                    return self.judge(call.await);
                };
                let renewal = async {
                    loop {
                        runtime::sleep(life / 3).await;
                        if self.renew(lease).await.is_err() {
                            // The request is on its way; what it brings meets compare-and-swap.
                            std::future::pending::<()>().await;
                        }
                    }
                };
                match select(call, Box::pin(renewal)).await {
                    Either::Left((answer, _)) => answer,
                    Either::Right(((), call)) => call.await,
                }
            }
        };
        self.judge(answer)
    }

    fn judge(
        &self,
        answer: Option<Result<Refreshed, crate::error::SourceError>>,
    ) -> Result<Refreshed, RefreshError> {
        match answer {
            Some(answer) => answer.map_err(RefreshError::Source),
            None => Err(RefreshError::TimedOut {
                after: self.limits.source_timeout,
            }),
        }
    }

    /// Gives a lease back in the background: nobody waits for that.
    pub(crate) fn give_back(&self, lease: Option<Box<dyn Lease>>) {
        if let Some(lease) = lease {
            let busy = self.tasks.begin();
            let limit = self.limits.source_timeout;
            self.runtime.spawn(async move {
                let _busy = busy;
                runtime::timeout(limit, lease.release()).await;
            });
        }
    }

    /// Tokens that came for a session that is over; `signed_out`: because somebody signed out of it.
    pub(crate) fn late(self: &Arc<Self>, tokens: Option<Arc<TokenSet>>, signed_out: bool) {
        let Some(tokens) = tokens else { return };
        // After a sign-in, revoking what is left of the old grant could take the new one with it.
        let revoked = signed_out || self.profile.revokes_per_token();
        self.tell(&Event::LateTokens { revoked });
        if revoked {
            self.revoke(tokens);
        }
    }

    /// Revokes what a sign-out has overwritten in the store, unless it was in memory too.
    pub(crate) fn revoke_unless_done(self: &Arc<Self>, tokens: Arc<TokenSet>) {
        let hash = TokenHash::of(&tokens);
        if hash.is_some() && *lock_std(&self.revoked) != hash {
            self.revoke(tokens);
        }
    }

    /// Revokes tokens in the background.
    pub(crate) fn revoke(self: &Arc<Self>, tokens: Arc<TokenSet>) {
        *lock_std(&self.revoked) = TokenHash::of(&tokens);
        let shared = Arc::clone(self);
        let busy = self.tasks.begin();
        self.runtime.spawn(async move {
            let _busy = busy;
            let _asking = Asking::begin(&shared.asking);
            let call = async { shared.source.revoke(tokens).await };
            let call = AssertUnwindSafe(ASKING.scope(shared.id, call)).catch_unwind();
            let error = match runtime::timeout(shared.limits.source_timeout, call).await {
                Some(Ok(answer)) => answer.err(),
                Some(Err(_panic)) => Some(crate::error::SourceError::transient(
                    "the token source panicked while it revoked",
                )),
                None => Some(crate::error::SourceError::transient(
                    "the issuer did not answer the revocation in time",
                )),
            };
            shared.tell(&Event::Revoked { error });
        });
    }
}

/// One call to the source, while it lasts.
struct Asking<'a>(&'a AtomicUsize);

impl<'a> Asking<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
