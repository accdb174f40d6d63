//! Opening the places where callers connect.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Listen;
use crate::keep_alive;

/// One worker's share of a listener.
pub(crate) enum Opened {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        listener: std::os::unix::net::UnixListener,
        allowed: Arc<Allowed>,
    },
}

/// A listener that is served.
pub(crate) enum Listening {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, Arc<Allowed>),
}

/// A caller's connection.
pub(crate) enum Accepted {
    Tcp(tokio::net::TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Opened {
    /// Serves it on the current runtime.
    pub(crate) fn listen(self) -> io::Result<Listening> {
        Ok(match self {
            Self::Tcp(listener) => Listening::Tcp(tokio::net::TcpListener::from_std(listener)?),
            #[cfg(unix)]
            Self::Unix { listener, allowed } => {
                Listening::Unix(tokio::net::UnixListener::from_std(listener)?, allowed)
            }
        })
    }

    /// Who may connect; `None`: everybody.
    pub(crate) fn allowed(&self) -> Option<Arc<Allowed>> {
        match self {
            Self::Tcp(_) => None,
            #[cfg(unix)]
            Self::Unix { allowed, .. } => Some(Arc::clone(allowed)),
        }
    }
}

impl Listening {
    /// The next connection; `None`: of somebody who may not connect. Cancelled, it loses nobody.
    pub(crate) async fn accept(&self) -> io::Result<Option<Accepted>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Without it small answers may wait for the caller's acknowledgement.
                let _ = stream.set_nodelay(true);
                Ok(Some(Accepted::Tcp(stream)))
            }
            #[cfg(unix)]
            Self::Unix(listener, allowed) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred()?;
                if allowed.admits(&peer) {
                    return Ok(Some(Accepted::Unix(stream)));
                }
                tracing::warn!(uid = peer.uid(), gid = peer.gid(), "a peer was refused");
                Ok(None)
            }
        }
    }
}

/// Who may connect to a unix socket. All workers share it, and a reload changes it.
#[cfg_attr(not(unix), allow(dead_code))]
pub(crate) struct Allowed {
    ids: ArcSwap<Ids>,
    own: Option<u32>,
}

/// User and group ids; with none at all it is the proxy's own user.
#[derive(Clone, PartialEq)]
pub(crate) struct Ids {
    uids: Vec<u32>,
    gids: Vec<u32>,
}

impl Allowed {
    /// From now on these may connect.
    pub(crate) fn admit(&self, ids: Ids) {
        self.ids.store(Arc::new(ids));
    }

    /// By the credentials that the kernel vouches for.
    #[cfg(unix)]
    fn admits(&self, peer: &tokio::net::unix::UCred) -> bool {
        let ids = self.ids.load();
        ids.uids.contains(&peer.uid())
            || ids.gids.contains(&peer.gid())
            || (ids.is_empty() && self.own == Some(peer.uid()))
    }
}

impl Ids {
    /// `None`: of a place that is for everybody.
    pub(crate) fn of(listen: &Listen) -> Option<Self> {
        match listen {
            Listen::Tcp(_) => None,
            Listen::Unix { uids, gids, .. } => Some(Self {
                uids: uids.clone(),
                gids: gids.clone(),
            }),
        }
    }

    fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// The mode of a socket's file that they can connect to.
    fn mode(&self) -> u32 {
        if self.is_empty() { 0o600 } else { 0o666 }
    }
}

