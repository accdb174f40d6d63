//! The connection on which a server sends notifications.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::debug;

use super::{ChangeNotifier, Server, Subscription};
use crate::runtime::sync::lock_std;

/// The pause before the first reconnect. Each failed reconnect doubles it.
const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// The longest pause before a reconnect.
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// Keeps one connection for notifications. It connects with the first subscription, and reconnects
/// until it is dropped.
pub(super) struct ChangeListener<S> {
    server: Arc<S>,
    changes: Arc<ChangeNotifier>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl<S: Server> ChangeListener<S> {
    pub(super) fn new(server: Arc<S>) -> Self {
        Self {
            server,
            changes: Arc::default(),
            task: Mutex::default(),
        }
    }

    /// Subscribes to this topic. The caller must read the server's state afterwards, because
    /// notifications from before the connection are lost. When the connection is open, every
    /// subscription is notified once.
    pub(super) fn subscribe(&self, topic: &str) -> Subscription {
        let subscription = self.changes.subscribe(topic);
        if self.server.sends_notifications() {
            let mut task = lock_std(&self.task);
            // A task is finished only if its runtime has ended.
            if task.as_ref().is_none_or(JoinHandle::is_finished) {
                let (server, changes) = (Arc::clone(&self.server), Arc::clone(&self.changes));
                *task = Some(tokio::spawn(run(server, changes)));
            }
        }
        subscription
    }
}

impl<S> Drop for ChangeListener<S> {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

async fn run<S: Server>(server: Arc<S>, changes: Arc<ChangeNotifier>) {
    let mut pause = RECONNECT_MIN;
    loop {
        match server.listen().await {
            Ok(mut listening) => {
                pause = RECONNECT_MIN;
                debug!(server = S::NAME, "listening for notifications");
                changes.notify_all();
                let error = loop {
                    match server.notification(&mut listening).await {
                        Ok(Some(topic)) => changes.notify(&topic),
                        Ok(None) => changes.notify_all(),
                        Err(error) => break error,
                    }
                };
                debug!(server = S::NAME, %error, "the listening connection was lost");
            }
            Err(error) => debug!(server = S::NAME, %error, "cannot listen for notifications"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RECONNECT_MAX);
    }
}
