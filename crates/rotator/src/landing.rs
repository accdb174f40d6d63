//! The end of a flight: publish, hook, waiters, lease. There is exactly one, whatever becomes of
//! the flight's task.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use token_rotator_core::{Ending, Failure};

use crate::board::{Arrival, Base, Failed, Ticket};
use crate::error::{FailureKind, RefreshError, StoreError, StoreErrorKind};
use crate::event::{Event, HookProblem};
use crate::flight::{Ended, Outcome};
use crate::older::Older;
use crate::runtime;
use crate::shared::Shared;
use crate::source::Refreshed;
use crate::sync::lock_std;
use crate::token_set::TokenSet;
use crate::unsaved::Unsaved;

/// What the flight is about to do, for whoever has to report that it did not.
#[derive(Default)]
pub(crate) struct Progress {
    stage: AtomicU8,
    /// The refresh token was sent, and there is no answer that says it is unspent.
    sent: AtomicBool,
    /// What the issuer has answered, while it is being saved.
    in_hand: Mutex<Option<InHand>>,
}

#[derive(Clone, Copy)]
pub(crate) enum Stage {
    Lease = 0,
    Read = 1,
    Journal = 2,
    Refresh = 3,
    Save = 4,
}

/// Tokens that the issuer has answered with.
pub(crate) struct InHand {
    pub(crate) tokens: Arc<TokenSet>,
    /// `None`: they cannot be sent, but are what the next refresh goes on with.
    pub(crate) arrival: Option<Arrival>,
    pub(crate) base: Base,
    pub(crate) older: Older,
}

impl Progress {
    pub(crate) fn at(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
        if matches!(stage, Stage::Refresh) {
            self.sent.store(true, Ordering::Release);
        }
    }

    /// The issuer has answered, and the refresh token is as it was.
    pub(crate) fn answered(&self) {
        self.sent.store(false, Ordering::Release);
    }

    pub(crate) fn save(&self, in_hand: InHand) {
        *lock_std(&self.in_hand) = Some(in_hand);
        self.at(Stage::Save);
    }

    /// In words, and whether the refresh token may be spent by now.
    fn words(&self) -> (&'static str, bool) {
        let step = match self.stage.load(Ordering::Acquire) {
            0 => "take the lease",
            1 => "read the session",
            2 => "write down what it is about to do",
            3 => "ask the issuer",
            _ => "save the new tokens",
        };
        (step, self.sent.load(Ordering::Acquire))
    }
}

/// A flight that has not reported yet. Dropping it, as a runtime does that ends, reports it.
pub(crate) struct Landing {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ticket: Ticket,
    pub(crate) progress: Arc<Progress>,
    begun: Duration,
    landed: bool,
    _busy: crate::tasks::Busy,
}

impl Landing {
    pub(crate) fn new(shared: &Arc<Shared>, ticket: Ticket) -> Self {
        Self {
            shared: Arc::clone(shared),
            ticket,
            progress: Arc::default(),
            begun: shared.clock.steady(),
            landed: false,
            _busy: shared.tasks.begin(),
        }
    }

    /// Published first, then the waiters; the lease is given back beside that. Past the deadline
    /// the waiters are released, whatever still goes on.
    pub(crate) async fn land(
        mut self,
        ended: std::thread::Result<Ended>,
        deadline: impl Future<Output = ()>,
    ) {
        let shared = Arc::clone(&self.shared);
        let (outcome, lease) = match ended {
            Ok(ended) => (Ok(ended.outcome), ended.lease),
            Err(panic) => (Err(panic), None),
        };
        let mut after = None;
        match outcome {
            Ok(Outcome::Brought(arrival, base, answer)) => {
                if self.brought(&arrival, base) {
                    after = answer;
                }
            }
            Ok(Outcome::Adopted(arrival, base)) => self.adopted(&arrival, base),
            Ok(Outcome::Superseded(tokens)) => self.late(tokens),
            Ok(Outcome::Yielded) => {}
            Ok(Outcome::Failed(error)) => self.failed(error),
            Err(_panic) => {
                let (step, sent) = self.progress.words();
                self.cut_off(RefreshError::Panicked { step, sent });
            }
        }
        self.landed = true;
        // Before the hook: other processes need not wait for it.
        shared.give_back(lease);
        // If the hook is cut off with the runtime, its waiters are told all the same.
        let _told = Told(&self.ticket);
        if let Some(refreshed) = after {
            let hook = Box::pin(shared.run_after_refresh(refreshed));
            if let Either::Right(((), hook)) = select(hook, pin!(deadline)).await {
                self.ticket.signal.give();
                hook.await;
            }
        }
    }

    /// Tokens that came for a session that is over.
    fn late(&self, tokens: Option<Arc<TokenSet>>) {
        self.shared.late(tokens, self.ticket.signal.signed_out());
    }

