//! A caller's byte stream with a prefix that was already read, and a timeout for writes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::timer::DeadlineTimer;

/// A stream whose first bytes were already read. Writes fail if the peer reads nothing for too
/// long.
pub(crate) struct Prefixed<S> {
    prefix: Vec<u8>,
    read: usize,
    stream: S,
    /// Time for which the peer may read nothing.
    idle_timeout: Option<Duration>,
    timer: DeadlineTimer,
}

impl<S> Prefixed<S> {
    /// Wraps a stream whose bytes `prefix` were already read. Without `idle_timeout` writes wait
    /// without limit.
    pub(crate) fn new(prefix: Vec<u8>, stream: S, idle_timeout: Option<Duration>) -> Self {
        Self {
            prefix,
            read: 0,
            stream,
            idle_timeout,
            timer: DeadlineTimer::default(),
        }
    }

    /// Returns the result of a write, or an error if the peer has read nothing for too long.
    fn limit_write<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer.set_at(None);
            return written;
        }
        self.timer.start(self.idle_timeout);
        let is_late = self.timer.poll(context);
        is_late.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = buffer.remaining().min(self.prefix.len() - self.read);
        buffer.put_slice(&self.prefix[self.read..self.read + length]);
        self.read += length;
        if self.read == self.prefix.len() {
            self.prefix = Vec::new();
            // The rest of the head is read in the same call: hyper doubles its buffer for a head in
            // two pieces. The next read reports a failure again.
            let _ = Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.limit_write(written, context)
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
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.limit_write(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
