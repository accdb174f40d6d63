//! One refresh in its own task: lease, re-read, adopt or refresh, save, publish, release.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use token_rotator_core::{Ending, Failure, Purpose};

use crate::board::{Arrival, Base, Failed, Ticket};
use crate::coordinator::Lease;
use crate::error::{FailureKind, LeaseError, RefreshError};
use crate::event::{Event, HookProblem};
use crate::ledger::{Kept, Reading};
use crate::runtime;
use crate::shared::Shared;
use crate::source::Refreshed;
use crate::token_set::TokenSet;

/// Starts the flight in a task that belongs to nobody: whoever drops their call leaves it running.
pub(crate) fn launch(shared: &Arc<Shared>, ticket: Ticket) {
    let landing = Landing {
        shared: Arc::clone(shared),
        ticket,
        progress: Arc::new(Progress::default()),
        begun: shared.clock.steady(),
        landed: false,
        _busy: shared.tasks.begin(),
    };
    shared.runtime.spawn(fly(landing));
}

async fn fly(landing: Landing) {
    let flight = landing.ticket.flight;
    let shared = Arc::clone(&landing.shared);
    shared.tell(&Event::RefreshStarted {
        flight: flight.id,
        purpose: flight.purpose,
    });
    let work = Work {
        shared: Arc::clone(&shared),
        ticket: landing.ticket.clone(),
        progress: Arc::clone(&landing.progress),
    };
    // A panic ends the work and not the flight: it is an outcome like any other.
    let work = AssertUnwindSafe(work.run()).catch_unwind();
    let deadline = runtime::sleep(shared.limits.flight_deadline);
    let outcome = match select(Box::pin(work), Box::pin(deadline)).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(((), work)) => {
            landing.overdue();
            work.await
        }
    };
    landing.land(outcome).await;
}

/// How a flight's work ended.
enum Outcome {
    /// A token to serve.
    Brought(Arrival, Base, Option<Arc<Refreshed>>),
    /// Somebody else's token to serve.
    Adopted(Arrival, Base),
    /// Nothing, and nobody waits for it.
    Yielded,
    /// The session it was for is over, or has become another; these tokens came too late.
    Superseded(Option<Arc<TokenSet>>),
    Failed(RefreshError),
}

/// What the flight is about to do, for whoever has to report that it did not.
#[derive(Default)]
struct Progress(AtomicU8);

#[derive(Clone, Copy)]
enum Stage {
    Lease = 0,
    Read = 1,
    Refresh = 2,
    Save = 3,
}

impl Progress {
    fn at(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Release);
    }

    /// In words, and whether the refresh token may be spent by now.
    fn words(&self) -> (&'static str, bool) {
        match self.0.load(Ordering::Acquire) {
            0 => ("take the lease", false),
            1 => ("read the session", false),
            2 => ("ask the issuer", true),
            _ => ("save the new tokens", true),
        }
    }
}

struct Work {
    shared: Arc<Shared>,
    ticket: Ticket,
    progress: Arc<Progress>,
}

