//! Where flights run: spawning, sleeping, and what stands in for both in model checks.

pub(crate) mod clock;
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

/// Where flights and pending saves run.
pub(crate) struct Runtime {
    chosen: Arc<Mutex<Chosen>>,
}

#[cfg_attr(model_shuttle, allow(dead_code))] // A model has a runtime of its own.
enum Chosen {
    /// That of the first call, once there is one.
    First(Option<tokio::runtime::Handle>),
    /// Given to the builder.
    Given(tokio::runtime::Handle),
    /// A thread of the rotator's own.
    Own(OwnThread),
}

/// A thread with a runtime on it, which ends when this is dropped.
#[cfg_attr(model_shuttle, allow(dead_code))]
struct OwnThread {
    handle: tokio::runtime::Handle,
    /// Dropping it ends the thread's main future.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Runtime {
    pub(crate) fn of_first_call() -> Self {
        Self::new(Chosen::First(None))
    }

    pub(crate) fn given(handle: tokio::runtime::Handle) -> Self {
        Self::new(Chosen::Given(handle))
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
                // An error says that the sender is gone, which is the order to stop.
                let _ = runtime.block_on(stopped);
            })
            .map_err(failed)?;
        Ok(Self::new(Chosen::Own(OwnThread {
            handle,
            _stop: stop,
        })))
    }

    fn new(chosen: Chosen) -> Self {
        Self {
            chosen: Arc::new(Mutex::new(chosen)),
        }
    }

    /// The runtime of the first call has ended: the next call chooses again.
    pub(crate) fn forget_first(&self) {
        lock(&self.chosen).forget_first();
    }

    /// Whether there is a runtime to spawn on. Settles on that of this call if none is chosen.
    #[cfg(not(model_shuttle))]
    pub(crate) fn ready(&self) -> Result<(), TokenError> {
        lock(&self.chosen).handle().map(|_| ())
    }

    /// Runs the future in a task of its own. Where the runtime has ended before it began, it runs
    /// on that of this call; where that has ended too, the future is dropped.
    #[cfg(not(model_shuttle))]
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        spawn(&self.chosen, Box::pin(future), true);
    }

    /// Whether whoever waits here is sure to see the time pass that flights go by: not if their
    /// runtime is another, which may stand still.
    #[cfg(not(model_shuttle))]
    pub(crate) fn keeps_time(&self) -> bool {
        let chosen = match &*lock(&self.chosen) {
            Chosen::Own(_) => return true,
            Chosen::Given(handle) | Chosen::First(Some(handle)) => handle.id(),
            Chosen::First(None) => return false,
        };
        tokio::runtime::Handle::try_current().is_ok_and(|here| here.id() == chosen)
    }

    #[cfg(model_shuttle)]
    pub(crate) fn keeps_time(&self) -> bool {
        true
    }

    #[cfg(model_shuttle)]
    pub(crate) fn ready(&self) -> Result<(), TokenError> {
        Ok(())
    }

    #[cfg(model_shuttle)]
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        shuttle::future::spawn(future);
    }

    /// Runs the future for so long; `None` if it did not end. Needs no runtime of the caller's; an
    /// error says that there is none at all to keep the time.
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
            // Its timers panic where it has ended; a task is dropped.
            let alarm = Alarm(handle.spawn(async move { tokio::time::sleep(limit).await }));
            match select(pin!(future), alarm).await {
                Either::Left((output, _)) => Ok(Some(output)),
                Either::Right((true, _)) => Ok(None),
                Either::Right((false, _)) => Err(TokenError::NoRuntime),
            }
        }
    }
}

impl Chosen {
    /// The runtime to use, settling on that of this call if none is chosen yet.
    #[cfg(not(model_shuttle))]
    fn handle(&mut self) -> Result<tokio::runtime::Handle, TokenError> {
        match self {
            Self::Own(thread) => Ok(thread.handle.clone()),
            Self::Given(handle) | Self::First(Some(handle)) => Ok(handle.clone()),
            Self::First(first) => {
                let handle =
                    tokio::runtime::Handle::try_current().map_err(|_| TokenError::NoRuntime)?;
                Ok(first.insert(handle).clone())
            }
        }
    }

    /// The runtime whose timers to use, `None` being that of this call: it is to be preferred to
    /// that of the first, which may have ended or stand still.
    #[cfg(not(model_shuttle))]
    fn timer(&mut self) -> Result<Option<tokio::runtime::Handle>, TokenError> {
        match (&*self, tokio::runtime::Handle::try_current()) {
            (Self::First(_), Ok(_here)) => Ok(None),
            _ => self.handle().map(Some),
        }
    }

    fn forget_first(&mut self) {
        if let Self::First(first) = self {
            *first = None;
        }
    }

    /// The runtime has taken no task, so it has ended: from here on it is as if none was chosen.
    #[cfg(not(model_shuttle))]
    fn forget_ended(&mut self) {
        if let Self::First(_) | Self::Given(_) = self {
            *self = Self::First(None);
        }
    }
}

/// A sleep on another runtime: true once it is over, false if that runtime has ended.
#[cfg(not(model_shuttle))]
struct Alarm(tokio::task::JoinHandle<()>);

#[cfg(not(model_shuttle))]
impl Future for Alarm {
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
impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(not(model_shuttle))]
fn spawn(chosen: &Arc<Mutex<Chosen>>, future: BoxFuture<'static, ()>, again: bool) {
    // The lock must be free when the task is dropped, which happens right here where the runtime
    // has ended.
    let handle = lock(chosen).handle();
    let task = Task {
        chosen: Arc::clone(chosen),
        future: Some(future),
        again,
    };
    match handle {
        Ok(handle) => drop(handle.spawn(task)),
        Err(_no_runtime) => drop(task),
    }
}

/// A future that is given to another runtime if the first drops it before it has begun.
#[cfg(not(model_shuttle))]
struct Task {
    chosen: Arc<Mutex<Chosen>>,
    future: Option<BoxFuture<'static, ()>>,
    again: bool,
}

#[cfg(not(model_shuttle))]
impl Future for Task {
    type Output = ();

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        self.again = false;
        match &mut self.future {
            Some(future) => future.as_mut().poll(context),
            None => std::task::Poll::Ready(()),
        }
    }
}

#[cfg(not(model_shuttle))]
impl Drop for Task {
    fn drop(&mut self) {
        if self.again
            && let Some(future) = self.future.take()
        {
            lock(&self.chosen).forget_ended();
            spawn(&self.chosen, future, false);
        }
    }
}

/// Runs the future for so long; `None` if it did not end. For what runs in a flight's task.
pub(crate) async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    #[cfg(not(model_shuttle))]
    return tokio::time::timeout(limit, future).await.ok();
    // A model has no time: nothing times out in it but by its own hand.
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

/// Runs what may block, a file system above all, on a thread where it holds up nobody.
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
