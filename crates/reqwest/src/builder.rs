//! The builder: what the client is told, and in which state that leaves it.

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
use crate::hooks::{FailedHook, Listener, Said};
use crate::jar::CookieStore;
use crate::state::Unset;

/// Builds a [`Client`](crate::Client).
///
/// `State` says how the client gets its tokens; [`build`](Self::build) is there once it knows:
///
/// | call | tokens come from |
/// |---|---|
/// | [`on_refresh_success`](ClientBuilder::on_refresh_success), [`.._with`](ClientBuilder::on_refresh_success_with), [`.._async`](ClientBuilder::on_refresh_success_async) | the refresh endpoint's JSON, read by a closure |
/// | [`bearer_field`](ClientBuilder::bearer_field) | the same, read from the field of this name |
/// | [`token_source`](ClientBuilder::token_source) | a [`TokenSource`](crate::TokenSource) |
/// | [`rotator`](ClientBuilder::rotator) | a [`Rotator`](crate::Rotator) that was built elsewhere |
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClientBuilder<State = Unset> {
    settings: Settings,
    state: State,
}

struct Settings {
    base_url: Option<String>,
    origins: Vec<String>,
    refresh_endpoint: Option<String>,
    brought: Vec<Brought>,
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
    clock: Option<ChosenClock>,
    listeners: Vec<Listener>,
    failed: Vec<FailedHook>,
    said: Said,
}

/// A client of the user's own.
struct Brought {
    client: reqwest::Client,
    follows_redirects: bool,
}

/// Hands the clock on to the rotator.
type ChosenClock = Box<dyn FnOnce(RotatorBuilder) -> RotatorBuilder + Send + Sync>;

type Configure = Box<dyn Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send + Sync>;

struct TokenHeader {
    name: HeaderName,
    format: Option<Format>,
}

type Format = Box<dyn Fn(&str) -> String + Send + Sync>;

impl ClientBuilder<Unset> {
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings {
                base_url: None,
                origins: Vec::new(),
                refresh_endpoint: None,
                brought: Vec::new(),
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
                failed: Vec::new(),
                said: Said::default(),
            },
            state: Unset(()),
        }
    }
}

