//! Presenting a refresh token: the plan, the intent written down before, the request, and what its
//! outcome says about the intent.

use std::sync::Arc;
use std::time::Duration;

use crate::coordinator::Lease;
use crate::error::{FailureKind, LeaseError, RefreshError, StoreError};
use crate::event::Event;
use crate::flight::Work;
use crate::intent::{Intent, IntentOutcome, TokenHash};
use crate::journal::{Plan, Situation};
use crate::landing::Stage;
use crate::ledger::Start;
use crate::runtime;
use crate::source::Refreshed;
use crate::store::{DynStore, Record, Saved};
use token_rotator_core::Purpose;

/// Why there is no answer from the issuer.
pub(crate) enum Stop {
    /// Somebody has written the record meanwhile: read it again.
    Moved,
    Failed(RefreshError),
}

impl From<RefreshError> for Stop {
    fn from(error: RefreshError) -> Self {
        Self::Failed(error)
    }
}

impl Work {
    /// Asks the issuer; once more where an answer was lost and its profile allows that. Where
    /// `journalled`, intents are written into the store first.
    pub(crate) async fn ask(
        &self,
        start: &mut Start,
        lease: &mut Option<Box<dyn Lease>>,
        journalled: bool,
    ) -> Result<Refreshed, Stop> {
        let shared = &self.shared;
        let profile = shared.profile;
        let hash = start.last.as_deref().and_then(TokenHash::of);
        let Some(hash) = hash.filter(|_| profile.counts_uses()) else {
            // Nothing that could be spent.
            self.about_to_send(lease).await?;
            let answer = shared.ask_once(start.last.as_ref(), lease).await;
            return match answer {
                Err(error) if self.may_repeat(&error) => {
                    self.about_to_send(lease).await.map_err(|_| error)?;
                    self.say_presented_again(false);
                    Ok(shared.ask_once(start.last.as_ref(), lease).await?)
                }
                answer => Ok(answer?),
            };
        };
        let epoch = self.ticket.flight.began.epoch;
        let before = shared.journal.in_doubt(epoch, hash, start.intent);
        let (intent, again) = match self.plan(hash, start) {
            Plan::Present(intent) => (intent, None),
            Plan::Again(intent) => (intent, Some(false)),
            Plan::LastResort(intent) => (intent, Some(true)),
            Plan::Hold => return Err(RefreshError::InDoubt { wait: None }.into()),
            Plan::Wait(wait) => return Err(RefreshError::InDoubt { wait: Some(wait) }.into()),
            Plan::Refused => return Err(RefreshError::Refused.into()),
        };
        self.write_intent(start, intent, journalled).await?;
        if let Err(error) = self.about_to_send(lease).await {
            self.withdraw(start, before, journalled).await;
            return Err(error.into());
        }
        if let Some(last_resort) = again {
            self.say_presented_again(last_resort);
        }
        let now = shared.clock.steady();
        shared.journal.sending(epoch, &intent, now);
        let answer = shared.ask_once(start.last.as_ref(), lease).await;
        let unsure = match answer {
            Err(error) if error.kind() == FailureKind::Uncertain => error,
            answer => return self.conclude(start, before, answer, journalled).await,
        };
        // To present it again may make the flight overdue, which its waiters survive; a window
        // that has closed is not opened again.
        let Plan::Again(intent) = self.plan(hash, start) else {
            return self.conclude(start, before, Err(unsure), journalled).await;
        };
        let written = self.write_intent(start, intent, journalled).await;
        if written.is_err() || self.about_to_send(lease).await.is_err() {
            return self.conclude(start, before, Err(unsure), journalled).await;
        }
        self.say_presented_again(false);
        let answer = shared.ask_once(start.last.as_ref(), lease).await;
        let before = Some(intent.with_outcome(IntentOutcome::Uncertain));
        self.conclude(start, before, answer, journalled).await
    }

    /// Without anything to spend, only the profile says whether a request may be repeated.
    fn may_repeat(&self, error: &RefreshError) -> bool {
        let profile = self.shared.profile;
        error.kind() == FailureKind::Uncertain && profile.allows_again(Duration::ZERO)
    }

    fn plan(&self, token: TokenHash, start: &Start) -> Plan {
        let shared = &self.shared;
        let now = shared.clock.now();
        shared.journal.plan(&Situation {
            epoch: self.ticket.flight.began.epoch,
            token,
            found: start.intent,
            profile: shared.profile,
            wall: shared.clock.wall(),
            steady: shared.clock.steady(),
            usable: shared.board.usable(now).is_some(),
            forced: self.ticket.flight.purpose == Purpose::Forced,
            linger: shared.linger(),
        })
    }

    /// Writes down that the refresh token is about to be presented.
    async fn write_intent(
        &self,
        start: &mut Start,
        intent: Intent,
        journalled: bool,
    ) -> Result<(), Stop> {
        let shared = &self.shared;
        let epoch = self.ticket.flight.began.epoch;
        self.progress.at(Stage::Journal);
        // First here: if the store's answer is lost, the intent that is found there is known.
        shared.journal.writing(epoch, intent);
        let Some(store) = shared.store.as_ref().filter(|_| journalled) else {
            shared.journal.written(epoch, &intent);
            start.intent = Some(intent);
            return Ok(());
        };
        match self.put_intent(&**store, start, Some(intent)).await {
            Ok(true) => {
                shared.journal.written(epoch, &intent);
                Ok(())
            }
            Ok(false) => Err(Stop::Moved),
            Err(error) => Err(RefreshError::Store(error).into()),
        }
    }

