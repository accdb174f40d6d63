//! Metrics, health, readiness, and a page to look at.

mod body;
mod events;
mod page;
mod sessions;
mod storm;
mod timeline;

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore};

use self::body::AdminBody;
pub(crate) use self::timeline::{Timeline, Watched};
use crate::admit;
use crate::metrics::is_usable;
use crate::prefixed::Prefixed;
use crate::worker::Shared;

const TEXT: &str = "text/plain; charset=utf-8";

/// How many connections there may be at one time; one more is closed at once.
const CONNECTIONS: usize = 64;

/// How long a head may take to come, and a reader to read on.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until its runtime ends.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            serve_connection(stream, &shared).await;
            drop(place);
        });
    }
}

async fn serve_connection<S>(stream: S, shared: &Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hang_up = Arc::new(Notify::new());
    let service = service_fn(|request| {
        let answer = answer(shared, &request, &hang_up);
        async move { Ok::<_, Infallible>(answer) }
    });
    let stream = Prefixed::new(Vec::new(), stream, Some(PATIENCE));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A caller that breaks off has nobody to be told.
        _ = connection => {}
        () = hang_up.notified() => {}
    }
}

fn answer<B>(
    shared: &Arc<Shared>,
    request: &Request<B>,
    hang_up: &Arc<Notify>,
) -> Response<AdminBody> {
    let mut answer = route(shared, request, hang_up);
    page::protect(answer.headers_mut());
    answer
}

fn route<B>(
    shared: &Arc<Shared>,
    request: &Request<B>,
    hang_up: &Arc<Notify>,
) -> Response<AdminBody> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(ALLOW, allowed);
        return answer;
    }
    // A page in a browser must not read this under a name of its own (DNS rebinding).
    let table = shared.table.load();
    if !admit::host(request).is_ok_and(|host| table.allows_host(host)) {
        return plain(
            StatusCode::MISDIRECTED_REQUEST,
            "this host is not allowed\n",
        );
    }
    let path = request.uri().path();
    if let Some((kind, text)) = page::file(path) {
        return typed(StatusCode::OK, kind, text);
    }
    match path {
        "/events" => match events::open(shared, request.method(), hang_up) {
            Some(body) => with_body(StatusCode::OK, "text/event-stream", body),
            None => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "this page is open too many times\nhint: close some of them\n",
            ),
        },
        "/state" => typed(StatusCode::OK, "application/json", events::state(shared)),
        "/healthz" => plain(StatusCode::OK, "alive\n"),
        "/readyz" => ready(shared),
        "/metrics" => match shared.metrics.text(shared) {
            Ok(text) => typed(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                text,
            ),
            Err(_) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics cannot be written\n",
            ),
        },
        _ => plain(
            StatusCode::NOT_FOUND,
            "try /, /state, /healthz, /readyz or /metrics\n",
        ),
    }
}

fn ready(shared: &Shared) -> Response<AdminBody> {
    if shared.draining.load(Ordering::SeqCst) {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    let table = shared.table.load();
    let mut sessions = table.sessions().iter();
    match sessions.find(|session| !is_usable(&session.rotator)) {
        None => plain(StatusCode::OK, "ready\n"),
        Some(session) => typed(
            StatusCode::SERVICE_UNAVAILABLE,
            TEXT,
            format!(
                "session {} has ended\nhint: run `token-rotator login`\n",
                session.name
            ),
        ),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<AdminBody> {
    typed(status, TEXT, text)
}

fn typed(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<AdminBody> {
    with_body(status, kind, AdminBody::full(text.into()))
}

fn with_body(status: StatusCode, kind: &'static str, body: AdminBody) -> Response<AdminBody> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    page::describe(answer.headers_mut(), kind);
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::Instant;

    use super::*;

    /// There are only so many places.
    #[tokio::test(start_paused = true)]
    async fn nobody_keeps_a_place_who_says_or_reads_nothing() {
        let shared = Shared::for_test();
        let head = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n";
        let reads_nothing = format!("{head}\r\n").repeat(100);
        for said in ["", head, &reads_nothing] {
            let (mut near, far) = tokio::io::duplex(16 * 1024);
            near.write_all(said.as_bytes()).await.expect("sent");
            let began = Instant::now();
            serve_connection(far, &shared).await;
            assert_eq!(began.elapsed(), PATIENCE, "{said}");
        }
    }
}