impl Work {
    async fn run(self) -> Outcome {
        match self.attempt().await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(error),
        }
    }

    async fn attempt(&self) -> Result<Outcome, RefreshError> {
        let purpose = self.ticket.flight.purpose;
        if purpose == Purpose::Look {
            self.progress.at(Stage::Read);
            return self.look().await;
        }
        self.progress.at(Stage::Lease);
        if let Some(mut unsaved) = self.shared.take_unsaved().await {
            // The store has not taken the last tokens yet, and the lease is still held for them:
            // memory knows better than the store.
            let last = self.shared.board.tokens();
            let outcome = self.refresh(last, unsaved.base, &mut unsaved.lease).await;
            if outcome.is_err() {
                self.shared.keep_saving(unsaved);
            }
            return outcome;
        }
        let Some(mut lease) = self.lease().await? else {
            return Ok(Outcome::Yielded);
        };
        self.progress.at(Stage::Read);
        let outcome = match self.shared.read(self.ticket.flight).await? {
            Reading::Adopt(arrival, base) => Ok(Outcome::Adopted(arrival, base)),
            Reading::Superseded => Ok(Outcome::Superseded(None)),
            Reading::RefreshFrom(last, base) => self.refresh(last, base, &mut lease).await,
        };
        if let Some(lease) = lease {
            lease.release().await;
        }
        outcome
    }

    /// The lease; `Some(None)` where there is no coordinator, `None` where an early flight gives
    /// way to somebody else's.
    async fn lease(&self) -> Result<Option<Option<Box<dyn Lease>>>, RefreshError> {
        let shared = &self.shared;
        let Some(coordinator) = &shared.coordinator else {
            return Ok(Some(None));
        };
        let early = self.ticket.flight.purpose == Purpose::Early;
        if early {
            match coordinator.acquire(&shared.key, Duration::ZERO).await {
                Err(LeaseError::Busy { .. })
                    if shared.board.yielded(self.ticket.flight, shared.clock.now()) =>
                {
                    return Ok(None);
                }
                Err(LeaseError::Busy { .. }) => {}
                answer => return answer.map(Some).map(Some).map_err(RefreshError::Lease),
            }
        }
        match coordinator
            .acquire(&shared.key, shared.limits.lease_wait)
            .await
        {
            Ok(lease) => Ok(Some(Some(lease))),
            Err(error) => Err(RefreshError::Lease(error)),
        }
    }

    /// Looks for what others have saved, and refreshes nothing.
    async fn look(&self) -> Result<Outcome, RefreshError> {
        Ok(match self.shared.read(self.ticket.flight).await? {
            Reading::Adopt(arrival, base) => Outcome::Adopted(arrival, base),
            Reading::Superseded => Outcome::Superseded(None),
            Reading::RefreshFrom(..) => Outcome::Failed(RefreshError::NotSignedIn),
        })
    }

    async fn refresh(
        &self,
        last: Option<Arc<TokenSet>>,
        base: Base,
        lease: &mut Option<Box<dyn Lease>>,
    ) -> Result<Outcome, RefreshError> {
        let shared = &self.shared;
        let flight = self.ticket.flight;
        self.hold_long_enough(lease).await?;
        self.progress.at(Stage::Refresh);
        let refreshed = self.ask(last.as_ref(), lease).await?;
        let received = shared.clock.wall();
        let tokens = refreshed.tokens.inherit(last.as_deref()).received(received);
        let tokens = Arc::new(tokens);
        let arrival = shared
            .arrival(Arc::clone(&tokens))
            .map_err(|reason| RefreshError::Unusable { reason })?;
        let after = refreshed.answer.map(|answer| {
            Arc::new(Refreshed {
                tokens: (*tokens).clone(),
                answer: Some(answer),
            })
        });
        self.progress.at(Stage::Save);
        match shared.save(flight, base, &tokens, lease).await {
            Kept::At(base) => Ok(Outcome::Brought(arrival, base, after)),
            Kept::Superseded => Ok(Outcome::Superseded(Some(tokens))),
            Kept::Newer(arrival, base) => Ok(Outcome::Adopted(arrival, base)),
        }
    }

    /// Asks the issuer; once more where an answer was lost and its profile allows that.
    async fn ask(
        &self,
        last: Option<&Arc<TokenSet>>,
        lease: &mut Option<Box<dyn Lease>>,
    ) -> Result<Refreshed, RefreshError> {
        let shared = &self.shared;
        let begun = shared.clock.steady();
        let unsure = match shared.ask_once(last, lease).await {
            Err(error) if error.kind() == FailureKind::Uncertain => error,
            answer => return answer,
        };
        let after = shared.clock.steady().saturating_sub(begun);
        let in_time = after + shared.limits.source_timeout < shared.limits.flight_deadline;
        if !shared.profile.allows_again(after) || !in_time {
            return Err(unsure);
        }
        shared.tell(&Event::PresentedAgain {
            flight: self.ticket.flight.id,
            last_resort: false,
        });
        self.hold_long_enough(lease).await.map_err(|_| unsure)?;
        shared.ask_once(last, lease).await
    }

    /// The lease must outlast the source: checked on a clock that counts suspend, right before
    /// the request.
    async fn hold_long_enough(
        &self,
        lease: &mut Option<Box<dyn Lease>>,
    ) -> Result<(), RefreshError> {
        let Some(lease) = lease else { return Ok(()) };
        let short = |lease: &dyn Lease| {
            lease
                .remaining()
                .is_some_and(|remaining| remaining <= self.shared.limits.source_timeout)
        };
        if short(&**lease) {
            lease.renew().await.map_err(RefreshError::Lease)?;
            if short(&**lease) {
                return Err(RefreshError::Lease(LeaseError::Lost));
            }
        }
        Ok(())
    }
}

