//! What a rotator's handles, callers and flights share.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, select};
use token_rotator_core::Policy;

use crate::board::{Arrival, Board};
use crate::clock::{ClockOf, millis, unix_millis};
use crate::coordinator::{DynCoordinator, Lease};
use crate::error::RefreshError;
use crate::event::{Event, Listeners};
use crate::origin::Origins;
use crate::profile::Profile;
use crate::runtime::{self, Runtime};
use crate::source::{DynSource, Refreshed};
use crate::store::{DynStore, SessionKey};
use crate::tasks::Tasks;
use crate::token::{Credential, Placement};
use crate::token_set::TokenSet;
use crate::unsaved::Unsaved;

/// The hook that runs after a refresh, its type forgotten.
pub(crate) type AfterRefresh =
    Box<dyn Fn(Arc<Refreshed>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

pub(crate) struct Shared {
    /// Tells rotators apart, so that one may be asked from inside the source of another.
    pub(crate) id: u64,
    pub(crate) key: SessionKey,
    pub(crate) board: Board,
    pub(crate) clock: ClockOf,
    pub(crate) runtime: Runtime,
    pub(crate) source: Box<dyn DynSource>,
    pub(crate) store: Option<Box<dyn DynStore>>,
    pub(crate) coordinator: Option<Box<dyn DynCoordinator>>,
    pub(crate) policy: Policy<u64>,
    pub(crate) profile: Profile,
    pub(crate) limits: Limits,
    pub(crate) placement: Placement,
    pub(crate) origins: Origins,
    pub(crate) listeners: Listeners,
    pub(crate) after_refresh: Option<AfterRefresh>,
    pub(crate) tasks: Tasks,
    /// What the store has not taken yet. A flight that goes by it holds it to its end.
    pub(crate) unsaved: tokio::sync::Mutex<Option<Unsaved>>,
    /// Whether a task is there that saves it.
    pub(crate) saving: AtomicBool,
    /// The refresh token that was sent to the issuer without a clear answer yet, and when.
    pub(crate) presented: std::sync::Mutex<Option<Presented>>,
    pub(crate) epoch_writes: tokio::sync::Mutex<()>,
    pub(crate) closed: AtomicBool,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) lease_wait: Duration,
    pub(crate) lease_renewal: Duration,
    pub(crate) source_timeout: Duration,
    pub(crate) flight_deadline: Duration,
    pub(crate) wait_timeout: Duration,
    pub(crate) after_hook: Duration,
}

/// Locks, whatever a panic has left behind: what these locks guard is never half changed.
pub(crate) fn lock_std<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A refresh token that may be spent.
pub(crate) struct Presented {
    pub(crate) tokens: Arc<TokenSet>,
    /// By the steady clock.
    pub(crate) at: Duration,
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
    pub(crate) fn reentered(&self) -> bool {
        ASKING.try_with(|id| *id == self.id).unwrap_or(false)
    }

    /// Makes a token set ready to be sent; the error says what is wrong with it.
    pub(crate) fn arrival(&self, tokens: Arc<TokenSet>) -> Result<Arrival, &'static str> {
        let obtained_at = tokens.obtained_at().unwrap_or_else(|| self.clock.wall());
        let lifetime = tokens.lifetime().map(millis);
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
        let call = ASKING.scope(self.id, self.source.refresh(last.cloned()));
        let call = Box::pin(runtime::timeout(limit, call));
        let answer = match lease {
            None => call.await,
            Some(lease) => {
                let renewal = async {
                    loop {
                        runtime::sleep(self.limits.lease_renewal).await;
                        if lease.renew().await.is_err() {
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
        match answer {
            Some(answer) => answer.map_err(RefreshError::Source),
            None => Err(RefreshError::TimedOut { after: limit }),
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

    /// Tokens that came for a session that is over.
    pub(crate) fn late(self: &Arc<Self>, tokens: Option<Arc<TokenSet>>) {
        let Some(tokens) = tokens else { return };
        self.tell(&Event::LateTokens);
        // After a sign-in, revoking what is left of the old grant could take the new one with it.
        if self.board.signed_out() || self.profile.revokes_per_token() {
            self.revoke(tokens);
        }
    }

    /// Revokes tokens in the background.
    pub(crate) fn revoke(self: &Arc<Self>, tokens: Arc<TokenSet>) {
        let shared = Arc::clone(self);
        let busy = self.tasks.begin();
        self.runtime.spawn(async move {
            let _busy = busy;
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
