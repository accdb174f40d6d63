//! reqwest as a tower service, for the layer of `token-rotator`.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;
use tower_service::Service;

/// A `reqwest::Client` as a `Service<http::Request<B>>`, for the tower layer of `token-rotator`.
///
/// The client needs `redirect::Policy::none()`: the layer cannot see redirects that the client
/// follows.
#[derive(Clone, Debug)]
pub struct HttpService(pub reqwest::Client);

type Sending = <reqwest::Client as Service<reqwest::Request>>::Future;

impl<B> Service<http::Request<B>> for HttpService
where
    B: Body<Data: Into<Bytes>, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Sync
        + 'static,
{
    type Response = http::Response<reqwest::Body>;
    type Error = reqwest::Error;
    type Future = HttpFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), reqwest::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> HttpFuture {
        let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap));
        HttpFuture(match request {
            Ok(request) => State::Sending(self.0.call(request)),
            Err(error) => State::Failed(Some(error)),
        })
    }
}

/// The future of an [`HttpService`]'s answer.
#[must_use = "futures do nothing unless polled"]
pub struct HttpFuture(State);

enum State {
    Sending(Sending),
    Failed(Option<reqwest::Error>),
}

impl Future for HttpFuture {
    type Output = Result<http::Response<reqwest::Body>, reqwest::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Sending(sending) => Pin::new(sending).poll(context).map_ok(Into::into),
            State::Failed(error) => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Pending,
            },
        }
    }
}

impl std::fmt::Debug for HttpFuture {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("HttpFuture").finish_non_exhaustive()
    }
}
