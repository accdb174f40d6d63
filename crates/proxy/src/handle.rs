//! A running proxy: started, reloaded, drained.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::admin;
use crate::config::{BuildError, Config, Listen, Listener};
use crate::listen;
use crate::routes::Table;
use crate::worker::{Command, Shared, Worker};

/// A running proxy. Dropped, it stops at once; [`drain`](Self::drain) lets it end in peace.
pub struct Handle {
    shared: Arc<Shared>,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    threads: Vec<JoinHandle<()>>,
    open: Mutex<Open>,
    admin: Option<SocketAddr>,
}

/// The listeners that are open.
#[derive(Default)]
struct Open {
    next: usize,
    listeners: Vec<(usize, Listener, Listen)>,
}

/// Why a proxy does not run as configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] BuildError),
    /// A place cannot be listened on.
    #[error(
        "{place} cannot be listened on: {error}; hint: end what listens there, or choose another address"
    )]
    Listen {
        /// The place.
        place: String,
        /// Why.
        error: std::io::Error,
    },
    /// A thread or its runtime cannot be had.
    #[error("a worker cannot be started: {0}")]
    Worker(std::io::Error),
}

impl Handle {
    /// Opens the listeners and serves them on threads of its own.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let count = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let mut handle = Self {
            shared: Arc::new(Shared::new(config, count)?),
            workers: Vec::new(),
            threads: Vec::new(),
            open: Mutex::default(),
            admin: None,
        };
        let mut admin = match config.admin {
            Some(address) => Some(handle.open_admin(address)?),
            None => None,
        };
        let opened = Self::open_all(&config.listeners, count)?;
        for id in 0..count {
            handle.start_worker(id, admin.take())?;
        }
        handle.install(opened);
        Ok(handle)
    }

    /// Puts another configuration in force, or leaves all as it is. Connections stay, requests
    /// under way go on by the old one; listeners that are in both stay open.
    pub fn reload(&self, config: &Config) -> Result<(), StartError> {
        let table = Table::new(config, self.workers.len(), &self.shared.metrics)?;
        let fresh: Vec<Listener> = {
            let open = self.open();
            // That a place may be public was checked, and changes nothing about it.
            let known = |listener: &&Listener| {
                let mut listeners = open.listeners.iter();
                !listeners.any(|(_, old, _)| old.listen == listener.listen)
            };
            config.listeners.iter().filter(known).cloned().collect()
        };
        let opened = Self::open_all(&fresh, self.workers.len())?;
        self.shared.budget.limit(config.limits.replay_bytes_total);
        self.shared.table.store(Arc::new(table));
        self.install(opened);
        self.open().listeners.retain(|(id, old, place)| {
            let mut listeners = config.listeners.iter();
            let stays = listeners.any(|listener| listener.listen == old.listen);
            if !stays {
                self.tell_all(|| Command::Close(*id));
                unlink(place);
            }
            stays
        });
        Ok(())
    }

    /// Where callers connect, ports filled in.
    pub fn listening(&self) -> Vec<Listen> {
        self.open()
            .listeners
            .iter()
            .map(|(_, _, place)| place.clone())
            .collect()
    }

    /// Where metrics, health and the page are served.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What Prometheus reads.
    pub fn metrics(&self) -> String {
        self.shared.metrics.text(&self.shared).unwrap_or_default()
    }

    /// Accepts nothing more and waits until the requests under way are answered, at most so long;
    /// then waits for refreshes and saves with what remains of the time, at least a second, and
    /// closes what is left, upgraded connections included. True if all ended by itself.
    pub async fn drain(mut self, deadline: Duration) -> bool {
        let until = tokio::time::Instant::now() + deadline;
        self.shared.draining.store(true, Ordering::SeqCst);
        self.tell_all(|| Command::Drain);
        let finished = tokio::time::timeout_at(until, self.no_connections())
            .await
            .is_ok();
        // The workers last: a flight runs on one of them where its rotator was told nothing else.
        let mut saved = true;
        let table = self.shared.table.load_full();
        for session in table.sessions() {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let left = left.max(Duration::from_secs(1));
            saved &= session.rotator.shutdown(left).await;
        }
        self.stop();
        finished && saved
    }

    async fn no_connections(&self) {
        loop {
            let mut idle = std::pin::pin!(self.shared.idle.notified());
            idle.as_mut().enable();
            if self.shared.connections.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }

    fn stop(&mut self) {
        self.tell_all(|| Command::Stop);
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so.
            let _ = thread.join();
        }
        self.open()
            .listeners
            .iter()
            .for_each(|(.., place)| unlink(place));
    }

    fn start_worker(&mut self, id: usize, admin: Option<TcpListener>) -> Result<(), StartError> {
        let (sender, commands) = mpsc::unbounded_channel();
        let worker = Arc::new(Worker {
            id,
            shared: Arc::clone(&self.shared),
            drain: Notify::new(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Worker)?;
        let thread = std::thread::Builder::new()
            .name(format!("proxy-{id}"))
            .spawn(move || {
                let shared = Arc::clone(&worker.shared);
                runtime.block_on(async move {
                    if let Some(listener) = admin {
                        tokio::spawn(admin::serve(listener, shared));
                    }
                    worker.run(commands).await;
                });
                // A name that is still being looked up must not hold the end up.
                runtime.shutdown_background();
            })
            .map_err(StartError::Worker)?;
        self.workers.push(sender);
        self.threads.push(thread);
        Ok(())
    }

    fn open_admin(&mut self, address: SocketAddr) -> Result<TcpListener, StartError> {
        let failed = |error| StartError::Listen {
            place: address.to_string(),
            error,
        };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        self.admin = Some(listener.local_addr().map_err(failed)?);
        Ok(listener)
    }

    fn open_all(
        listeners: &[Listener],
        workers: usize,
    ) -> Result<Vec<(Listener, Listen, Vec<listen::Opened>)>, StartError> {
        let open = |listener: &Listener| {
            let place = match &listener.listen {
                Listen::Tcp(address) => address.to_string(),
                Listen::Unix { path, .. } => path.display().to_string(),
            };
            let (shares, place) = listen::open(&listener.listen, workers)
                .map_err(|error| StartError::Listen { place, error })?;
            Ok((listener.clone(), place, shares))
        };
        listeners.iter().map(open).collect()
    }

    fn install(&self, opened: Vec<(Listener, Listen, Vec<listen::Opened>)>) {
        let mut open = self.open();
        for (listener, place, shares) in opened {
            let id = open.next;
            open.next += 1;
            for (worker, share) in self.workers.iter().zip(shares) {
                // A worker that has ended serves nothing; the others do.
                let _ = worker.send(Command::Listen(id, share));
            }
            open.listeners.push((id, listener, place));
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            let _ = worker.send(command());
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A socket that nobody listens on any more is nobody's.
fn unlink(place: &Listen) {
    if let Listen::Unix { path, .. } = place {
        // Somebody else may have done it.
        let _ = std::fs::remove_file(path);
    }
}