impl<State> ClientBuilder<State> {
    /// What relative URLs are appended to. Its origin gets the token: `https`, or this machine.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.settings.base_url = Some(url.into());
        self
    }

    /// One more origin that gets the token: scheme, host and port. Call it for each.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.settings.origins.push(origin.into());
        self
    }

    /// Where a new token is asked for: a path below the base URL, or a whole URL whose origin is
    /// declared. Default: `/api/auth/refresh`.
    ///
    /// It gets a POST without a body and without a token; cookies and default headers go along, and
    /// no redirect is followed. A cookie that the answer sets is stored only if nobody has signed in
    /// or out meanwhile and that cookie is still the one that was sent: a late answer takes nobody's
    /// session away. A request of your own to exactly this URL, its query included, goes out as it is:
    /// no rotation touches it.
    pub fn refresh_endpoint(mut self, url: impl Into<String>) -> Self {
        self.settings.refresh_endpoint = Some(url.into());
        self
    }

    /// Uses this client; its cookies, proxies, timeouts and headers stay as they are.
    ///
    /// It follows redirects by itself and drops `Authorization` when they lead to another origin; a
    /// custom [`token_header`](Self::token_header) or a [`default_header`](Self::default_header) it
    /// would carry along, so they do not build together. What it was given as a timeout holds for each request that goes out, not for all that
    /// [`send`](crate::RequestBuilder::send) does; for that there is [`timeout`](Self::timeout).
    ///
    /// Refreshes go over the same client unless [`refresh_client`](Self::refresh_client) gives them
    /// one, and that costs what only a client made here can promise:
    ///
    /// - *Redirects.* A 307 or 308 of the refresh is not followed. A 301, 302 or 303 the client
    ///   follows, with a GET without the body, but with its cookies for where it leads and with
    ///   headers of yours. The refresh then fails, which passes, and is not repeated at once. Build
    ///   the client with `redirect::Policy::none()` and give it to
    ///   [`client_without_redirects`](Self::client_without_redirects), and none is followed.
    /// - *Cookies.* It should have a cookie store if the refresh token is a cookie. That one stores
    ///   what any answer sets: the late answer to the last user's refresh may overwrite the cookie
    ///   of the next one.
    /// - *Connections.* An idle one that the far side has closed makes a refresh look as if its
    ///   answer were lost.
    pub fn client(mut self, client: reqwest::Client) -> Self {
        self.settings.brought.push(Brought {
            client,
            follows_redirects: true,
        });
        self
    }

    /// The same with a client that was built with `redirect::Policy::none()`: redirects are then
    /// followed here, and where the token goes is decided at each of them.
    pub fn client_without_redirects(mut self, client: reqwest::Client) -> Self {
        self.settings.brought.push(Brought {
            client,
            follows_redirects: false,
        });
        self
    }

    /// Refreshes over this client, and over nothing else: whatever sends the requests.
    ///
    /// Build it with `redirect::Policy::none()`, `retry::never()` and `pool_max_idle_per_host(0)`; see
    /// [`ReqwestTransport::from_client`](crate::ReqwestTransport::from_client) for what happens
    /// otherwise. If the refresh token is a cookie, both clients need the same cookies: give this one a
    /// store of reqwest's, and hand it to [`cookie_provider`](Self::cookie_provider) as well, through a
    /// [`CookieStore`] of yours that passes both calls on.
    pub fn refresh_client(mut self, client: reqwest::Client) -> Self {
        self.settings.refresh_client = Some(client);
        self
    }

    /// Configures the client that is made: proxies, certificates, timeouts. Called for the client that sends requests and for the one that refreshes, which share
    /// their cookies. Redirects are followed here, whatever the closure says about them.
    ///
    /// Secrets that every request carries belong into [`default_header`](Self::default_header): what
    /// is set as a default header here goes to every origin that a redirect leads to. A cookie store
    /// belongs into [`cookie_provider`](Self::cookie_provider). A store of reqwest's that is set here
    /// stores what any answer sets, and the late answer to the last user's refresh may overwrite the
    /// cookie of the next one. It also logs cookies at debug level.
    ///
    /// A refresh that fails then repeats only the status and the error code of the answer, for the
    /// closure may have added secrets that this crate cannot recognise.
    pub fn configure(
        mut self,
        configure: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        let before = self.settings.configure.take();
        self.settings.configure = Some(Box::new(move |builder| match &before {
            Some(before) => configure(before(builder)),
            None => configure(builder),
        }));
        self
    }

    /// Whether the client that is made keeps cookies, so that a refresh cookie from the login
    /// reaches the refresh endpoint. Default: yes.
    pub fn cookies(mut self, keep: bool) -> Self {
        self.settings.cookies = Some(keep);
        self
    }

    /// Keeps the cookies in this store, in place of one in memory: to share them, or to keep them
    /// longer. With [`cookies(false)`](Self::cookies) it is not used.
    pub fn cookie_provider<C: CookieStore + 'static>(mut self, store: Arc<C>) -> Self {
        self.settings.cookie_provider = Some(store);
        self
    }

    /// How many redirects are followed for one request. Default: 10. More is
    /// [`Error::TooManyRedirects`](crate::Error::TooManyRedirects); with 0 a redirect is handed back
    /// as any answer, as it also is where its body cannot be sent twice.
    pub fn max_redirects(mut self, limit: usize) -> Self {
        self.settings.max_redirects = Some(limit);
        self
    }

    /// A header that goes with every request that does not have it already, and with the refresh:
    /// to the origins that the token goes to, and to no other. A request that has been redirected
    /// elsewhere has it neither there nor from there on.
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

    /// How long a request may take in all, unless it says otherwise itself. Default: no limit. See
    /// [`RequestBuilder::timeout`](crate::RequestBuilder::timeout).
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.settings.timeout = Some(limit);
        self
    }

    /// Sends the bare token in this header, in place of `Authorization: Bearer`.
    pub fn token_header<K>(self, name: K) -> Self
    where
        HeaderName: TryFrom<K>,
    {
        self.put_token("token_header", name, None)
    }

    /// Sends the token in this header, written by this function.
    pub fn token_header_with<K>(
        self,
        name: K,
        format: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self
    where
        HeaderName: TryFrom<K>,
    {
        self.put_token("token_header_with", name, Some(Box::new(format)))
    }

    fn put_token<K>(mut self, method: &'static str, name: K, format: Option<Format>) -> Self
    where
        HeaderName: TryFrom<K>,
    {
        match HeaderName::try_from(name) {
            Ok(name) => self.settings.token_header = Some(TokenHeader { name, format }),
            Err(_) => self.settings.refuse_header(method, "name"),
        }
        self
    }

    /// What the refresh endpoint does with a refresh token that was used before, which decides
    /// whether it is asked again at once when an answer was lost.
    ///
    /// Default: [`Profile::strict`], for most refresh tokens are single use, and those in cookies are
    /// no exception. Then an answer that was lost costs nobody the session while the access token
    /// lasts, and the endpoint is asked again when nothing else is left. Where it takes a used cookie
    /// again, [`Profile::multi_use`] or [`Profile::leeway`] recovers at once.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.settings.profile = Some(profile);
        self
    }

    /// How long before expiry a refresh may start while the token is still served. Default: 60 s;
    /// never more than a quarter of the token's lifetime.
    pub fn refresh_before(mut self, margin: Duration) -> Self {
        self.settings.refresh_before = Some(margin);
        self
    }

    /// How long a caller waits for a refresh. Default: 30 s. The refresh goes on without them.
    pub fn wait_timeout(mut self, limit: Duration) -> Self {
        self.settings.wait_timeout = Some(limit);
        self
    }

    /// Goes by this clock. Default: the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Some(Box::new(|builder| builder.clock(clock)));
        self
    }

    /// These statuses refuse the token, in place of 401. A challenge that comes with one is heeded,
    /// whichever it is.
    ///
    /// Numbers below 100 or above 999 are no statuses and match nothing.
    pub fn status_codes(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.with_refusals(|rules| rules.status_codes(valid(statuses)))
    }

    /// These statuses refuse the token too (403, 419). A challenge that comes with one is heeded.
    pub fn also_status_codes(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.with_refusals(|rules| rules.also_status_codes(valid(statuses)))
    }

    /// Answers for which this is true refuse the token too. It sees status, headers and URL.
    pub fn refused_when(self, refused: impl Fn(&Response) -> bool + Send + Sync + 'static) -> Self {
        self.with_refusals(|rules| rules.refused_when(refused))
    }

    /// Answers whose JSON body says so refuse the token too, whatever their status: for APIs that
    /// answer 200 with a code of their own.
    ///
    /// This applies to answers to GET and HEAD with a JSON body of at most 64 KiB. Other answers are
    /// not read. A match is confirmed before it counts: see [`BodyRule`].
    pub fn refused_when_body(
        self,
        refused: impl Fn(StatusCode, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.body_rule(BodyRule::json(refused))
    }

    /// Answers whose body matches this rule refuse the token too: for another content type than
    /// JSON, and for other methods than GET and HEAD.
    pub fn body_rule(self, rule: BodyRule) -> Self {
        self.with_refusals(|rules| rules.refused_when_body(rule))
    }

    /// The path that confirms a match of a body rule: `/-/whoami`. See [`BodyRule`].
    ///
    /// Without it, at most one refresh in 10 s confirms a match. The path begins with a single `/`;
    /// `build` fails for a text that is not a [`ProbePath`](token_rotator::middleware::ProbePath).
    pub fn probe(mut self, path: impl AsRef<str>) -> Self {
        match path.as_ref().parse() {
            Ok(path) => self.with_refusals(|rules| rules.probe(path)),
            Err(error) => {
                let bad = &mut self.settings.bad_setting;
                bad.get_or_insert(BuildError::Rotator(error));
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

/// Those that are statuses.
fn valid(statuses: impl IntoIterator<Item = u16>) -> impl Iterator<Item = StatusCode> {
    let statuses = statuses.into_iter();
    statuses.filter_map(|status| StatusCode::from_u16(status).ok())
}

impl Settings {
    /// Remembers the first header that cannot be used.
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
