//! The token source of a cookie session: a POST to the refresh endpoint, or the user's closure.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method};
use token_rotator::{Origins, Refreshed, SecretString, SourceError, TokenSet, TokenSource};
use token_rotator_oauth2::{RequestKind, Secrets};
use url::Url;

use crate::cookies::{Cookies, FlightCookies, pairs};
use crate::error::UrlError;
use crate::locate::{BaseUrl, is_among, locate};
use crate::parse::{self, Parser};
use crate::redact;
use crate::transport::ReqwestTransport;

/// Settings of requests to the refresh endpoint.
pub struct EndpointSettings {
    pub(crate) transport: ReqwestTransport,
    pub(crate) base: Option<BaseUrl>,
    /// `None` if the user's closure sends the refresh.
    pub(crate) endpoint: Option<Url>,
    /// Origins that get the default headers.
    pub(crate) origins: Origins,
    pub(crate) headers: HeaderMap,
    pub(crate) secrets: RefreshSecrets,
}

/// The secrets that a refresh sends beside tokens.
#[derive(Clone)]
pub(crate) struct RefreshSecrets {
    /// The client's cookies.
    pub(crate) cookies: Option<Arc<Cookies>>,
    /// Whether the user's client or closure may add cookies and headers that this crate does not
    /// see.
    pub(crate) has_unseen: bool,
}

impl RefreshSecrets {
    /// The secrets of the caller's own client, which this crate does not see.
    pub(crate) const UNSEEN: Self = Self {
        cookies: None,
        has_unseen: true,
    };
}

/// A function that sends one refresh and returns the answer.
pub(crate) type RefreshFn<T> =
    Box<dyn Fn(RefreshCall<T>) -> BoxFuture<'static, Result<T, SourceError>> + Send + Sync>;

/// Sends the refresh and reads the token with the parser.
pub(crate) struct EndpointSource<T> {
    pub(crate) settings: Arc<EndpointSettings>,
    pub(crate) decode: fn(&[u8]) -> Result<T, String>,
    pub(crate) refresh: RefreshFn<T>,
    pub(crate) parser: Parser<T>,
}

impl<T: Send + Sync + 'static> TokenSource for EndpointSource<T> {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        let cookies = self.settings.secrets.cookies.as_ref();
        let cookies = cookies.map(Cookies::for_flight);
        let lifetime = AnswerLifetime::default();
        let call = RefreshCall {
            settings: Arc::clone(&self.settings),
            decode: self.decode,
            last,
            cookies,
            lifetime: lifetime.clone(),
        };
        let answer = Arc::new((self.refresh)(call).await?);
        let token = self.parser.read(&answer).await?;
        let tokens = token.or_expires_in(lifetime.read()).into_tokens();
        Ok(Refreshed::from(tokens).with_answer(answer))
    }
}

/// The lifetime in the last answer. It applies if the parser returns none.
#[derive(Clone, Default)]
struct AnswerLifetime(Arc<Mutex<Option<Duration>>>);

impl AnswerLifetime {
    fn set(&self, lifetime: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lifetime;
    }

