//! Tokens that the store has not taken yet: kept with their lease, saved in the background, and
//! what the next flight goes by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_rotator_core::Stamp;

use crate::board::{Arrival, Base};
use crate::coordinator::Lease;
use crate::error::StoreError;
use crate::event::Event;
use crate::ledger::same_tokens;
use crate::runtime;
use crate::shared::Shared;
use crate::store::Record;
use crate::sync::lock_std;
use crate::token_set::TokenSet;

/// The first wait before a failed save is tried again; it doubles.
pub(crate) const SAVE_AGAIN: Duration = Duration::from_millis(500);
/// The longest such wait.
pub(crate) const SAVE_AGAIN_MAX: Duration = Duration::from_secs(10);

/// Tokens that the store has not taken yet, and the lease that keeps others from spending the ones
/// it holds.
pub(crate) struct Unsaved {
    /// The sign-in they belong to.
    pub(crate) began: Stamp<u64>,
    pub(crate) base: Base,
    pub(crate) lease: Option<Box<dyn Lease>>,
    pub(crate) record: Record,
    /// What the store is known to hold, which is older.
    pub(crate) stored: Option<Arc<TokenSet>>,
    pub(crate) attempts: u32,
}

/// What became of a save.
pub(crate) enum Verdict {
    /// The store holds what we bring.
    Stored,
    /// The session is another by now.
    Superseded,
    /// Somebody else has saved newer ones.
    Newer(Arrival, Base),
}

/// The place of what one sign-in's flights could not save. A flight that goes by it holds it to its
/// end; a later sign-in has a place of its own and does not wait for this one.
pub(crate) struct Pending {
    began: Stamp<u64>,
    pub(crate) place: tokio::sync::Mutex<Option<Unsaved>>,
    /// Whether a task is there that saves it.
    saving: AtomicBool,
}

impl Unsaved {
    pub(crate) fn new(
        began: Stamp<u64>,
        base: Base,
        tokens: Arc<TokenSet>,
        stored: Option<Arc<TokenSet>>,
    ) -> Self {
        Self {
            began,
            base,
            lease: None,
            record: Record {
                version: base.next(base.seen),
                tokens: Some(tokens),
                intent: None,
            },
            stored,
            attempts: 0,
        }
    }

    /// The store holds another record than we thought, and it does not win.
    pub(crate) fn rebase(&mut self, found: Option<Record>) {
        self.base.seen = found.as_ref().map(|record| record.version);
        let known = self.record.version.revision;
        let next = self
            .base
            .seen
            .map_or(0, |version| version.revision.saturating_add(1));
        self.record.version.revision = known.max(next);
        self.stored = found.and_then(|record| record.tokens);
    }

    /// Whether these are the tokens that are to be saved.
    pub(crate) fn holds(&self, tokens: &TokenSet) -> bool {
        let ours = self.record.tokens.as_ref();
        ours.is_some_and(|ours| same_tokens(ours, tokens))
    }
}

impl Shared {
    /// What the flights of this sign-in could not save yet.
    pub(crate) fn pending(&self, of: Stamp<u64>) -> Option<Arc<Pending>> {
        let pending = lock_std(&self.unsaved).clone()?;
        (pending.began.epoch == of.epoch).then_some(pending)
    }

    /// Goes on saving in the background, the lease held, until there is nothing left to save.
    pub(crate) fn keep_unsaved(self: &Arc<Self>, unsaved: Unsaved) {
        let pending = Arc::new(Pending {
            began: unsaved.began,
            place: tokio::sync::Mutex::new(Some(unsaved)),
            saving: AtomicBool::new(false),
        });
        *lock_std(&self.unsaved) = Some(Arc::clone(&pending));
        self.start_saver(pending);
    }

    /// Saves tokens that came from elsewhere, and goes on trying; the first outcome is reported.
    pub(crate) async fn save_update(
        self: &Arc<Self>,
        stamp: Stamp<u64>,
        tokens: Arc<TokenSet>,
        before: Option<Arc<TokenSet>>,
        report: tokio::sync::oneshot::Sender<Result<(), StoreError>>,
    ) {
        // Whoever asked may have gone; the save is for the store.
        let _ = report.send(self.save_over(stamp, tokens, before).await);
    }

