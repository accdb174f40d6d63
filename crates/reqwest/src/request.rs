//! A request being built: reqwest's methods, and two of our own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use reqwest::{Body, Response, multipart};
use serde::Serialize;

use crate::client::Core;
use crate::error::Error;
use crate::locate::locate;
use crate::send::{self, Options};

/// A request being built; the methods are those of [`reqwest::RequestBuilder`].
#[must_use = "a request goes nowhere until it is sent"]
pub struct RequestBuilder {
    core: Arc<Core>,
    request: Result<reqwest::RequestBuilder, Error>,
    options: Options,
}

impl RequestBuilder {
    pub(crate) fn new(core: Arc<Core>, method: Method, url: &str) -> Self {
        let url = locate(core.base.as_ref(), url);
        let request = url.map(|url| core.http.request(method, url));
        Self {
            core,
            request: request.map_err(Error::from),
            options: Options::default(),
        }
    }

    /// Sends this request without the token, and hands its answer on as it is, a 401 too. For
    /// logins, and for what needs no session.
    pub fn without_token(mut self) -> Self {
        self.options.without_token = true;
        self
    }

    /// Sends this request once: if it is refused, its 401 is handed back, while a refresh starts for
    /// those who follow. Near expiry it waits for the refresh before it is sent.
    pub fn no_replay(mut self) -> Self {
        self.options.no_replay = true;
        self
    }

    /// Adds a header. An `Authorization` of your own (or the header that carries the token) wins over
    /// the token: the request then goes out with it alone, and is not replayed. One that is to stand
    /// beside a [`token_header`](crate::ClientBuilder::token_header), as a gateway may want it, is a
    /// [`default_header`](crate::ClientBuilder::default_header).
    pub fn header<K, V>(self, key: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        self.map(|request| request.header(key, value))
    }

    /// Adds headers, in place of those of the same name.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.map(|request| request.headers(headers))
    }

    /// With HTTP basic authentication of your own (RFC 7617).
    pub fn basic_auth<U: fmt::Display, P: fmt::Display>(
        self,
        username: U,
        password: Option<P>,
    ) -> Self {
        self.map(|request| request.basic_auth(username, password))
    }

    /// With a bearer token of your own (RFC 6750).
    pub fn bearer_auth<T: fmt::Display>(self, token: T) -> Self {
        self.map(|request| request.bearer_auth(token))
    }

    /// With this body. One that was made from a stream can be sent only once, as with
    /// [`no_replay`](Self::no_replay).
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.map(|request| request.body(body))
    }

    /// With a JSON body.
    pub fn json<T: Serialize + ?Sized>(self, json: &T) -> Self {
        self.map(|request| request.json(json))
    }

    /// With a form body (`application/x-www-form-urlencoded`).
    pub fn form<T: Serialize + ?Sized>(self, form: &T) -> Self {
        self.map(|request| request.form(form))
    }

    /// With a `multipart/form-data` body.
    ///
    /// A form whose length is known and at most 1 MiB is read into memory when it is sent, so that
    /// it can be replayed. A larger one, or one with a stream of unknown length, is sent once.
    pub fn multipart(mut self, form: multipart::Form) -> Self {
        self.options.multipart = true;
        self.map(|request| request.multipart(form))
    }

    /// Adds parameters to the URL's query.
    pub fn query<T: Serialize + ?Sized>(self, query: &T) -> Self {
        self.map(|request| request.query(query))
    }

    /// How long this request may take in all: waiting for a token, redirects, the replay and reading
    /// the answer's body included. Overrides [`ClientBuilder::timeout`](crate::ClientBuilder::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|request| request.timeout(timeout))
    }

    /// With this HTTP version.
    pub fn version(self, version: Version) -> Self {
        self.map(|request| request.version(version))
    }

    /// Sends the request and waits for its answer.
    ///
    /// Waits for a refresh before it is sent if the token has expired, and after it was refused;
    /// then it is sent once more and that answer is final. Any status is an answer. Cancel safe:
    /// dropping this leaves the refresh running for everybody else.
    pub async fn send(self) -> Result<Response, Error> {
        let request = self.request?.build().map_err(Error::builder)?;
        send::send(&self.core, request, self.options).await
    }

    /// The plain request, for [`Client::execute`](crate::Client::execute) or to look at. It does not
    /// remember [`without_token`](Self::without_token) and [`no_replay`](Self::no_replay).
    pub fn build(self) -> Result<reqwest::Request, Error> {
        self.request?.build().map_err(Error::builder)
    }

    /// A copy, unless the body can be sent only once.
    pub fn try_clone(&self) -> Option<Self> {
        let request = match &self.request {
            Ok(request) => Ok(request.try_clone()?),
            Err(error) => Err(error.clone()),
        };
        Some(Self {
            core: Arc::clone(&self.core),
            request,
            options: self.options,
        })
    }

    fn map(
        mut self,
        change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Self {
        self.request = self.request.map(change);
        self
    }
}

/// Omits the headers and the query, which may hold secrets.
impl fmt::Debug for RequestBuilder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RequestBuilder")
            .field("options", &self.options)
            .field("error", &self.request.as_ref().err())
            .finish_non_exhaustive()
    }
}
