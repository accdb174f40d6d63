//! Asking something that may never answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use token_rotator::store::{StoreError, StoreErrorKind};
use tokio::sync::oneshot;

use crate::failure::unavailable;

/// Where questions are asked, one at a time: of a keyring that hangs there is one thread that waits
/// for it, not one more for each attempt.
///
/// On threads of its own, not on those that a runtime has for what blocks: a runtime that ends waits
/// for these, and a prompt that nobody answers would keep the program from ending. And with a clock
/// of its own, since a runtime need not have one.
#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<Seat>);

#[derive(Default)]
struct Seat {
    taken: Mutex<bool>,
    free: Condvar,
}

/// Whether somebody still waits for the answer.
#[derive(Clone, Default)]
pub(crate) struct GivenUp(Arc<AtomicBool>);

/// Gives up when it is dropped: after the answer, on a timeout, or with the future.
struct Waiting(GivenUp);

/// The right to ask. Passed on to the thread that asks, which may outlive the one who waits.
struct Turn(Arc<Seat>);

impl Desk {
    /// The answer to this question, within this time.
    ///
    /// Dropping the future gives up; the question itself cannot be stopped.
    pub(crate) async fn ask<T, Q>(&self, limit: Duration, question: Q) -> Result<T, StoreError>
    where
        T: Send + 'static,
        Q: FnOnce(&GivenUp) -> Result<T, StoreError> + Send + 'static,
    {
        let waiting = Waiting(GivenUp::default());
        let (reply, answer) = oneshot::channel();
        let (seat, given_up) = (Arc::clone(&self.0), waiting.0.clone());
        let asked = Instant::now();
        start(move || {
            // Nobody is there to hear it if the future was dropped.
            let _ = reply.send(wait(&seat, asked, limit, &given_up, question));
        })?;
        answer.await.unwrap_or_else(|_| Err(panicked()))
    }
}

/// Waits for the turn, and then for the answer, on the thread that keeps the time.
fn wait<T: Send + 'static>(
    seat: &Arc<Seat>,
    asked: Instant,
    limit: Duration,
    given_up: &GivenUp,
    question: impl FnOnce(&GivenUp) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let rest = || limit.saturating_sub(asked.elapsed());
    let Some(turn) = Turn::wait(seat, rest()) else {
        return Err(unavailable(&format!(
            "has left an earlier question unanswered for longer than {limit:?}"
        ))
        .with_hint("answer its prompt"));
    };
    given_up.check()?;
    let (reply, answer) = mpsc::channel();
    let asking = given_up.clone();
    start(move || {
        let said = catch_unwind(AssertUnwindSafe(|| question(&asking)));
        drop(turn);
        let _ = reply.send(said.unwrap_or_else(|_| Err(panicked())));
    })?;
    answer.recv_timeout(rest()).unwrap_or_else(|_| {
        given_up.give_up();
        Err(unavailable(&format!("has not answered within {limit:?}"))
            .with_hint("it may be showing a prompt; unlock it, or give it longer with `timeout`"))
    })
}

fn start(work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let thread = thread::Builder::new().name("token-rotator-keyring".to_owned());
    match thread.spawn(work) {
        Ok(_) => Ok(()),
        Err(error) => Err(unavailable(&format!(
            "cannot be asked: there is no thread to ask on: {error}"
        ))),
    }
}

fn panicked() -> StoreError {
    StoreError::new(
        StoreErrorKind::Panicked,
        "the system's keyring: the library that asks it panicked",
    )
}

impl GivenUp {
    fn give_up(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// An error if nobody waits any more. It is not heard; it ends the work.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.0.load(Ordering::Acquire) {
            return Err(unavailable("was not asked: nobody waits for the answer"));
        }
        Ok(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

impl Turn {
    /// `None`: it was not free in this time.
    fn wait(seat: &Arc<Seat>, limit: Duration) -> Option<Self> {
        let taken = locked(&seat.taken);
        let waited = seat
            .free
            .wait_timeout_while(taken, limit, |taken| *taken)
            .unwrap_or_else(PoisonError::into_inner);
        let mut taken = waited.0;
        if *taken {
            return None;
        }
        *taken = true;
        Some(Self(Arc::clone(seat)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *locked(&self.0.taken) = false;
        // All of them, since the one that is told may be giving up in this moment.
        self.0.free.notify_all();
    }
}

fn locked(taken: &Mutex<bool>) -> MutexGuard<'_, bool> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}
