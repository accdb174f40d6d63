//! The rotation around one request: token, answer, refusal, refresh, replay, redirects.

use std::time::Duration;

use http::Uri;
use http::header::AUTHORIZATION;
use http_body_util::BodyExt as _;
use reqwest::{Body, Request, Response};
use token_rotator::{Event, NotReplayed, Origin, Pass, Token, TokenError};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use crate::client::Core;
use crate::error::Error;
use crate::locate::is_among;
use crate::redirect::{Hop, Redirects};
use crate::refusal::Judgement;

/// The longest form that is read into memory so that it can be replayed.
const FORM_BYTES_MAX: u64 = 1024 * 1024;
/// How much of a refused answer is read so that its connection can be used again, and for how long.
const DRAINED_BYTES_MAX: usize = 16 * 1024;
const DRAINED_FOR: Duration = Duration::from_millis(50);
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
    let exchange = Exchange {
        core,
        options,
        deadline: limit.and_then(Deadline::after),
        bare: own_credentials || options.without_token,
        astray: false,
        pass: None,
        replayed: false,
        hops: 0,
    };
    exchange.run(request).await
}

/// One request on its way: all its hops, and its replay.
struct Exchange<'a> {
    core: &'a Core,
    options: Options,
    deadline: Option<Deadline>,
    /// No token: the request has credentials of its own, or wants none.
    bare: bool,
    /// It has been where the token does not go. Neither the token nor the default headers from here
    /// on: whoever it met there must not choose what they are used for.
    astray: bool,
    /// One for all hops, so that the request stays its user's.
    pass: Option<Pass>,
    replayed: bool,
    hops: usize,
}

/// What follows from an answer.
enum Next {
    Answer(Response),
    Replay(Token, Response),
    /// Not about the token; may be a redirect.
    GoOn(Response),
}

impl Exchange<'_> {
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
            if takes_token {
                let once = spare.is_none() || self.options.no_replay;
                let pass = self.pass(once).await?;
                pass.apply(self.core.rotator.header_name(), request.headers_mut());
            }
            let response = self.transmit(request).await?;
            let response = if takes_token && same_origin(response.url(), outline.url()) {
                match self.judge(response, &outline, spare.is_none()).await? {
                    Next::Answer(response) => return Ok(response),
                    Next::GoOn(response) => response,
                    Next::Replay(token, refused) => {
                        drain(refused).await;
                        self.pass = Some(token.into());
                        self.replayed = true;
                        // There is one: without it nothing is replayed.
                        request = spare.unwrap_or(outline);
                        continue;
                    }
                }
            } else {
                response
            };
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
            rotator.tell(&Event::ForeignOrigin {
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

    async fn pass(&mut self, once: bool) -> Result<Pass, Error> {
        if let Some(pass) = &self.pass {
            return Ok(pass.clone());
        }
        let rotator = &self.core.rotator;
        let pass = if once {
            self.in_time(rotator.pass_for_once()).await??
        } else if let Some(ready) = rotator.ready() {
            ready
        } else {
            self.in_time(rotator.pass()).await??
        };
        self.pass = Some(pass.clone());
        Ok(pass)
    }

    async fn transmit(&self, mut request: Request) -> Result<Response, Error> {
        if let Some(deadline) = &self.deadline {
            *request.timeout_mut() = Some(deadline.remaining()?);
        }
        self.core
            .http
            .execute(request)
            .await
            .map_err(|error| match &self.deadline {
                Some(deadline) if error.is_timeout() && deadline.is_over() => deadline.error(),
                _ => Error::request(error),
            })
    }

    /// The answer to a request that took part in the rotation.
    async fn judge(
        &mut self,
        response: Response,
        sent: &Request,
        body_gone: bool,
    ) -> Result<Next, Error> {
        let rotator = &self.core.rotator;
        let Some(pass) = self.pass.clone() else {
            return Ok(Next::GoOn(response));
        };
        let judged = self
            .core
            .refusals
            .judge(response, pass.token().is_none())
            .await;
        let (mut response, judgement) = judged.map_err(Error::request)?;
        match judgement {
            Judgement::Fine => return Ok(Next::GoOn(response)),
            Judgement::StepUp(step_up) => {
                response
                    .extensions_mut()
                    .insert(TokenError::StepUp(step_up));
                return Ok(Next::Answer(response));
            }
            Judgement::Refused => {}
        }
        if self.replayed {
            // This answer is final. But that a new token is refused as well has to be known, or a
            // wrong audience would have it refreshed again and again.
            rotator.report_refused(&pass);
            return Ok(Next::Answer(response));
        }
        let reason = if self.options.no_replay {
            Some(NotReplayed::OptedOut)
        } else if body_gone {
            Some(NotReplayed::BodyOnce)
        } else if response.url() != sent.url() && !sent.method().is_safe() {
            Some(NotReplayed::Redirected)
        } else {
            None
        };
        if let Some(reason) = reason {
            rotator.report_refused(&pass);
            rotator.tell(&Event::NotReplayed { reason });
            return Ok(Next::Answer(response));
        }
        match self.in_time(rotator.refused(&pass)).await? {
            Ok(token) => Ok(Next::Replay(token, response)),
            Err(error) => {
                response.extensions_mut().insert(error);
                Ok(Next::Answer(response))
            }
        }
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
        drain(response).await;
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

/// Reads an answer that nobody wants to its end, if that is near, so that its connection can be used
/// again.
async fn drain(mut response: Response) {
    let reading = async {
        let mut read = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            if read > DRAINED_BYTES_MAX {
                break;
            }
        }
    };
    // What is not read within that time is dropped, and the connection with it.
    let _ = timeout(DRAINED_FOR, reading).await;
}