/// A flight that has not reported yet. Dropping it, as a runtime does that ends, reports it.
struct Landing {
    shared: Arc<Shared>,
    ticket: Ticket,
    progress: Arc<Progress>,
    begun: Duration,
    landed: bool,
    _busy: crate::tasks::Busy,
}

impl Landing {
    async fn land(mut self, outcome: std::thread::Result<Outcome>) {
        let shared = Arc::clone(&self.shared);
        match outcome {
            Ok(Outcome::Brought(arrival, base, after)) => {
                self.brought(&arrival, base, after).await;
            }
            Ok(Outcome::Adopted(arrival, base)) => self.adopted(&arrival, base),
            Ok(Outcome::Superseded(tokens)) => shared.late(tokens),
            Ok(Outcome::Yielded) => {}
            Ok(Outcome::Failed(error)) => self.failed(error),
            Err(_panic) => {
                let (step, sent) = self.progress.words();
                self.failed(RefreshError::Panicked { step, sent });
            }
        }
        self.landed = true;
        self.ticket.signal.give();
    }

    /// Published first, then the after-hook, then the waiters: a call made inside the hook uses
    /// the new token, and whoever waited finds done what the hook does.
    async fn brought(&self, arrival: &Arrival, base: Base, after: Option<Arc<Refreshed>>) {
        let shared = &self.shared;
        let flight = self.ticket.flight;
        let tokens = Arc::clone(&arrival.credential.tokens);
        let now = shared.clock.now();
        let Some(stamp) = shared.board.refreshed(flight, arrival, base, now) else {
            shared.late(Some(tokens));
            return;
        };
        shared.tell(&Event::Refreshed {
            flight: flight.id,
            generation: stamp.generation,
            lifetime: tokens.lifetime(),
            took: shared.clock.steady().saturating_sub(self.begun),
        });
        if let (Some(hook), Some(refreshed)) = (&shared.after_refresh, after) {
            let limit = shared.limits.after_hook;
            let call = AssertUnwindSafe(async { hook(refreshed).await }).catch_unwind();
            let problem = match runtime::timeout(limit, call).await {
                Some(Ok(Ok(()))) => return,
                Some(Ok(Err(message))) => HookProblem::Failed { message },
                Some(Err(_panic)) => HookProblem::Panicked,
                None => HookProblem::TimedOut { after: limit },
            };
            shared.tell(&Event::HookFailed {
                hook: "after_refresh",
                problem,
            });
        }
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
        let failure = Failure {
            ending: match error.kind() {
                FailureKind::NotSent | FailureKind::Transient => Ending::Transient,
                FailureKind::Uncertain => Ending::Uncertain,
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

    fn overdue(&self) {
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
            self.failed(RefreshError::Abandoned { step, sent });
            self.ticket.signal.give();
        }
    }
}
