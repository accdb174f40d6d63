//! The token source of a cookie session: a POST to the refresh endpoint, or what stands in for it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use reqwest::cookie::{CookieStore as _, Jar};
use token_rotator::{Refreshed, SecretString, SourceError, TokenSet, TokenSource};
use token_rotator_oauth2::{Exchange, Secrets};
use url::Url;

use crate::error::UrlError;
use crate::locate::{BaseUrl, locate};
use crate::parse::Parser;
use crate::transport::ReqwestTransport;

/// How the refresh endpoint is reached.
pub struct Way {
    pub(crate) transport: ReqwestTransport,
    pub(crate) base: Option<BaseUrl>,
    /// `None` where the user's own closure asks somebody else.
    pub(crate) endpoint: Option<Url>,
    pub(crate) headers: HeaderMap,
    /// The cookies, where they are ours.
    pub(crate) jar: Option<Arc<Jar>>,
}

/// One attempt at a refresh: the answer, not yet read.
pub(crate) type Attempt<T> =
    Box<dyn Fn(RefreshCall<T>) -> BoxFuture<'static, Result<T, SourceError>> + Send + Sync>;

/// Asks the endpoint, then the parser.
pub(crate) struct EndpointSource<T> {
    pub(crate) way: Arc<Way>,
    pub(crate) decode: fn(&[u8]) -> Result<T, String>,
    pub(crate) attempt: Attempt<T>,
    pub(crate) parser: Parser<T>,
}

impl<T: Send + Sync + 'static> TokenSource for EndpointSource<T> {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        let call = RefreshCall {
            way: Arc::clone(&self.way),
            decode: self.decode,
            last,
        };
        let answer = Arc::new((self.attempt)(call).await?);
        let tokens = self.parser.read(&answer).await?.into_tokens();
        Ok(Refreshed::from(tokens).with_answer(answer))
    }
}

/// One refresh, as [`refresh_with`](crate::ClientBuilder::refresh_with) makes it.
///
/// Its requests share the client's cookies and go out over a connection of their own, without
/// redirects and without retries; where a client was brought, they go over that one. They carry no
/// token.
pub struct RefreshCall<T> {
    way: Arc<Way>,
    decode: fn(&[u8]) -> Result<T, String>,
    last: Option<Arc<TokenSet>>,
}

impl<T> RefreshCall<T> {
    /// The token set to be replaced; `None` where there is none yet.
    pub fn last(&self) -> Option<&Arc<TokenSet>> {
        self.last.as_ref()
    }

    /// A POST to a path below the base URL, or to a whole URL.
    pub fn post(&self, url: impl AsRef<str>) -> Result<reqwest::RequestBuilder, SourceError> {
        self.request(Method::POST, url)
    }

    /// Any request. The client's default headers are in it.
    pub fn request(
        &self,
        method: Method,
        url: impl AsRef<str>,
    ) -> Result<reqwest::RequestBuilder, SourceError> {
        let url = locate(self.way.base.as_ref(), url.as_ref());
        let url = url.map_err(|error: UrlError| {
            SourceError::misconfigured("the refresh has no URL").with_cause(error)
        })?;
        let client = self.way.transport.client();
        Ok(client
            .request(method, url)
            .headers(self.way.headers.clone()))
    }

    /// Sends it and reads the answer's JSON, sorting what goes wrong as the refresh endpoint's own
    /// answers are sorted: 400, 401 and 403 end the session, 404 and 405 are the operator's
    /// mistake, the rest passes.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<T, SourceError> {
        let request = request.build().map_err(|error| {
            SourceError::misconfigured("the refresh request cannot be built")
                .with_cause(error.without_url())
        })?;
        let sent = self.secrets(request.url());
        let carried = self.way.transport.carry(request).await;
        let answer = carried.map_err(|error| Exchange::Cookie.unanswered(error, &sent))?;
        if !answer.status().is_success() {
            return Err(Exchange::Cookie.refusal(&answer, &sent));
        }
        (self.decode)(answer.body().expose()).map_err(|why| {
            SourceError::uncertain(format!(
                "the refresh endpoint's answer cannot be read: {why}"
            ))
        })
    }

    /// What went along and must not come back in an error.
    fn secrets(&self, url: &Url) -> Secrets {
        let mut secrets = Secrets::new();
        if let Some(last) = &self.last {
            secrets.push_tokens(last);
        }
        let cookies = self.way.jar.as_ref().and_then(|jar| jar.cookies(url));
        let cookies = cookies.as_ref().and_then(|cookies| cookies.to_str().ok());
        for cookie in cookies.into_iter().flat_map(|cookies| cookies.split("; ")) {
            let value = cookie.split_once('=').map_or(cookie, |(_, value)| value);
            secrets.push(&SecretString::from(value));
        }
        secrets
    }

    /// What is done where the user says nothing else: POST without a body.
    pub(crate) async fn ask_endpoint(self) -> Result<T, SourceError> {
        let Some(endpoint) = self.way.endpoint.clone() else {
            return Err(SourceError::misconfigured("there is no refresh endpoint"));
        };
        let request = self.post(endpoint)?;
        self.send(request).await
    }
}

impl<T> std::fmt::Debug for RefreshCall<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RefreshCall")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
