//! The request builder: reqwest's methods and two further methods.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use reqwest::{Body, Response, multipart};
use serde::Serialize;

use crate::client::Core;
use crate::error::Error;
use crate::locate::locate;
use crate::send::{self, RequestOptions};

/// Builds a request, with the methods of [`reqwest::RequestBuilder`].
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    core: Arc<Core>,
    request: Result<reqwest::RequestBuilder, Error>,
    options: RequestOptions,
}

impl RequestBuilder {
    pub(crate) fn new(core: Arc<Core>, method: Method, url: &str) -> Self {
        let url = locate(core.base.as_ref(), url);
        let request = url.map(|url| core.http.request(method, url));
        Self {
            core,
            request: request.map_err(Error::from),
            options: RequestOptions::default(),
        }
    }

    /// Sends the request without the token. The caller gets every answer unchanged, a 401 too. It
    /// is for logins and other requests without a session.
    pub fn without_token(mut self) -> Self {
        self.options.without_token = true;
        self
    }

    /// Sends the request once. If it is refused, the caller gets its 401, and a refresh starts for
    /// later requests. Near expiry the request waits for the refresh before it is sent.
    pub fn no_replay(mut self) -> Self {
        self.options.no_replay = true;
        self
    }

    /// Adds a header. Your own `Authorization` or token header replaces the token, and the request
    /// is not replayed. If a gateway needs an `Authorization` in addition to the
    /// [`token_header`](crate::ClientBuilder::token_header), set it as
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

    /// Adds headers, and replaces headers of the same name.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.map(|request| request.headers(headers))
    }

    /// Adds your own HTTP basic authentication (RFC 7617), which replaces the token.
    pub fn basic_auth<U: fmt::Display, P: fmt::Display>(
        self,
        username: U,
        password: Option<P>,
    ) -> Self {
        self.map(|request| request.basic_auth(username, password))
    }

    /// Adds your own bearer token (RFC 6750), which replaces the session's token.
    pub fn bearer_auth<T: fmt::Display>(self, token: T) -> Self {
        self.map(|request| request.bearer_auth(token))
    }

    /// Sets the body. A body from a stream can be sent only once, as with
    /// [`no_replay`](Self::no_replay).
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.map(|request| request.body(body))
    }

    /// Sets a JSON body.
    pub fn json<T: Serialize + ?Sized>(self, json: &T) -> Self {
        self.map(|request| request.json(json))
    }

    /// Sets a form body (`application/x-www-form-urlencoded`).
    pub fn form<T: Serialize + ?Sized>(self, form: &T) -> Self {
        self.map(|request| request.form(form))
    }

    /// Sets a `multipart/form-data` body.
    ///
    /// A form with a known length of at most 1 MiB is read into memory when it is sent, so that it
    /// can be replayed. A larger form, or a form of unknown length, is sent once.
    pub fn multipart(mut self, form: multipart::Form) -> Self {
        self.options.multipart = true;
        self.map(|request| request.multipart(form))
    }

    /// Adds parameters to the URL's query.
    pub fn query<T: Serialize + ?Sized>(self, query: &T) -> Self {
        self.map(|request| request.query(query))
    }

    /// Sets the total time of this request. It includes the wait for a token, redirects, the replay
    /// and reading the answer's body. Overrides
    /// [`ClientBuilder::timeout`](crate::ClientBuilder::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|request| request.timeout(timeout))
    }

    /// Sets the HTTP version.
    pub fn version(self, version: Version) -> Self {
        self.map(|request| request.version(version))
    }

    /// Sends the request and returns its answer, whatever its status.
    ///
    /// *Waits* for a refresh before the request is sent if the token has expired. A refused request
    /// waits for a refresh and is sent once more; the second answer is final.
    ///
    /// *Errors*: the request was not sent, or got no answer; see [`Error`].
    ///
    /// *Cancellation* leaves the refresh running for other requests.
    pub async fn send(self) -> Result<Response, Error> {
        let request = self.request?.build().map_err(Error::builder)?;
        send::send(&self.core, request, self.options).await
    }

    /// Returns the reqwest request, for [`Client::execute`](crate::Client::execute) or for
    /// inspection. The request does not contain [`without_token`](Self::without_token) and
    /// [`no_replay`](Self::no_replay).
    pub fn build(self) -> Result<reqwest::Request, Error> {
        self.request?.build().map_err(Error::builder)
    }

    /// Returns a copy, or `None` if the body can be sent only once.
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
