//! A request's way: checked, given its token, sent, and after a refusal sent once more.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use subtle::ConstantTimeEq;
use token_rotator::challenge::{self, Verdict};
use token_rotator::{Event, ExposeSecret, NotReplayed, Pass};

use crate::body::AnswerBody;
use crate::headers;
use crate::observe::{Observed, Watch};
use crate::problem::Problem;
use crate::routes::{Table, Target};
use crate::tee::{Bounds, Broken, Tee, Upload};
use crate::upgrade;
use crate::upstream::{ConnectError, Http1, Http2, Lease, SendError};
use crate::worker::Worker;

/// How much of a refused answer is read so that its connection can be used again, and for how long.
const DRAIN_BYTES: usize = 16 * 1024;
const DRAIN_TIME: Duration = Duration::from_millis(50);

/// One request and what is known about it.
pub(crate) struct Exchange<'a> {
    worker: &'a Worker,
    table: &'a Table,
    pub(crate) target: &'a Arc<Target>,
    grpc: bool,
    watch: Watch,
}

impl Worker {
    /// Answers a request, whatever happens.
    pub(crate) async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        unix: bool,
    ) -> Response<AnswerBody> {
        let began = Instant::now();
        let grpc = headers::is_grpc(request.headers());
        let table = self.shared.table.load_full();
        let target = match table.admit(&request, unix) {
            Ok(target) => target,
            Err(problem) => {
                self.shared.metrics.rejected(problem.name);
                return problem.answer(grpc);
            }
        };
        let exchange = Exchange {
            worker: &self,
            table: &table,
            target,
            grpc,
            watch: Watch::new(self.shared.observer.as_ref()),
        };
        exchange.watch.tell(Observed::Arrived {
            route: &target.name,
            method: request.method(),
        });
        let answer = match table.limits.total_timeout {
            None => exchange.forward(request).await,
            Some(limit) => match tokio::time::timeout(limit, exchange.forward(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(Problem::TIMEOUT),
            },
        };
        let answer = answer.unwrap_or_else(|problem| {
            tracing::debug!(route = target.name, problem = problem.name, "not forwarded");
            problem.answer(grpc)
        });
        let status = answer.status();
        exchange.watch.tell(Observed::Answered { status });
        target.stats.answered(status, began.elapsed());
        answer
    }
}

impl Table {
    /// The route, if the request may take one.
    fn admit(&self, request: &Request<Incoming>, unix: bool) -> Result<&Arc<Target>, Problem> {
        let headers = request.headers();
        if headers::size(headers) > self.limits.header_bytes {
            return Err(Problem::HEADERS);
        }
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(Problem::METHOD);
        }
        let host = host(request)?;
        if !unix && !self.allows_host(host) {
            return Err(Problem::HOST);
        }
        let path = request.uri().path();
        if !path.starts_with('/') && path != "*" || has_dot_segment(path) {
            return Err(Problem::bad_request(
                "The path has `.` or `..` as a segment, or does not begin with `/`",
            ));
        }
        if let Some(bearer) = &self.local_bearer {
            let shown = headers.get(http::header::AUTHORIZATION);
            let shown = shown.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
            let wanted = bearer.expose_secret().as_bytes();
            if !shown.is_some_and(|shown| bool::from(shown.ct_eq(wanted))) {
                return Err(Problem::LOCAL_BEARER);
            }
        }
        let target = self.find(host, path).ok_or(Problem::NO_ROUTE)?;
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        match (self.limits.body_bytes, length) {
            (Some(most), Some(length)) if most < length => Err(Problem::TOO_LARGE),
            _ => Ok(target),
        }
    }
}

/// The host that a request is for, without port (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
fn host<B>(request: &Request<B>) -> Result<&str, Problem> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(host), None) => Some(
            host.to_str()
                .map_err(|_| Problem::bad_request("`Host` is not readable"))?,
        ),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(Problem::bad_request("`Host` is there twice")),
    };
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let named = match (authority, field) {
        (Some(authority), Some(field))
            if request.version() == Version::HTTP_2 && !authority.eq_ignore_ascii_case(field) =>
        {
            return Err(Problem::bad_request("`Host` and `:authority` differ"));
        }
        // An absolute target counts, not the field (RFC 9112 section 3.2.2).
        (Some(authority), _) => authority,
        (None, Some(field)) => field,
        (None, None) => return Err(Problem::bad_request("`Host` is missing")),
    };
    if named.contains(['@', ',', ' ', '/', '\\']) || named.is_empty() {
        return Err(Problem::bad_request("`Host` is not a host and a port"));
    }
    let port = named
        .rfind(':')
        .filter(|&colon| !named[colon..].contains(']'));
    Ok(&named[..port.unwrap_or(named.len())])
}

