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
use crate::intent::Intent;
use crate::older::Older;
use crate::runtime;
use crate::secret::{ExposeSecret, SecretString};
use crate::shared::Shared;
use crate::store::{DynStore, Epoch, Record, Saved, Version};
use crate::token_set::TokenSet;
use crate::unsaved::{SAVE_AGAIN, SAVE_AGAIN_MAX, Unsaved, Verdict};

/// How often compare-and-swap may lose in a row before the store counts as unusable.
const CONFLICTS_MAX: u32 = 16;

/// What a flight finds in the record.
pub(crate) enum Reading {
    /// Somebody else has refreshed: serve theirs.
    Adopt(Arrival, Base),
    RefreshFrom(Start),
    /// The session is another by now.
    Superseded,
}

/// What a refresh starts from.
pub(crate) struct Start {
    /// The token set to exchange.
    pub(crate) last: Option<Arc<TokenSet>>,
    pub(crate) base: Base,
    /// The intent in the record.
    pub(crate) intent: Option<Intent>,
    /// What is known to be older than what the refresh brings: the token set in the record.
    pub(crate) older: Older,
}

impl Start {
    /// The token set was written into the record, with this intent.
    pub(crate) fn wrote(&mut self, version: Version, intent: Option<Intent>) {
        self.base = Base::at(version);
        self.intent = intent;
        if let Some(last) = &self.last {
            self.older.push(last);
        }
    }
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
    pub(crate) async fn read(self: &Arc<Self>, flight: Flight) -> Result<Reading, RefreshError> {
        let from_memory = |base: Base, here| {
            Reading::RefreshFrom(Start {
                last: here,
                base,
                intent: None,
                older: Older::default(),
            })
        };
        let Some(store) = &self.store else {
            return Ok(match self.board.standing(flight) {
                Some((base, here)) => from_memory(base, here),
                None => Reading::Superseded,
            });
        };
        // A flight goes by what was signed in here, so that has to be in the store first.
        let written = self.write_sign_in_first(flight.began).await;
        written.map_err(RefreshError::Store)?;
        let record = self.load(&**store).await.map_err(RefreshError::Store)?;
        let Some((base, here)) = self.board.standing(flight) else {
            return Ok(Reading::Superseded);
        };
        let Some(record) = record else {
            // A lost store, not a sign-out: what is in memory is all there is.
            return Ok(from_memory(Base { seen: None, ..base }, here));
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
        let known = record.version.revision <= base.floor && here.is_some();
        if !known
            && let Some(tokens) = &record.tokens
            && let Some(arrival) = self.usable(tokens, here.as_deref())
        {
            return Ok(Reading::Adopt(arrival, found));
        }
        Ok(Reading::RefreshFrom(Start {
            last: if known { here } else { record.tokens.clone() },
            base: found,
            intent: record.intent,
            older: Older::than_after(record.tokens.as_deref()),
        }))
    }

    /// Saves what a flight brought. Where the store fails, the answer says what is left to save,
    /// and the lease goes with it.
    pub(crate) async fn save(
        self: &Arc<Self>,
        flight: Flight,
        start: Start,
        tokens: &Arc<TokenSet>,
        lease: &mut Option<Box<dyn Lease>>,
    ) -> Kept {
        if self.board.base(flight.began).is_none() {
            return Kept::Superseded;
        }
        if self.store.is_none() {
            return Kept::At(start.base);
        }
        let tokens = Arc::clone(tokens);
        let mut unsaved = Unsaved::new(flight.began, start.base, tokens, start.older);
        match self.try_to_save(&mut unsaved).await {
            Ok(Verdict::Stored) => Kept::At(Base::at(unsaved.record.version)),
            Ok(Verdict::Superseded) => Kept::Superseded,
            Ok(Verdict::Newer(arrival, base)) => Kept::Newer(arrival, base),
            Err(error) => {
                unsaved.attempts = 1;
                unsaved.lease = lease.take();
                self.tell(&Event::SaveFailed { error, attempts: 1 });
                Kept::Unsaved(Box::new(unsaved))
            }
        }
    }

    /// Writes by compare-and-swap, over everything that is known to be older.
    pub(crate) async fn try_to_save(
        self: &Arc<Self>,
        unsaved: &mut Unsaved,
    ) -> Result<Verdict, StoreError> {
        let Some(store) = &self.store else {
            return Ok(Verdict::Stored);
        };
        for _ in 0..CONFLICTS_MAX {
            let record = unsaved.record.clone();
            match self.put(&**store, unsaved.base.seen, record).await? {
                Saved::Stored => return Ok(Verdict::Stored),
                Saved::Conflict(theirs) => match self.compare(theirs.as_ref(), unsaved) {
                    Some(verdict) => return Ok(verdict),
                    None => unsaved.rebase(theirs),
                },
            }
        }
        Err(conflicts())
    }

    /// After a lost compare-and-swap: what it means. `None`: what we bring is newer.
    fn compare(self: &Arc<Self>, theirs: Option<&Record>, ours: &Unsaved) -> Option<Verdict> {
        let record = theirs?;
        let same_epoch = record.version.epoch == ours.record.version.epoch;
        // Where no sign-in was known here, that of the first record is ours too.
        if !same_epoch && (ours.base.epoch.is_some() || record.tokens.is_none()) {
            self.follow(ours.began, record);
            return Some(Verdict::Superseded);
        }
        let tokens = record.tokens.as_ref()?;
        if same_epoch {
            if ours.holds(tokens) {
                // Our own write, whose answer was lost.
                return Some(Verdict::Stored);
            }
            if ours.older.contains(tokens) {
                // Only an intent was written, or a save before this one, whose answer was lost.
                return None;
            }
            if record.version.revision < ours.record.version.revision {
                return None;
            }
        }
        let arrival = self.arrival(Arc::clone(tokens)).ok()?;
        Some(Verdict::Newer(arrival, Base::at(record.version)))
    }

    /// Somebody else has signed in or out: so it is here, unless that is known already.
    fn follow(self: &Arc<Self>, began: Stamp, record: &Record) {
        let arrival = record.tokens.as_ref().map(|tokens| {
            let arrival = self.arrival(Arc::clone(tokens));
            // Nothing that could be sent, but a sign-in all the same.
            arrival.unwrap_or_else(|_unusable| Arrival::unusable(Arc::clone(tokens)))
        });
        let base = Base::at(record.version);
        match self.board.follow(began, arrival, base, self.clock.now()) {
            Followed::SignedIn(stamp) => self.tell(&Event::SignedIn {
                generation: stamp.generation,
            }),
            Followed::SignedOut => self.tell(&Event::SignedOut),
            Followed::Not => return,
        }
        self.end_unsaved();
    }

    /// The tokens as an arrival, if they could be served now in place of those that are here.
    fn usable(&self, tokens: &Arc<TokenSet>, here: Option<&TokenSet>) -> Option<Arrival> {
        let arrival = self.arrival(Arc::clone(tokens)).ok()?;
        let same = here.is_some_and(|here| same_secret(here.access_token(), tokens.access_token()));
        let wall = self.clock.wall_millis();
        let expired = arrival.validity.expires_at.is_some_and(|at| wall >= at);
        (!same && !expired).then_some(arrival)
    }

    /// Writes a sign-in or sign-out into the store, over whatever it holds, unless the session has
    /// moved on since. What a sign-out overwrites is revoked.
    async fn write_epoch(
        self: &Arc<Self>,
        store: &dyn DynStore,
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        let _turn = self.epoch_writes.lock().await;
        for _ in 0..CONFLICTS_MAX {
            let Some((base, tokens)) = self.board.unwritten(stamp) else {
                return Ok(());
            };
            let signs_out = tokens.is_none();
            let found = self.load(store).await?;
            let expected = found.as_ref().map(|record| record.version);
            let version = base.next(expected);
            let record = Record {
                version,
                tokens,
                intent: None,
            };
            if let Saved::Stored = self.put(store, expected, record).await? {
                self.board.saw(stamp, version);
                if let Some(left) = found.and_then(|record| record.tokens).filter(|_| signs_out) {
                    self.revoke_unless_done(left);
                }
                return Ok(());
            }
        }
        Err(conflicts())
    }

    /// Writes a sign-in that the store does not have yet.
    pub(crate) async fn write_sign_in_first(
        self: &Arc<Self>,
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        match &self.store {
            Some(store) if self.board.unwritten(stamp).is_some() => {
                self.write_epoch(&**store, stamp).await
            }
            _ => Ok(()),
        }
    }

    /// Writes a sign-in or sign-out until the store has it or the session has moved on; the first
    /// outcome is reported.
    pub(crate) async fn keep_writing(
        self: &Arc<Self>,
        stamp: Stamp,
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

pub(crate) fn conflicts() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "others keep writing the session; nothing was changed",
    )
}

/// Whether these are the same tokens, whatever else is said of them.
pub(crate) fn same_tokens(one: &TokenSet, other: &TokenSet) -> bool {
    let same_refresh = match (one.refresh_token(), other.refresh_token()) {
        (Some(one), Some(other)) => same_secret(one, other),
        (None, None) => true,
        _ => false,
    };
    same_refresh && same_secret(one.access_token(), other.access_token())
}

fn same_secret(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}
