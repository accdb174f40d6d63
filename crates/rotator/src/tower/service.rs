//! The service around the inner service.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::future::{ResponseFuture, SentRequest};
use super::layer::RotationSettings;
use super::replay::CopyBody;
use crate::error::TokenError;
use crate::event::{Event, NotReplayed};
use crate::http::origin::Origin;
use crate::http::{Exchange, PackedHead};
use crate::middleware::RotatorExt as _;

/// An HTTP service that puts the token on requests and replays a refused request once.
#[derive(Clone)]
pub struct Rotation<S, C> {
    inner: S,
    settings: Arc<RotationSettings>,
    copy: C,
}

/// An extension of a request that opts out of the rotation: no token, no replay.
#[derive(Clone, Copy, Debug)]
pub struct WithoutToken;

/// An extension of a request that opts out of the replay: the caller gets the refusal.
///
/// Such a request waits for a refresh that is due before it is sent.
#[derive(Clone, Copy, Debug)]
pub struct NoReplay;

/// Why there is no answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ServiceError<E> {
    /// There is no token for the request. The request was not sent.
    Token(TokenError),
    /// The inner service failed.
    Inner(E),
}

impl<E: fmt::Display> fmt::Display for ServiceError<E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(error) => error.fmt(out),
            Self::Inner(error) => error.fmt(out),
        }
    }
}

impl<E: StdError + 'static> StdError for ServiceError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // `Display` shows the inner error itself, so the source is the cause of the inner error.
        match self {
            Self::Token(error) => error.source(),
            Self::Inner(error) => error.source(),
        }
    }
}

impl<S, C> Rotation<S, C> {
    pub(crate) fn new(inner: S, settings: Arc<RotationSettings>, copy: C) -> Self {
        Self {
            inner,
            settings,
            copy,
        }
    }

    /// The inner service.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Rotation<S, C> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Rotation")
            .field("inner", &self.inner)
            .field("rotator", &self.settings.rotator)
            .finish_non_exhaustive()
    }
}

impl<S, C, B, R> Service<Request<B>> for Rotation<S, C>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    C: CopyBody<B>,
    B: Send + 'static,
    R: Body + Send + 'static,
{
    type Response = Response<R>;
    type Error = ServiceError<S::Error>;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(ServiceError::Inner)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The current service is ready. Its clone may not be, so the clone serves the next request.
        let clone = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, clone);
        if !self.wants_token(&request) {
            return ResponseFuture::plain(service.call(request));
        }
        let body = if request.extensions().get::<NoReplay>().is_some() {
            Err(NotReplayed::OptedOut)
        } else {
            self.copy.copy(request.body()).ok_or(NotReplayed::BodyOnce)
        };
        let repeatable = body.as_ref().map(drop).map_err(|reason| *reason);
        let settings = Arc::clone(&self.settings);
        let ready = Exchange::ready(&settings.rotator, repeatable);
        let copy = body.ok().map(|body| (PackedHead::new(&request), body));
        let Some(exchange) = ready else {
            if settings.has_own_token(&request) {
                return ResponseFuture::plain(service.call(request));
            }
            return ResponseFuture::waiting(service, settings, request, repeatable, copy);
        };
        if !settings.apply(&exchange, &mut request) {
            return ResponseFuture::plain(service.call(request));
        }
        let future = service.call(request);
        let sent = SentRequest {
            service,
            settings,
            exchange,
            copy,
        };
        ResponseFuture::sent(future, sent)
    }
}

impl<S, C> Rotation<S, C> {
    /// Whether the layer puts a token on the request, if the request carries none of its own.
    fn wants_token<B>(&self, request: &Request<B>) -> bool {
        if request.extensions().get::<WithoutToken>().is_some() {
            return false;
        }
        let settings = &self.settings;
        let allowed = settings.allows(request.uri());
        if !allowed && !settings.has_own_token(request) {
            settings.rotator.emit(&Event::ForeignOrigin {
                origin: Origin::of(request.uri()).map(|origin| origin.to_string()),
            });
        }
        allowed
    }
}
