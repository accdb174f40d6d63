//! Sends refreshes to the issuer over new connections, without redirects and retries.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use token_rotator::SourceError;
use token_rotator::middleware::certificate_hint;
use token_rotator_oauth2::{
    ANSWER_BYTES_MAX, RequestKind, SecretBytes, Secrets, Transport, TransportError,
};
use url::Url;

use crate::environment;
use crate::error::BuildError;
use crate::locate::without_fragment;

/// Sends requests to an issuer over reqwest; implements [`Transport`] of `token-rotator-oauth2`.
///
/// The transport's client opens a connection for each request, follows no redirects and repeats no
/// request, because a refresh token must not be spent twice. TLS is on by default: see the features
/// of this crate. Without TLS, a request to an https address is *misconfigured*.
#[derive(Clone)]
pub struct ReqwestTransport {
    client: reqwest::Client,
}

impl ReqwestTransport {
    /// Creates a transport with a new client. The client uses the proxies of the environment
    /// (`HTTPS_PROXY`, `NO_PROXY`), but never for this machine.
    pub fn new() -> Result<Self, BuildError> {
        Self::configured(|builder| builder)
    }

    /// Creates a transport with a new client. The closure configures proxies, certificates and
    /// headers. Its settings for redirects, retries and idle connections are overridden. A proxy that it
    /// adds replaces the proxies of the environment, and is used for this machine too.
    pub fn configured(
        configure: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, BuildError> {
        Self::of(environment::builder(configure))
    }

    /// Creates a transport with this builder's client, without redirects, retries and idle
    /// connections.
    pub(crate) fn of(builder: reqwest::ClientBuilder) -> Result<Self, BuildError> {
        let builder = builder
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0);
        let client = builder.build().map_err(BuildError::Http)?;
        Ok(Self { client })
    }

    /// Creates a transport with this client, which keeps its own proxy settings: reqwest sends requests
    /// for this machine to a proxy of the environment. Build the client with `redirect::Policy::none()`,
    /// `retry::never()` and `pool_max_idle_per_host(0)`.
    ///
    /// Without `pool_max_idle_per_host(0)` the client keeps idle connections. A refresh over a
    /// connection that the issuer has closed looks like a refresh whose answer was lost.
    ///
    /// Without `redirect::Policy::none()` the client follows redirects. The transport never sends a
    /// body twice, so 307 and 308 are returned unchanged. After 301, 302 and 303 the client sends a
    /// GET without a body to the new URL. The GET has the client's cookies for that URL, and all
    /// headers that reqwest does not treat as credentials. The transport does not use its answer,
    /// and returns a 302 instead. A chain of redirects that ends at the first URL cannot be
    /// detected.
    pub fn from_client(client: reqwest::Client) -> Self {
        Self { client }
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Sends one request and reads its whole answer, up to [`ANSWER_BYTES_MAX`]. `on_head` gets the
    /// answer's headers even if the body is incomplete.
    pub(crate) async fn carry(
        &self,
        mut request: reqwest::Request,
        on_head: impl FnOnce(&HeaderMap, &Url),
    ) -> Result<Response<SecretBytes>, TransportError> {
        let url = request.url().clone();
        let body = request.body_mut().take().unwrap_or_default();
        let is_empty = body.size_hint().exact() == Some(0);
        if !is_empty {
            *request.body_mut() = Some(reqwest::Body::wrap(OneTimeBody(body)));
        } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let zero = HeaderValue::from_static("0");
            request.headers_mut().insert(CONTENT_LENGTH, zero);
            *request.body_mut() = Some(reqwest::Body::wrap(OneTimeBody(body)));
        }
        let mut answer = self
            .client
            .execute(request)
            .await
            .map_err(transport_error)?;
        if without_fragment(answer.url()) != without_fragment(&url) {
            let mut redirect = Response::new(SecretBytes::default());
            *redirect.status_mut() = StatusCode::FOUND;
            return Ok(redirect);
        }
        on_head(answer.headers(), answer.url());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(transport_error)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(TransportError::answer_too_long());
            }
            body.extend_from_slice(&chunk);
        }
        let mut complete = Response::new(SecretBytes::from(body));
        *complete.status_mut() = answer.status();
        *complete.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(complete)
    }
}

impl Transport for ReqwestTransport {
    async fn send(
        &self,
        request: Request<SecretBytes>,
    ) -> Result<Response<SecretBytes>, TransportError> {
        let request = request.map(SecretBytes::into_bytes);
        let request = reqwest::Request::try_from(request).map_err(transport_error)?;
        self.carry(request, |_head, _url| ()).await
    }
}

/// A body that reqwest cannot copy, so that a redirect cannot send it again. An empty body reports
/// an unknown length, because reqwest can always repeat a body of length zero.
struct OneTimeBody(reqwest::Body);

impl Body for OneTimeBody {
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

/// Returns a builder of a client. Chooses the process's crypto provider first, if the program has not
/// chosen one.
///
/// If another crate brings a second provider, rustls cannot choose between the two, and a client of
/// that crate (kube's, for example) panics.
pub(crate) fn client_builder() -> reqwest::ClientBuilder {
    #[cfg(feature = "rustls")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread has chosen one meanwhile.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    reqwest::Client::builder()
}

/// The action for a client that was built without TLS.
const TLS_HINT: &str = "build with TLS: `token-rotator-reqwest` has it by default, so remove \
                        `default-features = false` or add its feature `rustls`, or a TLS feature of \
                        `reqwest`";

/// Returns the action for an error of reqwest: for an https URL in a client without TLS, and for a
/// certificate that the local clock calls invalid. Returns `None` for other errors.
pub(crate) fn hint(error: &reqwest::Error) -> Option<&'static str> {
    if lacks_tls(error) {
        return Some(TLS_HINT);
    }
    certificate_hint(error)
}

/// Returns whether the client was built without TLS, and the URL is https. The connector of hyper
/// says so by its text alone.
fn lacks_tls(error: &reqwest::Error) -> bool {
    let first: &(dyn Error + 'static) = error;
    let mut causes = std::iter::successors(Some(first), |cause| (*cause).source());
    causes.any(|cause| cause.to_string().contains("scheme is not http"))
}

/// Converts an error of reqwest. Without a connection no byte was sent.
fn transport_error(error: reqwest::Error) -> TransportError {
    if lacks_tls(&error) {
        return TransportError::misconfigured(error.without_url(), TLS_HINT);
    }
    let is_unsent = error.is_builder() || error.is_connect();
    let error = error.without_url();
    if is_unsent {
        TransportError::not_sent(error)
    } else {
        TransportError::maybe_sent(error)
    }
}

/// Classifies an error of reqwest for your own [`TokenSource`](token_rotator::TokenSource). The
/// error is *misconfigured* for an https URL in a client without TLS, *not sent* if there was no
/// connection, else *uncertain*, because the refresh token may be spent. The URL is removed.
pub fn source_error(error: reqwest::Error) -> SourceError {
    RequestKind::Cookie.unanswered(transport_error(error), &Secrets::new())
}

impl std::fmt::Debug for ReqwestTransport {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ReqwestTransport").finish_non_exhaustive()
    }
}
