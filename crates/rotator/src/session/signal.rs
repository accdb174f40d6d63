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
    state: Mutex<SignalState>,
    /// The session was signed out of during the flight.
    signed_out: AtomicBool,
}

struct SignalState {
    is_set: bool,
    /// Wakers by index. An entry is empty while its waiter is not registered.
    wakers: Vec<Option<Waker>>,
    /// Indices of waiters that were dropped.
    free_indices: Vec<usize>,
}

impl Signal {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(SignalState {
                is_set: false,
                wakers: Vec::new(),
                free_indices: Vec::new(),
            }),
            signed_out: AtomicBool::new(false),
        })
    }

    /// Records that the session was signed out of during the flight.
    pub(crate) fn mark_signed_out(&self) {
        self.signed_out.store(true, Ordering::Release);
    }

    /// Returns whether the session was signed out of during the flight.
    pub(crate) fn signed_out(&self) -> bool {
        self.signed_out.load(Ordering::Acquire)
    }

    /// Wakes all waiters. Every later wait ends at once.
    pub(crate) fn set(&self) {
        let wakers = {
            let mut state = lock(&self.state);
            state.is_set = true;
            std::mem::take(&mut state.wakers)
        };
        // The wakers run outside the lock, because a waker may poll its waiter in this call.
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    /// Number of entries, used or free.
    #[cfg(all(test, model_loom))]
    pub(crate) fn index_count(&self) -> usize {
        lock(&self.state).wakers.len()
    }

    pub(crate) fn wait(self: Arc<Self>) -> SignalWait {
        SignalWait {
            signal: self,
            index: None,
            is_set: false,
        }
    }
}

/// Waits until the signal is set. *Cancellation*: dropping it frees its index.
pub(crate) struct SignalWait {
    signal: Arc<Signal>,
    index: Option<usize>,
    is_set: bool,
}

impl Future for SignalWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = lock(&this.signal.state);
        if state.is_set {
            this.is_set = true;
            return Poll::Ready(());
        }
        let index = *this.index.get_or_insert_with(|| {
            state.free_indices.pop().unwrap_or_else(|| {
                state.wakers.push(None);
                state.wakers.len() - 1
            })
        });
        let registered = &mut state.wakers[index];
        if !registered
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            *registered = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for SignalWait {
    fn drop(&mut self) {
        if self.is_set {
            return;
        }
        if let Some(index) = self.index {
            let mut state = lock(&self.signal.state);
            if !state.is_set {
                state.wakers[index] = None;
                state.free_indices.push(index);
            }
        }
    }
}
