//! The rotation around one request: token, answer, refusal, refresh, replay, redirects.

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
use crate::locate::is_among;
use crate::redirect::{Hop, Redirects};

/// The longest form that is read into memory so that it can be replayed.
const FORM_BYTES_MAX: u64 = 1024 * 1024;

/// What a request asked for besides what reqwest knows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) without_token: bool,
    pub(crate) no_replay: bool,
    /// The body is a form, which may be small enough to be kept.
    pub(crate) multipart: bool,
}

pub(crate) async fn send(
    core: &Core,
    request: Request,
    options: Options,
) -> Result<Response, Error> {
    let limit = request.timeout().copied().or(core.timeout);
    let carrier = core.rotator.header_name();
    let own_credentials = request.headers().contains_key(AUTHORIZATION)
        || request.headers().contains_key(carrier)
        || core.default_headers.contains_key(carrier);
    let journey = Journey {
        core,
        options,
        deadline: limit.and_then(Deadline::after),
        bare: own_credentials || options.without_token,
        astray: false,
        exchange: None,
        hops: 0,
    };
    journey.run(request).await
}

/// One request on its way: all its hops, and its replay.
struct Journey<'a> {
    core: &'a Core,
    options: Options,
    deadline: Option<Deadline>,
    /// No token: the request has credentials of its own, or wants none.
    bare: bool,
    /// It has been where the token does not go. Neither the token nor the default headers from here
    /// on: whoever it met there must not choose what they are used for.
    astray: bool,
    /// One for all hops, so that the request stays its user's.
    exchange: Option<Exchange>,
    hops: usize,
}

impl Journey<'_> {
    async fn run(mut self, mut request: Request) -> Result<Response, Error> {
        if self.options.multipart && !self.options.no_replay {
            self.keep_form(&mut request).await?;
        }
        loop {
            let spare = request.try_clone();
            let outline = outline(&request);
            self.arrive(request.url());
            if !self.astray {
                self.add_defaults(&mut request);
            }
            let takes_token = self.takes_token(request.url());
            let mut repeatable = match &spare {
                _ if self.options.no_replay => Err(NotReplayed::OptedOut),
                None => Err(NotReplayed::BodyOnce),
                Some(_) => Ok(()),
            };
            if takes_token {
                let rotator = &self.core.rotator;
                let exchange = self.exchange(repeatable).await?;
                exchange.apply(rotator, request.headers_mut());
            }
            let mut response = self.transmit(request).await?;
            if takes_token && same_origin(response.url(), outline.url()) {
                if response.url() != outline.url() && !outline.method().is_safe() {
                    repeatable = repeatable.and(Err(NotReplayed::Redirected));
                }
                let verdict;
                (response, verdict) = self.judge(response, &outline).await;
                if verdict == Verdict::None {
                    self.accepted(&response);
                } else {
                    let url = outline.url();
                    if !self
                        .may_replay(verdict, &mut response, repeatable, url)
                        .await?
                    {
                        return Ok(response);
                    }
                    self.drain(response).await;
                    // There is a spare: without it nothing is replayed.
                    request = spare.unwrap_or(outline);
                    continue;
                }
            }
            match self.redirected(response, spare, outline).await? {
                Ok(next) => request = next,
                Err(response) => return Ok(response),
            }
        }
    }

    /// A form that is short enough is kept, so that it can be sent again, byte for byte.
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

    /// Decides for this hop.
    fn arrive(&mut self, url: &Url) {
        let rotator = &self.core.rotator;
        if self.astray || is_among(rotator.origins(), url) {
            return;
        }
        self.astray = true;
        if !self.bare {
            let uri = url.as_str().parse::<Uri>().ok();
            let origin = uri.and_then(|uri| Origin::of(&uri));
            rotator.emit(&Event::ForeignOrigin {
                origin: origin.map(|origin| origin.to_string()),
            });
        }
    }

    fn takes_token(&self, url: &Url) -> bool {
        !self.bare && !self.astray && !self.core.is_refresh_endpoint(url)
    }

    /// Not before this hop: what is added here stays here, wherever the answer leads.
    fn add_defaults(&self, request: &mut Request) {
        for (name, value) in &self.core.default_headers {
            if !request.headers().contains_key(name) {
                request.headers_mut().append(name, value.clone());
            }
        }
    }

    /// What this request carries, on its first hop and on every other.
    async fn exchange(&mut self, repeatable: Result<(), NotReplayed>) -> Result<&Exchange, Error> {
        let rotator = &self.core.rotator;
        let exchange = match self.exchange.take() {
            Some(exchange) => exchange,
            None => match Exchange::ready(rotator, repeatable) {
                Some(ready) => ready,
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
            cookies.keep(response.headers(), response.url());
        }
        Ok(response)
    }

    /// What the answer says about the token.
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

    /// Waits for a newer token if the request is to be sent again. False: the answer is the
    /// caller's.
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

    /// Reads the rest of an answer that is not handed on.
    async fn drain(&self, response: Response) {
        let response = http::Response::<Body>::from(response);
        drain(&self.core.rotator, response.into_body()).await;
    }

    /// The request that follows a redirect, or the answer that its caller gets.
    async fn redirected(
        &mut self,
        response: Response,
        spare: Option<Request>,
        outline: Request,
    ) -> Result<Result<Request, Response>, Error> {
        let limit = match self.core.redirects {
            Redirects::Theirs | Redirects::Ours { limit: 0 } => return Ok(Err(response)),
            Redirects::Ours { limit } => limit,
        };
        let Some(hop) = Hop::of(&response, outline.method()) else {
            return Ok(Err(response));
        };
        let mut next = match spare {
            Some(spare) => spare,
            None if hop.with_body => return Ok(Err(response)),
            None => outline,
        };
        if self.hops == limit {
            return Err(Error::TooManyRedirects { limit });
        }
        self.hops += 1;
        self.astray |= hop.downgrades(response.url());
        hop.redirect(&mut next, self.core.rotator.header_name());
        self.drain(response).await;
        Ok(Ok(next))
    }

    /// What the future brings, if the request's time is not up before.
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
    /// The refresh endpoint, asked by hand: no rotation touches it, so nothing can go round in
    /// circles.
    fn is_refresh_endpoint(&self, url: &Url) -> bool {
        self.refresh_endpoint
            .as_ref()
            .is_some_and(|endpoint| without_fragment(endpoint) == without_fragment(url))
    }
}

/// When a request's time is up.
struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    /// `None` for a time so long that no clock reaches it.
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

/// The request without its body.
fn outline(request: &Request) -> Request {
    let mut outline = Request::new(request.method().clone(), request.url().clone());
    outline.headers_mut().clone_from(request.headers());
    *outline.version_mut() = request.version();
    outline
}

fn without_fragment(url: &Url) -> &str {
    &url[..url::Position::AfterQuery]
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}
