//! Serves one caller's connection, HTTP/1.1 or HTTP/2.

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
use crate::streams::{CloseWhenIdle, IdleDetector, StreamCounter};
use crate::timer::HeadTimer;
use crate::worker::Worker;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many bytes are read after an unparsable request, and for how long.
const LINGER_BYTES: u64 = 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub(crate) async fn serve<S>(worker: Arc<Worker>, mut stream: S, unix: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(permit) = ConnectionPermit::acquire(&worker) else {
        let _ = stream.write_all(&Problem::CONNECTIONS.raw()).await;
        let _ = stream.shutdown().await;
        return;
    };
    let limits = worker.shared.table.load().limits.clone();
    let mut preface_bytes = Vec::with_capacity(PREFACE.len());
    let preface = tokio::time::timeout(
        limits.header_timeout,
        read_preface(&mut stream, &mut preface_bytes),
    );
    // A draining proxy closes a connection on which the caller has sent nothing.
    let is_http2 = tokio::select! {
        biased;
        read = preface => read,
        () = worker.draining() => return,
    };
    let http2 = match is_http2 {
        Ok(Ok(http2)) => http2,
        Ok(Err(_)) => return,
        Err(_) => {
            if !preface_bytes.is_empty() {
                refuse(&mut stream).await;
            }
            return;
        }
    };
    let stream = Prefixed::new(preface_bytes, stream, limits.answer_idle);
    // Boxed, so that a connection on which no request has begun holds only the preface.
    if http2 {
        Box::pin(serve_http2(&worker, stream, unix, &limits)).await;
    } else {
        Box::pin(serve_http1(&worker, stream, unix, &limits)).await;
    }
    drop(permit);
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

/// Reads and drops what the caller sends after an unparsable request. Closing with unread bytes
/// would reset the connection, and the caller might lose the answer.
async fn linger(stream: &mut (impl AsyncRead + Unpin)) {
    let (mut rest, mut sink) = (stream.take(LINGER_BYTES), tokio::io::sink());
    let read = tokio::io::copy(&mut rest, &mut sink);
    let _ = tokio::time::timeout(LINGER_TIME, read).await;
}

async fn serve_http2<S>(worker: &Arc<Worker>, stream: Prefixed<S>, unix: bool, limits: &Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service_worker = Arc::clone(worker);
    let streams = StreamCounter::default();
    let idle = IdleDetector::new(&streams, limits.header_timeout);
    let service = service_fn(move |request| {
        let open = streams.open();
        let answer = service_worker.serve(request, unix);
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
    let mut connection = CloseWhenIdle::new(connection, http2::Connection::graceful_shutdown, idle);
    match until_drained(worker, &mut connection, CloseWhenIdle::end).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "a connection of a caller ended"),
        None => tracing::debug!("an idle connection of a caller was closed"),
    }
}

/// Drives a connection until it ends. If the proxy drains, `close` lets only the requests in flight
/// finish.
async fn until_drained<C: Future + Unpin>(
    worker: &Worker,
    connection: &mut C,
    close: impl Fn(&mut C),
) -> C::Output {
    let mut draining = pin!(worker.draining());
    // The first poll of `draining` registers the waker; later polls of this task read only a flag.
    let (mut is_registered, mut is_closing) = (false, false);
    poll_fn(|context| {
        // Polled first, so that a request that has already arrived is read and answered.
        if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(context) {
            return Poll::Ready(ended);
        }
        if is_closing || (is_registered && !worker.is_draining()) {
            return Poll::Pending;
        }
        is_registered = true;
        if draining.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        is_closing = true;
        close(connection);
        Pin::new(&mut *connection).poll(context)
    })
    .await
}

/// Answers that the headers did not arrive in time, and closes the stream.
async fn refuse(stream: &mut (impl AsyncWrite + Unpin)) {
    let raw = Problem::HEADER_TIMEOUT.raw();
    let _ = tokio::time::timeout(Duration::from_secs(1), async {
        stream.write_all(&raw).await?;
        stream.shutdown().await
    })
    .await;
}

/// Reads until the protocol is known. Returns whether it is HTTP/2.
async fn read_preface(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
) -> io::Result<bool> {
    loop {
        if bytes.len() >= PREFACE.len() {
            return Ok(true);
        }
        let mut chunk = [0; 24];
        let most = PREFACE.len() - bytes.len();
        let read = stream.read(&mut chunk[..most]).await?;
        if read == 0 {
            return if bytes.is_empty() {
                Err(io::ErrorKind::UnexpectedEof.into())
            } else {
                Ok(false)
            };
        }
        bytes.extend_from_slice(&chunk[..read]);
        if !PREFACE.starts_with(bytes) {
            return Ok(false);
        }
    }
}

/// Counts a connection towards [`Limits::connections`] until the permit is dropped.
pub(crate) struct ConnectionPermit(Arc<Worker>);

impl ConnectionPermit {
    fn acquire(worker: &Arc<Worker>) -> Option<Self> {
        let before = worker.shared.connections.fetch_add(1, Ordering::SeqCst);
        let permit = Self(Arc::clone(worker));
        // The permit of a refused connection is dropped here, which takes it out of the count.
        (before < worker.shared.table.load().limits.connections).then_some(permit)
    }

    /// Returns a further permit for an upgraded connection, which outlives the HTTP connection.
    pub(crate) fn for_upgrade(worker: &Arc<Worker>) -> Self {
        worker.shared.connections.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(worker))
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if self.0.shared.connections.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.shared.idle.notify_waiters();
        }
    }
}
