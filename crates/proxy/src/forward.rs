//! A request's way: checked, given its token, sent, and after a refusal sent once more.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use token_rotator::challenge::{self, Verdict};
use token_rotator::{Event, NotReplayed, Pass};

use crate::body::AnswerBody;
use crate::headers;
use crate::observe::{Observed, Watch};
use crate::problem::Problem;
use crate::routes::{Table, Target};
use crate::tee::{Bounds, Tee, Upload};
use crate::upgrade;
use crate::worker::Worker;

/// How much of a refused answer is read so that its connection can be used again, and for how long.
const DRAIN_BYTES: usize = 16 * 1024;
const DRAIN_TIME: Duration = Duration::from_millis(50);

/// One request and what is known about it.
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a Arc<Worker>,
    pub(crate) table: &'a Table,
    pub(crate) target: &'a Arc<Target>,
    pub(crate) grpc: bool,
    watch: Watch,
}

impl Worker {
    /// Answers a request, whatever happens.
    pub(crate) async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        unix: bool,
    ) -> Response<AnswerBody> {
        // Whether it also had a length, by which somebody before might have read on, hyper does not
        // tell: it is the last of its connection (RFC 9112 section 6.3).
        let last = request.headers().contains_key(TRANSFER_ENCODING);
        let mut answer = self.answer(request, unix).await;
        if last {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        answer
    }

    async fn answer(
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

/// A request's head, kept in case it is sent again.
pub(crate) struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Head {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }

    pub(crate) fn request(self, body: Upload) -> Request<Upload> {
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
        upgrade: Option<HeaderValue>,
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
