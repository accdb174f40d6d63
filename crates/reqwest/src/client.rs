//! The client: reqwest's verbs, with a session behind them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use reqwest::Response;
use token_rotator::middleware::{RefusalRules, RotatorExt as _};
use token_rotator::{Rotator, SecretString, Token, TokenError, UnusableTokens};
use url::Url;

use crate::builder::ClientBuilder;
use crate::cookies::Cookies;
use crate::error::Error;
use crate::fresh::IntoFresh;
use crate::locate::BaseUrl;
use crate::redirect::Redirects;
use crate::request::RequestBuilder;
use crate::send::{self, Options};
use crate::session::SessionHandle;
use crate::state::Unset;

/// May send, read the token, refresh it, sign in and sign out.
#[derive(Debug)]
pub enum Full {}

/// May send and read the token.
#[derive(Debug)]
pub enum SendOnly {}

/// An HTTP client with a session: sends the access token where it may go, refreshes it once for
/// everybody, and replays what was refused.
///
/// Cheap to clone; all clones are the same session. `Client` alone is `Client<Full>`, as
/// [`ClientBuilder::build`] makes it. [`ClientBuilder::build_split`] makes a `Client<SendOnly>`,
/// which can neither sign in nor out nor [refresh](Client::refresh_now) at will, and a
/// [`SessionHandle`] that alone can.
pub struct Client<Access = Full> {
    pub(crate) core: Arc<Core>,
    access: PhantomData<fn() -> Access>,
}

/// What all clones share.
pub(crate) struct Core {
    pub(crate) http: reqwest::Client,
    /// `None` if the client keeps no cookies, or was brought and keeps its own.
    pub(crate) cookies: Option<Arc<Cookies>>,
    pub(crate) rotator: Rotator,
    pub(crate) base: Option<BaseUrl>,
    pub(crate) refresh_endpoint: Option<Url>,
    pub(crate) redirects: Redirects,
    pub(crate) refusals: RefusalRules<Response>,
    pub(crate) default_headers: HeaderMap,
    pub(crate) timeout: Option<Duration>,
}

impl Client {
    /// Starts a client.
    pub fn builder() -> ClientBuilder<Unset> {
        ClientBuilder::new()
    }

    /// Signs in with this token: a new session begins, and whatever the last one still has in the
    /// air is dropped when it arrives.
    ///
    /// Takes a token, a token and its lifetime, or a [`Fresh`](crate::Fresh). Takes effect before it
    /// returns and starts nothing. Fails if the token cannot stand in a header.
    pub fn set_access_token(&self, token: impl IntoFresh) -> Result<(), UnusableTokens> {
        self.session().set_access_token(token)
    }

    /// Signs out: at once no token is sent any more. Requests go out bare and their 401s are handed
    /// back, until the next sign-in.
    ///
    /// A session that never had a token stays as it is. What a refresh in the air brings is
    /// dropped, the cookies it sets included. Cookies that are there stay; the API's own logout
    /// clears those.
    pub fn clear(&self) {
        self.session().clear();
    }

    /// Refreshes now, whatever the token looks like, or joins the refresh in the air. Revives a
    /// session that had ended or was signed out, if the endpoint will: that is why a
    /// `Client<SendOnly>` cannot do it.
    pub async fn refresh_now(&self) -> Result<Token, TokenError> {
        self.core.rotator.refresh_now().await
    }

    /// The engine behind the client, for everything that this one does not show.
    pub fn rotator(&self) -> &Rotator {
        &self.core.rotator
    }

    /// Lets no refresh start any more and waits for the one in the air: `true` if it ended within
    /// the time given. Programs call this before they end.
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        self.core.rotator.shutdown(timeout).await
    }

    /// The same session for code that should neither sign in nor out.
    pub fn send_only(&self) -> Client<SendOnly> {
        Client::of(Arc::clone(&self.core))
    }

    /// The same session for code that signs in and out and sends nothing.
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

    /// A GET request. The URL is relative to [`base_url`](ClientBuilder::base_url), or absolute.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A POST request.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A PUT request.
    pub fn put(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// A PATCH request.
    pub fn patch(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// A DELETE request.
    pub fn delete(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// A HEAD request.
    pub fn head(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A request with any method.
    ///
    /// A relative URL is appended to the base's path, as axios does it: base `https://h/v1` and
    /// `/users` make `https://h/v1/users`. An absolute one goes to its own origin, with the token
    /// only if that origin is declared.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(Arc::clone(&self.core), method, url.as_ref())
    }

    /// Sends a finished `reqwest::Request` under the rules of [`RequestBuilder::send`], with default options.
    pub async fn execute(&self, request: reqwest::Request) -> Result<Response, Error> {
        send::send(&self.core, request, Options::default()).await
    }

    /// The access token, if there is one that may be used now. Starts nothing.
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
