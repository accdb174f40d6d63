//! The future of one request: as small as the inner one's while all is well.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::kept::Kept;
use super::layer::Settings;
use super::service::ServiceError;
use crate::challenge::Verdict;
use crate::error::TokenError;
use crate::event::{Event, NotReplayed};
use crate::token::Pass;

/// How much of a refused answer is read so that its connection can be used again, and for how long.
const DRAIN_BYTES: usize = 16 * 1024;
const DRAIN_TIME: Duration = Duration::from_millis(50);

/// What a request that was sent leaves behind, to judge its answer and to send it again.
pub(crate) struct Carried<S, B> {
    pub(crate) service: S,
    pub(crate) settings: Arc<Settings>,
    pub(crate) pass: Pass,
    pub(crate) copy: Result<Kept<B>, NotReplayed>,
}

pin_project! {
    /// The future of [`Rotation`](super::Rotation). Cancel safe: dropping it drops the request,
    /// and leaves a refresh that it started running.
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future, S::Response, S::Error>,
    }
}

pin_project! {
    #[project = StateProjected]
    enum State<S, B, F, R, E> {
        /// Passed through.
        Plain { #[pin] future: F },
        /// Sent with a pass.
        Sent { #[pin] future: F, carried: Option<Carried<S, B>> },
        /// Waiting, before it is sent or after a refusal; only here is anything boxed.
        Slow { future: BoxFuture<'static, Result<R, ServiceError<E>>> },
    }
}

impl<S, B, R> ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
    R: Body + Send + 'static,
{
    pub(crate) fn plain(future: S::Future) -> Self {
        Self {
            state: State::Plain { future },
        }
    }

    pub(crate) fn sent(future: S::Future, carried: Carried<S, B>) -> Self {
        Self {
            state: State::Sent {
                future,
                carried: Some(carried),
            },
        }
    }

    /// There is no token to be had at once.
    pub(crate) fn waiting(
        mut service: S,
        settings: Arc<Settings>,
        mut request: Request<B>,
        copy: Result<Kept<B>, NotReplayed>,
    ) -> Self {
        let future = Box::pin(async move {
            let rotator = &settings.rotator;
            let pass = match copy {
                Err(NotReplayed::BodyOnce) => rotator.pass_for_once().await,
                _ => rotator.pass().await,
            };
            let pass = pass.map_err(ServiceError::Token)?;
            pass.apply(rotator.header_name(), request.headers_mut());
            let future = service.call(request);
            let answer = future.await.map_err(ServiceError::Inner)?;
            let carried = Carried {
                service,
                settings,
                pass,
                copy,
            };
            match carried.judge(answer) {
                Judged::Done(answer) => Ok(answer),
                Judged::Replay(carried, answer) => carried.replay(answer).await,
            }
        });
        Self {
            state: State::Slow { future },
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
    R: Body + Send + 'static,
{
    type Output = Result<Response<R>, ServiceError<S::Error>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            let (answer, carried) = match this.state.as_mut().project() {
                StateProjected::Plain { future } => {
                    return future.poll(context).map_err(ServiceError::Inner);
                }
                StateProjected::Slow { future } => return future.as_mut().poll(context),
                StateProjected::Sent { future, carried } => {
                    let answer = ready!(future.poll(context)).map_err(ServiceError::Inner)?;
                    (answer, carried.take())
                }
            };
            let Some(carried) = carried else {
                return Poll::Ready(Ok(answer));
            };
            match carried.judge(answer) {
                Judged::Done(answer) => return Poll::Ready(Ok(answer)),
                Judged::Replay(carried, answer) => this.state.set(State::Slow {
                    future: Box::pin(carried.replay(answer)),
                }),
            }
        }
    }
}

/// What follows from an answer.
enum Judged<S, B, R> {
    /// It is the caller's.
    Done(Response<R>),
    /// The request is to be sent once more.
    Replay(Carried<S, B>, Response<R>),
}

impl<S, B> Carried<S, B> {
    fn judge<R>(self, answer: Response<R>) -> Judged<S, B, R> {
        let bare = self.pass.token().is_none();
        let (mut answer, verdict) = self.settings.judge(answer, bare);
        let rotator = &self.settings.rotator;
        match (verdict, &self.copy) {
            (Verdict::RefreshToken, Ok(_)) => return Judged::Replay(self, answer),
            (Verdict::RefreshToken, Err(reason)) => {
                rotator.report_refused(&self.pass);
                rotator.tell(&Event::NotReplayed { reason: *reason });
            }
            (Verdict::StepUp(step_up), _) => {
                answer.extensions_mut().insert(TokenError::StepUp(step_up));
            }
            (Verdict::None, _) if is_evidence(answer.status()) => {
                if let Some(token) = self.pass.token() {
                    rotator.accepted(token);
                }
            }
            (Verdict::NotAboutToken { .. } | Verdict::None, _) => {}
        }
        Judged::Done(answer)
    }

    /// Waits for the newer token with the refused answer in hand: back it goes if there is none,
    /// and is dropped if there is one.
    async fn replay<R>(self, mut answer: Response<R>) -> Result<Response<R>, ServiceError<S::Error>>
    where
        S: Service<Request<B>, Response = Response<R>>,
        R: Body,
    {
        let Self {
            mut service,
            settings,
            pass,
            copy,
        } = self;
        let rotator = &settings.rotator;
        let Some(mut request) = copy.ok().and_then(Kept::into_request) else {
            rotator.report_refused(&pass);
            return Ok(answer);
        };
        let endpoint = crate::Rotator::endpoint(request.uri());
        let token = match rotator.refused_at(&pass, endpoint).await {
            Ok(token) => token,
            Err(error) => {
                answer.extensions_mut().insert(error);
                return Ok(answer);
            }
        };
        rotator.drain(answer.into_body()).await;
        let pass = Pass::from(token);
        pass.apply(rotator.header_name(), request.headers_mut());
        std::future::poll_fn(|context| service.poll_ready(context))
            .await
            .map_err(ServiceError::Inner)?;
        let answer = service.call(request).await.map_err(ServiceError::Inner)?;
        // The second answer is the caller's, whatever it says; but that a new token is refused as
        // well has to be known, or a wrong audience would have it refreshed again and again.
        let (mut answer, verdict) = settings.judge(answer, false);
        match verdict {
            Verdict::RefreshToken => rotator.replay_refused(&pass, endpoint),
            Verdict::StepUp(step_up) => {
                answer.extensions_mut().insert(TokenError::StepUp(step_up));
            }
            Verdict::None if is_evidence(answer.status()) => {
                if let Some(token) = pass.token() {
                    rotator.replay_accepted(token, endpoint);
                }
            }
            Verdict::NotAboutToken { .. } | Verdict::None => {}
        }
        Ok(answer)
    }
}

/// Whether an answer with this status shows that the token was accepted (2xx, 304, 101).
fn is_evidence(status: http::StatusCode) -> bool {
    status.is_success() || matches!(status.as_u16(), 101 | 304)
}

impl crate::Rotator {
    /// Reads the rest of an answer nobody wants, within bounds, so that its connection can be used
    /// again.
    async fn drain<R: Body>(&self, body: R) {
        let mut body = Box::pin(body);
        let rest = async {
            let mut left = DRAIN_BYTES;
            while let Some(Ok(frame)) =
                std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
            {
                let read = frame.data_ref().map_or(0, bytes::Buf::remaining);
                match left.checked_sub(read) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        };
        // Without a timer the body is dropped unread, which costs a connection and no more.
        let _ = self.shared.runtime.timeout(DRAIN_TIME, rest).await;
    }
}
