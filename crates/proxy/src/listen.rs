//! Opening the places where callers connect.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Listen;

/// One worker's share of a listener.
pub(crate) enum Opened {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        listener: std::os::unix::net::UnixListener,
        allowed: Allowed,
    },
}

/// A listener that is served.
pub(crate) enum Listening {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, Allowed),
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

/// Who may connect to a unix socket.
#[cfg(unix)]
#[derive(Clone)]
pub(crate) struct Allowed {
    uids: Vec<u32>,
    gids: Vec<u32>,
    own: Option<u32>,
}

#[cfg(unix)]
impl Allowed {
    /// By the credentials that the kernel vouches for.
    pub(crate) fn admits(&self, peer: &tokio::net::unix::UCred) -> bool {
        self.uids.contains(&peer.uid())
            || self.gids.contains(&peer.gid())
            || (self.uids.is_empty() && self.gids.is_empty() && self.own == Some(peer.uid()))
    }
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
            let shares = unix(path, uids, gids, workers)?;
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
    socket.listen(1024)?;
    Ok(socket.into())
}

#[cfg(unix)]
fn unix(
    path: &std::path::Path,
    uids: &[u32],
    gids: &[u32],
    workers: usize,
) -> io::Result<Vec<Opened>> {
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
    let others = !uids.is_empty() || !gids.is_empty();
    let mode = if others { 0o666 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    let allowed = Allowed {
        uids: uids.to_vec(),
        gids: gids.to_vec(),
        own: std::fs::metadata(path).ok().map(|made| made.uid()),
    };
    let share = |_| {
        Ok(Opened::Unix {
            listener: listener.try_clone()?,
            allowed: allowed.clone(),
        })
    };
    (0..workers).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
