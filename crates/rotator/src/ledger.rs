//! The record in the store: reading it, saving what a flight brought, and writing sign-ins and
//! sign-outs, which win over everything.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use token_rotator_core::{Flight, Stamp};

use crate::board::{Arrival, Base, Followed};
use crate::coordinator::Lease;
use crate::error::{RefreshError, StoreError, StoreErrorKind};
use crate::event::Event;
use crate::runtime;
use crate::secret::ExposeSecret;
use crate::shared::Shared;
use crate::store::{DynStore, Epoch, Record, Saved, Version};
use crate::token_set::TokenSet;
use crate::unsaved::{SAVE_AGAIN, SAVE_AGAIN_MAX, Unsaved, Verdict};

/// How often compare-and-swap may lose in a row before the store counts as unusable.
const CONFLICTS_MAX: u32 = 16;

/// What a flight finds under the lease.
pub(crate) enum Reading {
    /// Somebody else has refreshed: serve theirs.
    Adopt(Arrival, Base),
    /// Refresh from this token set.
    RefreshFrom(Option<Arc<TokenSet>>, Base),
    /// The session is another by now.
    Superseded,
}

/// Where the tokens of a flight are now.
pub(crate) enum Kept {
    /// In the store, or in memory where there is none.
    At(Base),
    /// In memory: the store has failed to take them.
    Unsaved(Box<Unsaved>),
    /// Nowhere: the session is another by now.
    Superseded,
    /// Nowhere: somebody else has saved newer ones.
    Newer(Arrival, Base),
}

impl Shared {
    /// Reads the record and decides, for the flight, what to do with it.
    pub(crate) async fn read(
        self: &Arc<Self>,
        flight: Flight<u64>,
    ) -> Result<Reading, RefreshError> {
        let Some(store) = &self.store else {
            return Ok(match self.board.base(flight) {
                Some(base) => Reading::RefreshFrom(self.board.tokens(), base),
                None => Reading::Superseded,
            });
        };
        if self.board.unwritten(flight.began).is_some() {
            // A flight goes by what was signed in here, so that has to be in the store first.
            self.write_epoch(&**store, flight.began)
                .await
                .map_err(RefreshError::Store)?;
        }
        let record = self.load(&**store).await.map_err(RefreshError::Store)?;
        let Some(base) = self.board.base(flight) else {
            return Ok(Reading::Superseded);
        };
        let here = self.board.tokens();
        let Some(record) = record else {
            // A lost store, not a sign-out: what is in memory is all there is.
            return Ok(Reading::RefreshFrom(here, Base { seen: None, ..base }));
        };
        let found = Base {
            floor: base.floor.max(record.version.revision),
            ..Base::at(record.version)
        };
        let foreign = base.epoch.is_some_and(|epoch| Some(epoch) != found.epoch);
        if foreign || (record.tokens.is_none() && base.epoch.is_none()) {
            self.follow(flight.began, &record);
            return Ok(Reading::Superseded);
        }
        // Revisions that were seen before tell nothing new: what is in memory is as new, and newer
        // where it has not been saved.
        if record.version.revision <= base.floor && here.is_some() {
            return Ok(Reading::RefreshFrom(here, found));
        }
        if let Some(tokens) = &record.tokens
            && let Some(arrival) = self.usable(tokens)
        {
            return Ok(Reading::Adopt(arrival, found));
        }
        Ok(Reading::RefreshFrom(record.tokens, found))
    }

    /// Saves what a flight brought. Where the store fails, the answer says what is left to save,
    /// and the lease goes with it.
    pub(crate) async fn save(
        self: &Arc<Self>,
        flight: Flight<u64>,
        base: Base,
        tokens: &Arc<TokenSet>,
        lease: &mut Option<Box<dyn Lease>>,
    ) -> Kept {
        if self.board.base(flight).is_none() {
            return Kept::Superseded;
        }
        let Some(store) = &self.store else {
            return Kept::At(base);
        };
        let mut unsaved = Unsaved::new(flight.began, base, Arc::clone(tokens));
        let mut failure = conflicts();
        for _ in 0..CONFLICTS_MAX {
            match self.attempt(&**store, &unsaved).await {
                Ok(Saved::Stored) => return Kept::At(Base::at(unsaved.record.version)),
                Ok(Saved::Conflict(theirs)) => match self.compare(theirs.as_ref(), &unsaved) {
                    Verdict::Same => return Kept::At(Base::at(unsaved.record.version)),
                    Verdict::Superseded => return Kept::Superseded,
                    Verdict::Newer(arrival, base) => return Kept::Newer(arrival, base),
                    Verdict::Ours => unsaved.rebase(theirs.map(|record| record.version)),
                },
                Err(error) => {
                    failure = error;
                    break;
                }
            }
        }
        unsaved.attempts = 1;
        unsaved.lease = lease.take();
        self.tell(&Event::SaveFailed {
            error: failure,
            attempts: 1,
        });
        Kept::Unsaved(Box::new(unsaved))
    }

