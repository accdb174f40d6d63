//! Sends one request: token, answer, refusal, refresh, replay, redirects.

use std::time::Duration;

use http::Uri;
use http::header::AUTHORIZATION;
use http_body_util::BodyExt as _;
use reqwest::{Body, Request, Response};
use token_rotator::middleware::challenge::Verdict;
use token_rotator::middleware::{Exchange, Next, ProbePath, RotatorExt as _, drain, endpoint};
use token_rotator::{Event, NotReplayed, Origin};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::client::Core;
use crate::error::Error;
use crate::locate::{is_among, without_fragment};
use crate::redirect::{Hop, Redirects};

/// Size in bytes of the largest form that is read into memory for a replay.
const FORM_BYTES_MAX: u64 = 1024 * 1024;

/// The options of a request that reqwest does not have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestOptions {
    pub(crate) without_token: bool,
    pub(crate) no_replay: bool,
    /// Whether the body is a form, which may be small enough to keep.
    pub(crate) multipart: bool,
}

pub(crate) async fn send(
    core: &Core,
    request: Request,
    options: RequestOptions,
) -> Result<Response, Error> {
    let limit = request.timeout().copied().or(core.timeout);
    let token_header = core.rotator.header_name();
    let has_own_credentials = request.headers().contains_key(AUTHORIZATION)
        || request.headers().contains_key(token_header)
        || core.default_headers.contains_key(token_header);
    let run = RequestRun {
        core,
        options,
        deadline: limit.and_then(Deadline::after),
        no_token: has_own_credentials || options.without_token,
        has_left_origins: false,
        exchange: None,
        hops: 0,
    };
    run.run(request).await
}

/// One request with its redirects and its replay.
struct RequestRun<'a> {
    core: &'a Core,
    options: RequestOptions,
    deadline: Option<Deadline>,
    /// Whether the request carries no token: it has its own credentials, or opted out.
    no_token: bool,
    /// Whether a redirect has led to an origin that must not get the token. Afterwards the request
    /// carries neither token nor default headers, so that a foreign server cannot direct their use.
    has_left_origins: bool,
    /// One exchange for all hops, so that the request keeps the token of its user.
    exchange: Option<Exchange>,
    hops: usize,
}

