//! The service around an inner one.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::future::{ResponseFuture, Sent};
use super::layer::Settings;
use super::replay::CopyBody;
use crate::error::TokenError;
use crate::event::{Event, NotReplayed};
use crate::http::origin::Origin;
use crate::http::{Exchange, PackedHead};
use crate::middleware::RotatorExt as _;

/// An HTTP service whose requests carry the token and are replayed once when they are refused.
#[derive(Clone)]
pub struct Rotation<S, C> {
    inner: S,
    settings: Arc<Settings>,
    copy: C,
}

/// Put among a request's extensions, it sends the request as it is: no token, no replay.
#[derive(Clone, Copy, Debug)]
pub struct WithoutToken;

/// Put among a request's extensions, it hands a refusal back instead of replaying the request. The
/// request waits for a refresh that is due before it is sent.
#[derive(Clone, Copy, Debug)]
pub struct NoReplay;

/// Why there is no answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ServiceError<E> {
    /// There is no token to send the request with. It was not sent.
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
        // Both show their inner error as their own, so what follows is that error's cause.
        match self {
            Self::Token(error) => error.source(),
            Self::Inner(error) => error.source(),
        }
    }
}

impl<S, C> Rotation<S, C> {
    pub(crate) fn new(inner: S, settings: Arc<Settings>, copy: C) -> Self {
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
        // The service that is ready is the one to use; its clone may not be.
        let clone = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, clone);
        if !self.wants_token(&request) {
            return ResponseFuture::plain(service.call(request));
        }
        let copy = if request.extensions().get::<NoReplay>().is_some() {
            Err(NotReplayed::OptedOut)
        } else {
            let body = self.copy.copy(request.body());
            body.map(|body| (PackedHead::new(&request), body))
                .ok_or(NotReplayed::BodyOnce)
        };
        let (repeatable, copy) = match copy {
            Ok(copy) => (Ok(()), Some(copy)),
            Err(reason) => (Err(reason), None),
        };
        let settings = Arc::clone(&self.settings);
        let Some(exchange) = Exchange::ready(&settings.rotator, repeatable) else {
            return ResponseFuture::waiting(service, settings, request, repeatable, copy);
        };
        settings.apply(&exchange, &mut request);
        let future = service.call(request);
        let sent = Sent {
            service,
            settings,
            exchange,
            copy,
        };
        ResponseFuture::sent(future, sent)
    }
}

impl<S, C> Rotation<S, C> {
    fn wants_token<B>(&self, request: &Request<B>) -> bool {
        let rotator = &self.settings.rotator;
        if request.headers().contains_key(rotator.header_name())
            || request.extensions().get::<WithoutToken>().is_some()
        {
            return false;
        }
        let allowed = self.settings.allows(request.uri());
        if !allowed {
            rotator.emit(&Event::ForeignOrigin {
                origin: Origin::of(request.uri()).map(|origin| origin.to_string()),
            });
        }
        allowed
    }
}
