//! A signal that is set once and wakes all its waiters. Not a `CancellationToken`: loom checks
//! every order of waits and wake-ups, which needs the mutex of `runtime/sync.rs`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use crate::runtime::sync::{Mutex, lock};

/// A signal that is set once and never cleared. A wait after that ends at once.
///
/// Each flight has its own signal, so that no waiter misses the end of its flight or is woken by
/// the end of another flight.
pub(crate) struct Signal {
    waiting: Mutex<Waiting>,
    /// The session was signed out of during the flight.
    signed_out: AtomicBool,
}

struct Waiting {
    given: bool,
    /// Wakers by index. An entry is empty while its waiter is not registered.
    wakers: Vec<Option<Waker>>,
    /// Indices of waiters that were dropped.
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

    /// Records that the session was signed out of during the flight.
    pub(crate) fn sign_out(&self) {
        self.signed_out.store(true, Ordering::Release);
    }

    /// Returns whether the session was signed out of during the flight.
    pub(crate) fn signed_out(&self) -> bool {
        self.signed_out.load(Ordering::Acquire)
    }

    /// Wakes all waiters. Every later wait ends at once.
    pub(crate) fn give(&self) {
        let wakers = {
            let mut waiting = lock(&self.waiting);
            waiting.given = true;
            std::mem::take(&mut waiting.wakers)
        };
        // The wakers run outside the lock, because a waker may poll its waiter in this call.
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    /// Number of entries, used or free.
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

/// Waits until the signal is set. *Cancellation*: dropping it frees its index.
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
