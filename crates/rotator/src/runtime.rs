//! Where flights run: spawning, sleeping, and what stands in for both in model checks.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{BuildError, TokenError};
use crate::sync::{Mutex, lock};

/// Where flights and pending saves run.
pub(crate) struct Runtime {
    chosen: Mutex<Chosen>,
}

enum Chosen {
    /// That of the first call, once there is one.
    First(Option<tokio::runtime::Handle>),
    /// Given to the builder.
    Given(tokio::runtime::Handle),
    /// A thread of the rotator's own.
    Own(OwnThread),
}

/// A thread with a runtime on it, which ends when this is dropped.
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
            chosen: Mutex::new(chosen),
        }
    }

    /// The runtime to use, settling on that of this call if none is chosen yet.
    #[cfg(not(model_shuttle))]
    fn handle(&self) -> Result<tokio::runtime::Handle, TokenError> {
        match &mut *lock(&self.chosen) {
            Chosen::Given(handle) => Ok(handle.clone()),
            Chosen::Own(thread) => Ok(thread.handle.clone()),
            Chosen::First(Some(handle)) => Ok(handle.clone()),
            Chosen::First(first) => {
                let handle =
                    tokio::runtime::Handle::try_current().map_err(|_| TokenError::NoRuntime)?;
                Ok(first.insert(handle).clone())
            }
        }
    }

    /// The runtime of the first call has ended: the next call chooses again.
    pub(crate) fn forget_first(&self) {
        if let Chosen::First(first) = &mut *lock(&self.chosen) {
            *first = None;
        }
    }

    /// Whether there is a runtime to spawn on. Settles on that of this call if none is chosen.
    #[cfg(not(model_shuttle))]
    pub(crate) fn ready(&self) -> Result<(), TokenError> {
        self.handle().map(|_| ())
    }

    /// Runs the future in a task of its own. Where the runtime has ended, the future is dropped.
    #[cfg(not(model_shuttle))]
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        if let Ok(handle) = self.handle() {
            handle.spawn(future);
        }
    }

    #[cfg(model_shuttle)]
    pub(crate) fn ready(&self) -> Result<(), TokenError> {
        Ok(())
    }

    #[cfg(model_shuttle)]
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        shuttle::future::spawn(future);
    }

    /// Runs the future for so long; `None` if it did not end. Needs no runtime of the caller's.
    pub(crate) async fn timeout<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> Result<Option<F::Output>, TokenError> {
        #[cfg(not(model_shuttle))]
        let bounded = {
            let handle = self.handle()?;
            let _entered = handle.enter();
            tokio::time::timeout(limit, future)
        };
        #[cfg(not(model_shuttle))]
        return Ok(bounded.await.ok());
        #[cfg(model_shuttle)]
        {
            let _ = limit;
            Ok(Some(future.await))
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
