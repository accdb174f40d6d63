//! Timers that cost nothing while all goes well.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A deadline that moves with every use. The timer under it is set anew only when it goes off: a
/// deadline that is put off, as nearly all are, costs a comparison.
#[derive(Default)]
pub(crate) struct Alarm {
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Goes off so long from now, if at all, unless it is set already.
    pub(crate) fn start(&mut self, after: Option<Duration>) {
        if self.deadline.is_none() {
            self.deadline = after.map(|after| Instant::now() + after);
        }
    }

    /// Goes off then, if at all.
    pub(crate) fn set_at(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Ready once the deadline is past.
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

/// The timer that hyper reads the heads of one connection by. hyper makes a new sleep for each of
/// them; they all share one alarm.
#[derive(Default)]
pub(crate) struct HeadTimer(Arc<Mutex<Alarm>>);

struct HeadSleep {
    deadline: Instant,
    alarm: Arc<Mutex<Alarm>>,
}

impl hyper::rt::Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HeadSleep {
            deadline: deadline.into(),
            alarm: Arc::clone(&self.0),
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
        let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        alarm.set_at(Some(self.deadline));
        alarm.poll(context)
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
    async fn a_later_head_has_its_own_time() {
        let timer = HeadTimer::default();
        let began = Instant::now();
        let mut first = timer.sleep(2 * SECOND);
        assert!(is_pending(&mut first).await);
        drop(first);
        tokio::time::advance(SECOND).await;
        timer.sleep(2 * SECOND).await;
        assert_eq!(began.elapsed(), 3 * SECOND);
        // And one that has less time than the one before.
        let mut long = timer.sleep(9 * SECOND);
        assert!(is_pending(&mut long).await);
        timer.sleep(SECOND).await;
        assert_eq!(began.elapsed(), 4 * SECOND);
    }
}
