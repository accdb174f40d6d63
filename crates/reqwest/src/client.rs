//! The client: reqwest's request methods with a session.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use reqwest::Response;
use token_rotator::middleware::{RefusalRules, RotatorExt as _};
use token_rotator::{Rotator, SecretString, Token, TokenError, UnusableTokens};
use url::Url;

use crate::access_token::IntoAccessToken;
use crate::builder::ClientBuilder;
use crate::cookies::Cookies;
use crate::error::Error;
use crate::locate::BaseUrl;
use crate::redirect::Redirects;
use crate::request::RequestBuilder;
use crate::send::{self, RequestOptions};
use crate::session::SessionHandle;
use crate::state::Unset;

/// Access of a client that may send, read the token, refresh it, sign in and sign out.
#[derive(Debug)]
pub enum Full {}

/// Access of a client that may only send and read the token.
#[derive(Debug)]
pub enum SendOnly {}

/// An HTTP client with a session: it sends the access token to the declared origins, refreshes the
/// token once for all callers, and replays refused requests.
///
/// Cloning is cheap; all clones share the session. `Client` means `Client<Full>`, which
/// [`ClientBuilder::build`] returns. [`ClientBuilder::build_split`] returns a `Client<SendOnly>`
/// and a [`SessionHandle`]. Only the handle can sign in, sign out and
/// [refresh](Client::refresh_now).
pub struct Client<Access = Full> {
    pub(crate) core: Arc<Core>,
    access: PhantomData<fn() -> Access>,
}

/// State that all clones share.
pub(crate) struct Core {
    pub(crate) http: reqwest::Client,
    /// `None` if the client keeps no cookies, or if the caller's client keeps its own.
    pub(crate) cookies: Option<Arc<Cookies>>,
    pub(crate) rotator: Rotator,
    pub(crate) base: Option<BaseUrl>,
    /// Without a fragment.
    pub(crate) refresh_endpoint: Option<Url>,
    pub(crate) redirects: Redirects,
    pub(crate) refusals: RefusalRules<Response>,
    pub(crate) default_headers: HeaderMap,
    pub(crate) timeout: Option<Duration>,
}

impl Client {
    /// Returns a builder for a client.
    pub fn builder() -> ClientBuilder<Unset> {
        ClientBuilder::new()
    }

    /// Signs in with this token and begins a new session. The result of a refresh of the previous
    /// session is dropped.
    ///
    /// `token` is a token, a pair of token and lifetime, or an [`AccessToken`](crate::AccessToken).
    /// The sign-in is complete when the method returns.
    ///
    /// *Errors*: the token contains characters that a header cannot contain.
    pub fn set_access_token(&self, token: impl IntoAccessToken) -> Result<(), UnusableTokens> {
        self.session().set_access_token(token)
    }

    /// Signs out at once. Until the next sign-in requests carry no token, and callers get their
    /// 401s.
    ///
    /// A session that never had a token does not change. The result of a running refresh is
    /// dropped, its cookies included. Stored cookies stay; the API's logout deletes them.
    pub fn clear(&self) {
        self.session().clear();
    }

    /// Refreshes now, even if the token is good, or joins the running refresh. A success revives a
    /// session that had ended or was signed out. Therefore `Client<SendOnly>` does not have the
    /// method.
    ///
    /// *Waits* for the refresh. *Cancellation* leaves the refresh running.
    pub async fn refresh_now(&self) -> Result<Token, TokenError> {
        self.core.rotator.refresh_now().await
    }

    /// Returns the client's rotator.
    pub fn rotator(&self) -> &Rotator {
        &self.core.rotator
    }

    /// Prevents new refreshes and waits for the running refresh. Returns whether the refresh ended
    /// in time. Call the method before the program ends.
    ///
    /// *Waits* for `timeout` at most.
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        self.core.rotator.shutdown(timeout).await
    }

    /// Returns a client of the same session that can neither sign in nor sign out.
    pub fn send_only(&self) -> Client<SendOnly> {
        Client::of(Arc::clone(&self.core))
    }

    /// Returns a handle that signs in and out of the session and sends no requests.
    pub fn session(&self) -> SessionHandle {
        SessionHandle::new(self.core.rotator.clone())
    }
}

impl<Access> Client<Access> {
    pub(crate) fn of(core: Arc<Core>) -> Self {
        Self {
            core,
            access: PhantomData,
        }
    }

    /// Builds a GET request. The URL is relative to [`base_url`](ClientBuilder::base_url), or
    /// absolute.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Builds a POST request.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Builds a PUT request.
    pub fn put(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Builds a PATCH request.
    pub fn patch(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Builds a DELETE request.
    pub fn delete(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// Builds a HEAD request.
    pub fn head(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// Builds a request with any method.
    ///
    /// A relative URL is appended to the base URL, as in axios: base `https://h/v1` and `/users`
    /// give `https://h/v1/users`. A request to an absolute URL carries the token only if the URL's
    /// origin is declared.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(Arc::clone(&self.core), method, url.as_ref())
    }

    /// Sends a request of reqwest, as [`RequestBuilder::send`] does.
    pub async fn execute(&self, request: reqwest::Request) -> Result<Response, Error> {
        send::send(&self.core, request, RequestOptions::default()).await
    }

    /// Returns the access token, or `None` if no token is usable now. Starts no refresh.
    pub fn access_token(&self) -> Option<SecretString> {
        let token = self.core.rotator.access_token()?;
        Some(token.secret().clone())
    }
}

impl<Access> Clone for Client<Access> {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.core))
    }
}

impl From<Client> for Client<SendOnly> {
    fn from(client: Client) -> Self {
        Self::of(client.core)
    }
}

impl<Access> fmt::Debug for Client<Access> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self.core.base.as_ref().map(BaseUrl::origin);
        out.debug_struct("Client")
            .field("base", &base)
            .field("rotator", &self.core.rotator)
            .finish_non_exhaustive()
    }
}
