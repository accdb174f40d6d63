//! Tokens that the store has not taken yet: kept with their lease, saved in the background, and
//! what the next flight goes by.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use token_rotator_core::Stamp;
use tokio::sync::MutexGuard;

use crate::board::{Arrival, Base};
use crate::coordinator::Lease;
use crate::error::StoreError;
use crate::event::Event;
use crate::ledger::same_tokens;
use crate::older::Older;
use crate::runtime;
use crate::shared::Shared;
use crate::signal::Signal;
use crate::store::Record;
use crate::sync::{lock, lock_std};
use crate::token_set::TokenSet;

/// The first wait before a failed save is tried again; it doubles.
pub(crate) const SAVE_AGAIN: Duration = Duration::from_millis(500);
/// The longest such wait.
pub(crate) const SAVE_AGAIN_MAX: Duration = Duration::from_secs(10);

/// Tokens that the store has not taken yet, and the lease that keeps others from spending the ones
/// it holds.
pub(crate) struct Unsaved {
    /// The sign-in they belong to.
    pub(crate) began: Stamp,
    pub(crate) base: Base,
    pub(crate) lease: Option<Box<dyn Lease>>,
    pub(crate) record: Record,
    /// What the store may hold that is older.
    pub(crate) older: Older,
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
    began: Stamp,
    place: tokio::sync::Mutex<Option<Unsaved>>,
    /// What came while somebody held the place. Whoever holds it next puts it there.
    newer: std::sync::Mutex<Option<Unsaved>>,
    /// Whether a task is there that saves it.
    saving: AtomicBool,
    /// Given when the session that it belongs to is over.
    over: Arc<Signal>,
}

impl Unsaved {
    pub(crate) fn new(began: Stamp, base: Base, tokens: Arc<TokenSet>, older: Older) -> Self {
        Self {
            began,
            base,
            lease: None,
            record: Record {
                version: base.next(base.seen),
                tokens: Some(tokens),
                intent: None,
            },
            older,
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
        if let Some(tokens) = found.and_then(|record| record.tokens) {
            self.older.push(&tokens);
        }
    }

    /// The sign-in has been written, in case it had not been yet: it is what these follow.
    fn written_first(&mut self, base: Base) {
        if self.base.unwritten {
            self.base = base;
            let revision = &mut self.record.version.revision;
            *revision = base.next(base.seen).revision.max(*revision);
        }
    }

    /// Whether these are the tokens that are to be saved.
    pub(crate) fn holds(&self, tokens: &TokenSet) -> bool {
        let ours = self.record.tokens.as_ref();
        ours.is_some_and(|ours| same_tokens(ours, tokens))
    }

    /// What is older than what comes after these: a save of them may have worked, its answer lost.
    pub(crate) fn and_older(&self) -> Older {
        let mut older = self.older.clone();
        if let Some(tokens) = &self.record.tokens {
            older.push(tokens);
        }
        older
    }

    /// These come after those, which are not saved any more.
    pub(crate) fn in_place_of(mut self, before: Option<Self>) -> Self {
        let Some(mut before) = before else {
            return self;
        };
        self.older.extend(&before.and_older());
        self.lease = self.lease.or(before.lease.take());
        self.base = before.base;
        let revision = &mut self.record.version.revision;
        *revision = before.record.version.revision.max(*revision);
        self.attempts = before.attempts.max(self.attempts);
        self
    }
}

impl Pending {
    /// What is to be saved, for whoever goes by it or saves it.
    pub(crate) async fn hold(&self) -> MutexGuard<'_, Option<Unsaved>> {
        let mut place = self.place.lock().await;
        if let Some(newer) = lock_std(&self.newer).take() {
            let before = place.take();
            *place = Some(newer.in_place_of(before));
        }
        place
    }
}

impl Shared {
    /// What the flights of this sign-in could not save yet.
    pub(crate) fn pending(&self, of: Stamp) -> Option<Arc<Pending>> {
        let pending = lock(&self.unsaved).clone()?;
        (pending.began.epoch == of.epoch).then_some(pending)
    }

    /// Goes on saving in the background, the lease held, until there is nothing left to save.
    pub(crate) fn keep_unsaved(self: &Arc<Self>, unsaved: Unsaved) {
        if let Some(pending) = self.remember_unsaved(unsaved) {
            self.start_saver(pending);
        }
    }

    /// Keeps it for whoever saves it, after what is kept already. `None`: the session it belongs to
    /// is over.
    pub(crate) fn remember_unsaved(&self, mut unsaved: Unsaved) -> Option<Arc<Pending>> {
        let mut here = lock(&self.unsaved);
        // Under the lock: what is put here after the end of its session would stay.
        if self.board.stamp().epoch != unsaved.began.epoch {
            drop(here);
            self.give_back(unsaved.lease.take());
            return None;
        }
        if let Some(pending) = here.as_ref()
            && pending.began.epoch == unsaved.began.epoch
        {
            let mut newer = lock_std(&pending.newer);
            let before = newer.take();
            *newer = Some(unsaved.in_place_of(before));
            drop(newer);
            return Some(Arc::clone(pending));
        }
        let pending = Arc::new(Pending {
            began: unsaved.began,
            place: tokio::sync::Mutex::new(Some(unsaved)),
            newer: std::sync::Mutex::new(None),
            saving: AtomicBool::new(false),
            over: Signal::new(),
        });
        *here = Some(Arc::clone(&pending));
        Some(pending)
    }

