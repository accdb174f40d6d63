//! One refresh in its own task: lease, re-read, adopt or refresh, save, and then its landing.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
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
use crate::ledger::{Kept, Reading, Start, same_tokens};
use crate::present::Stop;
use crate::runtime;
use crate::shared::Shared;
use crate::source::Refreshed;
use crate::token_set::TokenSet;
use crate::unsaved::{Pending, Unsaved};

/// How often the record may change under a flight before it gives up.
const MOVES_MAX: u32 = 16;

/// The least time between two readings of a record while others hold the lease.
const NEWS_PAUSE: Duration = Duration::from_millis(50);

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
    let mut deadline = pin!(runtime::sleep(shared.limits.flight_deadline));
    let outcome = match select(Box::pin(work), deadline.as_mut()).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(((), work)) => {
            landing.overdue();
            let outcome = work.await;
            return landing.land(outcome, std::future::ready(())).await;
        }
    };
    landing.land(outcome, deadline).await;
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

/// The lease, or why none is needed.
enum Leased {
    Taken(Box<dyn Lease>),
    /// There is no coordinator to take one from.
    Without,
    /// An early flight gives way to somebody else's.
    Yielded,
    /// While waiting for it: others have done what the flight was to do.
    News(Outcome),
}

pub(crate) struct Work {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ticket: Ticket,
    pub(crate) progress: Arc<Progress>,
}

