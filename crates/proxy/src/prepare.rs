//! Prepares a request before the first wait: checks it, strips it, and makes it ready to be sent
//! once or twice.

use std::sync::Arc;

use http::header::HeaderValue;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use token_rotator::NotReplayed;
use token_rotator::middleware::{Exchange, PackedHead, RotatorExt as _};
use tokio::time::Instant;

use crate::admit::Admitted;
use crate::body::AnswerBody;
use crate::cors::{self, Cors};
use crate::headers::{self, HeaderSummary};
use crate::observe::RequestEvents;
use crate::problem::Problem;
use crate::routes::{RouteTable, RouteTarget};
use crate::tee::{BodyLimits, Tee, Upload};
use crate::worker::Worker;

/// A request to an upstream, with its route, body and token.
///
/// Futures borrow the value. Otherwise each future would contain it and enlarge every connection.
pub(crate) struct OutgoingRequest {
    pub(crate) worker: Arc<Worker>,
    pub(crate) table: Arc<RouteTable>,
    pub(crate) target: Arc<RouteTarget>,
    pub(crate) grpc: bool,
    pub(crate) events: RequestEvents,
    /// The only copy of the request's head. It serves a replay, and a second attempt if a pooled
    /// connection turns out to be closed.
    pub(crate) head: PackedHead,
    /// Time when the request was ready; the answer timeout counts from here.
    pub(crate) ready_at: Instant,
    /// The request for the next attempt.
    pub(crate) request: Option<Request<Upload>>,
    pub(crate) tee: Option<Arc<Tee>>,
    /// Whether the request can be sent twice, by the body length in its head.
    pub(crate) repeatable: Result<(), NotReplayed>,
    /// The request's use of a token. `None` before the request has a token, and if it carries the
    /// caller's own credentials.
    pub(crate) exchange: Option<Exchange>,
    /// Whether the request carries the caller's own credentials.
    pub(crate) has_own_credentials: bool,
    pub(crate) upgrade: Option<Box<Upgrade>>,
}

/// The protocol of a requested upgrade, and the caller's side of the connection.
pub(crate) struct Upgrade {
    pub(crate) protocol: HeaderValue,
    pub(crate) caller: Option<OnUpgrade>,
}

impl Worker {
    pub(crate) fn prepare(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        summary: HeaderSummary,
        unix: bool,
        grpc: bool,
        began: Instant,
        cors: &mut Cors,
    ) -> Result<OutgoingRequest, Box<Response<AnswerBody>>> {
        let table = self.shared.table.load_full();
        let target = match table.admit(&request, summary, unix, cors) {
            Ok(Admitted::To(target)) => Arc::clone(target),
            Ok(Admitted::Preflight) => {
                return Err(Box::new(cors::preflight_answer(request.headers())));
            }
            Err(problem) => return Err(self.reject(&problem, grpc)),
        };
        let events = RequestEvents::new(&self.shared, &target, request.method());
        let token_header = target.rotator.header_name();
        let has_own_credentials =
            target.pass_authorization && request.headers().contains_key(token_header);
        let upgrade = Upgrade::of(&mut request, summary);
        if let Err(problem) = target.rewrite(&mut request, summary) {
            return Err(self.reject(&problem, grpc));
        }
        let head = PackedHead::move_in(&mut request);
        let (mut parts, body) = request.into_parts();
        parts.version = Version::HTTP_11;
        let (tee, repeatable) = self.tee(body, &table, &target, grpc);
        let upload = tee.as_ref().map_or(Upload::Empty, Upload::first);
        Ok(OutgoingRequest {
            worker: Arc::clone(self),
            ready_at: began,
            request: Some(Request::from_parts(parts, upload)),
            table,
            target,
            grpc,
            events,
            head,
            tee,
            repeatable,
            exchange: None,
            has_own_credentials,
            upgrade,
        })
    }

    /// Counts a problem and returns its answer.
    fn reject(&self, problem: &Problem, grpc: bool) -> Box<Response<AnswerBody>> {
        self.shared.metrics.rejected(problem.name);
        let limit = &self.shared.log.cross_site;
        if problem.is_cross_site() && limit.permits(problem.detail()) {
            tracing::warn!(reason = problem.detail(), "{}", limit.line);
        }
        Box::new(problem.answer(grpc))
    }

