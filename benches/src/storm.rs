//! The storm: thousands of tasks wait for one refresh. Then the refresh ends.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::issuer::Issuer;
use crate::ways::Way;

/// The cost of a storm.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The processor time of the process for each waiter in microseconds, from the release of the
    /// refresh until the last waiter has its header. `None` if the system does not report processor
    /// time.
    pub microseconds: Option<f64>,
    /// The number of refreshes.
    pub refreshes: u64,
    /// The number of waiters with a header.
    pub served: usize,
}

/// Starts the waiters, then releases the refresh.
pub fn storm<W: Way>(runtime: &Runtime, waiters: usize) -> Cost {
    let issuer = Issuer::shut();
    let way = Arc::new(W::new(Arc::clone(&issuer)));
    let (last, ended) = oneshot::channel();
    let tally = Arc::new(Tally {
        parked: AtomicUsize::new(0),
        waiting: AtomicUsize::new(waiters),
        served: AtomicUsize::new(0),
        last: Mutex::new(Some(last)),
    });
    runtime.block_on(async {
        for _ in 0..waiters {
            tokio::spawn(wait(Arc::clone(&way), Arc::clone(&tally)));
        }
        while tally.parked.load(Ordering::Acquire) < waiters {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The runtime finishes its work of parking before the clock starts.
        tokio::time::sleep(Duration::from_millis(20)).await;
    });
    let spent = landing(runtime, &issuer, ended);
    Cost {
        microseconds: spent.map(|spent| spent.as_secs_f64() * 1e6 / waiters as f64),
        refreshes: issuer.refreshes(),
        served: tally.served.load(Ordering::Acquire),
    }
}

/// The pattern of the function that callgrind counts in a storm: `landing`.
pub const COUNTED: &str = "*storm::landing*";

/// Ends the refresh and runs until the last waiter has its header. Returns the processor time.
///
/// Callgrind counts between entry and return, so this function is neither inlined nor has closures,
/// whose names would begin with its own.
#[inline(never)]
fn landing(
    runtime: &Runtime,
    issuer: &Issuer,
    ended: oneshot::Receiver<Option<Duration>>,
) -> Option<Duration> {
    let before = processor_time();
    issuer.release();
    let after = runtime.block_on(ended).ok().flatten();
    after?.checked_sub(before?)
}

struct Tally {
    parked: AtomicUsize,
    waiting: AtomicUsize,
    served: AtomicUsize,
    /// The last served waiter takes the sender and reads the clock.
    last: Mutex<Option<oneshot::Sender<Option<Duration>>>>,
}

/// One waiter.
async fn wait<W: Way>(way: Arc<W>, tally: Arc<Tally>) {
    let mut header = pin!(way.header());
    let mut parked = false;
    let header = std::future::poll_fn(|context| {
        let answer = header.as_mut().poll(context);
        if answer.is_pending() && !std::mem::replace(&mut parked, true) {
            tally.parked.fetch_add(1, Ordering::Release);
        }
        answer
    })
    .await;
    if header.is_ok() {
        tally.served.fetch_add(1, Ordering::Release);
    }
    if tally.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
        let now = processor_time();
        if let Ok(mut last) = tally.last.lock()
            && let Some(last) = last.take()
        {
            let _ = last.send(now);
        }
    }
}

/// The processor time of the process, on all threads.
#[cfg(unix)]
fn processor_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).ok()
}

#[cfg(not(unix))]
fn processor_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program;
    use crate::ways::RotatorWay;

    const WAITERS: usize = 10_000;

    #[test]
    fn one_refresh_serves_all_of_them() {
        for runtime in [program::current_thread(), program::multi_thread(2)] {
            let cost = storm::<RotatorWay>(&runtime, WAITERS);
            assert_eq!((cost.refreshes, cost.served), (1, WAITERS));
        }
    }
}
