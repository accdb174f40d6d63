//! How a refresh reaches the issuer: fresh connections, no redirects, no retries.

use http::{Request, Response};
use token_rotator::SourceError;
use token_rotator_oauth2::{
    ANSWER_BYTES_MAX, Exchange, SecretBytes, Secrets, Transport, TransportError,
};

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
        let builder = configure(reqwest::Client::builder())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0);
        let client = builder.build().map_err(BuildError::Http)?;
        Ok(Self { client })
    }

    /// With this client. It keeps its idle connections, and one that the issuer has closed meanwhile
    /// makes a refresh look as if its answer were lost; and it follows redirects if it is set to.
    /// An answer that came by a redirect is refused, but the request has been to where it led.
    pub fn from_client(client: reqwest::Client) -> Self {
        Self { client }
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Sends one request and reads its whole answer, which is bounded.
    pub(crate) async fn carry(
        &self,
        request: reqwest::Request,
    ) -> Result<Response<SecretBytes>, TransportError> {
        let url = request.url().clone();
        let mut answer = self.client.execute(request).await.map_err(unsent_or_not)?;
        if answer.url().as_str().split('#').next() != url.as_str().split('#').next() {
            return Err(TransportError::maybe_sent(
                "the client followed a redirect; a refresh follows none",
            ));
        }
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
        self.carry(request).await
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
    Exchange::Cookie.unanswered(unsent_or_not(error), &Secrets::new())
}

impl std::fmt::Debug for ReqwestTransport {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ReqwestTransport").finish_non_exhaustive()
    }
}
