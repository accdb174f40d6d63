//! The inner service, which answers at once, and the services around it that replace the rotation.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use tower_service::Service;

use crate::issuer::Failed;
use crate::requests::Body;
use crate::ways::Way;

/// Answers every request with 200 and an empty body.
#[derive(Clone, Copy, Debug)]
pub struct Inner;

impl Service<Request<Body>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        drop(black_box(request));
        ready(Ok(Response::new(Body::default())))
    }
}

/// The bare inner service with a static header: the baseline of the layers.
#[derive(Clone, Debug)]
pub struct StaticHeader<S> {
    /// The inner service.
    pub inner: S,
    /// The value of the header.
    pub header: HeaderValue,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for StaticHeader<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.header.clone());
        self.inner.call(request)
    }
}

/// A usual hand-written middleware around one of the hand-written ways: a boxed future that fetches
/// the header. It sends the token to any host and replays nothing.
pub struct HandWritten<S, W> {
    /// The inner service.
    pub inner: S,
    /// The way to the header.
    pub way: Arc<W>,
}

impl<S: Clone, W> Clone for HandWritten<S, W> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            way: Arc::clone(&self.way),
        }
    }
}

impl<S, W: Way> Service<Request<Body>> for HandWritten<S, W>
where
    S: Service<Request<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Failed>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.inner
            .poll_ready(context)
            .map_err(|never| match never {})
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let way = Arc::clone(&self.way);
        Box::pin(async move {
            let header = way.header().await?;
            request.headers_mut().insert(AUTHORIZATION, header);
            inner.call(request).await.map_err(|never| match never {})
        })
    }
}
