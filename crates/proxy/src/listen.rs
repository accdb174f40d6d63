//! Opens the listeners' sockets and accepts connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Listen;
use crate::keep_alive;
use crate::log_limit::LogLimit;

/// One worker's share of a listener.
pub(crate) enum ListenerShare {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        listener: std::os::unix::net::UnixListener,
        allowed: Arc<AllowedPeers>,
    },
}

/// A listener on the current runtime.
pub(crate) enum ServedListener {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, Arc<AllowedPeers>),
}

/// A caller's connection.
pub(crate) enum Accepted {
    Tcp(tokio::net::TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl ListenerShare {
    /// Registers the listener with the current runtime.
    pub(crate) fn listen(self) -> io::Result<ServedListener> {
        Ok(match self {
            Self::Tcp(listener) => {
                ServedListener::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            #[cfg(unix)]
            Self::Unix { listener, allowed } => {
                ServedListener::Unix(tokio::net::UnixListener::from_std(listener)?, allowed)
            }
        })
    }

    /// Returns the peers that may connect, or `None` if every peer may.
    pub(crate) fn allowed(&self) -> Option<Arc<AllowedPeers>> {
        match self {
            Self::Tcp(_) => None,
            #[cfg(unix)]
            Self::Unix { allowed, .. } => Some(Arc::clone(allowed)),
        }
    }
}

impl ServedListener {
    /// Accepts the next connection. Returns `None` if the peer may not connect.
    ///
    /// *Cancellation* loses no connection.
    pub(crate) async fn accept(&self) -> io::Result<Option<Accepted>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // With Nagle's algorithm a small answer may wait for the caller's acknowledgement.
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
                allowed.refusals.summarise(None);
                if allowed.refusals.permits(&peer.uid().to_string()) {
                    let (uid, gid) = (peer.uid(), peer.gid());
                    tracing::warn!(uid, gid, "{}", allowed.refusals.line);
                }
                Ok(None)
            }
        }
    }
}

/// The peers that may connect to a unix socket. All workers share the value, and a reload changes
/// it.
#[cfg_attr(not(unix), allow(dead_code))]
pub(crate) struct AllowedPeers {
    ids: ArcSwap<PeerIds>,
    own: Option<u32>,
    refusals: LogLimit,
}

/// User and group ids. If both lists are empty, only the proxy's own user may connect.
pub(crate) struct PeerIds {
    uids: Vec<u32>,
    gids: Vec<u32>,
}

impl AllowedPeers {
    /// Replaces the ids of the peers that may connect.
    pub(crate) fn set(&self, ids: PeerIds) {
        self.ids.store(Arc::new(ids));
    }

    /// Whether the peer may connect, by the credentials that the kernel reports.
    #[cfg(unix)]
    fn admits(&self, peer: &tokio::net::unix::UCred) -> bool {
        let ids = self.ids.load();
        ids.uids.contains(&peer.uid())
            || ids.gids.contains(&peer.gid())
            || (ids.is_empty() && self.own == Some(peer.uid()))
    }
}

impl PeerIds {
    /// Returns the allowed ids, or `None` for TCP, where every peer may connect.
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

    /// Returns the file mode that lets these ids connect.
    fn mode(&self) -> u32 {
        if self.is_empty() { 0o600 } else { 0o666 }
    }
}