    fn read(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One refresh, for the closure of [`refresh_with`](crate::ClientBuilder::refresh_with).
///
/// Requests of the refresh share the client's cookies. They use a new connection, without redirects
/// and retries, or your own client if the builder got one. They carry no token.
///
/// A cookie of an answer is stored only if no sign-in or sign-out has happened since the refresh
/// began, and if the cookie is still the one that was sent. The rule applies to
/// [`send`](Self::send) and [`execute`](Self::execute). A request that you send in another way
/// carries none of the client's cookies, and cookies of its answer are dropped.
pub struct RefreshCall<T> {
    settings: Arc<EndpointSettings>,
    decode: fn(&[u8]) -> Result<T, String>,
    last: Option<Arc<TokenSet>>,
    cookies: Option<FlightCookies>,
    lifetime: AnswerLifetime,
}

impl<T> RefreshCall<T> {
    /// Returns the token set that the refresh replaces, or `None` before the first token.
    pub fn last(&self) -> Option<&Arc<TokenSet>> {
        self.last.as_ref()
    }

    /// Builds a POST to a path below the base URL, or to an absolute URL.
    ///
    /// *Errors*: the URL cannot be used.
    pub fn post(&self, url: impl AsRef<str>) -> Result<reqwest::RequestBuilder, SourceError> {
        self.request(Method::POST, url)
    }

    /// Builds a request with any method. It has the client's default headers if the URL's origin is
    /// declared.
    ///
    /// *Errors*: the URL cannot be used.
    pub fn request(
        &self,
        method: Method,
        url: impl AsRef<str>,
    ) -> Result<reqwest::RequestBuilder, SourceError> {
        let settings = &self.settings;
        let url = locate(settings.base.as_ref(), url.as_ref());
        let url = url.map_err(|error: UrlError| {
            SourceError::misconfigured("the refresh has no URL").with_cause(error)
        })?;
        let is_declared = is_among(&settings.origins, &url);
        let request = settings.transport.client().request(method, url);
        Ok(if is_declared {
            request.headers(settings.headers.clone())
        } else {
            request
        })
    }

    /// Sends a request and reads the answer's JSON. `expiresIn` or `expires_in` of the answer, in
    /// seconds, is the token's lifetime unless the parser returns one.
    ///
    /// *Errors* are classified as answers of the refresh endpoint: 400, 401 and 403 end the
    /// session, 404 and 405 are misconfigured, and other failures are transient or uncertain. A
    /// redirect is not followed and is transient. After a sign-in or sign-out the request is not
    /// sent, because the cookies belong to another session.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<T, SourceError> {
        let mut request = request.build().map_err(|error| {
            SourceError::misconfigured("the refresh request cannot be built")
                .with_cause(error.without_url())
        })?;
        let mut sent = Secrets::new();
        if let Some(last) = &self.last {
            sent.push_tokens(last);
        }
        for cookies in request.headers().get_all(COOKIE) {
            push_cookies(&mut sent, cookies);
        }
        if let Some(cookies) = &self.cookies {
            if !cookies.is_current() {
                return Err(SourceError::not_sent(
                    "the session changed before its refresh was sent",
                ));
            }
            cookies.add_to(&mut request);
        }
        let store_cookies = |head: &HeaderMap, url: &Url| {
            if let Some(cookies) = &self.cookies {
                cookies.store(head, url);
            }
        };
        let answer = self.settings.transport.carry(request, store_cookies).await;
        for cookies in self.cookies.iter().flat_map(FlightCookies::sent) {
            push_cookies(&mut sent, &cookies);
        }
        let answer = answer.map_err(|error| RequestKind::Cookie.unanswered(error, &sent))?;
        for cookie in answer.headers().get_all(SET_COOKIE) {
            if let Some((_, value)) = pairs(cookie).next() {
                push_cookie(&mut sent, value);
            }
        }
        if !answer.status().is_success() {
            return Err(redact::refusal(
                &answer,
                &sent,
                self.settings.secrets.has_unseen,
            ));
        }
        let body = answer.body().expose();
        let read = (self.decode)(body).map_err(|why| {
            SourceError::uncertain(format!(
                "the refresh endpoint's answer cannot be read: {why}"
            ))
        })?;
        self.lifetime.set(parse::lifetime(body));
        Ok(read)
    }

    /// Sends a request and returns the answer, for a closure that reads another format than JSON.
    /// After a sign-in or sign-out the request carries no cookies.
    ///
    /// *Errors*: the request failed; [`source_error`](crate::source_error) classifies the error.
    pub async fn execute(
        &self,
        mut request: reqwest::Request,
    ) -> Result<reqwest::Response, reqwest::Error> {
        if let Some(cookies) = &self.cookies {
            cookies.add_to(&mut request);
        }
        let answer = self.settings.transport.client().execute(request).await?;
        if let Some(cookies) = &self.cookies {
            cookies.store(answer.headers(), answer.url());
        }
        Ok(answer)
    }

    /// Sends the default refresh: a POST without a body.
    pub(crate) async fn post_to_endpoint(self) -> Result<T, SourceError> {
        let Some(endpoint) = self.settings.endpoint.clone() else {
            return Err(SourceError::misconfigured("there is no refresh endpoint"));
        };
        let request = self.post(endpoint)?;
        self.send(request).await
    }
}

/// Adds the cookies' values to the secrets that an error must not repeat.
fn push_cookies(secrets: &mut Secrets, cookies: &HeaderValue) {
    for (_, value) in pairs(cookies) {
        push_cookie(secrets, value);
    }
}

fn push_cookie(secrets: &mut Secrets, value: &[u8]) {
    secrets.push(&SecretString::from(&*String::from_utf8_lossy(value)));
}

impl<T> std::fmt::Debug for RefreshCall<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RefreshCall")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
