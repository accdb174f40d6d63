//! A gate that holds and releases requests, so that tests do not need to sleep.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// A gate that requests pass in the order of their arrival. The gate is open until a test closes it.
///
/// Clones are handles to the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    inner: Arc<Inner>,
}

impl Gate {
    /// Holds every request that arrives from now on.
    pub fn close(&self) {
        let mut state = self.state();
        if !state.closed {
            state.closed = true;
            state.admitted = state.next_ticket;
        }
    }

    /// Releases all waiting requests, and lets later requests pass.
    ///
    /// A request that waits at this moment passes even if the test closes the gate again at once.
    pub fn open(&self) {
        let mut state = self.state();
        state.closed = false;
        state.admitted = state.next_ticket;
        self.announce(&state);
    }

    /// Releases the next `count` requests, in the order of their arrival. The gate stays closed for later requests.
    ///
    /// Has no effect on an open gate.
    pub fn let_through(&self, count: u64) {
        let mut state = self.state();
        if state.closed {
            state.admitted = state.admitted.saturating_add(count);
            self.announce(&state);
        }
    }

    /// Waits until at least `count` requests wait at the gate together.
    ///
    /// *Waits* without a limit: set a timeout in the test. *Cancellation* has no effect on the gate.
    pub async fn arrived(&self, count: usize) {
        let mut waiting = self.inner.waiting.subscribe();
        // Cannot fail: `self` holds the sender.
        let _ = waiting.wait_for(|waiting| *waiting >= count).await;
    }

    /// Returns the number of requests that wait at the gate.
    pub fn waiting(&self) -> usize {
        *self.inner.waiting.borrow()
    }

    pub(crate) fn new() -> Self {
        let state = GateState {
            closed: false,
            next_ticket: 0,
            admitted: 0,
        };
        Self {
            inner: Arc::new(Inner {
                admitted: watch::Sender::new(state.admitted),
                state: Mutex::new(state),
                waiting: watch::Sender::new(0),
            }),
        }
    }

    /// Waits until the gate lets the request pass.
    pub(crate) async fn pass(&self) {
        let ticket = {
            let mut state = self.state();
            if !state.closed {
                return;
            }
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            if ticket < state.admitted {
                return;
            }
            ticket
        };
        let mut admitted = self.inner.admitted.subscribe();
        let _waiting_request = WaitingRequest::at(self);
        // The receiver sees every release that follows the lock above: `subscribe` reads the newest value.
        let _ = admitted.wait_for(|admitted| ticket < *admitted).await;
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, state: &GateState) {
        self.inner.admitted.send_replace(state.admitted);
    }
}

#[derive(Debug)]
struct Inner {
    state: Mutex<GateState>,
    // Two channels: an arrival wakes `arrived` alone. With one channel, each of 10,000 arrivals would wake all waiting
    // requests.
    /// Sends `GateState::admitted` to the waiting requests.
    admitted: watch::Sender<u64>,
    waiting: watch::Sender<usize>,
}

#[derive(Debug)]
struct GateState {
    closed: bool,
    next_ticket: u64,
    /// Requests with a smaller ticket may pass.
    admitted: u64,
}

/// Counts a request as waiting until the guard is dropped. A cancelled request drops its guard too.
struct WaitingRequest<'a> {
    gate: &'a Gate,
}

impl<'a> WaitingRequest<'a> {
    fn at(gate: &'a Gate) -> Self {
        gate.inner.waiting.send_modify(|waiting| *waiting += 1);
        Self { gate }
    }
}

impl Drop for WaitingRequest<'_> {
    fn drop(&mut self) {
        self.gate.inner.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::Gate;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn an_open_gate_holds_no_request() {
        let gate = Gate::new();
        assert!(poll(pin!(gate.pass())).is_ready());
    }

    #[test]
    fn a_waiting_request_passes_although_the_gate_closed_again() {
        let gate = Gate::new();
        gate.close();
        let mut early = pin!(gate.pass());
        assert!(poll(early.as_mut()).is_pending());
        gate.open();
        gate.close();
        let mut late = pin!(gate.pass());
        assert!(poll(late.as_mut()).is_pending());
        assert!(poll(early.as_mut()).is_ready());
        assert!(poll(late.as_mut()).is_pending());
    }

    #[test]
    fn let_through_releases_count_requests() {
        let gate = Gate::new();
        gate.close();
        let mut first = pin!(gate.pass());
        let mut second = pin!(gate.pass());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        gate.let_through(1);
        assert!(poll(first.as_mut()).is_ready());
        assert!(poll(second.as_mut()).is_pending());
        assert_eq!(gate.waiting(), 1);
    }

    #[test]
    fn a_dropped_request_is_not_counted_as_waiting() {
        let gate = Gate::new();
        gate.close();
        {
            let mut cancelled = pin!(gate.pass());
            assert!(poll(cancelled.as_mut()).is_pending());
            assert!(poll(pin!(gate.arrived(1))).is_ready());
        }
        assert_eq!(gate.waiting(), 0);
    }
}
