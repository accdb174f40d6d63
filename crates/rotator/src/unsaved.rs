//! Tokens that the store has not taken yet: kept with their lease, saved in the background, and
//! what the next flight goes by.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use token_rotator_core::Stamp;

use crate::board::{Arrival, Base};
use crate::coordinator::Lease;
use crate::error::StoreError;
use crate::event::Event;
use crate::ledger::same_access_token;
use crate::runtime;
use crate::shared::Shared;
use crate::store::{DynStore, Record, Saved, Version};
use crate::token_set::TokenSet;

/// The first wait before a failed save is tried again; it doubles.
pub(crate) const SAVE_AGAIN: Duration = Duration::from_millis(500);
/// The longest such wait: the lease is renewed in between, and must not run out meanwhile.
pub(crate) const SAVE_AGAIN_MAX: Duration = Duration::from_secs(10);

/// Tokens that the store has not taken yet, and the lease that keeps others from spending the ones
/// it holds.
pub(crate) struct Unsaved {
    /// The sign-in they belong to.
    pub(crate) began: Stamp<u64>,
    pub(crate) base: Base,
    pub(crate) lease: Option<Box<dyn Lease>>,
    pub(crate) record: Record,
    pub(crate) attempts: u32,
}

/// What a lost compare-and-swap means.
pub(crate) enum Verdict {
    /// What the store holds is what we bring.
    Same,
    /// What we bring is newer.
    Ours,
    /// The session is another by now.
    Superseded,
    /// Somebody else has saved newer ones.
    Newer(Arrival, Base),
}

impl Unsaved {
    pub(crate) fn new(began: Stamp<u64>, base: Base, tokens: Arc<TokenSet>) -> Self {
        Self {
            began,
            base,
            lease: None,
            record: Record {
                version: base.next(base.seen),
                tokens: Some(tokens),
            },
            attempts: 0,
        }
    }

    /// The store holds another version than we thought, and it does not win.
    pub(crate) fn rebase(&mut self, found: Option<Version>) {
        self.base.seen = found;
        let known = self.record.version.revision;
        self.record.version.revision =
            known.max(found.map_or(0, |version| version.revision.saturating_add(1)));
    }

    /// Whether these are the tokens that are to be saved.
    pub(crate) fn holds(&self, tokens: &TokenSet) -> bool {
        let ours = self.record.tokens.as_ref();
        ours.is_some_and(|ours| same_access_token(ours, tokens))
    }
}

impl Shared {
    pub(crate) async fn attempt(
        &self,
        store: &dyn DynStore,
        unsaved: &Unsaved,
    ) -> Result<Saved, StoreError> {
        self.put(store, unsaved.base.seen, unsaved.record.clone())
            .await
    }

    /// Goes on saving in the background, the lease held, until there is nothing left to save. To
    /// be called by whoever holds the place of what is unsaved.
    pub(crate) fn keep_saving(self: &Arc<Self>) {
        if self.saving.swap(true, Ordering::AcqRel) {
            return;
        }
        let saver = Saver(Arc::clone(self));
        let busy = self.tasks.begin();
        self.runtime.spawn(async move {
            let _busy = busy;
            let shared = Arc::clone(&saver.0);
            let mut wait = SAVE_AGAIN;
            loop {
                runtime::sleep(wait).await;
                wait = (wait * 2).min(SAVE_AGAIN_MAX);
                let mut place = shared.unsaved.lock().await;
                let left = match place.as_mut() {
                    Some(unsaved) => !shared.flush(unsaved).await,
                    None => false,
                };
                if !left {
                    let lease = place.take().and_then(|unsaved| unsaved.lease);
                    // Before the place is free again, or the next to need a saver would not get one.
                    drop(saver);
                    drop(place);
                    shared.give_back(lease);
                    return;
                }
                if let Some(unsaved) = place.as_mut()
                    && let Some(lease) = &mut unsaved.lease
                    && lease.renew().await.is_err()
                {
                    // Lost: compare-and-swap is what protects the record from here on.
                    unsaved.lease = None;
                }
            }
        });
    }

    /// Tries to save once more. True: there is nothing left to save.
    pub(crate) async fn flush(self: &Arc<Self>, unsaved: &mut Unsaved) -> bool {
        let Some(store) = &self.store else {
            return true;
        };
        if self.board.stamp().epoch != unsaved.began.epoch {
            // Signed in or out since: what was before is not written any more.
            return true;
        }
        match self.attempt(&**store, unsaved).await {
            Ok(Saved::Stored) => self.flushed(unsaved),
            Ok(Saved::Conflict(theirs)) => match self.compare(theirs.as_ref(), unsaved) {
                Verdict::Same => self.flushed(unsaved),
                Verdict::Superseded | Verdict::Newer(..) => true,
                Verdict::Ours => {
                    unsaved.rebase(theirs.map(|record| record.version));
                    false
                }
            },
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

    fn flushed(&self, unsaved: &Unsaved) -> bool {
        self.board.saw(unsaved.began, unsaved.record.version);
        self.tell(&Event::SaveRecovered {
            attempts: unsaved.attempts,
        });
        true
    }

    /// Tokens in hand when their flight was cut off before they were saved.
    pub(crate) fn remember_unsaved(&self, unsaved: Unsaved) {
        // Taken by a save of older ones: memory has the newer ones all the same.
        if let Ok(mut place) = self.unsaved.try_lock() {
            *place = Some(unsaved);
        }
    }
}

/// The one task that saves.
struct Saver(Arc<Shared>);

impl Drop for Saver {
    fn drop(&mut self) {
        self.0.saving.store(false, Ordering::Release);
    }
}
