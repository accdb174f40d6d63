//! The token source of a cookie session: a POST to the refresh endpoint, or what stands in for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method};
use token_rotator::{Origins, Refreshed, SecretString, SourceError, TokenSet, TokenSource};
use token_rotator_oauth2::{RequestKind, Secrets};
use url::Url;

use crate::cookies::{Cookies, FlightCookies, pairs};
use crate::discreet;
use crate::error::UrlError;
use crate::locate::{BaseUrl, is_among, locate};
use crate::parse::{self, Parser};
use crate::transport::ReqwestTransport;

/// How the refresh endpoint is reached.
pub struct Way {
    pub(crate) transport: ReqwestTransport,
    pub(crate) base: Option<BaseUrl>,
    /// `None` where the user's own closure asks somebody else.
    pub(crate) endpoint: Option<Url>,
    /// Where the default headers go.
    pub(crate) origins: Origins,
    pub(crate) headers: HeaderMap,
    pub(crate) baggage: Baggage,
}

/// What goes with a refresh.
#[derive(Clone)]
pub(crate) struct Baggage {
    /// The client's cookies, lent for a flight.
    pub(crate) cookies: Option<Arc<Cookies>>,
    /// A client or a closure that the user brought may add cookies and headers that this crate does not
    /// see.
    pub(crate) blind: bool,
}

impl Baggage {
    /// What a client has that was brought.
    pub(crate) const UNSEEN: Self = Self {
        cookies: None,
        blind: true,
    };
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
        let loan = self.way.baggage.cookies.as_ref().map(Cookies::for_flight);
        let lifetime = Lifetime::default();
        let call = RefreshCall {
            way: Arc::clone(&self.way),
            decode: self.decode,
            last,
            loan,
            lifetime: lifetime.clone(),
        };
        let answer = Arc::new((self.attempt)(call).await?);
        let fresh = self.parser.read(&answer).await?;
        let tokens = fresh.or_expires_in(lifetime.read()).into_tokens();
        Ok(Refreshed::from(tokens).with_answer(answer))
    }
}

/// What the last answer said about the token's lifetime, for a parser that says nothing.
#[derive(Clone, Default)]
struct Lifetime(Arc<Mutex<Option<Duration>>>);

impl Lifetime {
    fn note(&self, lifetime: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lifetime;
    }

    fn read(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One refresh, as [`refresh_with`](crate::ClientBuilder::refresh_with) makes it.
///
/// Its requests share the client's cookies and go out over a connection of their own, without
/// redirects and without retries; where a client was brought, they go over that one. They carry no
/// token.
///
/// A cookie that an answer sets is kept only if the session is still the one that the refresh began
/// in, and that cookie still what was sent. This holds for requests that [`send`](Self::send) or
/// [`execute`](Self::execute) sends. A request that is sent by itself carries none of the client's
/// cookies, and its answer's cookies are not kept.
pub struct RefreshCall<T> {
    way: Arc<Way>,
    decode: fn(&[u8]) -> Result<T, String>,
    last: Option<Arc<TokenSet>>,
    loan: Option<FlightCookies>,
    lifetime: Lifetime,
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

    /// Any request. The client's default headers are in it if it goes to a declared origin.
    pub fn request(
        &self,
        method: Method,
        url: impl AsRef<str>,
    ) -> Result<reqwest::RequestBuilder, SourceError> {
        let way = &self.way;
        let url = locate(way.base.as_ref(), url.as_ref());
        let url = url.map_err(|error: UrlError| {
            SourceError::misconfigured("the refresh has no URL").with_cause(error)
        })?;
        let declared = is_among(&way.origins, &url);
        let request = way.transport.client().request(method, url);
        Ok(if declared {
            request.headers(way.headers.clone())
        } else {
            request
        })
    }

    /// Sends it and reads the answer's JSON, sorting what goes wrong as the refresh endpoint's own
    /// answers are sorted: 400, 401 and 403 end the session, 404 and 405 are the operator's
    /// mistake, the rest passes.
    ///
    /// A redirect is not followed and passes too. If somebody signed in or out since the refresh
    /// began, nothing is sent: the cookies are not this session's any more. `expiresIn` or
    /// `expires_in` in the answer, in seconds, is the token's lifetime unless the parser gives one.
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
        if let Some(loan) = &self.loan {
            if !loan.is_current() {
                return Err(SourceError::not_sent(
                    "the session changed before its refresh was sent",
                ));
            }
            loan.add_to(&mut request);
        }
        let keep = |head: &HeaderMap, url: &Url| {
            if let Some(loan) = &self.loan {
                loan.keep(head, url);
            }
        };
        let carried = self.way.transport.carry(request, keep).await;
        for cookies in self.loan.iter().flat_map(FlightCookies::sent_headers) {
            push_cookies(&mut sent, &cookies);
        }
        let answer = carried.map_err(|error| RequestKind::Cookie.unanswered(error, &sent))?;
        for cookie in answer.headers().get_all(SET_COOKIE) {
            if let Some((_, value)) = pairs(cookie).next() {
                push_cookie(&mut sent, value);
            }
        }
        if !answer.status().is_success() {
            return Err(discreet::refusal(&answer, &sent, self.way.baggage.blind));
        }
        let body = answer.body().expose();
        let read = (self.decode)(body).map_err(|why| {
            SourceError::uncertain(format!(
                "the refresh endpoint's answer cannot be read: {why}"
            ))
        })?;
        self.lifetime.note(parse::lifetime(body));
        Ok(read)
    }

    /// Sends it and returns the answer unread, for a closure that reads something else than JSON.
    ///
    /// [`source_error`](crate::source_error) sorts an error. If a sign-in or sign-out has happened since
    /// the refresh began, the request goes out without cookies.
    pub async fn execute(
        &self,
        mut request: reqwest::Request,
    ) -> Result<reqwest::Response, reqwest::Error> {
        if let Some(loan) = &self.loan {
            loan.add_to(&mut request);
        }
        let answer = self.way.transport.client().execute(request).await?;
        if let Some(loan) = &self.loan {
            loan.keep(answer.headers(), answer.url());
        }
        Ok(answer)
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

/// What went along and must not come back in an error.
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
