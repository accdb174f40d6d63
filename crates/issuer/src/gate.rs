//! A gate in front of requests, so that tests hold and release them without sleeping.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// A gate that requests pass one by one: open by default, closed and opened by the test.
///
/// Clones are handles to the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    inner: Arc<Inner>,
}

impl Gate {
    /// Holds every request that arrives from now on.
    pub fn close(&self) {
        let mut line = self.line();
        if !line.closed {
            line.closed = true;
            line.admitted = line.next_ticket;
        }
    }

    /// Lets everybody through who waits, and everybody who comes later.
    ///
    /// Who waited at this moment passes even if the gate is closed again right away.
    pub fn open(&self) {
        let mut line = self.line();
        line.closed = false;
        line.admitted = line.next_ticket;
        self.announce(&line);
    }

    /// Lets the next `count` requests through, those waiting longest first; the gate stays as it is for the rest.
    ///
    /// Does nothing to an open gate.
    pub fn let_through(&self, count: u64) {
        let mut line = self.line();
        if line.closed {
            line.admitted = line.admitted.saturating_add(count);
            self.announce(&line);
        }
    }

    /// Waits until at least `count` requests stand at the gate together.
    ///
    /// Waits for ever if they never come: give the test a timeout of its own. Cancelling it has no effect on the gate.
    pub async fn arrived(&self, count: usize) {
        let mut waiting = self.inner.waiting.subscribe();
        // The sender lives in `self`, so the channel cannot close under us.
        let _ = waiting.wait_for(|waiting| *waiting >= count).await;
    }

    /// How many requests stand at the gate now.
    pub fn waiting(&self) -> usize {
        *self.inner.waiting.borrow()
    }

    pub(crate) fn new() -> Self {
        let line = Line {
            closed: false,
            next_ticket: 0,
            admitted: 0,
        };
        let (admission, _) = watch::channel(line.admission());
        let (waiting, _) = watch::channel(0);
        Self {
            inner: Arc::new(Inner {
                line: Mutex::new(line),
                admission,
                waiting,
            }),
        }
    }

    /// Passes the gate, waiting in front of it while it is closed.
    pub(crate) async fn pass(&self) {
        let ticket = {
            let mut line = self.line();
            if !line.closed {
                return;
            }
            let ticket = line.next_ticket;
            line.next_ticket += 1;
            if ticket < line.admitted {
                return;
            }
            ticket
        };
        let mut admission = self.inner.admission.subscribe();
        let _standing = Standing::at(self);
        // What `announce` published last is at least as new as the line seen above, or is still to come.
        let _ = admission
            .wait_for(|admission| admission.admits(ticket))
            .await;
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.inner
            .line
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, line: &Line) {
        self.inner.admission.send_replace(line.admission());
    }
}

#[derive(Debug)]
struct Inner {
    line: Mutex<Line>,
    // Two channels: arrivals must not wake those who wait, or ten thousand of them would wake each other.
    admission: watch::Sender<Admission>,
    waiting: watch::Sender<usize>,
}

#[derive(Debug)]
struct Line {
    closed: bool,
    next_ticket: u64,
    /// Tickets below this one have passed.
    admitted: u64,
}

impl Line {
    fn admission(&self) -> Admission {
        Admission {
            below: self.admitted,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Admission {
    below: u64,
}

impl Admission {
    fn admits(self, ticket: u64) -> bool {
        ticket < self.below
    }
}

/// Counts a request as waiting for as long as it lives, cancelled requests included.
struct Standing<'a> {
    gate: &'a Gate,
}

impl<'a> Standing<'a> {
    fn at(gate: &'a Gate) -> Self {
        gate.inner.waiting.send_modify(|waiting| *waiting += 1);
        Self { gate }
    }
}

impl Drop for Standing<'_> {
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
    fn an_open_gate_holds_nobody() {
        let gate = Gate::new();
        assert!(poll(pin!(gate.pass())).is_ready());
    }

    #[test]
    fn who_waited_passes_although_the_gate_closed_again() {
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
    fn let_through_admits_as_many_as_it_says() {
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
    fn a_dropped_request_waits_no_longer() {
        let gate = Gate::new();
        gate.close();
        {
            let mut gone = pin!(gate.pass());
            assert!(poll(gone.as_mut()).is_pending());
            assert!(poll(pin!(gate.arrived(1))).is_ready());
        }
        assert_eq!(gate.waiting(), 0);
    }
}
