//! The builder of a client, and its settings.
//!
//! - `tokens`: the methods that choose where tokens come from. `hooks`: hooks and listeners.
//! - `build`: checks the settings and creates the client.

mod build;
mod hooks;
mod tokens;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::Response;
use token_rotator::middleware::{BodyRule, RefusalRules};
use token_rotator::{Clock, Profile, RotatorBuilder};

use crate::error::BuildError;
use crate::hooks::{EventListener, FailedHook, HookReporter};
use crate::jar::CookieStore;
use crate::state::Unset;

/// Builds a [`Client`](crate::Client).
///
/// `State` says where the client gets its tokens from. [`build`](Self::build) exists after one of
/// these calls:
///
/// | call | tokens come from |
/// |---|---|
/// | [`on_refresh_success`](ClientBuilder::on_refresh_success), [`.._with`](ClientBuilder::on_refresh_success_with), [`.._async`](ClientBuilder::on_refresh_success_async) | the refresh endpoint's JSON, read by a closure |
/// | [`bearer_field`](ClientBuilder::bearer_field) | the refresh endpoint's JSON, read from the field of this name |
/// | [`token_source`](ClientBuilder::token_source) | a [`TokenSource`](crate::TokenSource) |
/// | [`rotator`](ClientBuilder::rotator) | a [`Rotator`](crate::Rotator) that the caller built |
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClientBuilder<State = Unset> {
    settings: ClientSettings,
    state: State,
}

struct ClientSettings {
    base_url: Option<String>,
    origins: Vec<String>,
    refresh_endpoint: Option<String>,
    own_clients: Vec<OwnClient>,
    refresh_client: Option<reqwest::Client>,
    configure: Option<Configure>,
    cookies: Option<bool>,
    cookie_provider: Option<Arc<dyn CookieStore>>,
    max_redirects: Option<usize>,
    default_headers: HeaderMap,
    bad_setting: Option<BuildError>,
    timeout: Option<Duration>,
    refusals: RefusalRules<Response>,
    token_header: Option<TokenHeader>,
    profile: Option<Profile>,
    refresh_before: Option<Duration>,
    wait_timeout: Option<Duration>,
    clock: Option<SetClock>,
    listeners: Vec<EventListener>,
    failed_hooks: Vec<FailedHook>,
    hook_reporter: HookReporter,
}

/// A reqwest client that the caller built.
struct OwnClient {
    client: reqwest::Client,
    follows_redirects: bool,
}

/// Sets the clock of a rotator's builder.
type SetClock = Box<dyn FnOnce(RotatorBuilder) -> RotatorBuilder + Send + Sync>;

type Configure = Box<dyn Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send + Sync>;

struct TokenHeader {
    name: HeaderName,
    format: Option<FormatFn>,
}

type FormatFn = Box<dyn Fn(&str) -> String + Send + Sync>;

impl ClientBuilder<Unset> {
    pub(crate) fn new() -> Self {
        Self {
            settings: ClientSettings {
                base_url: None,
                origins: Vec::new(),
                refresh_endpoint: None,
                own_clients: Vec::new(),
                refresh_client: None,
                configure: None,
                cookies: None,
                cookie_provider: None,
                max_redirects: None,
                default_headers: HeaderMap::new(),
                bad_setting: None,
                timeout: None,
                refusals: RefusalRules::default(),
                token_header: None,
                profile: None,
                refresh_before: None,
                wait_timeout: None,
                clock: None,
                listeners: Vec::new(),
                failed_hooks: Vec::new(),
                hook_reporter: HookReporter::default(),
            },
            state: Unset(()),
        }
    }
}

