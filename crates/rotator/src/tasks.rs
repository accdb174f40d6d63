//! Counts what runs in the background, so that a program can wait for it before it ends.

use std::sync::Arc;

use crate::signal::Signal;
use crate::sync::{Mutex, lock};

/// What runs in the background.
pub(crate) struct Tasks(Arc<Mutex<Running>>);

struct Running {
    count: usize,
    /// Given when the count comes down to zero.
    idle: Arc<Signal>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Running {
            count: 0,
            idle: Signal::new(),
        })))
    }

    /// One more, until the answer is dropped.
    pub(crate) fn begin(&self) -> Busy {
        lock(&self.0).count += 1;
        Busy(Arc::clone(&self.0))
    }

    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.0).count == 0
    }

    /// Ends when nothing runs.
    pub(crate) async fn idle(&self) {
        let wait = {
            let running = lock(&self.0);
            if running.count == 0 {
                return;
            }
            Arc::clone(&running.idle).wait()
        };
        wait.await;
    }
}

/// Something that runs.
pub(crate) struct Busy(Arc<Mutex<Running>>);

impl Drop for Busy {
    fn drop(&mut self) {
        let idle = {
            let mut running = lock(&self.0);
            running.count -= 1;
            if running.count > 0 {
                return;
            }
            std::mem::replace(&mut running.idle, Signal::new())
        };
        idle.give();
    }
}