    /// The same record with another intent; false: somebody has written it meanwhile.
    async fn put_intent(
        &self,
        store: &dyn DynStore,
        start: &mut Start,
        intent: Option<Intent>,
    ) -> Result<bool, StoreError> {
        let shared = &self.shared;
        let version = start.base.next(start.base.seen);
        let record = Record {
            version,
            tokens: start.last.clone(),
            intent,
        };
        let saved = shared.put(store, start.base.seen, record).await?;
        let stored = matches!(saved, Saved::Stored);
        if stored {
            shared.board.saw(self.ticket.flight.began, version);
            start.wrote(version, intent);
        }
        Ok(stored)
    }

    /// What the answer says about the intent is written down as well as can be: if that fails,
    /// whoever finds the intent is more careful than they need be.
    async fn conclude(
        &self,
        start: &mut Start,
        before: Option<Intent>,
        answer: Result<Refreshed, RefreshError>,
        journalled: bool,
    ) -> Result<Refreshed, Stop> {
        let journal = &self.shared.journal;
        let epoch = self.ticket.flight.began.epoch;
        match answer.as_ref().map_err(RefreshError::kind) {
            // The save of what it brought ends the intent in the record.
            Ok(_) => journal.clear(epoch),
            // Told in the record once it was read again.
            Err(FailureKind::Terminal) => {
                self.progress.answered();
                journal.clear(epoch);
            }
            Err(FailureKind::Uncertain) => {
                let intent = start.intent.or(before);
                if let Some(intent) = intent {
                    let intent = intent.with_outcome(IntentOutcome::Uncertain);
                    journal.uncertain(epoch, intent);
                    self.amend(start, Some(intent), journalled).await;
                }
            }
            Err(_) => {
                self.progress.answered();
                self.withdraw(start, before, journalled).await;
            }
        }
        Ok(answer?)
    }

    async fn withdraw(&self, start: &mut Start, before: Option<Intent>, journalled: bool) {
        let epoch = self.ticket.flight.began.epoch;
        self.shared.journal.withdraw(epoch, before);
        self.amend(start, before, journalled).await;
    }

    /// The issuer will not take this refresh token any more: nobody else need try.
    pub(crate) async fn write_refused(&self, start: &mut Start) {
        let refused = start
            .intent
            .map(|intent| intent.with_outcome(IntentOutcome::Refused));
        if refused.is_some() {
            self.amend(start, refused, true).await;
        }
    }

    /// Writes what became of an intent, as well as can be.
    async fn amend(&self, start: &mut Start, intent: Option<Intent>, journalled: bool) {
        let Some(store) = self.shared.store.as_ref().filter(|_| journalled) else {
            start.intent = intent;
            return;
        };
        // Whoever finds the intent as it stands is more careful than they need be.
        let _ = self.put_intent(&**store, start, intent).await;
    }

    /// The last look before the request: the session must be the same, and the lease must outlast
    /// the source, on a clock that counts suspend.
    async fn about_to_send(&self, lease: &mut Option<Box<dyn Lease>>) -> Result<(), RefreshError> {
        let shared = &self.shared;
        if let Some(lease) = lease {
            shared.hold_long_enough(lease).await?;
        }
        if shared.board.base(self.ticket.flight.began).is_none() {
            return Err(RefreshError::SessionChanged);
        }
        self.progress.at(Stage::Refresh);
        Ok(())
    }

    fn say_presented_again(&self, last_resort: bool) {
        self.shared.tell(&Event::PresentedAgain {
            flight: self.ticket.flight.id,
            last_resort,
        });
    }
}

impl crate::shared::Shared {
    /// Renews the lease if it might not last for one more request.
    pub(crate) async fn hold_long_enough(
        &self,
        lease: &mut Box<dyn Lease>,
    ) -> Result<(), RefreshError> {
        let short = |lease: &dyn Lease| {
            lease
                .remaining()
                .is_some_and(|remaining| remaining <= self.limits.source_timeout)
        };
        if short(&**lease) {
            self.renew(lease).await.map_err(RefreshError::Lease)?;
            if short(&**lease) {
                return Err(RefreshError::Lease(LeaseError::Lost));
            }
        }
        Ok(())
    }

    /// Renews the lease; a coordinator that does not answer has lost it.
    pub(crate) async fn renew(&self, lease: &mut Box<dyn Lease>) -> Result<(), LeaseError> {
        let limit = self.limits.source_timeout;
        match runtime::timeout(limit, lease.renew()).await {
            Some(answer) => answer,
            None => Err(LeaseError::Unavailable {
                message: Arc::from(format!("the lease was not renewed within {limit:?}")),
                cause: None,
            }),
        }
    }
}