impl RequestRun<'_> {
    async fn run(mut self, mut request: Request) -> Result<Response, Error> {
        if self.options.multipart && !self.options.no_replay {
            self.keep_form(&mut request).await?;
        }
        loop {
            // The request before this hop adds headers, for a replay or a redirect.
            let (original, has_body) = match request.try_clone() {
                Some(copy) => (copy, true),
                None => (without_body(&request), false),
            };
            self.check_origin(request.url());
            if !self.has_left_origins {
                self.add_defaults(&mut request);
            }
            let takes_token = self.takes_token(request.url());
            let mut repeatable = if self.options.no_replay {
                Err(NotReplayed::OptedOut)
            } else if has_body {
                Ok(())
            } else {
                Err(NotReplayed::BodyOnce)
            };
            if takes_token {
                let rotator = &self.core.rotator;
                let exchange = self.exchange(repeatable).await?;
                exchange.apply(rotator, request.headers_mut());
            }
            let mut response = self.transmit(request).await?;
            if takes_token && same_origin(response.url(), original.url()) {
                if response.url() != original.url() && !original.method().is_safe() {
                    repeatable = repeatable.and(Err(NotReplayed::Redirected));
                }
                let verdict;
                (response, verdict) = self.judge(response, &original).await;
                if verdict == Verdict::None {
                    self.accepted(&response);
                } else {
                    let url = original.url();
                    if !self
                        .may_replay(verdict, &mut response, repeatable, url)
                        .await?
                    {
                        return Ok(response);
                    }
                    self.drain(response).await;
                    // `repeatable` allows no replay without the body.
                    request = original;
                    continue;
                }
            }
            match self.follow_redirect(response, original, has_body).await? {
                Ok(next) => request = next,
                Err(response) => return Ok(response),
            }
        }
    }

    /// Reads a small form into memory, so that a replay sends the same bytes.
    async fn keep_form(&self, request: &mut Request) -> Result<(), Error> {
        let length = request.headers().get(http::header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_none_or(|length: u64| length > FORM_BYTES_MAX) {
            return Ok(());
        }
        if let Some(body) = request.body_mut().take() {
            let read = self.in_time(body.collect()).await?;
            let bytes = read.map_err(Error::request)?.to_bytes();
            *request.body_mut() = Some(Body::from(bytes));
        }
        Ok(())
    }

    /// Checks whether this hop leaves the declared origins.
    fn check_origin(&mut self, url: &Url) {
        let rotator = &self.core.rotator;
        if self.has_left_origins || is_among(rotator.origins(), url) {
            return;
        }
        self.has_left_origins = true;
        if !self.no_token {
            let uri = url.as_str().parse::<Uri>().ok();
            let origin = uri.and_then(|uri| Origin::of(&uri));
            rotator.emit(&Event::ForeignOrigin {
                origin: origin.map(|origin| origin.to_string()),
            });
        }
    }

    fn takes_token(&self, url: &Url) -> bool {
        !self.no_token && !self.has_left_origins && !self.core.is_refresh_endpoint(url)
    }

    /// Adds the default headers to the request of one hop. A redirect does not copy them.
    fn add_defaults(&self, request: &mut Request) {
        for (name, value) in &self.core.default_headers {
            if !request.headers().contains_key(name) {
                request.headers_mut().append(name, value.clone());
            }
        }
    }

    /// Returns the request's exchange, which the first hop begins.
    async fn exchange(&mut self, repeatable: Result<(), NotReplayed>) -> Result<&Exchange, Error> {
        let rotator = &self.core.rotator;
        let exchange = match self.exchange.take() {
            Some(exchange) => exchange,
            None => match Exchange::ready(rotator, repeatable) {
                Some(exchange) => exchange,
                None => self.in_time(Exchange::begin(rotator, repeatable)).await??,
            },
        };
        Ok(self.exchange.insert(exchange))
    }

    async fn transmit(&self, mut request: Request) -> Result<Response, Error> {
        if let Some(deadline) = &self.deadline {
            *request.timeout_mut() = Some(deadline.remaining()?);
        }
        if let Some(cookies) = &self.core.cookies {
            cookies.add_to(&mut request);
        }
        let response =
            self.core
                .http
                .execute(request)
                .await
                .map_err(|error| match &self.deadline {
                    Some(deadline) if error.is_timeout() && deadline.is_over() => deadline.error(),
                    _ => Error::request(error),
                })?;
        if let Some(cookies) = &self.core.cookies {
            cookies.store(response.headers(), response.url());
        }
        Ok(response)
    }

    /// Judges whether the answer refuses the token.
    async fn judge(&self, response: Response, sent: &Request) -> (Response, Verdict) {
        let Some(exchange) = &self.exchange else {
            return (response, Verdict::None);
        };
        let probe = |path: ProbePath| async move {
            let url = sent.url().join(path.as_str()).ok()?;
            let mut request = Request::new(http::Method::GET, url);
            self.add_defaults(&mut request);
            exchange.apply(&self.core.rotator, request.headers_mut());
            let response = self.transmit(request).await.ok()?;
            if !same_origin(response.url(), sent.url()) {
                return None;
            }
            let (status, headers) = (response.status(), response.headers());
            let rules = &self.core.refusals;
            let verdict = rules.judge_probe(status, headers, &response);
            self.drain(response).await;
            verdict
        };
        self.core
            .judge(response, sent.method(), exchange, probe)
            .await
    }

    fn accepted(&self, response: &Response) {
        if let Some(exchange) = &self.exchange {
            exchange.accepted(&self.core.rotator, response.status(), response.headers());
        }
    }

    /// Waits for a newer token. Returns whether to replay the request; otherwise the caller gets
    /// the answer.
    async fn may_replay(
        &mut self,
        verdict: Verdict,
        response: &mut Response,
        repeatable: Result<(), NotReplayed>,
        url: &Url,
    ) -> Result<bool, Error> {
        let rotator = &self.core.rotator;
        let Some(mut exchange) = self.exchange.take() else {
            return Ok(false);
        };
        exchange.set_repeatable(repeatable);
        let extensions = response.extensions_mut();
        if exchange.settle(rotator, verdict, extensions) != Next::Replay {
            return Ok(false);
        }
        let origin = url.origin().ascii_serialization();
        let endpoint = endpoint(&[&origin], url.path());
        let renewed = exchange.renew(rotator, endpoint, extensions);
        let renewed = self.in_time(renewed).await?;
        self.exchange = Some(exchange);
        Ok(renewed)
    }

    /// Reads the rest of an answer that the caller does not get.
    async fn drain(&self, response: Response) {
        let response = http::Response::<Body>::from(response);
        drain(&self.core.rotator, response.into_body()).await;
    }

    /// Returns the next request after a redirect, or the answer for the caller. `has_body` is false if
    /// `original` lacks the body of the request, because the body can be sent only once.
    async fn follow_redirect(
        &mut self,
        response: Response,
        mut original: Request,
        has_body: bool,
    ) -> Result<Result<Request, Response>, Error> {
        let limit = match self.core.redirects {
            Redirects::FollowedByClient | Redirects::FollowedHere { limit: 0 } => {
                return Ok(Err(response));
            }
            Redirects::FollowedHere { limit } => limit,
        };
        let Some(hop) = Hop::of(&response, original.method()) else {
            return Ok(Err(response));
        };
        if hop.with_body && !has_body {
            return Ok(Err(response));
        }
        if self.hops == limit {
            return Err(Error::TooManyRedirects { limit });
        }
        self.hops += 1;
        self.has_left_origins |= hop.downgrades(response.url());
        hop.redirect(&mut original, self.core.rotator.header_name());
        self.drain(response).await;
        Ok(Ok(original))
    }

    /// Waits for the future until the request's deadline.
    async fn in_time<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        match &self.deadline {
            None => Ok(future.await),
            Some(deadline) => {
                let bounded = timeout_at(deadline.at, future).await;
                bounded.map_err(|_elapsed| deadline.error())
            }
        }
    }
}

impl Core {
    /// Whether the URL is the refresh endpoint. Such a request carries no token, so that a refresh
    /// never waits for itself.
    fn is_refresh_endpoint(&self, url: &Url) -> bool {
        self.refresh_endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.as_str() == without_fragment(url))
    }
}

/// The deadline of a request.
struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    /// Returns `None` if the time is too long for the clock.
    fn after(limit: Duration) -> Option<Self> {
        let at = Instant::now().checked_add(limit)?;
        Some(Self { at, limit })
    }

    fn remaining(&self) -> Result<Duration, Error> {
        let remaining = self.at.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(self.error());
        }
        Ok(remaining)
    }

    fn is_over(&self) -> bool {
        self.at <= Instant::now()
    }

    fn error(&self) -> Error {
        Error::Timeout { after: self.limit }
    }
}

/// Copies the request without its body.
fn without_body(request: &Request) -> Request {
    let mut head = Request::new(request.method().clone(), request.url().clone());
    head.headers_mut().clone_from(request.headers());
    *head.version_mut() = request.version();
    head
}

fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}
