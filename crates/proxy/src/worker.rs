//! A worker: one thread with its runtime, listeners and connections.

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
use crate::listen::{Accepted, ListenerShare};
use crate::log_limit::LogLimit;
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::routes::RouteTable;
use crate::tee::Budget;

/// Time between two checks of the idle connections.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);

/// State that all workers share.
pub(crate) struct SharedState {
    pub(crate) table: ArcSwap<RouteTable>,
    pub(crate) metrics: Metrics,
    pub(crate) budget: Arc<Budget>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) draining: AtomicBool,
    pub(crate) connections: AtomicUsize,
    /// Notified when the last connection has ended.
    pub(crate) idle: Notify,
    pub(crate) log: ProxyLog,
}

/// The lines that callers without a route can repeat.
pub(crate) struct ProxyLog {
    pub(crate) cross_site: LogLimit,
    no_accept: LogLimit,
}

impl ProxyLog {
    const fn new() -> Self {
        Self {
            cross_site: LogLimit::new("refused a request of a web page"),
            no_accept: LogLimit::new("no connection could be accepted"),
        }
    }
}

impl SharedState {
    pub(crate) fn new(config: &Config, workers: usize) -> Result<Self, BuildError> {
        let metrics = Metrics::new(&config.recorder);
        let table = RouteTable::new(config, workers, &metrics)?;
        Ok(Self {
            table: ArcSwap::from_pointee(table),
            metrics,
            budget: Arc::new(Budget::new(config.limits.replay_bytes_total)),
            observer: config.observer.clone(),
            timeline: config.recorder.timeline(),
            draining: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            idle: Notify::new(),
            log: ProxyLog::new(),
        })
    }

    /// Returns the state of a proxy with one route, which listens nowhere.
    #[cfg(test)]
    pub(crate) fn for_test() -> Arc<Self> {
        use crate::config::{Listen, Listener};
        use crate::route::Route;
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
    pub(crate) shared: Arc<SharedState>,
    pub(crate) drain: Notify,
}

/// A message to a worker.
pub(crate) enum WorkerCommand {
    Listen(usize, ListenerShare),
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
        let mut notified = pin!(self.drain.notified());
        notified.as_mut().enable();
        if !self.is_draining() {
            notified.await;
        }
    }

    /// Serves until a stop command, or until the handle is dropped.
    pub(crate) async fn run(self: Arc<Self>, mut commands: mpsc::UnboundedReceiver<WorkerCommand>) {
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
                Some(WorkerCommand::Listen(id, opened)) => {
                    let (close, closed) = oneshot::channel();
                    tokio::spawn(Arc::clone(&self).accept(opened, closed));
                    listeners.insert(id, close);
                }
                Some(WorkerCommand::Close(id)) => {
                    listeners.remove(&id);
                }
                Some(WorkerCommand::Drain) => {
                    listeners.clear();
                    self.drain.notify_waiters();
                }
                Some(WorkerCommand::Stop) | None => return,
            }
        }
    }

    fn sweep(&self) {
        for target in self.shared.table.load().targets() {
            target.pools[self.id].sweep();
            target.log.summarise(&target.name);
        }
        for limit in [&self.shared.log.cross_site, &self.shared.log.no_accept] {
            limit.summarise(None);
        }
    }

    /// Accepts connections until `closed` resolves. Connections that the kernel has accepted by
    /// then are served.
    async fn accept(self: Arc<Self>, opened: ListenerShare, mut closed: oneshot::Receiver<()>) {
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
                Err(error) => self.pause_after(&error).await,
            }
        }
    }

    /// Waits after a failed accept, if the cause may last: file descriptors that have run out become
    /// free with time.
    async fn pause_after(&self, error: &io::Error) {
        let momentary = [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::Interrupted,
        ];
        if !momentary.contains(&error.kind()) {
            let limit = &self.shared.log.no_accept;
            if limit.permits(&error.to_string()) {
                tracing::warn!(%error, "{}", limit.line);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
