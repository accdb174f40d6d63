//! A running proxy: start, reload, drain.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::admin;
use crate::config::{BuildError, Config, Listen, Listener};
use crate::listen::{self, AllowedPeers, ListenerShare, PeerIds, SocketId};
use crate::routes::RouteTable;
use crate::worker::{SharedState, Worker, WorkerCommand};

/// A running proxy. A dropped handle stops the proxy at once; [`drain`](Self::drain) lets requests
/// finish first.
pub struct Handle {
    shared: Arc<SharedState>,
    workers: Vec<mpsc::UnboundedSender<WorkerCommand>>,
    threads: Vec<JoinHandle<()>>,
    open: Mutex<OpenListeners>,
    admin: Option<SocketAddr>,
}

/// The open listeners.
#[derive(Default)]
struct OpenListeners {
    next_id: usize,
    listeners: Vec<OpenListener>,
}

/// A listener that the workers serve.
struct OpenListener {
    id: usize,
    configured: Listen,
    /// The configured address with the actual port.
    actual: Listen,
    /// The file of a unix socket.
    socket: Option<SocketId>,
    allowed: Option<Arc<AllowedPeers>>,
}

/// An open listener that the workers do not serve yet.
struct NewListener {
    configured: Listen,
    actual: Listen,
    socket: Option<SocketId>,
    shares: Vec<ListenerShare>,
}

/// Why a proxy cannot start or reload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] BuildError),
    /// An address or socket cannot be opened.
    #[error("{address} cannot be listened on: {error}")]
    Listen {
        /// The address or path.
        address: String,
        /// The cause.
        error: std::io::Error,
    },
    /// The file of an open unix socket cannot get its new mode.
    #[error("the peers that may connect to {address} cannot be changed: {error}")]
    Admit {
        /// Path of the socket.
        address: String,
        /// The cause.
        error: std::io::Error,
    },
    /// The system cannot create a thread or its runtime.
    #[error("a worker cannot be started: {0}")]
    Worker(std::io::Error),
}

impl StartError {
    /// Returns the action for the cause, or `None` if the cause has no known action.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Listen { error, .. } => listen_hint(error.kind()),
            Self::Admit { .. } => Some("restart the proxy; it creates the socket again"),
            Self::Worker(_) => None,
        }
    }
}

/// Returns the action for an address that cannot be opened, or `None` if the cause has no known
/// action.
fn listen_hint(kind: std::io::ErrorKind) -> Option<&'static str> {
    use std::io::ErrorKind;
    match kind {
        ErrorKind::AddrInUse | ErrorKind::AlreadyExists => {
            Some("end the program that listens there, or choose another address")
        }
        ErrorKind::PermissionDenied => {
            Some("choose a port above 1023, or a directory that this user may write to")
        }
        ErrorKind::AddrNotAvailable => Some("choose an address of this machine"),
        ErrorKind::NotFound => Some("create the directory of the socket"),
        _ => None,
    }
}

impl Handle {
    /// Opens the listeners and serves them on new threads.
    ///
    /// *Errors*: the configuration is invalid, or a listener or thread cannot be created.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let count = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let mut handle = Self {
            shared: Arc::new(SharedState::new(config, count)?),
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

    /// Replaces the configuration. Connections stay open, and listeners of both configurations stay
    /// open. Requests in flight finish with the old configuration.
    ///
    /// *Errors*: the old configuration stays in force.
    pub fn reload(&self, config: &Config) -> Result<(), StartError> {
        let table = RouteTable::new(config, self.workers.len(), &self.shared.metrics)?;
        let added: Vec<Listener> = {
            let open = self.open();
            // A changed `public` was checked above and does not affect the open socket.
            let is_new = |listener: &&Listener| {
                let mut open = open.listeners.iter();
                !open.any(|open| open.configured.is_at(&listener.listen))
            };
            config.listeners.iter().filter(is_new).cloned().collect()
        };
        let opened = Self::open_all(&added, self.workers.len())?;
        if let Err(error) = self.open().update_allowed(&config.listeners) {
            NewListener::unlink_all(&opened);
            return Err(error);
        }
        self.shared.budget.limit(config.limits.replay_bytes_total);
        self.shared.table.store(Arc::new(table));
        self.install(opened);
        self.open().listeners.retain(|open| {
            let mut listeners = config.listeners.iter();
            let stays = listeners.any(|listener| listener.listen.is_at(&open.configured));
            if !stays {
                self.command_all(|| WorkerCommand::Close(open.id));
                listen::unlink(&open.actual, open.socket);
            }
            stays
        });
        Ok(())
    }

    /// Returns the addresses and sockets of the open listeners, with the actual ports.
    pub fn listening(&self) -> Vec<Listen> {
        let open = self.open();
        let listeners = open.listeners.iter();
        listeners.map(|open| open.actual.clone()).collect()
    }

    /// Returns the address of the admin listener, which serves metrics, health and the page.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Returns the metrics in the text format of `OpenMetrics`.
    pub fn metrics(&self) -> String {
        self.shared.metrics.text(&self.shared).unwrap_or_default()
    }

