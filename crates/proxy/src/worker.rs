//! A thread that serves: its runtime, its listeners, its connections.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use crate::connection;
use crate::listen::Opened;
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::routes::Table;
use crate::tee::Budget;

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) metrics: Metrics,
    pub(crate) budget: Arc<Budget>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) draining: AtomicBool,
    pub(crate) connections: AtomicUsize,
    /// Told when the last connection has ended.
    pub(crate) idle: Notify,
}

pub(crate) struct Worker {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) drain: Notify,
}

/// What a worker is told.
pub(crate) enum Command {
    Listen(usize, Opened),
    Close(usize),
    Drain,
    Stop,
}

impl Worker {
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Serves until it is told to stop, or whoever could tell it is gone.
    pub(crate) async fn run(self: Arc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut listeners: HashMap<usize, AbortHandle> = HashMap::new();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                _ = sweep.tick() => {
                    self.sweep();
                    continue;
                }
            };
            match command {
                Some(Command::Listen(id, opened)) => {
                    let task = tokio::spawn(Arc::clone(&self).accept(opened));
                    listeners.insert(id, task.abort_handle());
                }
                Some(Command::Close(id)) => {
                    if let Some(task) = listeners.remove(&id) {
                        task.abort();
                    }
                }
                Some(Command::Drain) => {
                    listeners.drain().for_each(|(_, task)| task.abort());
                    self.drain.notify_waiters();
                }
                Some(Command::Stop) | None => return,
            }
        }
    }

    fn sweep(&self) {
        for target in self.shared.table.load().targets() {
            target.pools[self.id].sweep();
        }
    }

    async fn accept(self: Arc<Self>, opened: Opened) {
        match opened {
            Opened::Tcp(listener) => {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return tracing::error!(%error, "a listener cannot be served"),
                };
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => {
                            // Without it small answers may wait for the caller's acknowledgement.
                            let _ = stream.set_nodelay(true);
                            let worker = Arc::clone(&self);
                            tokio::spawn(connection::serve(worker, stream, false));
                        }
                        Err(error) => pause(&error).await,
                    }
                }
            }
            #[cfg(unix)]
            Opened::Unix { listener, allowed } => {
                let listener = match tokio::net::UnixListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return tracing::error!(%error, "a listener cannot be served"),
                };
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => match stream.peer_cred() {
                            Ok(peer) if allowed.admits(&peer) => {
                                let worker = Arc::clone(&self);
                                tokio::spawn(connection::serve(worker, stream, true));
                            }
                            Ok(peer) => {
                                tracing::warn!(
                                    uid = peer.uid(),
                                    gid = peer.gid(),
                                    "a peer was refused"
                                );
                            }
                            Err(error) => tracing::warn!(%error, "a peer has no credentials"),
                        },
                        Err(error) => pause(&error).await,
                    }
                }
            }
        }
    }
}

/// Where descriptors have run out, time gives some back.
async fn pause(error: &io::Error) {
    let passing = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::Interrupted,
    ];
    if !passing.contains(&error.kind()) {
        tracing::warn!(%error, "no connection could be accepted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
