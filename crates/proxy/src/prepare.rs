//! What is done with a request before anything is waited for: checked, stripped, and made ready to
//! be sent, once or twice.

use std::sync::Arc;

use http::header::HeaderValue;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use token_rotator::NotReplayed;
use token_rotator::middleware::{Exchange, PackedHead, RotatorExt as _};
use tokio::time::Instant;

use crate::headers::{self, Seen};
use crate::observe::Watch;
use crate::problem::Problem;
use crate::routes::{Table, Target};
use crate::tee::{Bounds, Tee, Upload};
use crate::worker::Worker;

/// A request on its way, and all that is known about it.
///
/// It stays where it is while it is sent and waited for: futures hold it by reference, or each of
/// them would lie as large in every connection.
pub(crate) struct Outgoing {
    pub(crate) worker: Arc<Worker>,
    pub(crate) table: Arc<Table>,
    pub(crate) target: Arc<Target>,
    pub(crate) grpc: bool,
    pub(crate) watch: Watch,
    /// The one copy of its head: for a replay, or where a kept connection turns out to be closed.
    pub(crate) head: PackedHead,
    /// When the request was ready to be sent, or nearly.
    pub(crate) ready_at: Instant,
    /// The request as it is to be sent next.
    pub(crate) request: Option<Request<Upload>>,
    pub(crate) tee: Option<Arc<Tee>>,
    /// Whether its body is short enough to be kept, as far as its head says.
    pub(crate) repeatable: Result<(), NotReplayed>,
    /// The token it carries. `None` before there is one, and with the caller's own credentials.
    pub(crate) exchange: Option<Exchange>,
    /// Whether it goes with the caller's own credentials.
    pub(crate) passed: bool,
    pub(crate) upgrade: Option<Box<Upgrade>>,
}

/// The protocol that the caller wants to go on with, and its end of the connection.
pub(crate) struct Upgrade {
    pub(crate) protocol: HeaderValue,
    pub(crate) caller: Option<OnUpgrade>,
}

impl Worker {
    pub(crate) fn prepare(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        seen: Seen,
        unix: bool,
        grpc: bool,
        began: Instant,
    ) -> Result<Outgoing, Problem> {
        let table = self.shared.table.load_full();
        let target = match table.admit(&request, seen, unix) {
            Ok(target) => Arc::clone(target),
            Err(problem) => {
                self.shared.metrics.rejected(problem.name);
                return Err(problem);
            }
        };
        let watch = Watch::new(&self.shared, &target, request.method());
        let name = target.rotator.header_name();
        let passed = target.pass_authorization && request.headers().contains_key(name);
        let upgrade = Upgrade::of(&mut request, seen);
        target.rewrite(&mut request, seen)?;
        let head = PackedHead::move_in(&mut request);
        let (mut parts, body) = request.into_parts();
        parts.version = Version::HTTP_11;
        let (tee, repeatable) = self.tee(body, &table, &target, grpc);
        let upload = tee.as_ref().map_or(Upload::Empty, Upload::first);
        Ok(Outgoing {
            worker: Arc::clone(self),
            ready_at: began,
            request: Some(Request::from_parts(parts, upload)),
            table,
            target,
            grpc,
            watch,
            head,
            tee,
            repeatable,
            exchange: None,
            passed,
            upgrade,
        })
    }

    /// The body, and whether it can be sent again.
    fn tee(
        &self,
        body: Incoming,
        table: &Table,
        target: &Target,
        grpc: bool,
    ) -> (Option<Arc<Tee>>, Result<(), NotReplayed>) {
        if body.is_end_stream() {
            return (None, Ok(()));
        }
        let limits = &table.limits;
        let kept = target.replay_bytes;
        let length = body.size_hint().exact();
        let fits = length.map(|length| length <= kept as u64);
        let bounds = Bounds {
            kept,
            largest: limits.body_bytes,
            idle: limits.body_idle.filter(|_| !grpc),
            token: (!target.pass_authorization).then(|| target.rotator.header_name().clone()),
        };
        let tee = Tee::new(body, bounds, fits != Some(false), &self.shared.budget);
        let repeatable = match fits {
            Some(true) => Ok(()),
            _ => Err(NotReplayed::BodyOnce),
        };
        (Some(tee), repeatable)
    }
}

impl Outgoing {
    /// Makes the request anew, to be sent next.
    pub(crate) fn renew(&mut self, body: Upload) {
        self.request = self.head.request(body);
        if let Some(request) = &mut self.request {
            *request.version_mut() = Version::HTTP_11;
        }
        self.ready_at = Instant::now();
        self.apply();
    }

    /// Puts the token on the request that is sent next.
    pub(crate) fn apply(&mut self) {
        if let (Some(request), Some(exchange)) = (&mut self.request, &self.exchange) {
            exchange.apply(&self.target.rotator, request.headers_mut());
        }
    }

    /// Whether it may be repeated though nobody knows what came of it (RFC 9110 section 9.2.1).
    pub(crate) fn is_repeatable(&self) -> bool {
        self.tee.is_none()
            && matches!(
                *self.head.method(),
                Method::GET | Method::HEAD | Method::OPTIONS
            )
    }
}

impl Outgoing {
    /// A GET to the same upstream on behalf of this request, without headers of the caller's and
    /// without an observer.
    pub(crate) fn another(&self, uri: Uri) -> Self {
        let mut request = Request::new(Upload::Empty);
        *request.uri_mut() = uri;
        headers::prepare(request.headers_mut(), &self.target.authority, false);
        Self {
            worker: Arc::clone(&self.worker),
            table: Arc::clone(&self.table),
            target: Arc::clone(&self.target),
            grpc: false,
            watch: Watch::default(),
            head: PackedHead::move_in(&mut request),
            ready_at: Instant::now(),
            request: Some(request),
            tee: None,
            repeatable: Ok(()),
            exchange: None,
            passed: false,
            upgrade: None,
        }
    }
}

impl Upgrade {
    fn of(request: &mut Request<Incoming>, seen: Seen) -> Option<Box<Self>> {
        if request.version() != Version::HTTP_11 || !request.body().is_end_stream() {
            return None;
        }
        let protocol = headers::upgrade(request.headers(), seen)?;
        let caller = Some(hyper::upgrade::on(request));
        Some(Box::new(Self { protocol, caller }))
    }
}

impl Target {
    /// Makes the head what the upstream is to see, but for the token.
    pub(crate) fn rewrite<B>(&self, request: &mut Request<B>, seen: Seen) -> Result<(), Problem> {
        let trailers = headers::wants_trailers(request.headers(), seen);
        headers::strip_request(request.headers_mut(), seen);
        if !self.pass_authorization {
            headers::strip_credentials(request.headers_mut(), self.rotator.header_name());
        }
        headers::prepare(request.headers_mut(), &self.authority, trailers);
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
        // `http://host#x` has none at all, which in a request line of its own is no request.
        if uri.path().is_empty() {
            *uri = Uri::from_static("/");
        }
        Ok(())
    }
}