/// Whether an upstream might read the path as another one.
fn has_dot_segment(path: &str) -> bool {
    if !path.contains("/.") && !path.contains("%2") && !path.contains('\\') {
        return false;
    }
    path.contains('\\')
        || path.split('/').any(|segment| {
            let plain = segment.to_ascii_lowercase().replace("%2e", ".");
            plain == "." || plain == ".."
        })
}

/// A request's head, kept in case it is sent again.
pub(crate) struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Head {
    fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }

    fn request(self, body: Upload) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

impl Exchange<'_> {
    async fn forward(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let target = self.target;
        let name = target.rotator.header_name();
        let passed = target.pass_authorization && request.headers().contains_key(name);
        let upgrade = match request.version() {
            Version::HTTP_11 if request.body().is_end_stream() => {
                headers::upgrade(request.headers())
            }
            _ => None,
        };
        let caller = upgrade.as_ref().map(|_| hyper::upgrade::on(&mut request));
        let trailers = headers::wants_trailers(request.headers());
        headers::strip_hop_by_hop(request.headers_mut());
        if !target.pass_authorization {
            headers::strip_credentials(request.headers_mut(), name);
        }
        headers::prepare(request.headers_mut(), &target.authority, trailers);
        self.rewrite(request.uri_mut())?;
        let (parts, body) = request.into_parts();
        let (tee, once) = self.tee(body);
        let upload = tee.as_ref().map_or(Upload::Empty, Upload::first);
        let mut request = Request::from_parts(parts, upload);
        *request.version_mut() = Version::HTTP_11;
        let head = Head::of(&request);

        if passed {
            return self.send_any(request, upgrade, caller, tee.as_ref()).await;
        }
        let pass = self.pass(once).await?;
        pass.apply(name, request.headers_mut());
        let generation = pass.token().map(token_rotator::Token::generation);
        self.watch.tell(Observed::Sent { generation });
        if let Some(protocol) = upgrade {
            return upgrade::run(self, head, request, protocol, caller, &pass).await;
        }
        let answer = self.send(request, tee.as_ref()).await?;
        if !self.is_refusal(&answer) {
            return Ok(answer);
        }
        Box::pin(self.refused(head, answer, &pass, tee.as_ref())).await
    }

    async fn send_any(
        &self,
        request: Request<Upload>,
        upgrade: Option<http::HeaderValue>,
        caller: Option<hyper::upgrade::OnUpgrade>,
        tee: Option<&Arc<Tee>>,
    ) -> Result<Response<AnswerBody>, Problem> {
        match upgrade {
            Some(protocol) => upgrade::once(self, request, protocol, caller).await,
            None => self.send(request, tee).await,
        }
    }

    fn rewrite(&self, uri: &mut Uri) -> Result<(), Problem> {
        let stripped = self.target.stripped(uri);
        if stripped.is_none() && uri.scheme().is_none() {
            return Ok(());
        }
        let path = match stripped {
            Some(path) => PathAndQuery::try_from(path).ok(),
            None => uri.path_and_query().cloned(),
        };
        let path = path.ok_or(Problem::bad_request("The path cannot be read"))?;
        *uri = Uri::from(path);
        Ok(())
    }

    /// The body, and whether it may be one that is sent only once.
    fn tee(&self, body: Incoming) -> (Option<Arc<Tee>>, bool) {
        if body.is_end_stream() {
            return (None, false);
        }
        let limits = &self.table.limits;
        let kept = self.target.replay_bytes;
        let length = body.size_hint().exact();
        let copied = length.is_none_or(|length| length <= kept as u64);
        let bounds = Bounds {
            kept,
            largest: limits.body_bytes,
            idle: limits.body_idle.filter(|_| !self.grpc),
        };
        let once = length.is_none_or(|length| length > kept as u64);
        let budget = &self.worker.shared.budget;
        (Some(Tee::new(body, bounds, copied, budget)), once)
    }

    async fn pass(&self, once: bool) -> Result<Pass, Problem> {
        let rotator = &self.target.rotator;
        let ready = if once {
            rotator.ready_for_once()
        } else {
            rotator.ready()
        };
        if let Some(pass) = ready {
            return Ok(pass);
        }
        self.watch.tell(Observed::Waiting);
        let _waiting = self.target.stats.wait();
        let pass = if once {
            rotator.pass_for_once().await
        } else {
            rotator.pass().await
        };
        pass.map_err(|error| {
            tracing::warn!(route = self.target.name, %error, "no token for a request");
            Problem::no_token(&error)
        })
    }

    pub(crate) fn is_refusal<B>(&self, answer: &Response<B>) -> bool {
        if answer.status() == StatusCode::UNAUTHORIZED {
            return challenge::judge(answer.status(), answer.headers()) == Verdict::RefreshToken;
        }
        self.grpc && challenge::judge_grpc(answer.headers())
    }

    /// Waits for the newer token with the refused answer in hand: back it goes if there is none.
    async fn refused(
        &self,
        head: Head,
        answer: Response<AnswerBody>,
        pass: &Pass,
        tee: Option<&Arc<Tee>>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let (rotator, stats) = (&self.target.rotator, &self.target.stats);
        self.watch.tell(Observed::Refused);
        if tee.is_some_and(|tee| !tee.replayable()) {
            rotator.report_refused(pass);
            rotator.tell(&Event::NotReplayed {
                reason: NotReplayed::BodyOnce,
            });
            stats.handed_back();
            return Ok(answer);
        }
        let Some(newer) = self.newer(pass).await else {
            stats.handed_back();
            return Ok(answer);
        };
        let upload = match tee {
            None => Upload::Empty,
            Some(tee) => match tee.again() {
                Some(upload) => upload,
                None => return Ok(answer),
            },
        };
        drain(answer.into_body()).await;
        let mut request = head.request(upload);
        newer.apply(rotator.header_name(), request.headers_mut());
        self.replaying(&newer);
        let answer = self.send(request, tee).await?;
        self.judge_replay(&answer, &newer);
        Ok(answer)
    }

    /// The token after this one, if there is one to be had.
    pub(crate) async fn newer(&self, pass: &Pass) -> Option<Pass> {
        self.watch.tell(Observed::Waiting);
        let _waiting = self.target.stats.wait();
        match self.target.rotator.refused(pass).await {
            Ok(token) => Some(Pass::from(token)),
            Err(error) => {
                tracing::warn!(route = self.target.name, %error, "a refusal is handed back");
                None
            }
        }
    }

    pub(crate) fn replaying(&self, pass: &Pass) {
        let generation = pass.token().map(token_rotator::Token::generation);
        self.target.stats.replayed();
        self.watch.tell(Observed::Replayed);
        self.watch.tell(Observed::Sent { generation });
    }

    /// The second answer is the caller's, whatever it says; but that a new token is refused as well
    /// has to be known, or a wrong audience would have it refreshed again and again.
    pub(crate) fn judge_replay<B>(&self, answer: &Response<B>, pass: &Pass) {
        if self.is_refusal(answer) {
            self.watch.tell(Observed::Refused);
            self.target.stats.handed_back();
            self.target.rotator.report_refused(pass);
        }
    }

    pub(crate) fn head_request(head: Head) -> Request<Upload> {
        head.request(Upload::Empty)
    }

    /// Sends a request over a connection that is free, or a new one.
    async fn send(
        &self,
        mut request: Request<Upload>,
        tee: Option<&Arc<Tee>>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let pool = &self.target.pools[self.worker.id];
        // What is safe and has no body may go out again where a kept connection broke off.
        let safe = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        let mut again = None;
        let limit = self.answer_timeout();
        loop {
            let shared = pool.http2.ready();
            let kept = if shared.is_none() { pool.take() } else { None };
            let fresh = shared.is_none() && kept.is_none();
            if safe && tee.is_none() && kept.is_some() && again.is_none() {
                again = Some(Head::of(&request));
            }
            let sent = match (shared, kept) {
                (Some(sender), _) => self.send_http2(sender, request).await,
                (None, Some(connection)) => self.send_http1(connection, request, limit).await,
                (None, None) => {
                    let limit = self.table.limits.connect_timeout;
                    let (stream, http2) = self.connect(limit).await?;
                    if http2 {
                        let sender = pool
                            .http2
                            .open(stream)
                            .await
                            .map_err(|error| self.failed(&error))?;
                        self.send_http2(sender, request).await
                    } else {
                        let connection = Http1::open(stream)
                            .await
                            .map_err(|error| self.failed(&error))?;
                        self.send_http1(connection, request, self.answer_timeout())
                            .await
                    }
                }
            };
            match sent {
                Ok(mut answer) => {
                    headers::strip_hop_by_hop(answer.headers_mut());
                    *answer.version_mut() = Version::HTTP_11;
                    return Ok(answer);
                }
                Err(SendError::Unsent(unsent)) if !fresh => request = *unsent,
                Err(SendError::TimedOut) => return Err(Problem::TIMEOUT),
                Err(SendError::Unsent(_) | SendError::Failed) => {
                    match tee.and_then(|tee| tee.broken()) {
                        Some(Broken::Idle) => return Err(Problem::BODY_TIMEOUT),
                        Some(Broken::TooLarge) => return Err(Problem::TOO_LARGE),
                        _ => {}
                    }
                    match again.take().filter(|_| !fresh) {
                        Some(head) => request = head.request(Upload::Empty),
                        None => return Err(Problem::UPSTREAM),
                    }
                }
            }
        }
    }

    pub(crate) fn answer_timeout(&self) -> Option<Duration> {
        self.table.limits.answer_timeout.filter(|_| !self.grpc)
    }

    pub(crate) async fn connect(
        &self,
        limit: Duration,
    ) -> Result<(crate::upstream::Stream, bool), Problem> {
        let opened = self.target.connector.connect(limit).await;
        opened.map_err(|error| self.failed(&error))
    }

    pub(crate) fn connect_limit(&self) -> Duration {
        self.table.limits.connect_timeout
    }

    pub(crate) fn failed(&self, error: &ConnectError) -> Problem {
        tracing::warn!(route = self.target.name, %error, "no connection to the upstream");
        match error {
            ConnectError::TimedOut => Problem::TIMEOUT,
            ConnectError::Io(_) | ConnectError::Http(_) => Problem::UPSTREAM,
        }
    }

    async fn send_http1(
        &self,
        mut connection: Box<Http1>,
        request: Request<Upload>,
        limit: Option<Duration>,
    ) -> Result<Response<AnswerBody>, SendError> {
        let answer = connection.send(request, limit).await?;
        let lease = Lease {
            connection,
            pool: Arc::clone(&self.target.pools[self.worker.id]),
            first: None,
        };
        Ok(answer.map(|body| AnswerBody::http1(body, lease)))
    }

    async fn send_http2(
        &self,
        sender: hyper::client::conn::http2::SendRequest<Upload>,
        mut request: Request<Upload>,
    ) -> Result<Response<AnswerBody>, SendError> {
        if request.uri().authority().is_none() {
            let path = request
                .uri()
                .path_and_query()
                .map_or("/", PathAndQuery::as_str);
            if let Ok(uri) = format!("{}{path}", self.target.base).parse() {
                *request.uri_mut() = uri;
            }
        }
        request.headers_mut().remove(HOST);
        *request.version_mut() = Version::HTTP_2;
        let answer = Http2::send(sender, request, self.answer_timeout()).await?;
        Ok(answer.map(AnswerBody::Http2))
    }
}

/// Reads the rest of an answer nobody wants, within bounds, so that its connection can be used
/// again.
pub(crate) async fn drain<B: Body>(body: B) {
    let mut body = pin!(body);
    let rest = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) =
            std::future::poll_fn(|context| Pin::as_mut(&mut body).poll_frame(context)).await
        {
            let read = frame.data_ref().map_or(0, bytes::Buf::remaining);
            match left.checked_sub(read) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, rest).await;
}
