//! A running proxy: started, reloaded, drained.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::admin;
use crate::config::{BuildError, Config, Listen, Listener};
use crate::listen::{self, Allowed, Ids, Opened};
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
    places: Vec<Place>,
}

/// A listener that is open.
struct Place {
    id: usize,
    configured: Listen,
    /// The same with the port filled in.
    actual: Listen,
    allowed: Option<Arc<Allowed>>,
}

/// A listener that workers are still to be given.
struct Fresh {
    configured: Listen,
    actual: Listen,
    shares: Vec<Opened>,
}

/// Why a proxy does not run as configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] BuildError),
    /// A place cannot be listened on.
    #[error("{place} cannot be listened on: {error}")]
    Listen {
        /// The place.
        place: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file of a unix socket that stays open cannot be given its new mode.
    #[error("who may connect to {place} cannot be changed: {error}")]
    Admit {
        /// The place.
        place: String,
        /// Why.
        error: std::io::Error,
    },
    /// A thread or its runtime cannot be had.
    #[error("a worker cannot be started: {0}")]
    Worker(std::io::Error),
}

impl StartError {
    /// What to do about it. Returns `None` if the cause does not tell.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Listen { error, .. } => listen_hint(error.kind()),
            Self::Admit { .. } => Some("restart the proxy, which makes the socket anew"),
            Self::Worker(_) => None,
        }
    }
}

/// What to do about a place that cannot be listened on. Returns `None` if the cause does not tell.
fn listen_hint(kind: std::io::ErrorKind) -> Option<&'static str> {
    use std::io::ErrorKind;
    match kind {
        ErrorKind::AddrInUse | ErrorKind::AlreadyExists => {
            Some("end what listens there, or choose another address")
        }
        ErrorKind::PermissionDenied => {
            Some("choose a port above 1023, or a directory that this user may write to")
        }
        ErrorKind::AddrNotAvailable => Some("choose an address of this machine"),
        ErrorKind::NotFound => Some("make the directory of the socket"),
        _ => None,
    }
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
                let mut places = open.places.iter();
                !places.any(|place| place.configured.is_at(&listener.listen))
            };
            config.listeners.iter().filter(known).cloned().collect()
        };
        let opened = Self::open_all(&fresh, self.workers.len())?;
        if let Err(error) = self.open().admit(&config.listeners) {
            Fresh::forget(&opened);
            return Err(error);
        }
        self.shared.budget.limit(config.limits.replay_bytes_total);
        self.shared.table.store(Arc::new(table));
        self.install(opened);
        self.open().places.retain(|place| {
            let mut listeners = config.listeners.iter();
            let stays = listeners.any(|listener| listener.listen.is_at(&place.configured));
            if !stays {
                self.tell_all(|| Command::Close(place.id));
                unlink(&place.actual);
            }
            stays
        });
        Ok(())
    }

    /// Where callers connect, ports filled in.
    pub fn listening(&self) -> Vec<Listen> {
        let open = self.open();
        let places = open.places.iter();
        places.map(|place| place.actual.clone()).collect()
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
        let open = self.open();
        for place in &open.places {
            unlink(&place.actual);
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

    /// All of them or none.
    fn open_all(listeners: &[Listener], workers: usize) -> Result<Vec<Fresh>, StartError> {
        let mut opened: Vec<Fresh> = Vec::with_capacity(listeners.len());
        for Listener { listen, .. } in listeners {
            match listen::open(listen, workers) {
                Ok((shares, actual)) => opened.push(Fresh {
                    configured: listen.clone(),
                    actual,
                    shares,
                }),
                Err(error) => {
                    Fresh::forget(&opened);
                    let place = listen.to_string();
                    return Err(StartError::Listen { place, error });
                }
            }
        }
        Ok(opened)
    }

    fn install(&self, opened: Vec<Fresh>) {
        let mut open = self.open();
        for fresh in opened {
            let id = open.next;
            open.next += 1;
            open.places.push(Place {
                id,
                configured: fresh.configured,
                actual: fresh.actual,
                allowed: fresh.shares.first().and_then(Opened::allowed),
            });
            for (worker, share) in self.workers.iter().zip(fresh.shares) {
                // A worker that has ended serves nothing; the others do.
                let _ = worker.send(Command::Listen(id, share));
            }
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

impl Fresh {
    /// That were opened and are not to be served.
    fn forget(opened: &[Self]) {
        for fresh in opened {
            unlink(&fresh.actual);
        }
    }
}

impl Open {
    /// Has the sockets that stay open let in who may connect from now on; all of them or none.
    fn admit(&mut self, listeners: &[Listener]) -> Result<(), StartError> {
        // What is at the same place and not the same is a socket for others than before.
        let change = |place| {
            let place: &mut Place = place;
            let mut listeners = listeners.iter().map(|listener| &listener.listen);
            let next = listeners.find(|next| next.is_at(&place.configured))?;
            (*next != place.configured).then_some((place, next))
        };
        let changes: Vec<_> = self.places.iter_mut().filter_map(change).collect();
        for (index, (place, next)) in changes.iter().enumerate() {
            if let Err(error) = listen::change_mode(&place.configured, next) {
                for (place, next) in &changes[..index] {
                    // As it could be changed, it can be changed back.
                    let _ = listen::change_mode(next, &place.configured);
                }
                let place = next.to_string();
                return Err(StartError::Admit { place, error });
            }
        }
        for (place, next) in changes {
            if let (Some(allowed), Some(ids)) = (&place.allowed, Ids::of(next)) {
                allowed.admit(ids);
            }
            place.configured = next.clone();
            place.actual = next.clone();
        }
        Ok(())
    }
}

/// A socket that nobody listens on any more is nobody's.
fn unlink(place: &Listen) {
    if let Listen::Unix { path, .. } = place {
        // Somebody else may have done it.
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    /// Property: each reason not to listen has its own hint, and an unknown one none.
    #[test]
    fn each_reason_not_to_listen_has_its_hint() {
        for (kind, hint) in [
            (ErrorKind::AddrInUse, Some("end what listens there")),
            (ErrorKind::PermissionDenied, Some("a port above 1023")),
            (ErrorKind::AddrNotAvailable, Some("of this machine")),
            (ErrorKind::NotFound, Some("make the directory")),
            (ErrorKind::Other, None),
        ] {
            let error = StartError::Listen {
                place: "127.0.0.1:80".to_owned(),
                error: kind.into(),
            };
            let found = error.hint();
            assert_eq!(found.is_some(), hint.is_some(), "{kind}: {found:?}");
            assert!(found.unwrap_or_default().contains(hint.unwrap_or_default()));
        }
    }
}
