//! A caller's byte stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::timer::Alarm;

/// A stream of which the beginning has been read already, and whose other end has to read on.
pub(crate) struct Prefixed<S> {
    seen: Vec<u8>,
    read: usize,
    stream: S,
    /// How long it may read nothing.
    patience: Option<Duration>,
    alarm: Alarm,
}

impl<S> Prefixed<S> {
    /// Of which these bytes have been read, and whose other end may read nothing for so long.
    pub(crate) fn new(seen: Vec<u8>, stream: S, patience: Option<Duration>) -> Self {
        Self {
            seen,
            read: 0,
            stream,
            patience,
            alarm: Alarm::default(),
        }
    }

    /// What came of writing; an error once the other end has read nothing for too long.
    fn written<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.alarm.set_at(None);
            return written;
        }
        self.alarm.start(self.patience);
        let late = self.alarm.poll(context);
        late.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = buffer.remaining().min(self.seen.len() - self.read);
        buffer.put_slice(&self.seen[self.read..self.read + length]);
        self.read += length;
        if self.read == self.seen.len() {
            self.seen = Vec::new();
            // What came with it is read with it: hyper makes its buffer twice as large for a head
            // that comes in two pieces. A failure shows itself at the next read again.
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
        self.written(written, context)
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
        self.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