    /// Stops accepting, and lets requests, refreshes and saves finish. Returns whether all finished
    /// in time.
    ///
    /// *Waits* at most `deadline` for the requests in flight. Then it waits for refreshes and saves
    /// for the rest of `deadline`, at least one second. Remaining connections are closed, upgraded
    /// connections included.
    pub async fn drain(mut self, deadline: Duration) -> bool {
        let until = tokio::time::Instant::now() + deadline;
        self.shared.draining.store(true, Ordering::SeqCst);
        self.command_all(|| WorkerCommand::Drain);
        let finished = tokio::time::timeout_at(until, self.no_connections())
            .await
            .is_ok();
        // The workers stop last: by default a flight runs on the runtime of a worker.
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
        self.command_all(|| WorkerCommand::Stop);
        for thread in self.threads.drain(..) {
            // The panic hook has already reported a panic of a worker.
            let _ = thread.join();
        }
        let open = self.open();
        for open in &open.listeners {
            listen::unlink(&open.actual, open.socket);
        }
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
                // A name lookup that still runs must not delay the end.
                runtime.shutdown_background();
            })
            .map_err(StartError::Worker)?;
        self.workers.push(sender);
        self.threads.push(thread);
        Ok(())
    }

    fn open_admin(&mut self, address: SocketAddr) -> Result<TcpListener, StartError> {
        let failed = |error| StartError::Listen {
            address: address.to_string(),
            error,
        };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        self.admin = Some(listener.local_addr().map_err(failed)?);
        Ok(listener)
    }

    /// Opens all listeners, or none if one fails.
    fn open_all(listeners: &[Listener], workers: usize) -> Result<Vec<NewListener>, StartError> {
        let mut opened: Vec<NewListener> = Vec::with_capacity(listeners.len());
        for Listener { listen, .. } in listeners {
            match listen::open(listen, workers) {
                Ok((shares, actual)) => opened.push(NewListener {
                    configured: listen.clone(),
                    socket: listen::socket_id(&actual),
                    actual,
                    shares,
                }),
                Err(error) => {
                    NewListener::unlink_all(&opened);
                    let address = listen.to_string();
                    return Err(StartError::Listen { address, error });
                }
            }
        }
        Ok(opened)
    }

    fn install(&self, opened: Vec<NewListener>) {
        let mut open = self.open();
        for new in opened {
            let id = open.next_id;
            open.next_id += 1;
            open.listeners.push(OpenListener {
                id,
                configured: new.configured,
                actual: new.actual,
                socket: new.socket,
                allowed: new.shares.first().and_then(ListenerShare::allowed),
            });
            for (worker, share) in self.workers.iter().zip(new.shares) {
                // The send fails only if the worker has ended; the other workers serve.
                let _ = worker.send(WorkerCommand::Listen(id, share));
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, OpenListeners> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command_all(&self, command: impl Fn() -> WorkerCommand) {
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

impl NewListener {
    /// Removes the socket files of listeners that will not be served.
    fn unlink_all(opened: &[Self]) {
        for new in opened {
            listen::unlink(&new.actual, new.socket);
        }
    }
}

impl OpenListeners {
    /// Applies the new allowed ids to the sockets that stay open: to all of them, or to none if one
    /// fails.
    fn update_allowed(&mut self, listeners: &[Listener]) -> Result<(), StartError> {
        // A socket with the same path and a different configuration has new allowed ids.
        let change = |open| {
            let open: &mut OpenListener = open;
            let mut listeners = listeners.iter().map(|listener| &listener.listen);
            let next = listeners.find(|next| next.is_at(&open.configured))?;
            (*next != open.configured).then_some((open, next))
        };
        let changes: Vec<_> = self.listeners.iter_mut().filter_map(change).collect();
        for (index, (open, next)) in changes.iter().enumerate() {
            if let Err(error) = listen::change_mode(&open.configured, next) {
                for (open, next) in &changes[..index] {
                    // A mode that this process could change can be changed back.
                    let _ = listen::change_mode(next, &open.configured);
                }
                let address = next.to_string();
                return Err(StartError::Admit { address, error });
            }
        }
        for (open, next) in changes {
            if let (Some(allowed), Some(ids)) = (&open.allowed, PeerIds::of(next)) {
                allowed.set(ids);
            }
            open.configured = next.clone();
            open.actual = next.clone();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    /// Property: each known cause of a failed listen has its own hint; an unknown cause has none.
    #[test]
    fn each_cause_of_a_failed_listen_has_its_hint() {
        for (kind, hint) in [
            (
                ErrorKind::AddrInUse,
                Some("end the program that listens there"),
            ),
            (ErrorKind::PermissionDenied, Some("a port above 1023")),
            (ErrorKind::AddrNotAvailable, Some("of this machine")),
            (ErrorKind::NotFound, Some("create the directory")),
            (ErrorKind::Other, None),
        ] {
            let error = StartError::Listen {
                address: "127.0.0.1:80".to_owned(),
                error: kind.into(),
            };
            let found = error.hint();
            assert_eq!(found.is_some(), hint.is_some(), "{kind}: {found:?}");
            assert!(found.unwrap_or_default().contains(hint.unwrap_or_default()));
        }
    }
}
