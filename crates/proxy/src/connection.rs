//! One caller's connection, HTTP/1.1 or HTTP/2.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::limits::Limits;
use crate::problem::Problem;
use crate::timer::HeadTimer;
use crate::worker::Worker;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much is read after nonsense, and for how long.
const LINGER_BYTES: u64 = 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub(crate) async fn serve<S>(worker: Arc<Worker>, mut stream: S, unix: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(slot) = Slot::take(&worker) else {
        let _ = stream.write_all(&Problem::CONNECTIONS.raw()).await;
        let _ = stream.shutdown().await;
        return;
    };
    let limits = worker.shared.table.load().limits.clone();
    let mut seen = Vec::with_capacity(PREFACE.len());
    let preface = tokio::time::timeout(limits.header_timeout, preface(&mut stream, &mut seen));
    // Where the proxy drains, who has not begun to speak is not waited for.
    let spoken = tokio::select! {
        biased;
        spoken = preface => spoken,
        () = worker.draining() => return,
    };
    let http2 = match spoken {
        Ok(Ok(http2)) => http2,
        Ok(Err(_)) => return,
        Err(_) => {
            if !seen.is_empty() {
                refuse(&mut stream).await;
            }
            return;
        }
    };
    let stream = Prefixed {
        seen,
        read: 0,
        stream,
    };
    if http2 {
        serve_http2(&worker, stream, unix, &limits).await;
    } else {
        serve_http1(&worker, stream, unix, &limits).await;
    }
    drop(slot);
}

async fn serve_http1<S>(worker: &Arc<Worker>, stream: Prefixed<S>, unix: bool, limits: &Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let answer = worker.serve(request, unix);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let worker = Arc::clone(worker);
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(HeadTimer::default())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.header_bytes * 2 + 8 * 1024)
        .max_buf_size((limits.header_bytes * 2 + 8 * 1024).max(64 * 1024))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let ended = until_drained(&worker, &mut connection, |connection| {
        Pin::new(connection).graceful_shutdown();
    })
    .await;
    let Err(error) = ended else { return };
    let Some(parts) = connection.into_parts() else {
        return;
    };
    let mut stream = parts.io.into_inner();
    if error.is_timeout() && !parts.read_buf.is_empty() {
        refuse(&mut stream).await;
    }
    if error.is_parse() {
        linger(&mut stream).await;
    }
}

/// Reads on for a moment what comes after the answer to nonsense: closing with bytes unread would
/// reset the connection, and the answer be lost.
async fn linger(stream: &mut (impl AsyncRead + Unpin)) {
    let (mut rest, mut nowhere) = (stream.take(LINGER_BYTES), tokio::io::sink());
    let read = tokio::io::copy(&mut rest, &mut nowhere);
    let _ = tokio::time::timeout(LINGER_TIME, read).await;
}

async fn serve_http2<S>(worker: &Arc<Worker>, stream: Prefixed<S>, unix: bool, limits: &Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let serving = Arc::clone(worker);
    let service = service_fn(move |request| {
        let answer = serving.serve(request, unix);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let mut connection = pin!(
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .max_concurrent_streams(limits.streams)
            .max_header_list_size((limits.header_bytes * 2) as u32)
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(Some(64))
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = until_drained(worker, &mut connection, |connection| {
        connection.as_mut().graceful_shutdown();
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of a caller ended");
    }
}

/// Drives a connection to its end; where the proxy drains, to the end of what is in flight.
async fn until_drained<C: Future + Unpin>(
    worker: &Worker,
    connection: &mut C,
    close: impl Fn(&mut C),
) -> C::Output {
    let mut draining = pin!(worker.draining());
    // Asked once, it wakes this task; from then on one look at a flag does.
    let (mut asked, mut told) = (false, false);
    poll_fn(|context| {
        // First, so that what has come in already is seen as a request, and answered.
        if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(context) {
            return Poll::Ready(ended);
        }
        if told || (asked && !worker.is_draining()) {
            return Poll::Pending;
        }
        asked = true;
        if draining.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        told = true;
        close(connection);
        Pin::new(&mut *connection).poll(context)
    })
    .await
}

/// Says that the headers took too long.
async fn refuse(stream: &mut (impl AsyncWrite + Unpin)) {
    let raw = Problem::HEADER_TIMEOUT.raw();
    let _ = tokio::time::timeout(Duration::from_secs(1), async {
        stream.write_all(&raw).await?;
        stream.shutdown().await
    })
    .await;
}

/// Reads until it is plain which protocol is spoken.
async fn preface(stream: &mut (impl AsyncRead + Unpin), seen: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        if seen.len() >= PREFACE.len() {
            return Ok(true);
        }
        let mut chunk = [0; 24];
        let most = PREFACE.len() - seen.len();
        let read = stream.read(&mut chunk[..most]).await?;
        if read == 0 {
            return if seen.is_empty() {
                Err(io::ErrorKind::UnexpectedEof.into())
            } else {
                Ok(false)
            };
        }
        seen.extend_from_slice(&chunk[..read]);
        if !PREFACE.starts_with(seen) {
            return Ok(false);
        }
    }
}

/// A stream of which the beginning has been read already.
struct Prefixed<S> {
    seen: Vec<u8>,
    read: usize,
    stream: S,
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
        Pin::new(&mut self.stream).poll_write(context, buffer)
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
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A connection's place among those allowed.
pub(crate) struct Slot(Arc<Worker>);

impl Slot {
    fn take(worker: &Arc<Worker>) -> Option<Self> {
        let before = worker.shared.connections.fetch_add(1, Ordering::SeqCst);
        let slot = Self(Arc::clone(worker));
        // Dropped, it gives its place back.
        (before < worker.shared.table.load().limits.connections).then_some(slot)
    }

    /// For a connection that has a place and goes on elsewhere.
    pub(crate) fn keep(worker: &Arc<Worker>) -> Self {
        worker.shared.connections.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(worker))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.0.shared.connections.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.shared.idle.notify_waiters();
        }
    }
}
