//! A TCP connection that a request on it can close (FIN) or reset (RST).

use std::future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// A handle to the connection of a request.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    number: u64,
    reset: AtomicBool,
    end: Notify,
}

impl Connection {
    /// Creates the handle of the `number`th connection that the server accepted, counted from 1.
    pub(crate) fn numbered(number: u64) -> Self {
        let inner = Inner {
            number,
            ..Inner::default()
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.inner.number
    }

    /// Closes the connection without a response (FIN). Never returns: the request ends with its connection.
    pub(crate) async fn close<T>(&self) -> T {
        self.inner.end.notify_one();
        future::pending().await
    }

    /// Resets the connection without a response (RST). Never returns: the request ends with its connection.
    pub(crate) async fn reset<T>(&self) -> T {
        self.inner.reset.store(true, Ordering::Release);
        self.inner.end.notify_one();
        future::pending().await
    }

    /// Waits until a request closes or resets the connection. The server then drops the connection.
    pub(crate) async fn ended(&self) {
        self.inner.end.notified().await;
    }
}

/// The socket of a connection. Dropping it sends an RST if a request has reset the connection.
pub(crate) struct Socket {
    stream: TcpStream,
    connection: Connection,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, connection: Connection) -> Self {
        Self { stream, connection }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.connection.inner.reset.load(Ordering::Acquire) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
