//! Tasks, timers, clocks and locks, and their replacements in model checks.
//!
//! - `clock.rs`: the wall clock and the steady clock.
//! - `random.rs`: random bits for epochs and intents. `host.rs`: the name of this host.
//! - `sync.rs`: the mutex and the published value, for real builds and for the model checkers.
//!
//! This file holds the choice of the tokio runtime, and tasks and timers on it.

pub(crate) mod clock;
mod host;
pub(crate) mod random;
pub(crate) mod sync;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

#[cfg(not(model_shuttle))]
use std::pin::pin;

#[cfg(not(model_shuttle))]
use futures_util::future::{BoxFuture, Either, select};

use crate::error::{BuildError, TokenError};
use crate::runtime::sync::{Mutex, lock};

pub(crate) use self::host::host_name;

/// The tokio runtime that flights and pending writes run on.
pub(crate) struct Runtime {
    chosen: Arc<Mutex<ChosenRuntime>>,
}

#[cfg_attr(model_shuttle, allow(dead_code))] // A model has a runtime of its own.
enum ChosenRuntime {
    /// The runtime of the first call. `None` before that call.
    FirstCall(Option<tokio::runtime::Handle>),
    /// The runtime that the builder was given.
    Given(tokio::runtime::Handle),
    /// A thread that the rotator owns.
    OwnThread(OwnThread),
}

/// A thread with its own runtime. Dropping this value ends the thread.
#[cfg_attr(model_shuttle, allow(dead_code))]
struct OwnThread {
    handle: tokio::runtime::Handle,
    /// Dropping the sender ends the thread's main future.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Runtime {
    pub(crate) fn of_first_call() -> Self {
        Self::new(ChosenRuntime::FirstCall(None))
    }

    pub(crate) fn given(handle: tokio::runtime::Handle) -> Self {
        Self::new(ChosenRuntime::Given(handle))
    }

    pub(crate) fn own_thread() -> Result<Self, BuildError> {
        let failed = |error: std::io::Error| BuildError::Thread(Arc::from(error.to_string()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("token-rotator".to_owned())
            .spawn(move || {
                // The receive error reports that the sender was dropped, which stops the thread.
                let _ = runtime.block_on(stopped);
            })
            .map_err(failed)?;
        Ok(Self::new(ChosenRuntime::OwnThread(OwnThread {
            handle,
            _stop: stop,
        })))
    }

    fn new(chosen: ChosenRuntime) -> Self {
        Self {
            chosen: Arc::new(Mutex::new(chosen)),
        }
    }

    /// Forgets the runtime of the first call, which has ended. The next call chooses a runtime
    /// again.
    pub(crate) fn forget_first_runtime(&self) {
        lock(&self.chosen).forget_first_runtime();
    }

    /// Chooses the runtime of this call if none is chosen.
    ///
    /// *Errors*: there is no runtime.
    #[cfg(not(model_shuttle))]
    pub(crate) fn choose(&self) -> Result<(), TokenError> {
        lock(&self.chosen).handle().map(|_| ())
    }

    /// Runs the future in its own task. If the runtime ends before the task has begun, the task
    /// moves to the runtime of this call. If that runtime has ended too, the future is dropped.
    #[cfg(not(model_shuttle))]
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        spawn(&self.chosen, Box::pin(future), true);
    }

    /// Returns whether the caller's runtime is the runtime of the flights. Another runtime may
    /// stop, and its timers with it.
    #[cfg(not(model_shuttle))]
    pub(crate) fn is_callers_runtime(&self) -> bool {
        let chosen = match &*lock(&self.chosen) {
            ChosenRuntime::OwnThread(_) => return true,
            ChosenRuntime::Given(handle) | ChosenRuntime::FirstCall(Some(handle)) => handle.id(),
            ChosenRuntime::FirstCall(None) => return false,
        };
        tokio::runtime::Handle::try_current().is_ok_and(|here| here.id() == chosen)
    }

    #[cfg(model_shuttle)]
    pub(crate) fn is_callers_runtime(&self) -> bool {
        true
    }

    #[cfg(model_shuttle)]
    pub(crate) fn choose(&self) -> Result<(), TokenError> {
        Ok(())
    }

    #[cfg(model_shuttle)]
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        shuttle::future::spawn(future);
    }

    /// Runs the future for at most `limit`. Returns `None` if the future did not end in time. The
    /// caller needs no runtime.
    ///
    /// *Errors*: no runtime is left whose timers could measure the limit.
    pub(crate) async fn timeout<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> Result<Option<F::Output>, TokenError> {
        #[cfg(model_shuttle)]
        {
            let _ = limit;
            Ok(Some(future.await))
        }
        #[cfg(not(model_shuttle))]
        {
            let timer = lock(&self.chosen).timer()?;
            let Some(handle) = timer else {
                return Ok(tokio::time::timeout(limit, future).await.ok());
            };
            // A timer of a runtime that has ended panics. A task of that runtime is only dropped.
            let sleep = RemoteSleep(handle.spawn(async move { tokio::time::sleep(limit).await }));
            match select(pin!(future), sleep).await {
                Either::Left((output, _)) => Ok(Some(output)),
                Either::Right((true, _)) => Ok(None),
                Either::Right((false, _)) => Err(TokenError::NoRuntime),
            }
        }
    }
}

