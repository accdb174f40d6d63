//! One refresh in its own task: lease, re-read, adopt or refresh, save, and then its landing.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use token_rotator_core::Purpose;

use crate::board::{Arrival, Base, Ticket};
use crate::coordinator::Lease;
use crate::error::{FailureKind, LeaseError, RefreshError};
use crate::event::Event;
use crate::landing::{InHand, Landing, Progress, Stage};
use crate::ledger::{Kept, Reading};
use crate::runtime;
use crate::secret::ExposeSecret;
use crate::shared::{Presented, Shared, lock_std};
use crate::source::Refreshed;
use crate::token_set::TokenSet;
use crate::unsaved::Unsaved;

/// Starts the flight in a task that belongs to nobody: whoever drops their call leaves it running.
pub(crate) fn launch(shared: &Arc<Shared>, ticket: Ticket) {
    let landing = Landing::new(shared, ticket);
    shared.runtime.spawn(fly(landing));
}

async fn fly(landing: Landing) {
    let shared = Arc::clone(&landing.shared);
    let flight = landing.ticket.flight;
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
pub(crate) enum Outcome {
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

/// How a flight's work ended, and the lease it is to give back.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) lease: Option<Box<dyn Lease>>,
}

struct Work {
    shared: Arc<Shared>,
    ticket: Ticket,
    progress: Arc<Progress>,
}

impl Work {
    async fn run(self) -> Ended {
        let mut lease = None;
        let outcome = match self.attempt(&mut lease).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(error),
        };
        Ended { outcome, lease }
    }

    async fn attempt(&self, lease: &mut Option<Box<dyn Lease>>) -> Result<Outcome, RefreshError> {
        let shared = &self.shared;
        let flight = self.ticket.flight;
        if flight.purpose == Purpose::Look {
            self.progress.at(Stage::Read);
            return self.look().await;
        }
        self.progress.at(Stage::Lease);
        if let Some(outcome) = self.refresh_unsaved(lease).await? {
            return Ok(outcome);
        }
        if lease.is_none() && shared.coordinator.is_some() {
            match self.lease().await {
                Ok(None) => return Ok(Outcome::Yielded),
                Ok(taken) => *lease = taken,
                Err(busy @ LeaseError::Busy { .. }) => {
                    // Whoever kept it has refreshed, perhaps.
                    self.progress.at(Stage::Read);
                    return match shared.read(flight).await? {
                        Reading::Adopt(arrival, base) => Ok(Outcome::Adopted(arrival, base)),
                        Reading::Superseded => Ok(Outcome::Superseded(None)),
                        Reading::RefreshFrom(..) => Err(RefreshError::Lease(busy)),
                    };
                }
                Err(error) => return Err(RefreshError::Lease(error)),
            }
        }
        self.progress.at(Stage::Read);
        let (outcome, unsaved) = match shared.read(flight).await? {
            Reading::Adopt(arrival, base) => return Ok(Outcome::Adopted(arrival, base)),
            Reading::Superseded => return Ok(Outcome::Superseded(None)),
            Reading::RefreshFrom(last, base) => self.refresh(last, base, lease).await?,
        };
        if let Some(unsaved) = unsaved {
            *shared.unsaved.lock().await = Some(*unsaved);
            shared.keep_saving();
        }
        Ok(outcome)
    }

    /// The store has not taken the last tokens yet, and the lease is still held for them: memory
    /// knows better than the store. `None`: there is no such thing (any more); a lease that was
    /// held for it is handed on.
    async fn refresh_unsaved(
        &self,
        lease: &mut Option<Box<dyn Lease>>,
    ) -> Result<Option<Outcome>, RefreshError> {
        let shared = &self.shared;
        // Held to the end of the flight: nothing else is to be saved meanwhile.
        let mut place = shared.unsaved.lock().await;
        let Some(unsaved) = place.as_mut() else {
            return Ok(None);
        };
        if shared.flush(unsaved).await {
            *lease = place.take().and_then(|unsaved| unsaved.lease);
            return Ok(None);
        }
        shared.keep_saving();
        if unsaved.lease.is_none() && shared.coordinator.is_some() {
            match self.lease().await.map_err(RefreshError::Lease)? {
                None => return Ok(Some(Outcome::Yielded)),
                taken => unsaved.lease = taken,
            }
        }
        let (last, base) = (shared.board.tokens(), unsaved.base);
        // The lease stays in its place, or a panic would take it along.
        let (outcome, again) = self.refresh(last, base, &mut unsaved.lease).await?;
        match again {
            Some(again) => *unsaved = *again,
            None => *lease = place.take().and_then(|unsaved| unsaved.lease),
        }
        Ok(Some(outcome))
    }

    /// The lease; `None` where an early flight gives way to somebody else's, or where there is no
    /// coordinator.
    async fn lease(&self) -> Result<Option<Box<dyn Lease>>, LeaseError> {
        let shared = &self.shared;
        let Some(coordinator) = &shared.coordinator else {
            return Ok(None);
        };
        if self.ticket.flight.purpose == Purpose::Early {
            match coordinator.acquire(&shared.key, Duration::ZERO).await {
                Err(LeaseError::Busy { .. }) => {
                    if shared.board.yielded(self.ticket.flight, shared.clock.now()) {
                        return Ok(None);
                    }
                }
                answer => return answer.map(Some),
            }
        }
        let wait = shared.limits.lease_wait;
        coordinator.acquire(&shared.key, wait).await.map(Some)
    }

    /// Looks for what others have saved, and refreshes nothing.
    async fn look(&self) -> Result<Outcome, RefreshError> {
        let shared = &self.shared;
        let flight = self.ticket.flight;
        let known = shared.board.base(flight).map_or(0, |base| base.floor);
        Ok(match shared.read(flight).await? {
            Reading::Adopt(arrival, base) => Outcome::Adopted(arrival, base),
            Reading::Superseded => Outcome::Superseded(None),
            // Expired meanwhile, but its refresh token is newer than the one that was refused.
            Reading::RefreshFrom(Some(newer), base) if base.floor > known => {
                match shared.arrival(newer) {
                    Ok(arrival) => Outcome::Adopted(arrival, base),
                    Err(reason) => Outcome::Failed(RefreshError::Unusable { reason }),
                }
            }
            Reading::RefreshFrom(..) => Outcome::Failed(RefreshError::NotSignedIn),
        })
    }

    /// Asks the issuer, and saves what it answers.
    async fn refresh(
        &self,
        last: Option<Arc<TokenSet>>,
        base: Base,
        lease: &mut Option<Box<dyn Lease>>,
    ) -> Result<(Outcome, Option<Box<Unsaved>>), RefreshError> {
        let shared = &self.shared;
        let refused = match self.ask(last.as_ref(), lease).await {
            Ok(refreshed) => return self.bring(refreshed, last, base, lease).await,
            Err(error) if error.kind() == FailureKind::Terminal => error,
            Err(error) => return Err(error),
        };
        if shared.store.is_none() {
            return Err(refused);
        }
        // The session ends only if nobody has saved anything newer.
        self.progress.at(Stage::Read);
        match shared.read(self.ticket.flight).await? {
            Reading::Adopt(arrival, base) => Ok((Outcome::Adopted(arrival, base), None)),
            Reading::Superseded => Ok((Outcome::Superseded(None), None)),
            Reading::RefreshFrom(newer, found) if found.floor > base.floor => {
                let refreshed = self.ask(newer.as_ref(), lease).await?;
                self.bring(refreshed, newer, found, lease).await
            }
            Reading::RefreshFrom(..) => Err(refused),
        }
    }

    async fn bring(
        &self,
        refreshed: Refreshed,
        last: Option<Arc<TokenSet>>,
        base: Base,
        lease: &mut Option<Box<dyn Lease>>,
    ) -> Result<(Outcome, Option<Box<Unsaved>>), RefreshError> {
        let shared = &self.shared;
        let flight = self.ticket.flight;
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
        self.progress.save(InHand {
            arrival: arrival.clone(),
            base,
        });
        let kept = shared.save(flight, base, &tokens, lease).await;
        Ok(match kept {
            Kept::At(base) => (Outcome::Brought(arrival, base, after), None),
            Kept::Unsaved(unsaved) => (Outcome::Brought(arrival, base, after), Some(unsaved)),
            Kept::Superseded => (Outcome::Superseded(Some(tokens)), None),
            Kept::Newer(arrival, base) => (Outcome::Adopted(arrival, base), None),
        })
    }

    /// Asks the issuer; once more where an answer was lost and its profile allows that.
    async fn ask(
        &self,
        last: Option<&Arc<TokenSet>>,
        lease: &mut Option<Box<dyn Lease>>,
    ) -> Result<Refreshed, RefreshError> {
        let shared = &self.shared;
        let profile = shared.profile;
        self.hold_long_enough(lease).await?;
        self.progress.at(Stage::Refresh);
        let doubted = self.present(last);
        if let Some(since) = doubted {
            self.say_presented_again(!profile.allows_again(since));
        }
        let answer = shared.ask_once(last, lease).await;
        self.note(&answer, doubted.is_some());
        let unsure = match answer {
            Err(error) if error.kind() == FailureKind::Uncertain => error,
            answer => return answer,
        };
        // To present it again may make the flight overdue, which its waiters survive; a window
        // that has closed is not opened again.
        let since = self.present(last).unwrap_or_default();
        if !profile.allows_again(since) {
            return Err(unsure);
        }
        self.hold_long_enough(lease).await.map_err(|_| unsure)?;
        self.say_presented_again(false);
        let answer = shared.ask_once(last, lease).await;
        self.note(&answer, true);
        answer
    }

    fn say_presented_again(&self, last_resort: bool) {
        self.shared.tell(&Event::PresentedAgain {
            flight: self.ticket.flight.id,
            last_resort,
        });
    }

    /// Notes that this refresh token is about to be sent. How long ago it was first sent, if what
    /// became of that is in doubt.
    fn present(&self, last: Option<&Arc<TokenSet>>) -> Option<Duration> {
        let now = self.shared.clock.steady();
        let tokens = last?;
        let mut presented = lock_std(&self.shared.presented);
        if let Some(before) = &*presented
            && same_refresh_token(&before.tokens, tokens)
        {
            return Some(now.saturating_sub(before.at));
        }
        *presented = Some(Presented {
            tokens: Arc::clone(tokens),
            at: now,
        });
        None
    }

    /// Forgets that the refresh token was sent, if the answer says what became of it.
    fn note(&self, answer: &Result<Refreshed, RefreshError>, doubted: bool) {
        let clear = match answer.as_ref().map_err(RefreshError::kind) {
            Ok(_) | Err(FailureKind::Terminal) => true,
            Err(FailureKind::Uncertain) => false,
            // It was not spent this time, which says nothing of the time before.
            Err(_) => !doubted,
        };
        if clear {
            *lock_std(&self.shared.presented) = None;
        }
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

fn same_refresh_token(one: &TokenSet, other: &TokenSet) -> bool {
    let text = |tokens: &TokenSet| {
        let token = tokens.refresh_token();
        token.map(|token| token.expose_secret().to_owned())
    };
    text(one).is_some() && text(one) == text(other)
}