/// Sets the file mode of an open socket for the `next` configuration. If both configurations have
/// the same mode, the file keeps its mode, which a user may have changed.
pub(crate) fn change_mode(before: &Listen, next: &Listen) -> io::Result<()> {
    let mode = |listen| PeerIds::of(listen).map(|ids| ids.mode());
    let (Listen::Unix { path, .. }, Some(next_mode)) = (next, mode(next)) else {
        return Ok(());
    };
    if mode(before) == Some(next_mode) {
        return Ok(());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        // Another user may have replaced the socket with a file or a link.
        if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
            return Err(io::Error::other("another file is in its place"));
        }
        std::fs::set_permissions(path, PermissionsExt::from_mode(next_mode))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Opens a listener for this number of workers. Returns one share for each worker, and the actual
/// address.
pub(crate) fn open(listen: &Listen, workers: usize) -> io::Result<(Vec<ListenerShare>, Listen)> {
    match listen {
        Listen::Tcp(address) => {
            let mut shares = Vec::with_capacity(workers);
            let mut address = *address;
            for index in 0..workers {
                // The first socket binds without SO_REUSEPORT. Otherwise another proxy of this user
                // could share the port, and each would get some of the other's callers.
                let joins = index > 0 || (workers > 1 && !cfg!(target_os = "linux"));
                let listener = tcp(address, joins, workers > 1)?;
                if index == 0 {
                    address = listener.local_addr()?;
                }
                shares.push(ListenerShare::Tcp(listener));
            }
            Ok((shares, Listen::Tcp(address)))
        }
        #[cfg(unix)]
        Listen::Unix { path, uids, gids } => {
            let ids = PeerIds {
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

/// Opens a TCP listener. With several workers each has its own socket, and the kernel distributes
/// connections. A socket that `joins` may share a port whose sockets are `shared`.
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
    // Accepted connections inherit keep-alive from their listener.
    keep_alive::enable(&socket)?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// Opens a unix listener. The socket refuses connections until it listens, and by then its file has its
/// mode.
#[cfg(unix)]
fn unix(path: &Path, ids: PeerIds, workers: usize) -> io::Result<Vec<ListenerShare>> {
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};
    // Removes the socket of a killed proxy. Any other file is kept, and so is a socket that another
    // process listens on, even if this user may not connect to it.
    if let Ok(found) = std::fs::symlink_metadata(path)
        && found.file_type().is_socket()
        && UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Linux creates the file with the mode of the open socket. Other systems refuse the call.
    let opened = std::fs::File::from(OwnedFd::from(socket.try_clone()?));
    let _ = opened.set_permissions(PermissionsExt::from_mode(0o600));
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    let made = std::fs::symlink_metadata(path)?;
    if !made.file_type().is_socket() {
        return Err(io::Error::other("another file is in its place"));
    }
    std::fs::set_permissions(path, PermissionsExt::from_mode(ids.mode()))?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    let listener = UnixListener::from(OwnedFd::from(socket));
    let allowed = Arc::new(AllowedPeers {
        ids: ArcSwap::from_pointee(ids),
        own: Some(made.uid()),
        refusals: LogLimit::new("refused a peer of the unix socket"),
    });
    let share = |_| {
        Ok(ListenerShare::Unix {
            listener: listener.try_clone()?,
            allowed: Arc::clone(&allowed),
        })
    };
    (0..workers).map(share).collect()
}

/// Identifies the file of an open unix socket: device and inode.
pub(crate) type SocketId = (u64, u64);

/// Returns the identity of the socket file at the listener's path. Returns `None` for TCP, and if no
/// socket is there.
pub(crate) fn socket_id(listen: &Listen) -> Option<SocketId> {
    #[cfg(unix)]
    if let Listen::Unix { path, .. } = listen {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let found = std::fs::symlink_metadata(path).ok()?;
        return found
            .file_type()
            .is_socket()
            .then(|| (found.dev(), found.ino()));
    }
    let _ = listen;
    None
}

/// Removes the socket file of a closed listener. A file that has taken the socket's place is kept.
pub(crate) fn unlink(listen: &Listen, id: Option<SocketId>) {
    if let Listen::Unix { path, .. } = listen
        && id.is_some()
        && socket_id(listen) == id
    {
        // The call fails if another process has already removed the file.
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: each worker gets callers. All of a hundred callers reach one of two workers with a
    /// probability of 2^-99.
    #[test]
    fn the_kernel_distributes_callers() {
        let free = Listen::Tcp(([127, 0, 0, 1], 0).into());
        let (shares, actual) = open(&free, 2).expect("a free port");
        let Listen::Tcp(address) = actual else {
            panic!("not a TCP address");
        };
        let connect = || std::net::TcpStream::connect(address).expect("a connection");
        let callers: Vec<_> = (0..100).map(|_| connect()).collect();
        let taken = shares.iter().map(|share| {
            let ListenerShare::Tcp(listener) = share else {
                panic!("not a TCP listener");
            };
            // An established connection is in the queue of its listener.
            std::iter::from_fn(|| listener.accept().ok()).count()
        });
        let taken: Vec<_> = taken.collect();
        assert_eq!(taken.iter().sum::<usize>(), callers.len());
        if cfg!(target_os = "linux") {
            assert!(taken.iter().all(|count| *count > 0), "{taken:?}");
        }
    }

    /// Property: workers share an address; another process cannot listen on it.
    #[test]
    fn only_one_process_listens_on_an_address() {
        for workers in [1, 3] {
            let free = Listen::Tcp(([127, 0, 0, 1], 0).into());
            let (shares, actual) = open(&free, workers).expect("a free port");
            assert_eq!(shares.len(), workers);
            for others in [1, 3] {
                let Err(error) = open(&actual, others) else {
                    panic!("{others} workers of another process beside {workers}");
                };
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            }
            drop(shares);
            open(&actual, workers).expect("the address is free again");
        }
    }
}
