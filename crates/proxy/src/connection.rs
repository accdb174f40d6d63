//! One caller's connection, HTTP/1.1 or HTTP/2.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::limits::Limits;
use crate::prefixed::Prefixed;
use crate::problem::Problem;
use crate::streams::{Idle, NotIdle, Streams};
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
    let stream = Prefixed::new(seen, stream, limits.answer_idle);
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
    let streams = Streams::default();
    let idle = Idle::new(&streams, limits.header_timeout);
    let service = service_fn(move |request| {
        let open = streams.open();
        let answer = serving.serve(request, unix);
        async move { Ok::<_, std::convert::Infallible>(open.until_dropped(answer.await)) }
    });
    let connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .max_concurrent_streams(limits.streams)
            .max_header_list_size((limits.header_bytes * 2) as u32)
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(Some(64))
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut connection = NotIdle::new(connection, http2::Connection::graceful_shutdown, idle);
    match until_drained(worker, &mut connection, NotIdle::end).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "a connection of a caller ended"),
        None => tracing::debug!("an idle connection of a caller was closed"),
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