impl Work {
    async fn run(self) -> Ended {
        let mut lease = None;
        let outcome = match self.attempt(&mut lease).await {
            Ok(outcome) => outcome,
            Err(RefreshError::SessionChanged) => Outcome::Superseded(None),
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
        if let Some(pending) = shared.pending(flight.began) {
            self.progress.at(Stage::Save);
            if let Some(outcome) = self.refresh_unsaved(&pending, lease).await? {
                return Ok(outcome);
            }
        }
        let mut seen = None;
        if shared.store.is_some() && lease.is_none() && shared.coordinator.is_some() {
            // What others have refreshed already needs no lease.
            self.progress.at(Stage::Read);
            match self.read().await? {
                Found::Done(outcome) => return Ok(outcome),
                Found::Start(start) => seen = start.base.seen,
            }
        }
        if lease.is_none() {
            self.progress.at(Stage::Lease);
            match self.lease(seen).await {
                Ok(Leased::Taken(taken)) => *lease = Some(taken),
                Ok(Leased::Without) => {}
                Ok(Leased::Yielded) => return Ok(Outcome::Yielded),
                Ok(Leased::News(outcome)) => return Ok(outcome),
                Err(busy @ LeaseError::Busy { .. }) => return self.without_lease(busy).await,
                Err(error) => return Err(RefreshError::Lease(error)),
            }
        }
        self.progress.at(Stage::Read);
        let start = match self.read().await? {
            Found::Done(outcome) => return Ok(outcome),
            Found::Start(start) => start,
        };
        let (outcome, unsaved) = self.refresh(start, lease, shared.journals()).await?;
        if let Some(unsaved) = unsaved {
            shared.keep_unsaved(*unsaved);
        }
        Ok(outcome)
    }

    /// Whoever kept the lease has refreshed, perhaps.
    async fn without_lease(&self, busy: LeaseError) -> Result<Outcome, RefreshError> {
        self.progress.at(Stage::Read);
        match self.read().await? {
            Found::Done(outcome) => Ok(outcome),
            Found::Start(_) => Err(RefreshError::Lease(busy)),
        }
    }

    /// The store has not taken the last tokens yet, and the lease is still held for them: memory
    /// knows better than the store. `None`: there is no such thing (any more); a lease that was
    /// held for it is handed on.
    async fn refresh_unsaved(
        &self,
        pending: &Arc<Pending>,
        lease: &mut Option<Box<dyn Lease>>,
    ) -> Result<Option<Outcome>, RefreshError> {
        let shared = &self.shared;
        // Held to the end of the flight: nothing else is to be saved meanwhile.
        let mut place = pending.hold().await;
        let Some(unsaved) = place.as_mut() else {
            return Ok(None);
        };
        if shared.flush(unsaved).await.is_ok() {
            *lease = place.take().and_then(|unsaved| unsaved.lease);
            shared.forget(pending);
            return Ok(None);
        }
        if unsaved.lease.is_none() {
            match self.lease(unsaved.base.seen).await {
                Ok(Leased::Taken(taken)) => unsaved.lease = Some(taken),
                Ok(Leased::Without) => {}
                Ok(Leased::Yielded) => return Ok(Some(Outcome::Yielded)),
                Ok(Leased::News(outcome)) => return Ok(Some(outcome)),
                Err(busy @ LeaseError::Busy { .. }) => {
                    return self.without_lease(busy).await.map(Some);
                }
                Err(error) => return Err(RefreshError::Lease(error)),
            }
        }
        // Those of this flight's sign-in and no other: the session may have changed meanwhile.
        let Some((_, last)) = shared.board.standing(self.ticket.flight) else {
            return Ok(Some(Outcome::Superseded(None)));
        };
        let start = Start {
            last,
            base: unsaved.base,
            intent: None,
            older: unsaved.and_older(),
        };
        // The lease stays in its place, or a panic would take it along. No intent is written: the
        // store takes nothing, and what it holds is spent already.
        let (outcome, again) = self.refresh(start, &mut unsaved.lease, false).await?;
        if let Some(again) = again {
            let before = place.take();
            *place = Some(again.in_place_of(before));
        } else {
            *lease = place.take().and_then(|unsaved| unsaved.lease);
            shared.forget(pending);
        }
        Ok(Some(outcome))
    }

    /// The lease. While others hold it, what they save is news as soon as the store tells.
    async fn lease(&self, seen: Option<crate::store::Version>) -> Result<Leased, LeaseError> {
        let shared = &self.shared;
        if shared.coordinator.is_none() {
            return Ok(Leased::Without);
        }
        if self.ticket.flight.purpose == Purpose::Early {
            match shared.acquire(Duration::ZERO).await {
                Err(LeaseError::Busy { .. }) => {
                    if shared.board.yielded(self.ticket.flight, shared.clock.now()) {
                        return Ok(Leased::Yielded);
                    }
                }
                answer => return answer.map(Leased::Taken),
            }
        }
        let mut lease = pin!(shared.acquire(shared.limits.lease_wait));
        let mut seen = seen;
        let Some(store) = &shared.store else {
            return lease.await.map(Leased::Taken);
        };
        loop {
            let changed = store.changed(&shared.key, seen);
            match select(lease.as_mut(), changed).await {
                Either::Left((answer, _)) => return answer.map(Leased::Taken),
                Either::Right(((), _)) => match self.read().await {
                    Ok(Found::Done(outcome)) => return Ok(Leased::News(outcome)),
                    Ok(Found::Start(start)) => seen = start.base.seen,
                    // It is read again under the lease, where its failure counts.
                    Err(_) => return lease.await.map(Leased::Taken),
                },
            }
            // A store that tells of news at every turn keeps neither this thread nor the store busy.
            let pause = pin!(runtime::sleep(NEWS_PAUSE));
            if let Either::Left((answer, _)) = select(lease.as_mut(), pause).await {
                return answer.map(Leased::Taken);
            }
        }
    }

    async fn read(&self) -> Result<Found, RefreshError> {
        Ok(match self.shared.read(self.ticket.flight).await? {
            Reading::Adopt(arrival, base) => Found::Done(Outcome::Adopted(arrival, base)),
            Reading::Superseded => Found::Done(Outcome::Superseded(None)),
            Reading::RefreshFrom(start) => Found::Start(start),
        })
    }

    /// Looks for what others have saved, and refreshes nothing.
    async fn look(&self) -> Result<Outcome, RefreshError> {
        let shared = &self.shared;
        let here = shared.board.tokens();
        Ok(match self.read().await? {
            Found::Done(outcome) => outcome,
            // Expired meanwhile, but its refresh token is newer than the one that was refused.
            Found::Start(Start {
                last: Some(newer),
                base,
                ..
            }) if here.is_none_or(|here| !same_tokens(&here, &newer)) => {
                match shared.arrival(newer) {
                    Ok(arrival) => Outcome::Adopted(arrival, base),
                    Err(reason) => Outcome::Failed(RefreshError::Unusable { reason }),
                }
            }
            Found::Start(_) => Outcome::Failed(RefreshError::NotSignedIn),
        })
    }

    /// Asks the issuer, and saves what it answers.
    async fn refresh(
        &self,
        mut start: Start,
        lease: &mut Option<Box<dyn Lease>>,
        journalled: bool,
    ) -> Result<(Outcome, Option<Box<Unsaved>>), RefreshError> {
        let shared = &self.shared;
        let mut refused_once = false;
        for _ in 0..MOVES_MAX {
            let refused = match self.ask(&mut start, lease, journalled).await {
                Ok(refreshed) => return self.bring(refreshed, start, lease).await,
                Err(Stop::Moved) => None,
                Err(Stop::Failed(error)) if error.kind() == FailureKind::Terminal => Some(error),
                Err(Stop::Failed(error)) => return Err(error),
            };
            if let (None, Some(error)) = (&shared.store, &refused) {
                return Err(error.clone());
            }
            // Somebody has written the record; or the session ends, but only if nobody has saved
            // anything newer.
            self.progress.at(Stage::Read);
            let newer = match self.read().await? {
                Found::Done(outcome) => return Ok((outcome, None)),
                Found::Start(newer) => newer,
            };
            if let Some(error) = refused {
                let same = match (&newer.last, &start.last) {
                    (Some(newer), Some(last)) => same_tokens(newer, last),
                    (None, None) => true,
                    _ => false,
                };
                if same || refused_once {
                    if journalled && !matches!(error, RefreshError::Refused) {
                        self.write_refused(&mut start).await;
                    }
                    return Err(error);
                }
                refused_once = true;
            }
            start = newer;
        }
        Err(RefreshError::Store(crate::ledger::conflicts()))
    }

    async fn bring(
        &self,
        refreshed: Refreshed,
        start: Start,
        lease: &mut Option<Box<dyn Lease>>,
    ) -> Result<(Outcome, Option<Box<Unsaved>>), RefreshError> {
        let shared = &self.shared;
        let flight = self.ticket.flight;
        let received = shared.clock.wall();
        let last = start.last.as_deref();
        let tokens = Arc::new(refreshed.tokens.inherit(last).received(received));
        let arrival = shared.arrival(Arc::clone(&tokens));
        self.progress.save(InHand {
            tokens: Arc::clone(&tokens),
            arrival: arrival.clone().ok(),
            base: start.base,
            older: start.older.clone(),
        });
        if let Some(lease) = lease {
            // If it is lost all the same, compare-and-swap is what protects the record.
            let _ = shared.hold_long_enough(lease).await;
        }
        let kept = shared.save(flight, start, &tokens, lease).await;
        let arrival = match arrival {
            Ok(arrival) => arrival,
            Err(reason) => {
                // It cannot be sent, but its refresh token is the one to go on with.
                match kept {
                    Kept::Unsaved(unsaved) => shared.keep_unsaved(*unsaved),
                    Kept::Superseded => return Ok((Outcome::Superseded(Some(tokens)), None)),
                    Kept::Newer(arrival, base) => {
                        return Ok((Outcome::Adopted(arrival, base), None));
                    }
                    Kept::At(_) => {}
                }
                shared.board.go_on_with(flight, tokens);
                return Err(RefreshError::Unusable { reason });
            }
        };
        let after = refreshed.answer.map(|answer| {
            Arc::new(Refreshed {
                tokens: (*tokens).clone(),
                answer: Some(answer),
            })
        });
        Ok(match kept {
            Kept::At(base) => (Outcome::Brought(arrival, base, after), None),
            Kept::Unsaved(unsaved) => (
                Outcome::Brought(arrival, unsaved.base, after),
                Some(unsaved),
            ),
            Kept::Superseded => (Outcome::Superseded(Some(tokens)), None),
            Kept::Newer(arrival, base) => (Outcome::Adopted(arrival, base), None),
        })
    }
}

/// What is in the record, for a flight.
enum Found {
    /// Nothing is left to do.
    Done(Outcome),
    Start(Start),
}