impl ChosenRuntime {
    /// Returns the chosen runtime. Chooses the runtime of this call if none is chosen.
    #[cfg(not(model_shuttle))]
    fn handle(&mut self) -> Result<tokio::runtime::Handle, TokenError> {
        match self {
            Self::OwnThread(thread) => Ok(thread.handle.clone()),
            Self::Given(handle) | Self::FirstCall(Some(handle)) => Ok(handle.clone()),
            Self::FirstCall(first) => {
                let handle =
                    tokio::runtime::Handle::try_current().map_err(|_| TokenError::NoRuntime)?;
                Ok(first.insert(handle).clone())
            }
        }
    }

    /// Returns the runtime whose timers to use. Returns `None` for the runtime of this call, which
    /// is preferred to the runtime of the first call: that runtime may have ended or stopped.
    #[cfg(not(model_shuttle))]
    fn timer(&mut self) -> Result<Option<tokio::runtime::Handle>, TokenError> {
        match (&*self, tokio::runtime::Handle::try_current()) {
            (Self::FirstCall(_), Ok(_here)) => Ok(None),
            _ => self.handle().map(Some),
        }
    }

    fn forget_first_runtime(&mut self) {
        if let Self::FirstCall(first) = self {
            *first = None;
        }
    }

    /// Forgets the chosen runtime, which has ended: it dropped a task that had not begun.
    #[cfg(not(model_shuttle))]
    fn forget_ended(&mut self) {
        if let Self::FirstCall(_) | Self::Given(_) = self {
            *self = Self::FirstCall(None);
        }
    }
}

/// A sleep on another runtime. Returns true after the sleep, and false if that runtime has ended.
#[cfg(not(model_shuttle))]
struct RemoteSleep(tokio::task::JoinHandle<()>);

#[cfg(not(model_shuttle))]
impl Future for RemoteSleep {
    type Output = bool;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<bool> {
        std::pin::Pin::new(&mut self.0)
            .poll(context)
            .map(|slept| slept.is_ok())
    }
}

#[cfg(not(model_shuttle))]
impl Drop for RemoteSleep {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(not(model_shuttle))]
fn spawn(chosen: &Arc<Mutex<ChosenRuntime>>, future: BoxFuture<'static, ()>, may_move: bool) {
    // The lock must be free when the task is dropped. A runtime that has ended drops the task in
    // `spawn`.
    let handle = lock(chosen).handle();
    let task = MovableTask {
        chosen: Arc::clone(chosen),
        future: Some(future),
        may_move,
    };
    match handle {
        Ok(handle) => drop(handle.spawn(task)),
        Err(_no_runtime) => drop(task),
    }
}

/// A future that moves to another runtime if the first runtime drops it before it has begun.
#[cfg(not(model_shuttle))]
struct MovableTask {
    chosen: Arc<Mutex<ChosenRuntime>>,
    future: Option<BoxFuture<'static, ()>>,
    may_move: bool,
}

#[cfg(not(model_shuttle))]
impl Future for MovableTask {
    type Output = ();

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        self.may_move = false;
        match &mut self.future {
            Some(future) => future.as_mut().poll(context),
            None => std::task::Poll::Ready(()),
        }
    }
}

#[cfg(not(model_shuttle))]
impl Drop for MovableTask {
    fn drop(&mut self) {
        if self.may_move
            && let Some(future) = self.future.take()
        {
            lock(&self.chosen).forget_ended();
            spawn(&self.chosen, future, false);
        }
    }
}

/// Runs the future for at most `limit`, in a flight's task. Returns `None` if the future did not
/// end in time.
pub(crate) async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    #[cfg(not(model_shuttle))]
    return tokio::time::timeout(limit, future).await.ok();
    // A model checker has no time, so no future times out there.
    #[cfg(model_shuttle)]
    {
        let _ = limit;
        Some(future.await)
    }
}

/// Sleeps, in a flight's task.
pub(crate) async fn sleep(duration: Duration) {
    #[cfg(not(model_shuttle))]
    tokio::time::sleep(duration).await;
    #[cfg(model_shuttle)]
    {
        let _ = duration;
        std::future::pending::<()>().await;
    }
}

/// Runs work that blocks, such as file access, on a thread for blocking work.
#[cfg(feature = "file")]
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::error::StoreError> + Send + 'static,
) -> Result<T, crate::error::StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(_) => Err(crate::error::StoreError::new(
            crate::error::StoreErrorKind::Unavailable,
            "the runtime ended before the file was read or written",
        )),
    }
}
