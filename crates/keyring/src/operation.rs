//! Runs keyring operations, which may never complete, one at a time and with a time limit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use token_rotator::store::{StoreError, StoreErrorKind};
use tokio::sync::oneshot;

use crate::failure::unavailable;

/// Runs operations one at a time, so that a keyring that hangs blocks one thread and not one thread for each attempt.
///
/// Operations have their own threads instead of the runtime's blocking threads. A runtime waits for its blocking threads
/// when it ends, so an open prompt would keep the program from ending. Operations also have their own clock, because the
/// runtime may have no timer.
#[derive(Clone, Default)]
pub(crate) struct OperationQueue(Arc<QueueState>);

#[derive(Default)]
struct QueueState {
    is_busy: Mutex<bool>,
    became_free: Condvar,
}

/// Whether the caller has stopped waiting for the result.
#[derive(Clone, Default)]
pub(crate) struct CancelFlag(Arc<AtomicBool>);

/// Sets the flag on drop: after the result, on a timeout, or with the future.
struct CancelOnDrop(CancelFlag);

/// The right to run an operation. The thread of the operation holds it, and may outlive the caller.
struct Permit(Arc<QueueState>);

impl OperationQueue {
    /// Runs the operation, and returns its result or an error after `limit`.
    ///
    /// *Cancellation*: dropping the future sets the flag of the operation. The operation itself cannot be stopped.
    pub(crate) async fn run<T, Q>(&self, limit: Duration, operation: Q) -> Result<T, StoreError>
    where
        T: Send + 'static,
        Q: FnOnce(&CancelFlag) -> Result<T, StoreError> + Send + 'static,
    {
        let cancel_on_drop = CancelOnDrop(CancelFlag::default());
        let (sender, receiver) = oneshot::channel();
        let (queue, cancel_flag) = (Arc::clone(&self.0), cancel_on_drop.0.clone());
        let start_time = Instant::now();
        spawn_thread(move || {
            // The receiver is gone if the future was dropped.
            let _ = sender.send(wait_for_result(
                &queue,
                start_time,
                limit,
                &cancel_flag,
                operation,
            ));
        })?;
        receiver.await.unwrap_or_else(|_| Err(panicked()))
    }
}

/// Waits for the permit and then for the result, on a thread that measures the time.
fn wait_for_result<T: Send + 'static>(
    queue: &Arc<QueueState>,
    start_time: Instant,
    limit: Duration,
    cancel_flag: &CancelFlag,
    operation: impl FnOnce(&CancelFlag) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let remaining = || limit.saturating_sub(start_time.elapsed());
    let Some(permit) = Permit::acquire(queue, remaining()) else {
        return Err(unavailable(&format!(
            "has not answered an earlier request for longer than {limit:?}"
        ))
        .with_hint("answer the prompt of the keyring"));
    };
    cancel_flag.check()?;
    let (sender, receiver) = mpsc::channel();
    let operation_flag = cancel_flag.clone();
    spawn_thread(move || {
        let result = catch_unwind(AssertUnwindSafe(|| operation(&operation_flag)));
        drop(permit);
        let _ = sender.send(result.unwrap_or_else(|_| Err(panicked())));
    })?;
    receiver.recv_timeout(remaining()).unwrap_or_else(|_| {
        cancel_flag.set();
        Err(unavailable(&format!("has not answered within {limit:?}"))
            .with_hint("answer the prompt that the keyring may show, or raise `timeout`"))
    })
}

fn spawn_thread(task: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let thread = thread::Builder::new().name("token-rotator-keyring".to_owned());
    match thread.spawn(task) {
        Ok(_) => Ok(()),
        Err(error) => Err(unavailable(&format!(
            "cannot be used: no thread for the request can be started: {error}"
        ))),
    }
}

fn panicked() -> StoreError {
    StoreError::new(
        StoreErrorKind::Panicked,
        "the system's keyring: the keyring library panicked",
    )
}

impl CancelFlag {
    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Fails if the caller has stopped waiting. The error ends the operation; no caller receives it.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.0.load(Ordering::Acquire) {
            return Err(unavailable(
                "was not asked: the caller no longer waits for the result",
            ));
        }
        Ok(())
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl Permit {
    /// Returns `None` if no permit becomes free within `limit`.
    fn acquire(queue: &Arc<QueueState>, limit: Duration) -> Option<Self> {
        let is_busy = locked(&queue.is_busy);
        let waited = queue
            .became_free
            .wait_timeout_while(is_busy, limit, |is_busy| *is_busy)
            .unwrap_or_else(PoisonError::into_inner);
        let mut is_busy = waited.0;
        if *is_busy {
            return None;
        }
        *is_busy = true;
        Some(Self(Arc::clone(queue)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *locked(&self.0.is_busy) = false;
        // Wakes all waiting threads, because a single one may have reached its limit at this moment.
        self.0.became_free.notify_all();
    }
}

fn locked(is_busy: &Mutex<bool>) -> MutexGuard<'_, bool> {
    is_busy.lock().unwrap_or_else(PoisonError::into_inner)
}
