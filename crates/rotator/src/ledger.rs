//! The record in the store: reading it, saving what a flight brought, and writing sign-ins and
//! sign-outs, which win over everything.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use token_rotator_core::{Flight, Stamp};

use crate::board::{Arrival, Base};
use crate::coordinator::Lease;
use crate::error::{RefreshError, StoreError, StoreErrorKind};
use crate::event::Event;
use crate::runtime;
use crate::secret::ExposeSecret;
use crate::shared::Shared;
use crate::store::{DynStore, Epoch, Record, Saved, Version};
use crate::token_set::TokenSet;

/// The first wait before a failed save is tried again; it doubles.
const SAVE_AGAIN: Duration = Duration::from_millis(500);
/// The longest such wait.
const SAVE_AGAIN_MAX: Duration = Duration::from_secs(30);
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
    /// In the store, or in memory where there is none or it failed.
    At(Base),
    /// Nowhere: the session is another by now.
    Superseded,
    /// Nowhere: somebody else has saved newer ones.
    Newer(Arrival, Base),
}

/// Tokens that the store has not taken yet, and the lease that keeps others from spending the ones
/// it holds.
pub(crate) struct Unsaved {
    pub(crate) base: Base,
    pub(crate) lease: Option<Box<dyn Lease>>,
    record: Record,
    attempts: u32,
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
        self.finish_epoch_write(&**store, flight.began)
            .await
            .map_err(RefreshError::Store)?;
        let record = store.load(&self.key).await.map_err(RefreshError::Store)?;
        let Some(base) = self.board.base(flight) else {
            return Ok(Reading::Superseded);
        };
        let Some(record) = record else {
            // A lost store, not a sign-out: what is in memory is all there is.
            let base = Base { seen: None, ..base };
            return Ok(Reading::RefreshFrom(self.board.tokens(), base));
        };
        let base_here = Base {
            epoch: Some(record.version.epoch),
            seen: Some(record.version),
        };
        if base
            .epoch
            .is_some_and(|epoch| epoch != record.version.epoch)
        {
            self.follow(&record);
            return Ok(Reading::Superseded);
        }
        let Some(tokens) = record.tokens else {
            if base.epoch.is_some() {
                return Ok(Reading::RefreshFrom(None, base_here));
            }
            self.follow(&record);
            return Ok(Reading::Superseded);
        };
        let seen = base.seen.map_or(0, |seen| seen.revision);
        if record.version.revision < seen {
            return Ok(Reading::RefreshFrom(self.board.tokens(), base_here));
        }
        if record.version.revision > seen
            && let Some(arrival) = self.usable(&tokens)
        {
            return Ok(Reading::Adopt(arrival, base_here));
        }
        Ok(Reading::RefreshFrom(Some(tokens), base_here))
    }

    /// Saves what a flight brought. Where the store fails, the tokens are kept in memory, the
    /// lease with them, and saving is tried again.
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
        let epoch = base.epoch.unwrap_or_else(Epoch::random);
        let mut unsaved = Unsaved {
            base,
            lease: None,
            record: Record {
                version: next(epoch, base.seen),
                tokens: Some(Arc::clone(tokens)),
            },
            attempts: 0,
        };
        for _ in 0..CONFLICTS_MAX {
            match unsaved.attempt(&**store, self).await {
                Ok(Saved::Stored) => return Kept::At(unsaved.saved()),
                Ok(Saved::Conflict(theirs)) => {
                    if let Some(kept) = self.yield_to(theirs.as_ref(), &unsaved) {
                        return kept;
                    }
                    unsaved.rebase(theirs.map(|record| record.version));
                }
                Err(error) => {
                    unsaved.attempts = 1;
                    unsaved.lease = lease.take();
                    self.tell(&Event::SaveFailed { error, attempts: 1 });
                    let base = Base {
                        epoch: Some(epoch),
                        seen: unsaved.base.seen,
                    };
                    self.keep_saving(unsaved);
                    return Kept::At(base);
                }
            }
        }
        Kept::At(base)
    }

    /// After a lost compare-and-swap: does what the store holds win over what we bring?
    fn yield_to(self: &Arc<Self>, theirs: Option<&Record>, ours: &Unsaved) -> Option<Kept> {
        let record = theirs?;
        if record.version.epoch != ours.record.version.epoch {
            self.follow(record);
            return Some(Kept::Superseded);
        }
        let tokens = record.tokens.as_ref()?;
        if record.version.revision < ours.record.version.revision {
            return None;
        }
        let base = Base {
            epoch: Some(record.version.epoch),
            seen: Some(record.version),
        };
        let arrival = self.arrival(Arc::clone(tokens)).ok()?;
        Some(Kept::Newer(arrival, base))
    }

    /// Somebody else has signed in or out: so it is here.
    fn follow(self: &Arc<Self>, record: &Record) {
        let base = Base {
            epoch: Some(record.version.epoch),
            seen: Some(record.version),
        };
        let now = self.clock.now();
        let arrival = record
            .tokens
            .as_ref()
            .and_then(|tokens| self.arrival(Arc::clone(tokens)).ok());
        if let Some(arrival) = arrival {
            let (stamp, _) = self.board.sign_in(arrival, base, now);
            self.tell(&Event::SignedIn {
                generation: stamp.generation,
            });
        } else if self.board.sign_out(base, now).is_some() {
            self.tell(&Event::SignedOut);
        }
    }

    /// The tokens as an arrival, if they could be served now in place of those that are here.
    fn usable(&self, tokens: &Arc<TokenSet>) -> Option<Arrival> {
        let arrival = self.arrival(Arc::clone(tokens)).ok()?;
        let here = self.board.tokens();
        let same = here.is_some_and(|here| {
            here.access_token().expose_secret() == tokens.access_token().expose_secret()
        });
        let wall = self.clock.wall_millis();
        let expired = arrival.validity.expires_at.is_some_and(|at| wall >= at);
        (!same && !expired).then_some(arrival)
    }

    /// Goes on saving in the background, holding the lease.
    pub(crate) fn keep_saving(self: &Arc<Self>, unsaved: Unsaved) {
        let shared = Arc::clone(self);
        let busy = self.tasks.begin();
        self.runtime.spawn(async move {
            let _busy = busy;
            *shared.unsaved.lock().await = Some(unsaved);
            let mut wait = SAVE_AGAIN;
            loop {
                runtime::sleep(wait).await;
                wait = (wait * 2).min(SAVE_AGAIN_MAX);
                let mut turn = shared.unsaved.lock().await;
                let Some(unsaved) = turn.as_mut() else {
                    return;
                };
                if shared.flush(unsaved).await {
                    let unsaved = turn.take();
                    drop(turn);
                    release(unsaved.and_then(|unsaved| unsaved.lease)).await;
                    return;
                }
                if let Some(lease) = &mut unsaved.lease
                    && lease.renew().await.is_err()
                {
                    // Lost: compare-and-swap is what protects the record from here on.
                    unsaved.lease = None;
                }
            }
        });
    }

    /// What the store has not taken yet, if it does not take it now either.
    pub(crate) async fn take_unsaved(self: &Arc<Self>) -> Option<Unsaved> {
        let mut unsaved = self.unsaved.lock().await.take()?;
        if self.flush(&mut unsaved).await {
            release(unsaved.lease).await;
            return None;
        }
        Some(unsaved)
    }

    /// Tries to save once more. True: there is nothing left to save.
    async fn flush(self: &Arc<Self>, unsaved: &mut Unsaved) -> bool {
        let Some(store) = &self.store else {
            return true;
        };
        let stamp = self.board.stamp();
        match unsaved.attempt(&**store, self).await {
            Ok(Saved::Stored) => {
                self.board.saw(stamp, unsaved.record.version);
                self.tell(&Event::SaveRecovered {
                    attempts: unsaved.attempts,
                });
                true
            }
            Ok(Saved::Conflict(theirs)) => {
                if self.yield_to(theirs.as_ref(), unsaved).is_some() {
                    return true;
                }
                unsaved.rebase(theirs.map(|record| record.version));
                false
            }
            Err(error) => {
                unsaved.attempts += 1;
                self.tell(&Event::SaveFailed {
                    error,
                    attempts: unsaved.attempts,
                });
                false
            }
        }
    }

    /// Writes a sign-in or sign-out into the store, over whatever it holds, unless the session has
    /// moved on since.
    pub(crate) async fn write_epoch(
        &self,
        store: &dyn DynStore,
        stamp: Stamp<u64>,
    ) -> Result<(), StoreError> {
        let _turn = self.epoch_writes.lock().await;
        for _ in 0..CONFLICTS_MAX {
            let Some((epoch, tokens)) = self.board.unwritten(stamp) else {
                return Ok(());
            };
            let found = store.load(&self.key).await?.map(|record| record.version);
            let version = next(epoch, found);
            let record = Record { version, tokens };
            if let Saved::Stored = store.save(&self.key, found, record).await? {
                self.board.saw(stamp, version);
                return Ok(());
            }
        }
        Err(StoreError::new(
            StoreErrorKind::Unavailable,
            "others keep writing the session; nothing was changed",
        ))
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

    /// A flight goes by what was signed in here, so that has to be in the store first.
    async fn finish_epoch_write(
        &self,
        store: &dyn DynStore,
        stamp: Stamp<u64>,
    ) -> Result<(), StoreError> {
        if self.board.unwritten(stamp).is_some() {
            self.write_epoch(store, stamp).await?;
        }
        Ok(())
    }
}

