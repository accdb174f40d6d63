//! The admin listener: metrics, health, readiness, and a page that shows the sessions.
//!
//! - `page`: the files of the page. `body`: bodies of answers.
//! - `events`: the event stream that updates the page.
//! - `sessions`: the activity of each session. `storm`: the requests of one storm.
//! - `timeline`: the state that `events` reads and requests write.

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
use token_rotator::Rotator;
use token_rotator::middleware::RotatorExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore};

use self::body::AdminBody;
pub(crate) use self::timeline::{Timeline, TimelineRequest};
use crate::admit;
use crate::cross_site::{self, CrossSite};
use crate::prefixed::Prefixed;
use crate::worker::SharedState;

const TEXT: &str = "text/plain; charset=utf-8";

/// Number of connections at one time; a further connection is closed at once.
const CONNECTIONS: usize = 64;

/// Time for a caller to send a head, and to read an answer.
const IO_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<SharedState>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            serve_connection(stream, &shared).await;
            drop(permit);
        });
    }
}

async fn serve_connection<S>(stream: S, shared: &Arc<SharedState>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hang_up = Arc::new(Notify::new());
    let service = service_fn(|request| {
        let answer = answer(shared, &request, &hang_up);
        async move { Ok::<_, Infallible>(answer) }
    });
    let stream = Prefixed::new(Vec::new(), stream, Some(IO_TIMEOUT));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IO_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A connection error needs no reaction: the caller is gone.
        _ = connection => {}
        () = hang_up.notified() => {}
    }
}

fn answer<B>(
    shared: &Arc<SharedState>,
    request: &Request<B>,
    hang_up: &Arc<Notify>,
) -> Response<AdminBody> {
    let mut answer = route(shared, request, hang_up);
    page::protect(answer.headers_mut());
    answer
}

fn route<B>(
    shared: &Arc<SharedState>,
    request: &Request<B>,
    hang_up: &Arc<Notify>,
) -> Response<AdminBody> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(ALLOW, allowed);
        return answer;
    }
    // The check of the host prevents DNS rebinding: a foreign web page must not read the answers.
    let table = shared.table.load();
    let host = admit::host(request).ok();
    let Some(host) = host.filter(|host| table.allows_host(host.name)) else {
        return plain(
            StatusCode::MISDIRECTED_REQUEST,
            "this host is not allowed\n",
        );
    };
    // The page has links of its own, so a navigation is no reason to refuse.
    let checked = cross_site::check(request.method(), request.headers(), host, &[]);
    if checked.is_err_and(|refused| refused != CrossSite::Navigation) {
        return plain(
            StatusCode::FORBIDDEN,
            "a web page of another origin sent this request\n",
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
                "the page has too many viewers\nhint: close some of the browser tabs that show it\n",
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

fn ready(shared: &SharedState) -> Response<AdminBody> {
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

/// Whether the session has a token or may still get one.
fn is_usable(rotator: &Rotator) -> bool {
    rotator.access_token().is_some() || !(rotator.has_ended() || rotator.is_signed_out())
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
    page::set_content_type(answer.headers_mut(), kind);
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::Instant;

    use super::*;

    /// Property: a caller that sends or reads nothing does not keep one of the few connections.
    #[tokio::test(start_paused = true)]
    async fn a_caller_that_sends_or_reads_nothing_is_disconnected() {
        let shared = SharedState::for_test();
        let head = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n";
        let reads_nothing = format!("{head}\r\n").repeat(100);
        for sent in ["", head, &reads_nothing] {
            let (mut near, far) = tokio::io::duplex(16 * 1024);
            near.write_all(sent.as_bytes()).await.expect("sent");
            let began = Instant::now();
            serve_connection(far, &shared).await;
            assert_eq!(began.elapsed(), IO_TIMEOUT, "{sent}");
        }
    }
}
