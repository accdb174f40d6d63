//! The future of one request. It allocates nothing while the upstream accepts the token.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::layer::RotationSettings;
use super::service::ServiceError;
use crate::event::NotReplayed;
use crate::http::{Exchange, Next, PackedHead, endpoint_of};

/// A request that was sent: the parts that judge its answer and send it again.
pub(crate) struct SentRequest<S, B> {
    pub(crate) service: S,
    pub(crate) settings: Arc<RotationSettings>,
    pub(crate) exchange: Exchange,
    pub(crate) copy: Option<(PackedHead, B)>,
}

pin_project! {
    /// The future of [`Rotation`](super::Rotation).
    ///
    /// *Cancellation*: dropping the future drops the request. A refresh that it started goes on.
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
        /// The request passes through without a token.
        Plain { #[pin] future: F },
        /// The request was sent with a pass.
        Sent { #[pin] future: F, sent: Option<SentRequest<S, B>> },
        /// The request waits for a token, or is replayed. Only this state allocates.
        Boxed { future: BoxFuture<'static, Result<R, ServiceError<E>>> },
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

    pub(crate) fn sent(future: S::Future, sent: SentRequest<S, B>) -> Self {
        let sent = Some(sent);
        Self {
            state: State::Sent { future, sent },
        }
    }

    /// Waits for a token, then sends the request.
    pub(crate) fn waiting(
        mut service: S,
        settings: Arc<RotationSettings>,
        mut request: Request<B>,
        repeatable: Result<(), NotReplayed>,
        copy: Option<(PackedHead, B)>,
    ) -> Self {
        let future = Box::pin(async move {
            let exchange = Exchange::begin(&settings.rotator, repeatable).await;
            let exchange = exchange.map_err(ServiceError::Token)?;
            settings.apply(&exchange, &mut request);
            let future = service.call(request);
            let mut answer = future.await.map_err(ServiceError::Inner)?;
            let sent = SentRequest {
                service,
                settings,
                exchange,
                copy,
            };
            match sent.settings.settle(&sent.exchange, &mut answer) {
                Next::Replay => sent.replay(answer).await,
                _ => Ok(answer),
            }
        });
        Self {
            state: State::Boxed { future },
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
            let (answer, sent) = match this.state.as_mut().project() {
                StateProjected::Plain { future } => {
                    return future.poll(context).map_err(ServiceError::Inner);
                }
                StateProjected::Boxed { future } => return future.as_mut().poll(context),
                StateProjected::Sent { future, sent } => {
                    let mut answer = ready!(future.poll(context)).map_err(ServiceError::Inner)?;
                    // The answer is settled in place, so `sent` moves only for a replay.
                    let replays = sent.as_ref().is_some_and(|sent| {
                        sent.settings.settle(&sent.exchange, &mut answer) == Next::Replay
                    });
                    if !replays {
                        return Poll::Ready(Ok(answer));
                    }
                    (answer, sent.take())
                }
            };
            let Some(sent) = sent else {
                return Poll::Ready(Ok(answer));
            };
            this.state.set(State::Boxed {
                future: Box::pin(sent.replay(answer)),
            });
        }
    }
}

impl<S, B> SentRequest<S, B> {
    /// Waits for the newer token and sends the request again. Returns the refused answer if there
    /// is no newer token.
    async fn replay<R>(
        mut self,
        mut answer: Response<R>,
    ) -> Result<Response<R>, ServiceError<S::Error>>
    where
        S: Service<Request<B>, Response = Response<R>>,
        R: Body,
    {
        let rotator = &self.settings.rotator;
        let request = self.copy.and_then(|(head, body)| head.request(body));
        let Some(mut request) = request else {
            self.exchange.report(rotator, None);
            return Ok(answer);
        };
        let endpoint = endpoint_of(request.uri());
        let extensions = answer.extensions_mut();
        if !self.exchange.renew(rotator, endpoint, extensions).await {
            return Ok(answer);
        }
        rotator.drain(answer.into_body()).await;
        self.settings.apply(&self.exchange, &mut request);
        std::future::poll_fn(|context| self.service.poll_ready(context))
            .await
            .map_err(ServiceError::Inner)?;
        let answer = self.service.call(request).await;
        let mut answer = answer.map_err(ServiceError::Inner)?;
        self.settings.settle(&self.exchange, &mut answer);
        Ok(answer)
    }
}