impl Unsaved {
    /// One attempt. A store that panics has failed; the tokens must not go down with it.
    async fn attempt(&self, store: &dyn DynStore, shared: &Shared) -> Result<Saved, StoreError> {
        let call = AssertUnwindSafe(async {
            store
                .save(&shared.key, self.base.seen, self.record.clone())
                .await
        });
        call.catch_unwind().await.unwrap_or_else(|_panic| {
            Err(StoreError::new(
                StoreErrorKind::Panicked,
                "the store panicked while it saved the session",
            ))
        })
    }

    /// The store holds another version than we thought, and it does not win.
    fn rebase(&mut self, found: Option<Version>) {
        self.base.seen = found;
        let known = self.record.version.revision;
        self.record.version.revision =
            known.max(found.map_or(0, |version| version.revision.saturating_add(1)));
    }

    fn saved(&self) -> Base {
        Base {
            epoch: Some(self.record.version.epoch),
            seen: Some(self.record.version),
        }
    }
}

/// The version that follows the one found.
fn next(epoch: Epoch, found: Option<Version>) -> Version {
    Version {
        epoch,
        revision: found
            .map_or(0, |version| version.revision)
            .saturating_add(1),
    }
}

async fn release(lease: Option<Box<dyn Lease>>) {
    if let Some(lease) = lease {
        lease.release().await;
    }
}