    /// Returns the body, and whether it can be sent twice.
    fn tee(
        &self,
        body: Incoming,
        table: &RouteTable,
        target: &RouteTarget,
        grpc: bool,
    ) -> (Option<Arc<Tee>>, Result<(), NotReplayed>) {
        if body.is_end_stream() {
            return (None, Ok(()));
        }
        let limits = &table.limits;
        let kept = target.replay_bytes;
        let length = body.size_hint().exact();
        let fits = length.map(|length| length <= kept as u64);
        let body_limits = BodyLimits {
            kept,
            largest: limits.body_bytes,
            idle: limits.body_idle.filter(|_| !grpc),
            token: (!target.pass_authorization).then(|| target.rotator.header_name().clone()),
        };
        let tee = Tee::new(body, body_limits, fits != Some(false), &self.shared.budget);
        let repeatable = match fits {
            Some(true) => Ok(()),
            _ => Err(NotReplayed::BodyOnce),
        };
        (Some(tee), repeatable)
    }
}

impl OutgoingRequest {
    /// Rebuilds the request for the next attempt.
    pub(crate) fn renew(&mut self, body: Upload) {
        self.request = self.head.request(body);
        if let Some(request) = &mut self.request {
            *request.version_mut() = Version::HTTP_11;
        }
        self.ready_at = Instant::now();
        self.apply();
    }

    /// Puts the token on the request of the next attempt.
    pub(crate) fn apply(&mut self) {
        if let (Some(request), Some(exchange)) = (&mut self.request, &self.exchange) {
            exchange.apply(&self.target.rotator, request.headers_mut());
        }
    }

    /// Whether the request may be repeated after an unknown outcome: its method is safe (RFC 9110
    /// section 9.2.1) and it has no body.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.tee.is_none()
            && matches!(
                *self.head.method(),
                Method::GET | Method::HEAD | Method::OPTIONS
            )
    }

    /// Creates a GET to the same upstream, without the caller's headers and without an observer.
    pub(crate) fn probe_request(&self, uri: Uri) -> Self {
        let mut request = Request::new(Upload::Empty);
        *request.uri_mut() = uri;
        headers::add_own(request.headers_mut(), &self.target.authority, false);
        Self {
            worker: Arc::clone(&self.worker),
            table: Arc::clone(&self.table),
            target: Arc::clone(&self.target),
            grpc: false,
            events: RequestEvents::default(),
            head: PackedHead::move_in(&mut request),
            ready_at: Instant::now(),
            request: Some(request),
            tee: None,
            repeatable: Ok(()),
            exchange: None,
            has_own_credentials: false,
            upgrade: None,
        }
    }
}

impl Upgrade {
    fn of(request: &mut Request<Incoming>, summary: HeaderSummary) -> Option<Box<Self>> {
        if request.version() != Version::HTTP_11 || !request.body().is_end_stream() {
            return None;
        }
        let protocol = headers::upgrade(request.headers(), summary)?;
        let caller = Some(hyper::upgrade::on(request));
        Some(Box::new(Self { protocol, caller }))
    }
}

impl RouteTarget {
    /// Rewrites the head for the upstream, except for the token.
    pub(crate) fn rewrite<B>(
        &self,
        request: &mut Request<B>,
        summary: HeaderSummary,
    ) -> Result<(), Problem> {
        let trailers = headers::wants_trailers(request.headers(), summary);
        headers::strip_request(request.headers_mut(), summary);
        if !self.pass_authorization {
            headers::strip_credentials(request.headers_mut(), self.rotator.header_name());
        }
        headers::add_own(request.headers_mut(), &self.authority, trailers);
        self.rewrite_uri(request.uri_mut())
    }

    fn rewrite_uri(&self, uri: &mut Uri) -> Result<(), Problem> {
        let stripped = self.stripped(uri);
        if stripped.is_none() && uri.scheme().is_none() {
            return Ok(());
        }
        let path = match stripped {
            Some(path) => PathAndQuery::try_from(path).ok(),
            None => uri.path_and_query().cloned(),
        };
        let path = path.ok_or(Problem::bad_request("The path cannot be read"))?;
        *uri = Uri::from(path);
        // `http://host#x` has an empty path, which a request line must not have.
        if uri.path().is_empty() {
            *uri = Uri::from_static("/");
        }
        Ok(())
    }
}
