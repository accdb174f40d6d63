//! How a refresh reaches the issuer: fresh connections, no redirects, no retries.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use token_rotator::SourceError;
use token_rotator_oauth2::{
    ANSWER_BYTES_MAX, RequestKind, SecretBytes, Secrets, Transport, TransportError,
};
use url::Url;

use crate::error::BuildError;

/// Carries requests to an issuer over reqwest: the [`Transport`] of `token-rotator-oauth2`.
///
/// The client it makes opens a connection for each request, follows no redirects and repeats
/// nothing, for a refresh token must not be spent twice. TLS needs one of this crate's or reqwest's
/// TLS features.
#[derive(Clone)]
pub struct ReqwestTransport {
    client: reqwest::Client,
}

impl ReqwestTransport {
    /// With a client of its own.
    pub fn new() -> Result<Self, BuildError> {
        Self::configured(|builder| builder)
    }

    /// With a client of its own, configured by the closure: proxies, certificates, headers. What the
    /// closure says about redirects, retries and idle connections is overruled.
    pub fn configured(
        configure: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, BuildError> {
        Self::of(configure(reqwest::Client::builder()))
    }

    /// With the client that this builder makes, redirects, retries and idle connections turned off.
    pub(crate) fn of(builder: reqwest::ClientBuilder) -> Result<Self, BuildError> {
        let builder = builder
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0);
        let client = builder.build().map_err(BuildError::Http)?;
        Ok(Self { client })
    }

    /// With this client. Build it with `redirect::Policy::none()`, `retry::never()` and
    /// `pool_max_idle_per_host(0)`.
    ///
    /// Without the last it keeps idle connections, and one that the issuer has closed meanwhile makes
    /// a refresh look as if its answer were lost. Without the first it follows redirects. A body is
    /// never sent a second time: 307 and 308 are handed back as they came. But 301, 302 and 303 turn a
    /// POST into a GET without a body, which the client sends to where they lead, with its cookies for
    /// there and with every header that is not reqwest's idea of a credential. What comes back is
    /// not taken for an answer: it is handed back as a redirect (302) that was not followed. Only a
    /// chain that leads back to where it began cannot be told.
    pub fn from_client(client: reqwest::Client) -> Self {
        Self { client }
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Sends one request and reads its whole answer, which is bounded. `on_head` sees the answer's
    /// header even if the body does not come whole.
    pub(crate) async fn carry(
        &self,
        mut request: reqwest::Request,
        on_head: impl FnOnce(&HeaderMap, &Url),
    ) -> Result<Response<SecretBytes>, TransportError> {
        let url = request.url().clone();
        let body = request.body_mut().take().unwrap_or_default();
        let empty = body.size_hint().exact() == Some(0);
        if !empty {
            *request.body_mut() = Some(reqwest::Body::wrap(Once(body)));
        } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let none = HeaderValue::from_static("0");
            request.headers_mut().insert(CONTENT_LENGTH, none);
            *request.body_mut() = Some(reqwest::Body::wrap(Once(body)));
        }
        let mut answer = self.client.execute(request).await.map_err(unsent_or_not)?;
        if answer.url().as_str().split('#').next() != url.as_str().split('#').next() {
            let mut followed = Response::new(SecretBytes::default());
            *followed.status_mut() = StatusCode::FOUND;
            return Ok(followed);
        }
        on_head(answer.headers(), answer.url());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unsent_or_not)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(TransportError::answer_too_long());
            }
            body.extend_from_slice(&chunk);
        }
        let mut whole = Response::new(SecretBytes::from(body));
        *whole.status_mut() = answer.status();
        *whole.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(whole)
    }
}

impl Transport for ReqwestTransport {
    async fn send(
        &self,
        request: Request<SecretBytes>,
    ) -> Result<Response<SecretBytes>, TransportError> {
        let request = request.map(SecretBytes::into_bytes);
        let request = reqwest::Request::try_from(request).map_err(unsent_or_not)?;
        self.carry(request, |_head, _url| ()).await
    }
}

/// A body that no client can copy, so that none can send it to where a redirect leads. An empty one
/// does not show that it is, for nothing can always be sent twice.
struct Once(reqwest::Body);

impl Body for Once {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.0.size_hint();
        if hint.exact() == Some(0) {
            return SizeHint::default();
        }
        hint
    }
}

/// Not one byte was sent if there was no connection to send it over.
fn unsent_or_not(error: reqwest::Error) -> TransportError {
    let unsent = error.is_builder() || error.is_connect();
    let error = error.without_url();
    if unsent {
        TransportError::not_sent(error)
    } else {
        TransportError::maybe_sent(error)
    }
}

/// Sorts an error of reqwest for a [`TokenSource`](token_rotator::TokenSource) of your own: *not
/// sent* if there was no connection, else *uncertain*, for the refresh token may be spent. Its URL
/// is left out.
pub fn source_error(error: reqwest::Error) -> SourceError {
    RequestKind::Cookie.unanswered(unsent_or_not(error), &Secrets::new())
}

impl std::fmt::Debug for ReqwestTransport {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ReqwestTransport").finish_non_exhaustive()
    }
}
