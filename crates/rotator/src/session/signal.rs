//! A signal that is given once and wakes all its waiters. Not a `CancellationToken`: loom checks every
//! order of its waits and wake-ups, which needs the mutex of `runtime/sync.rs`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use crate::runtime::sync::{Mutex, lock};

/// Given once, never taken back. Whoever waits after it was given does not wait.
///
/// There is one for each flight, so that a waiter can neither miss its flight's end nor be woken
/// by that of another.
pub(crate) struct Signal {
    waiting: Mutex<Waiting>,
    /// The session of the flight was signed out of while it was in the air.
    signed_out: AtomicBool,
}

struct Waiting {
    given: bool,
    /// By place; a place is empty while its waiter is not registered.
    wakers: Vec<Option<Waker>>,
    /// Places given back by waiters that went away.
    free: Vec<usize>,
}

impl Signal {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::new(Waiting {
                given: false,
                wakers: Vec::new(),
                free: Vec::new(),
            }),
            signed_out: AtomicBool::new(false),
        })
    }

    /// Somebody signs out of the session of the flight.
    pub(crate) fn sign_out(&self) {
        self.signed_out.store(true, Ordering::Release);
    }

    /// Whether somebody signed out of the session of the flight.
    pub(crate) fn signed_out(&self) -> bool {
        self.signed_out.load(Ordering::Acquire)
    }

    /// Wakes everybody, now and for ever after.
    pub(crate) fn give(&self) {
        let wakers = {
            let mut waiting = lock(&self.waiting);
            waiting.given = true;
            std::mem::take(&mut waiting.wakers)
        };
        // Outside the lock: a waker may run the waiter right here.
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    /// How many places there are, taken or free.
    #[cfg(all(test, model_loom))]
    pub(crate) fn places(&self) -> usize {
        lock(&self.waiting).wakers.len()
    }

    pub(crate) fn wait(self: Arc<Self>) -> Wait {
        Wait {
            signal: self,
            place: None,
            given: false,
        }
    }
}

/// Ends when the signal is given. Cancel safe: dropping it gives its place back.
pub(crate) struct Wait {
    signal: Arc<Signal>,
    place: Option<usize>,
    given: bool,
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut waiting = lock(&this.signal.waiting);
        if waiting.given {
            this.given = true;
            return Poll::Ready(());
        }
        let place = *this.place.get_or_insert_with(|| {
            waiting.free.pop().unwrap_or_else(|| {
                waiting.wakers.push(None);
                waiting.wakers.len() - 1
            })
        });
        let registered = &mut waiting.wakers[place];
        if !registered
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            *registered = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.given {
            return;
        }
        if let Some(place) = self.place {
            let mut waiting = lock(&self.signal.waiting);
            if !waiting.given {
                waiting.wakers[place] = None;
                waiting.free.push(place);
            }
        }
    }
}