impl<State> ClientBuilder<State> {
    /// Sets the URL to which relative URLs are appended. The token goes to its origin, which must
    /// be `https` or this machine.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.settings.base_url = Some(url.into());
        self
    }

    /// Adds an origin that gets the token: scheme, host and port. Call the method once for each
    /// origin.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.settings.origins.push(origin.into());
        self
    }

    /// Sets the refresh endpoint: a path below the base URL, or a whole URL whose origin is
    /// declared. Default: `/api/auth/refresh`.
    ///
    /// A refresh is a POST without a body and without a token. It carries cookies and default
    /// headers, and follows no redirect. A cookie of the answer is stored only if no sign-in or
    /// sign-out has happened since, and if the cookie is still the one that was sent. So a late
    /// answer does not replace the cookie of the next session. The client sends your own request to
    /// exactly this URL, query included, without a token and without a replay.
    pub fn refresh_endpoint(mut self, url: impl Into<String>) -> Self {
        self.settings.refresh_endpoint = Some(url.into());
        self
    }

    /// Sends requests over this client, with its own cookies, proxies, timeouts and headers.
    ///
    /// The client follows redirects itself, and drops `Authorization` if a redirect leads to
    /// another origin. It would forward a custom [`token_header`](Self::token_header) or a
    /// [`default_header`](Self::default_header), so `build` fails for these. A timeout of the
    /// client applies to each HTTP request, not to the whole [`send`](crate::RequestBuilder::send);
    /// use [`timeout`](Self::timeout) for that.
    ///
    /// Refreshes use the same client, unless [`refresh_client`](Self::refresh_client) sets another.
    /// A refresh over your client has three limits:
    ///
    /// - *Redirects.* A 307 or 308 of the refresh is not followed. The client follows a 301, 302 or 303
    ///   with a GET without the body, with its cookies for the new URL and with your headers. The
    ///   refresh then fails as transient and is not repeated at once. A client with
    ///   `redirect::Policy::none()`, given to
    ///   [`client_without_redirects`](Self::client_without_redirects), follows no redirect.
    /// - *Cookies.* The client needs a cookie store if the refresh token is a cookie. The store accepts
    ///   the cookies of every answer: a late answer to the last user's refresh may overwrite the next
    ///   user's cookie.
    /// - *Connections.* A refresh over an idle connection that the server has closed looks like a
    ///   refresh whose answer was lost.
    /// - *Proxies.* The client keeps its own proxies. By default reqwest sends requests for this machine
    ///   to a proxy of the environment (`HTTP_PROXY`); `no_proxy()` or `NO_PROXY` prevents that.
    pub fn client(mut self, client: reqwest::Client) -> Self {
        self.settings.own_clients.push(OwnClient {
            client,
            follows_redirects: true,
        });
        self
    }

    /// Sends requests over this client, which must have `redirect::Policy::none()`. This crate then
    /// follows redirects, and decides at each redirect whether the token may go along. The limits
    /// of [`client`](Self::client) on cookies, connections and proxies apply.
    pub fn client_without_redirects(mut self, client: reqwest::Client) -> Self {
        self.settings.own_clients.push(OwnClient {
            client,
            follows_redirects: false,
        });
        self
    }

    /// Sends refreshes over this client. It does not affect the client that sends requests.
    ///
    /// Build the client with `redirect::Policy::none()`, `retry::never()` and
    /// `pool_max_idle_per_host(0)`;
    /// [`ReqwestTransport::from_client`](crate::ReqwestTransport::from_client) describes the
    /// effects of other settings. If the refresh token is a cookie, both clients need the same
    /// cookies. Give the refresh client a cookie store of reqwest's, and set
    /// [`cookie_provider`](Self::cookie_provider) to your own [`CookieStore`] that passes both
    /// calls to that store.
    pub fn refresh_client(mut self, client: reqwest::Client) -> Self {
        self.settings.refresh_client = Some(client);
        self
    }

    /// Configures the reqwest clients that this builder creates: proxies, certificates, timeouts.
    /// The clients use the proxies of the environment (`HTTPS_PROXY`, `NO_PROXY`), but never for this
    /// machine. A proxy that the closure adds replaces them, and is used for this machine too.
    /// The closure runs for the client that sends requests and for the client that refreshes; both
    /// share their cookies. This crate follows redirects, whatever redirect policy the closure
    /// sets.
    ///
    /// Set secrets of every request with [`default_header`](Self::default_header): a default header
    /// of the reqwest client goes to every origin that a redirect leads to. Set a cookie store with
    /// [`cookie_provider`](Self::cookie_provider). A store of reqwest's that the closure sets
    /// accepts the cookies of every answer: a late answer to the last user's refresh may overwrite
    /// the next user's cookie. Such a store also logs cookies at debug level.
    ///
    /// The error of a failed refresh then repeats only the status and the error code of the answer,
    /// because the closure may have added secrets that this crate cannot recognise.
    pub fn configure(
        mut self,
        configure: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        let previous = self.settings.configure.take();
        self.settings.configure = Some(Box::new(move |builder| match &previous {
            Some(previous) => configure(previous(builder)),
            None => configure(builder),
        }));
        self
    }

    /// Sets whether the client keeps cookies, so that a refresh cookie from the login reaches the
    /// refresh endpoint. Default: `true`.
    pub fn cookies(mut self, keep: bool) -> Self {
        self.settings.cookies = Some(keep);
        self
    }

    /// Keeps the cookies in this store instead of memory, to share them or to keep them longer. The
    /// client does not use the store with [`cookies(false)`](Self::cookies).
    pub fn cookie_provider<C: CookieStore + 'static>(mut self, store: Arc<C>) -> Self {
        self.settings.cookie_provider = Some(store);
        self
    }

    /// Sets the number of redirects that one request follows. Default: 10. One more redirect is
    /// [`Error::TooManyRedirects`](crate::Error::TooManyRedirects). The caller gets a redirect as
    /// the answer if the number is 0, or if the redirect needs a body that cannot be sent twice.
    pub fn max_redirects(mut self, limit: usize) -> Self {
        self.settings.max_redirects = Some(limit);
        self
    }

    /// Adds a header to the refresh and to every request that does not have the header. The header
    /// goes only to the origins that get the token. A request that was redirected to another origin
    /// does not carry the header afterwards.
    pub fn default_header<K, V>(mut self, name: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        HeaderValue: TryFrom<V>,
    {
        let method = "default_header";
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => {
                self.settings.default_headers.insert(name, value);
            }
            (Err(_), _) => self.settings.refuse_header(method, "name"),
            (_, Err(_)) => self.settings.refuse_header(method, "value"),
        }
        self
    }

    /// Sets the total time of a request, unless the request has its own timeout. Default: no limit.
    /// See [`RequestBuilder::timeout`](crate::RequestBuilder::timeout).
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.settings.timeout = Some(limit);
        self
    }

    /// Sends the token without a scheme in this header, instead of `Authorization: Bearer`.
    pub fn token_header<K>(self, name: K) -> Self
    where
        HeaderName: TryFrom<K>,
    {
        self.set_token_header("token_header", name, None)
    }

    /// Sends the token in this header, in the format that the function returns.
    pub fn token_header_with<K>(
        self,
        name: K,
        format: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self
    where
        HeaderName: TryFrom<K>,
    {
        self.set_token_header("token_header_with", name, Some(Box::new(format)))
    }

    fn set_token_header<K>(
        mut self,
        method: &'static str,
        name: K,
        format: Option<FormatFn>,
    ) -> Self
    where
        HeaderName: TryFrom<K>,
    {
        match HeaderName::try_from(name) {
            Ok(name) => self.settings.token_header = Some(TokenHeader { name, format }),
            Err(_) => self.settings.refuse_header(method, "name"),
        }
        self
    }

    /// Sets how the refresh endpoint treats a used refresh token. The profile decides whether a
    /// refresh whose answer was lost is repeated at once.
    ///
    /// Default: [`Profile::strict`], because most refresh tokens are single use, in cookies too.
    /// After a lost answer the client uses the access token until it expires, and repeats the
    /// refresh only then. If the endpoint accepts a used cookie again, [`Profile::multi_use`] or
    /// [`Profile::leeway`] repeats the refresh at once.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.settings.profile = Some(profile);
        self
    }

    /// Sets the time before expiry from which a refresh may start while requests still use the
    /// token. Default: 60 s; never more than a quarter of the token's lifetime.
    pub fn refresh_before(mut self, margin: Duration) -> Self {
        self.settings.refresh_before = Some(margin);
        self
    }

    /// Sets how long a caller waits for a refresh. Default: 30 s. The refresh continues afterwards.
    pub fn wait_timeout(mut self, limit: Duration) -> Self {
        self.settings.wait_timeout = Some(limit);
        self
    }

    /// Uses this clock. Default: the system's clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Some(Box::new(|builder| builder.clock(clock)));
        self
    }

    /// Replaces 401 as the statuses that refuse the token. The challenge of such an answer is read,
    /// for every status.
    ///
    /// Numbers below 100 or above 999 match no status.
    pub fn status_codes(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.with_refusals(|rules| rules.status_codes(valid_statuses(statuses)))
    }

    /// Adds statuses that refuse the token, such as 403 or 419. The challenge of such an answer is
    /// read.
    pub fn also_status_codes(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.with_refusals(|rules| rules.also_status_codes(valid_statuses(statuses)))
    }

    /// Adds a predicate: an answer refuses the token if the predicate returns `true`. The predicate
    /// reads status, headers and URL.
    pub fn refused_when(self, refused: impl Fn(&Response) -> bool + Send + Sync + 'static) -> Self {
        self.with_refusals(|rules| rules.refused_when(refused))
    }

    /// Adds a predicate on JSON bodies: an answer refuses the token if the predicate returns
    /// `true`. It is for APIs that answer 200 with an error code in the body.
    ///
    /// The predicate applies to answers to GET and HEAD with a JSON body of at most 64 KiB. Other
    /// bodies are not read. A match is confirmed before it counts: see [`BodyRule`].
    pub fn refused_when_body(
        self,
        refused: impl Fn(StatusCode, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.body_rule(BodyRule::json(refused))
    }

    /// Adds a body rule: an answer refuses the token if its body matches. A rule can name a content
    /// type other than JSON, and methods other than GET and HEAD.
    pub fn body_rule(self, rule: BodyRule) -> Self {
        self.with_refusals(|rules| rules.refused_when_body(rule))
    }

    /// Sets the path that confirms a match of a body rule, such as `/-/whoami`. See [`BodyRule`].
    ///
    /// Without a path, at most one refresh in 10 s confirms a match. The path begins with a single
    /// `/`; `build` fails for a text that is not a
    /// [`ProbePath`](token_rotator::middleware::ProbePath).
    pub fn probe(mut self, path: impl AsRef<str>) -> Self {
        match path.as_ref().parse() {
            Ok(path) => self.with_refusals(|rules| rules.probe(path)),
            Err(error) => {
                let bad_setting = &mut self.settings.bad_setting;
                bad_setting.get_or_insert(BuildError::Rotator(error));
                self
            }
        }
    }

    fn with_refusals(
        mut self,
        change: impl FnOnce(RefusalRules<Response>) -> RefusalRules<Response>,
    ) -> Self {
        self.settings.refusals = change(self.settings.refusals);
        self
    }
}

/// Returns the numbers that are valid statuses.
fn valid_statuses(statuses: impl IntoIterator<Item = u16>) -> impl Iterator<Item = StatusCode> {
    let statuses = statuses.into_iter();
    statuses.filter_map(|status| StatusCode::from_u16(status).ok())
}

impl ClientSettings {
    /// Records the first header that cannot be used.
    fn refuse_header(&mut self, method: &'static str, part: &'static str) {
        self.bad_setting
            .get_or_insert(BuildError::Header { method, part });
    }
}

impl<State> fmt::Debug for ClientBuilder<State> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ClientBuilder")
            .field("state", &std::any::type_name::<State>())
            .finish_non_exhaustive()
    }
}
