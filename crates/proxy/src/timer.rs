//! Deadlines that are cheap to move.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A deadline that may move often. The tokio timer is reset only when it fires, so moving the
/// deadline to a later time costs no timer operation.
#[derive(Default)]
pub(crate) struct DeadlineTimer {
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl DeadlineTimer {
    /// Sets the deadline to `after` from now, unless a deadline is set. `None` sets none.
    pub(crate) fn start(&mut self, after: Option<Duration>) {
        if self.deadline.is_none() {
            self.deadline = after.map(|after| Instant::now() + after);
        }
    }

    /// Sets or clears the deadline.
    pub(crate) fn set_at(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// hyper's timer for the heads of one connection. hyper creates a sleep for each head; all of them
/// share one deadline timer.
#[derive(Default)]
pub(crate) struct HeadTimer(Arc<Mutex<DeadlineTimer>>);

struct HeadSleep {
    deadline: Instant,
    timer: Arc<Mutex<DeadlineTimer>>,
}

impl hyper::rt::Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HeadSleep {
            deadline: deadline.into(),
            timer: Arc::clone(&self.0),
        })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

impl hyper::rt::Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        timer.set_at(Some(self.deadline));
        timer.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Timer as _;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn is_pending(sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>) -> bool {
        tokio::time::timeout(Duration::ZERO, sleep).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn each_head_has_its_own_deadline() {
        let timer = HeadTimer::default();
        let began = Instant::now();
        let mut first = timer.sleep(2 * SECOND);
        assert!(is_pending(&mut first).await);
        drop(first);
        tokio::time::advance(SECOND).await;
        timer.sleep(2 * SECOND).await;
        assert_eq!(began.elapsed(), 3 * SECOND);
        // A head with a shorter time than the head before.
        let mut long = timer.sleep(9 * SECOND);
        assert!(is_pending(&mut long).await);
        timer.sleep(SECOND).await;
        assert_eq!(began.elapsed(), 4 * SECOND);
    }
}
