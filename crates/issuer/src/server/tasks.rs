//! All tasks of one server, stopped together.

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

    /// Runs `future` to its end or until the server stops; the handle then yields `None`.
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

    /// Tells every task to end, without waiting.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Tells every task to end, and waits until all have.
    pub(crate) async fn shutdown(&self) {
        self.stop();
        // Every task holds a receiver for as long as it lives.
        self.stopped.closed().await;
    }
}

/// HTTP/2 streams are tasks too.
impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.spawn(future);
    }
}
