//! A thread that serves: its runtime, its listeners, its connections.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::admin::Timeline;
use crate::config::{BuildError, Config};
use crate::connection;
use crate::listen::{Accepted, Opened};
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::routes::Table;
use crate::tee::Budget;

/// How often idle connections are looked through.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) metrics: Metrics,
    pub(crate) budget: Arc<Budget>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) draining: AtomicBool,
    pub(crate) connections: AtomicUsize,
    /// Told when the last connection has ended.
    pub(crate) idle: Notify,
}

impl Shared {
    pub(crate) fn new(config: &Config, workers: usize) -> Result<Self, BuildError> {
        let metrics = Metrics::new(&config.recorder);
        let table = Table::new(config, workers, &metrics)?;
        Ok(Self {
            table: ArcSwap::from_pointee(table),
            metrics,
            budget: Arc::new(Budget::new(config.limits.replay_bytes_total)),
            observer: config.observer.clone(),
            timeline: config.recorder.timeline(),
            draining: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            idle: Notify::new(),
        })
    }

    /// Of a proxy with one route that nobody can reach.
    #[cfg(test)]
    pub(crate) fn for_test() -> Arc<Self> {
        use crate::config::{Listen, Listener, Route};
        use token_rotator::{Rotator, SourceError, TokenSet};
        let source = |_| async { Ok::<_, SourceError>(TokenSet::bearer("t")) };
        let rotator = Rotator::builder(source).origin("http://127.0.0.1:1");
        let rotator = rotator.build().expect("a rotator");
        let config = Config {
            listeners: vec![Listener {
                listen: Listen::Tcp(([127, 0, 0, 1], 0).into()),
                public: false,
            }],
            routes: vec![Route::new("api", "http://127.0.0.1:1", rotator)],
            ..Config::default()
        };
        Arc::new(Self::new(&config, 1).expect("a configuration"))
    }
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
        self.shared.draining.load(Ordering::SeqCst)
    }

    /// Waits until the proxy drains.
    pub(crate) async fn draining(&self) {
        let mut told = pin!(self.drain.notified());
        told.as_mut().enable();
        if !self.is_draining() {
            told.await;
        }
    }

    /// Serves until it is told to stop, or whoever could tell it is gone.
    pub(crate) async fn run(self: Arc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut listeners: HashMap<usize, oneshot::Sender<()>> = HashMap::new();
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
                    let (close, closed) = oneshot::channel();
                    tokio::spawn(Arc::clone(&self).accept(opened, closed));
                    listeners.insert(id, close);
                }
                Some(Command::Close(id)) => {
                    listeners.remove(&id);
                }
                Some(Command::Drain) => {
                    listeners.clear();
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

    /// Accepts until `closed` resolves; those that the kernel had accepted by then are served.
    async fn accept(self: Arc<Self>, opened: Opened, mut closed: oneshot::Receiver<()>) {
        let listener = match opened.listen() {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a listener cannot be served"),
        };
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                _ = &mut closed => return,
            };
            match accepted {
                Ok(Some(Accepted::Tcp(stream))) => {
                    tokio::spawn(connection::serve(Arc::clone(&self), stream, false));
                }
                #[cfg(unix)]
                Ok(Some(Accepted::Unix(stream))) => {
                    tokio::spawn(connection::serve(Arc::clone(&self), stream, true));
                }
                Ok(None) => {}
                Err(error) => pause(&error).await,
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