    /// The session is another: what is left of the one before is not saved any more, and its lease
    /// is given back.
    pub(crate) fn end_unsaved(&self) {
        let mut here = lock(&self.unsaved);
        let now = self.board.stamp();
        let over = here.take_if(|pending| pending.began.epoch != now.epoch);
        drop(here);
        if let Some(pending) = over {
            pending.over.give();
        }
    }

    /// There is nothing left in this place. False: something has come meanwhile.
    pub(crate) fn forget(&self, pending: &Arc<Pending>) -> bool {
        let mut unsaved = lock(&self.unsaved);
        if lock_std(&pending.newer).is_some() {
            return false;
        }
        if unsaved
            .as_ref()
            .is_some_and(|here| Arc::ptr_eq(here, pending))
        {
            *unsaved = None;
        }
        true
    }

    /// Saves tokens that came from elsewhere, and goes on trying; the first outcome is reported.
    pub(crate) async fn save_update(
        self: &Arc<Self>,
        pending: Arc<Pending>,
        report: tokio::sync::oneshot::Sender<Result<(), StoreError>>,
    ) {
        let mut place = pending.hold().await;
        let outcome = match place.as_mut() {
            Some(unsaved) => self.flush(unsaved).await,
            // Somebody has saved it already.
            None => Ok(()),
        };
        if outcome.is_ok() {
            self.give_back(place.take().and_then(|unsaved| unsaved.lease));
        }
        drop(place);
        if outcome.is_err() || !self.forget(&pending) {
            self.start_saver(pending);
        }
        // Whoever asked may have gone; the save is for the store.
        let _ = report.send(outcome);
    }

    /// Whether the store has everything that it is to have.
    pub(crate) fn all_saved(&self) -> bool {
        let unwritten = || self.board.unwritten(self.board.stamp()).is_some();
        self.store.is_none() || (lock(&self.unsaved).is_none() && !unwritten())
    }

    /// What a runtime that has ended left unsaved is saved on that of now.
    pub(crate) fn resume_saving(self: &Arc<Self>) {
        let pending = lock(&self.unsaved).clone();
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
                let over = Arc::clone(&pending.over).wait();
                // The other future has nothing to say any more.
                drop(select(pin!(runtime::sleep(wait)), over).await);
                wait = (wait * 2).min(longest);
                let mut place = pending.hold().await;
                let left = match place.as_mut() {
                    Some(unsaved) => {
                        let work = pin!(shared.save_again(unsaved));
                        match select(work, Arc::clone(&pending.over).wait()).await {
                            Either::Left((left, _)) => left,
                            Either::Right(((), _)) => false,
                        }
                    }
                    None => false,
                };
                if !left {
                    shared.give_back(place.take().and_then(|unsaved| unsaved.lease));
                    if shared.forget(&pending) {
                        drop(saver);
                        return;
                    }
                }
            }
        });
    }

    /// Whether there is still something to save after one more attempt.
    async fn save_again(self: &Arc<Self>, unsaved: &mut Unsaved) -> bool {
        if self.flush(unsaved).await.is_ok() {
            return false;
        }
        if let Some(lease) = &mut unsaved.lease
            && self.renew(lease).await.is_err()
        {
            // Lost: compare-and-swap is what protects the record from here on.
            unsaved.lease = None;
        }
        true
    }

    /// Tries to save once more. Without an error there is nothing left to save.
    pub(crate) async fn flush(self: &Arc<Self>, unsaved: &mut Unsaved) -> Result<(), StoreError> {
        if self.board.stamp().epoch != unsaved.began.epoch {
            // Signed in or out since: what was before is not written any more.
            return Ok(());
        }
        // The sign-in that they belong to comes first.
        let first = self.write_sign_in_first(unsaved.began).await;
        let saved = match first {
            Ok(()) => {
                let Some(base) = self.board.base(unsaved.began) else {
                    return Ok(());
                };
                unsaved.written_first(base);
                self.try_to_save(unsaved).await
            }
            Err(error) => Err(error),
        };
        match saved {
            Ok(Verdict::Stored) => {
                self.board.saw(unsaved.began, unsaved.record.version);
                if unsaved.attempts > 0 {
                    self.tell(&Event::SaveRecovered {
                        attempts: unsaved.attempts,
                    });
                }
                Ok(())
            }
            Ok(Verdict::Superseded | Verdict::Newer(..)) => Ok(()),
            Err(error) => {
                unsaved.attempts += 1;
                self.tell(&Event::SaveFailed {
                    error: error.clone(),
                    attempts: unsaved.attempts,
                });
                Err(error)
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