    async fn save_over(
        self: &Arc<Self>,
        stamp: Stamp<u64>,
        tokens: Arc<TokenSet>,
        before: Option<Arc<TokenSet>>,
    ) -> Result<(), StoreError> {
        // The sign-in that they belong to comes first; written now, it may have them already.
        self.write_sign_in_first(stamp).await?;
        let (now, base, _) = self.board.known();
        if now.epoch != stamp.epoch {
            return Ok(());
        }
        let mut unsaved = Unsaved::new(stamp, base, tokens, before);
        match self.pending(stamp) {
            Some(pending) => {
                let mut place = pending.place.lock().await;
                if let Some(older) = place.take() {
                    unsaved.lease = older.lease;
                    unsaved.base = older.base;
                    unsaved.stored = older.stored;
                    unsaved.attempts = older.attempts;
                }
                let outcome = self.try_to_save(&mut unsaved).await;
                *place = Some(unsaved);
                // The saver finds it saved, or goes on.
                self.start_saver(Arc::clone(&pending));
                outcome.map(drop)
            }
            None => match self.try_to_save(&mut unsaved).await {
                Ok(_) => {
                    self.board.saw(unsaved.began, unsaved.record.version);
                    Ok(())
                }
                Err(error) => {
                    unsaved.attempts = 1;
                    self.tell(&Event::SaveFailed {
                        error: error.clone(),
                        attempts: 1,
                    });
                    self.keep_unsaved(unsaved);
                    Err(error)
                }
            },
        }
    }

    /// Tokens in hand when their flight was cut off before they were saved.
    pub(crate) fn remember_unsaved(self: &Arc<Self>, mut unsaved: Unsaved) {
        let Some(pending) = self.pending(unsaved.began) else {
            return self.keep_unsaved(unsaved);
        };
        // Taken by a save of older ones: memory has the newer ones all the same.
        if let Ok(mut place) = pending.place.try_lock() {
            if let Some(older) = place.take() {
                unsaved.lease = older.lease;
            }
            *place = Some(unsaved);
        }
        self.start_saver(pending);
    }

    /// There is nothing left in this place.
    pub(crate) fn forget(&self, pending: &Arc<Pending>) {
        let mut unsaved = lock_std(&self.unsaved);
        if unsaved
            .as_ref()
            .is_some_and(|here| Arc::ptr_eq(here, pending))
        {
            *unsaved = None;
        }
    }

    /// What a runtime that has ended left unsaved is saved on that of now.
    pub(crate) fn resume_saving(self: &Arc<Self>) {
        let pending = lock_std(&self.unsaved).clone();
        if let Some(pending) = pending {
            self.start_saver(pending);
        }
        let stamp = self.board.stamp();
        if self.store.is_some()
            && self.board.unwritten(stamp).is_some()
            && !self.writing.load(Ordering::Acquire)
        {
            let _in_the_background = self.write(stamp);
        }
    }

    fn start_saver(self: &Arc<Self>, pending: Arc<Pending>) {
        if pending.saving.swap(true, Ordering::AcqRel) {
            return;
        }
        let saver = Saver(pending);
        let shared = Arc::clone(self);
        let busy = self.tasks.begin();
        self.runtime.spawn(async move {
            let _busy = busy;
            let pending = Arc::clone(&saver.0);
            // The lease is renewed in between, and must not run out meanwhile.
            let longest = shared.lease_life().map_or(SAVE_AGAIN_MAX, |life| life / 3);
            let longest = longest.min(SAVE_AGAIN_MAX);
            let mut wait = SAVE_AGAIN.min(longest);
            loop {
                runtime::sleep(wait).await;
                wait = (wait * 2).min(longest);
                let mut place = pending.place.lock().await;
                let left = match place.as_mut() {
                    Some(unsaved) => !shared.flush(unsaved).await,
                    None => false,
                };
                if !left {
                    shared.give_back(place.take().and_then(|unsaved| unsaved.lease));
                    shared.forget(&pending);
                    drop(saver);
                    return;
                }
                if let Some(unsaved) = place.as_mut()
                    && let Some(lease) = &mut unsaved.lease
                    && shared.renew(lease).await.is_err()
                {
                    // Lost: compare-and-swap is what protects the record from here on.
                    unsaved.lease = None;
                }
            }
        });
    }

    /// Tries to save once more. True: there is nothing left to save.
    pub(crate) async fn flush(self: &Arc<Self>, unsaved: &mut Unsaved) -> bool {
        if self.board.stamp().epoch != unsaved.began.epoch {
            // Signed in or out since: what was before is not written any more.
            return true;
        }
        match self.try_to_save(unsaved).await {
            Ok(Verdict::Stored) => {
                self.board.saw(unsaved.began, unsaved.record.version);
                if unsaved.attempts > 0 {
                    self.tell(&Event::SaveRecovered {
                        attempts: unsaved.attempts,
                    });
                }
                true
            }
            Ok(Verdict::Superseded | Verdict::Newer(..)) => true,
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
}

/// The one task that saves what is in this place.
struct Saver(Arc<Pending>);

impl Drop for Saver {
    fn drop(&mut self) {
        self.0.saving.store(false, Ordering::Release);
    }
}