    /// After a lost compare-and-swap: does what the store holds win over what we bring?
    pub(crate) fn compare(self: &Arc<Self>, theirs: Option<&Record>, ours: &Unsaved) -> Verdict {
        let Some(record) = theirs else {
            return Verdict::Ours;
        };
        let same_epoch = record.version.epoch == ours.record.version.epoch;
        // Where no sign-in was known here, that of the first record is ours too.
        if !same_epoch && (ours.base.epoch.is_some() || record.tokens.is_none()) {
            self.follow(ours.began, record);
            return Verdict::Superseded;
        }
        let Some(tokens) = &record.tokens else {
            return Verdict::Ours;
        };
        if ours.holds(tokens) && same_epoch {
            // Our own write, whose answer was lost.
            return Verdict::Same;
        }
        if same_epoch && record.version.revision < ours.record.version.revision {
            return Verdict::Ours;
        }
        match self.arrival(Arc::clone(tokens)) {
            Ok(arrival) => Verdict::Newer(arrival, Base::at(record.version)),
            Err(_unusable) => Verdict::Ours,
        }
    }

    /// Somebody else has signed in or out: so it is here, unless that is known already.
    fn follow(self: &Arc<Self>, began: Stamp<u64>, record: &Record) {
        let arrival = record
            .tokens
            .as_ref()
            .and_then(|tokens| self.arrival(Arc::clone(tokens)).ok());
        let base = Base::at(record.version);
        match self.board.follow(began, arrival, base, self.clock.now()) {
            Followed::SignedIn(stamp) => self.tell(&Event::SignedIn {
                generation: stamp.generation,
            }),
            Followed::SignedOut => self.tell(&Event::SignedOut),
            Followed::Not => {}
        }
    }

    /// The tokens as an arrival, if they could be served now in place of those that are here.
    fn usable(&self, tokens: &Arc<TokenSet>) -> Option<Arrival> {
        let arrival = self.arrival(Arc::clone(tokens)).ok()?;
        let here = self.board.tokens();
        let same = here.is_some_and(|here| same_access_token(&here, tokens));
        let wall = self.clock.wall_millis();
        let expired = arrival.validity.expires_at.is_some_and(|at| wall >= at);
        (!same && !expired).then_some(arrival)
    }

    /// Writes a sign-in or sign-out into the store, over whatever it holds, unless the session has
    /// moved on since.
    async fn write_epoch(&self, store: &dyn DynStore, stamp: Stamp<u64>) -> Result<(), StoreError> {
        let _turn = self.epoch_writes.lock().await;
        for _ in 0..CONFLICTS_MAX {
            let Some((base, tokens)) = self.board.unwritten(stamp) else {
                return Ok(());
            };
            let found = self.load(store).await?.map(|record| record.version);
            let version = base.next(found);
            let record = Record { version, tokens };
            if let Saved::Stored = self.put(store, found, record).await? {
                self.board.saw(stamp, version);
                return Ok(());
            }
        }
        Err(conflicts())
    }

    /// Writes a sign-in or sign-out until the store has it or the session has moved on; the first
    /// outcome is reported.
    pub(crate) async fn keep_writing(
        &self,
        stamp: Stamp<u64>,
        report: tokio::sync::oneshot::Sender<Result<(), StoreError>>,
    ) {
        let Some(store) = &self.store else { return };
        let mut report = Some(report);
        let mut wait = SAVE_AGAIN;
        let mut attempts = 0;
        loop {
            let outcome = self.write_epoch(&**store, stamp).await;
            let failed = outcome.as_ref().err().cloned();
            if let Some(report) = report.take() {
                // Whoever asked may have gone; the write is for the store.
                let _ = report.send(outcome);
            }
            match failed {
                None if attempts > 0 => return self.tell(&Event::SaveRecovered { attempts }),
                None => return,
                Some(error) => {
                    attempts += 1;
                    self.tell(&Event::SaveFailed { error, attempts });
                }
            }
            runtime::sleep(wait).await;
            wait = (wait * 2).min(SAVE_AGAIN_MAX);
        }
    }

    async fn load(&self, store: &dyn DynStore) -> Result<Option<Record>, StoreError> {
        self.bounded(async { store.load(&self.key).await }).await
    }

    pub(crate) async fn put(
        &self,
        store: &dyn DynStore,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        self.bounded(async { store.save(&self.key, expected, record).await })
            .await
    }

    /// One call to the store. One that panics has failed: the tokens must not go down with it. One
    /// that does not answer has failed too, or it would keep its flight's slot for ever.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = self.limits.source_timeout;
        let call = AssertUnwindSafe(call).catch_unwind();
        match runtime::timeout(limit, call).await {
            Some(Ok(answer)) => answer,
            Some(Err(_panic)) => Err(StoreError::new(
                StoreErrorKind::Panicked,
                "the session store panicked",
            )),
            None => Err(StoreError::new(
                StoreErrorKind::Unavailable,
                format!("the session store did not answer within {limit:?}"),
            )),
        }
    }
}

impl Base {
    /// The version that follows the one found.
    pub(crate) fn next(&self, found: Option<Version>) -> Version {
        let found = found.map_or(0, |version| version.revision);
        Version {
            epoch: self.epoch.unwrap_or_else(Epoch::random),
            revision: found.max(self.floor).saturating_add(1),
        }
    }
}

fn conflicts() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "others keep writing the session; nothing was changed",
    )
}

pub(crate) fn same_access_token(one: &TokenSet, other: &TokenSet) -> bool {
    one.access_token().expose_secret() == other.access_token().expose_secret()
}
