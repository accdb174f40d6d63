//! The HTTP server of issuer and upstream.
//!
//! - This file accepts connections and serves HTTP/1.1 and HTTP/2 on them.
//! - `connection` closes or resets a connection without a response.
//! - `tasks` stops all tasks of a server together.

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

use crate::response::HttpResponse;
use connection::{Connection, Socket};
use tasks::Tasks;

/// Answers the requests of a server.
pub(crate) trait RequestHandler: Send + Sync + 'static {
    /// Returns the response to one request. May never return if the handler closes the connection instead.
    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Connection,
    ) -> impl Future<Output = HttpResponse> + Send;
}

/// Why an issuer or an upstream could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The loopback port could not be opened, most often because another process listens on it.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address of the port.
        address: SocketAddr,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The prefix for secrets contains characters that are not allowed in a cookie or a header.
    #[error("a secret prefix may contain only letters, digits, '-', '_' and '.'")]
    SecretPrefix,
    /// The realm contains characters that are not allowed in a quoted string of a header.
    #[error("a realm may contain only printable ASCII without '\"' and '\\'")]
    Realm,
}

/// An open port that is not served yet. The handler needs the URL of the port before it can be built.
pub(crate) struct BoundListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundListener {
    /// The demo opens thousands of connections at once. The usual backlog of 128 would drop their handshakes.
    const BACKLOG: u32 = 4096;

    pub(crate) fn on(port: u16) -> Result<Self, StartError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self::listen(address).map_err(|source| StartError::Listen { address, source })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Accepts and serves connections until the tasks are stopped.
    pub(crate) fn serve<H: RequestHandler>(self, handler: Arc<H>, tasks: &Tasks) {
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
                    // Accepting continues after an error: the process is out of descriptors, or the client has
                    // disconnected.
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

async fn serve_connection<H: RequestHandler>(
    stream: TcpStream,
    connection: Connection,
    handler: Arc<H>,
    tasks: Tasks,
) {
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Socket::new(stream, connection.clone()));
    let service = service_fn(|request| {
        let response = Arc::clone(&handler).handle(request, connection.clone());
        async move { Ok::<_, Infallible>(response.await) }
    });
    let mut builder = auto::Builder::new(tasks);
    builder
        .http2()
        .max_concurrent_streams(20_000)
        // Tests cancel thousands of requests. hyper's limit protects public servers from that.
        .max_pending_accept_reset_streams(20_000)
        .max_local_error_reset_streams(None);
    tokio::select! {
        // Errors are ignored here: the client has disconnected.
        _ = builder.serve_connection(io, service) => {}
        () = connection.ended() => {}
    }
}
