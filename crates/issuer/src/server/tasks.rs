//! The tasks of one server, stopped together.

use std::future::Future;
use std::sync::Arc;

use hyper::rt::Executor;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Spawns tasks that end when the server stops.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    stopped: Arc<watch::Sender<bool>>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self {
            stopped: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Runs `future` until it completes or the server stops. The handle yields `None` if the server stopped first.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let mut stopped = self.stopped.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => None,
                output = future => Some(output),
            }
        })
    }

    /// Stops every task, without waiting.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Stops every task and waits until all have ended.
    pub(crate) async fn shutdown(&self) {
        self.stop();
        // Every task holds a receiver until it ends, so a closed channel means that no task is left.
        self.stopped.closed().await;
    }
}

/// Lets hyper spawn the streams of an HTTP/2 connection as tasks of the server.
impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.spawn(future);
    }
}