/// Lets the file of an open socket be reached by those of the `next` configuration and not by those
/// of the one before. Where both had the same mode it stays as it is: somebody may have given it
/// another.
pub(crate) fn change_mode(before: &Listen, next: &Listen) -> io::Result<()> {
    let mode = |listen| Ids::of(listen).map(|ids| ids.mode());
    let (Listen::Unix { path, .. }, Some(may)) = (next, mode(next)) else {
        return Ok(());
    };
    if mode(before) == Some(may) {
        return Ok(());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        // Somebody may have put a file of his own there, or a link.
        if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
            return Err(io::Error::other("another file is in its place"));
        }
        std::fs::set_permissions(path, PermissionsExt::from_mode(may))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Opens a place for so many workers, and says where it is.
pub(crate) fn open(listen: &Listen, workers: usize) -> io::Result<(Vec<Opened>, Listen)> {
    match listen {
        Listen::Tcp(address) => {
            let mut shares = Vec::with_capacity(workers);
            let mut address = *address;
            for index in 0..workers {
                // The first has the place to itself when it takes it: another proxy of this user's
                // would be let in otherwise, and each would get some of the other's callers.
                let joins = index > 0 || (workers > 1 && !cfg!(target_os = "linux"));
                let listener = tcp(address, joins, workers > 1)?;
                if index == 0 {
                    address = listener.local_addr()?;
                }
                shares.push(Opened::Tcp(listener));
            }
            Ok((shares, Listen::Tcp(address)))
        }
        #[cfg(unix)]
        Listen::Unix { path, uids, gids } => {
            let ids = Ids {
                uids: uids.clone(),
                gids: gids.clone(),
            };
            let shares = unix(path, ids, workers)?;
            Ok((shares, listen.clone()))
        }
        #[cfg(not(unix))]
        Listen::Unix { .. } => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// With more than one worker each has a socket of its own, and the kernel spreads connections. One that
/// `joins` may listen where others do that are shared.
fn tcp(address: SocketAddr, joins: bool, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    #[cfg(unix)]
    {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(joins)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    #[cfg(unix)]
    socket.set_reuse_port(shared)?;
    #[cfg(not(unix))]
    let _ = (joins, shared);
    // Connections have it from their listener.
    keep_alive::watch(&socket)?;
    socket.listen(1024)?;
    Ok(socket.into())
}

#[cfg(unix)]
fn unix(path: &Path, ids: Ids, workers: usize) -> io::Result<Vec<Opened>> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};
    // What a proxy that was killed left behind; never a socket that somebody listens on.
    if let Ok(found) = std::fs::symlink_metadata(path)
        && found.file_type().is_socket()
        && UnixStream::connect(path).is_err()
    {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(ids.mode()))?;
    listener.set_nonblocking(true)?;
    let allowed = Arc::new(Allowed {
        ids: ArcSwap::from_pointee(ids),
        own: std::fs::metadata(path).ok().map(|made| made.uid()),
    });
    let share = |_| {
        Ok(Opened::Unix {
            listener: listener.try_clone()?,
            allowed: Arc::clone(&allowed),
        })
    };
    (0..workers).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each worker gets callers: all of a hundred going to one of two happens once in 2^99 times.
    #[test]
    fn callers_are_spread() {
        let free = Listen::Tcp(([127, 0, 0, 1], 0).into());
        let (shares, place) = open(&free, 2).expect("a free port");
        let Listen::Tcp(address) = place else {
            panic!("another kind of place");
        };
        let connect = || std::net::TcpStream::connect(address).expect("a connection");
        let callers: Vec<_> = (0..100).map(|_| connect()).collect();
        let taken = shares.iter().map(|share| {
            let Opened::Tcp(listener) = share else {
                panic!("another kind of place");
            };
            // A connection that stands has been queued.
            std::iter::from_fn(|| listener.accept().ok()).count()
        });
        let taken: Vec<_> = taken.collect();
        assert_eq!(taken.iter().sum::<usize>(), callers.len());
        if cfg!(target_os = "linux") {
            assert!(taken.iter().all(|count| *count > 0), "{taken:?}");
        }
    }

    /// However many workers share a place, no other process does.
    #[test]
    fn a_place_is_taken_once() {
        for workers in [1, 3] {
            let free = Listen::Tcp(([127, 0, 0, 1], 0).into());
            let (shares, place) = open(&free, workers).expect("a free port");
            assert_eq!(shares.len(), workers);
            for others in [1, 3] {
                let Err(error) = open(&place, others) else {
                    panic!("{others} more than {workers}");
                };
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            }
            drop(shares);
            open(&place, workers).expect("it is free again");
        }
    }
}
