//! The HTTP server under issuer and upstream: accepts, serves, and can tear a connection down as networks do.

pub(crate) mod connection;
pub(crate) mod tasks;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::answer::Answer;
use connection::{Connection, Socket};
use tasks::Tasks;

/// What answers the requests of a server.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request; may never return if it ends the connection instead.
    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Connection,
    ) -> impl Future<Output = Answer> + Send;
}

/// Why an issuer or an upstream could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The loopback port could not be opened, most often because something else listens there.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The prefix for secrets holds characters that a cookie or a header could not carry.
    #[error("a secret prefix may hold letters, digits, '-', '_' and '.' only")]
    SecretPrefix,
    /// The realm holds characters that a quoted string in a header could not carry.
    #[error("a realm may hold printable ASCII without '\"' and '\\' only")]
    Realm,
}

/// A port that is open but not served yet, so that its address is known before the handler is made.
pub(crate) struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// The demo opens thousands of connections at once; the usual backlog of 128 would drop their handshakes.
    const BACKLOG: u32 = 4096;

    pub(crate) fn on(port: u16) -> Result<Self, StartError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self::listen(address).map_err(|source| StartError::Listen { address, source })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Accepts and serves connections until the tasks are stopped.
    pub(crate) fn serve<H: Handler>(self, handler: Arc<H>, tasks: &Tasks) {
        let connections = tasks.clone();
        tasks.spawn(async move {
            let mut accepted = 0;
            loop {
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        accepted += 1;
                        connections.spawn(serve_connection(
                            stream,
                            Connection::numbered(accepted),
                            Arc::clone(&handler),
                            connections.clone(),
                        ));
                    }
                    // Out of descriptors, or the client left meanwhile: neither is a reason to stop listening.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
    }

    fn listen(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(Self::BACKLOG)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }
}

async fn serve_connection<H: Handler>(
    stream: TcpStream,
    connection: Connection,
    handler: Arc<H>,
    tasks: Tasks,
) {
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Socket::new(stream, connection.clone()));
    let service = service_fn(|request| {
        let answer = Arc::clone(&handler).handle(request, connection.clone());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = auto::Builder::new(tasks);
    builder
        .http2()
        .max_concurrent_streams(20_000)
        // Tests cancel requests by the thousand; the guard against that is meant for strangers.
        .max_pending_accept_reset_streams(20_000)
        .max_local_error_reset_streams(None);
    tokio::select! {
        // Errors here are clients that went away.
        _ = builder.serve_connection(io, service) => {}
        () = connection.ended() => {}
    }
}