    /// Whether the new token is served from here on.
    fn brought(&self, arrival: &Arrival, base: Base) -> bool {
        let shared = &self.shared;
        let flight = self.ticket.flight;
        let tokens = &arrival.credential.tokens;
        let now = shared.clock.now();
        let Some(stamp) = shared.board.refreshed(flight, arrival, base, now) else {
            self.late(Some(Arc::clone(tokens)));
            return false;
        };
        shared.tell(&Event::Refreshed {
            flight: flight.id,
            generation: stamp.generation,
            lifetime: tokens.lifetime(),
            took: shared.clock.steady().saturating_sub(self.begun),
        });
        true
    }

    fn adopted(&self, arrival: &Arrival, base: Base) {
        let shared = &self.shared;
        let flight = self.ticket.flight;
        let now = shared.clock.now();
        if let Some(stamp) = shared.board.adopted(flight, arrival, base, now) {
            shared.tell(&Event::Adopted {
                flight: flight.id,
                generation: stamp.generation,
            });
        }
    }

    fn failed(&self, error: RefreshError) {
        let shared = &self.shared;
        // Where the refresh token may be used again anyway, nothing is in doubt.
        let in_doubt = !shared.profile.allows_again(Duration::MAX);
        let failure = Failure {
            ending: match error.kind() {
                FailureKind::Uncertain if in_doubt => Ending::Uncertain,
                FailureKind::NotSent | FailureKind::Transient | FailureKind::Uncertain => {
                    Ending::Transient
                }
                FailureKind::Misconfigured => Ending::Misconfigured,
                FailureKind::Terminal => Ending::Terminal,
            },
            retry_after: error.retry_after().map(crate::clock::millis),
            jitter: fastrand::u32(800..=1200),
        };
        let now = shared.clock.now();
        let flight = self.ticket.flight;
        let outcome = shared.board.failed(flight, failure, error.clone(), now);
        if let RefreshError::Source(source) = &error
            && source.is_reuse_detected()
        {
            shared.tell(&Event::ReuseDetected {
                error: source.clone(),
            });
        }
        match outcome {
            Failed::Cooling(wait) => shared.tell(&Event::RefreshFailed {
                flight: flight.id,
                error,
                cool_down: Duration::from_millis(wait),
            }),
            Failed::Ended { first: true } => shared.tell(&Event::Ended { error }),
            Failed::Ended { first: false } | Failed::Stale => {}
        }
    }

    /// A panic or the end of the runtime: a failure, unless the issuer had answered by then.
    /// Those tokens are served from memory; nothing else may ever get them.
    fn cut_off(&self, error: RefreshError) {
        let Some(in_hand) = lock_std(&self.progress.in_hand).take() else {
            return self.failed(error);
        };
        let shared = &self.shared;
        let flight = self.ticket.flight;
        let message = error.to_string();
        match &in_hand.arrival {
            Some(arrival) if self.brought(arrival, in_hand.base) => {}
            Some(_) => return,
            None => {
                shared.board.go_on_with(flight, Arc::clone(&in_hand.tokens));
                self.failed(error);
            }
        }
        if shared.store.is_some() {
            shared.tell(&Event::SaveFailed {
                error: StoreError::new(StoreErrorKind::Unavailable, message),
                attempts: 1,
            });
            let InHand {
                tokens,
                base,
                older,
                ..
            } = in_hand;
            let mut unsaved = Unsaved::new(flight.began, base, tokens, older);
            unsaved.attempts = 1;
            shared.keep_unsaved(unsaved);
        }
    }

    /// The flight's waiters are released; it keeps its slot.
    pub(crate) fn overdue(&self) {
        let now = self.shared.clock.now();
        let flight = self.ticket.flight;
        if self.shared.board.overdue(flight, now) {
            self.shared
                .tell(&Event::RefreshOverdue { flight: flight.id });
        }
        self.ticket.signal.give();
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.landed {
            let (step, sent) = self.progress.words();
            self.shared.runtime.forget_first();
            self.cut_off(RefreshError::Abandoned { step, sent });
            self.ticket.signal.give();
        }
    }
}

/// Tells the waiters when it is dropped.
struct Told<'a>(&'a Ticket);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.signal.give();
    }
}

impl Shared {
    /// The new token is served already: a call made inside the hook uses it, and whoever waited
    /// finds done what the hook does.
    async fn run_after_refresh(&self, refreshed: Arc<Refreshed>) {
        let Some(hook) = &self.after_refresh else {
            return;
        };
        let limit = self.limits.after_hook;
        let call = AssertUnwindSafe(async { hook(refreshed).await }).catch_unwind();
        let problem = match runtime::timeout(limit, call).await {
            Some(Ok(Ok(()))) => return,
            Some(Ok(Err(message))) => HookProblem::Failed { message },
            Some(Err(_panic)) => HookProblem::Panicked,
            None => HookProblem::TimedOut { after: limit },
        };
        self.tell(&Event::HookFailed {
            hook: "after_refresh",
            problem,
        });
    }
}
