//! The fixture of the proxy tests: an issuer, an upstream, a session and a proxy between caller and
//! upstream.

use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::Value;
use token_rotator::{Clock, Event, Rotator, SystemClock, TokenSet};
use token_rotator_oauth2::refresh_token;
use token_rotator_proxy::{Config, Handle, Listen, Listener, Protocol, Route};
use token_rotator_reqwest::ReqwestTransport;
use token_rotator_testkit::{Grant, Issuer, Upstream};

pub(crate) struct ProxyFixture {
    pub(crate) issuer: Issuer,
    pub(crate) upstream: Upstream,
    pub(crate) rotator: Rotator,
    pub(crate) grant: Grant,
    pub(crate) proxy: Handle,
    pub(crate) client: Client,
}

impl ProxyFixture {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Starts a proxy with one route to the upstream and one thread; `change` edits the
    /// configuration first.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let issuer = Issuer::builder().start().await.expect("an issuer");
        let upstream = Upstream::start(&issuer).await.expect("an upstream");
        let url = upstream.url().to_owned();
        Self::build(issuer, upstream, &url, SystemClock, |_| {}, change).await
    }

    /// Starts a proxy with an event listener on its session.
    pub(crate) async fn with_listener(
        listen: impl Fn(&Event) + Send + Sync + 'static,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let issuer = Issuer::builder().start().await.expect("an issuer");
        let upstream = Upstream::start(&issuer).await.expect("an upstream");
        let url = upstream.url().to_owned();
        Self::build(issuer, upstream, &url, SystemClock, listen, change).await
    }

    /// Starts a proxy whose session uses the given clock.
    pub(crate) async fn with_clock(clock: impl Clock) -> Self {
        let issuer = Issuer::builder().start().await.expect("an issuer");
        let upstream = Upstream::start(&issuer).await.expect("an upstream");
        let url = upstream.url().to_owned();
        Self::build(issuer, upstream, &url, clock, |_| {}, |_| {}).await
    }

    /// Starts a proxy in front of the upstream at `url`.
    pub(crate) async fn with_upstream(url: &str, change: impl FnOnce(&mut Config)) -> Self {
        let issuer = Issuer::builder().start().await.expect("an issuer");
        let upstream = Upstream::start(&issuer).await.expect("an upstream");
        Self::build(issuer, upstream, url, SystemClock, |_| {}, change).await
    }

    async fn build(
        issuer: Issuer,
        upstream: Upstream,
        url: &str,
        clock: impl Clock,
        listen: impl Fn(&Event) + Send + Sync + 'static,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let grant = issuer.sign_in("alice");
        let rotator = session_by(clock, &issuer, url, listen);
        let stored = rotator.sign_in(tokens(&grant)).expect("usable tokens");
        stored.await.expect("kept in memory");
        let mut config = config(Route::new("api", url, rotator.clone()));
        change(&mut config);
        let proxy = Handle::start(&config).expect("a proxy");
        Self {
            issuer,
            upstream,
            rotator,
            grant,
            proxy,
            client: client(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        port(&self.proxy)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port())
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        let answer = self.client.get(self.url(path)).send().await;
        answer.expect("an answer")
    }

    pub(crate) async fn echo(&self) -> Value {
        let answer = self.get("/echo").await;
        assert_eq!(answer.status(), 200);
        answer.json().await.expect("JSON")
    }
}

/// Returns a configuration with one route, one thread and a free port on loopback.
pub(crate) fn config(route: Route) -> Config {
    let mut config = Config::new(vec![loopback()], vec![route]);
    config.workers = 1;
    config
}

pub(crate) fn loopback() -> Listener {
    Listener {
        listen: Listen::Tcp("127.0.0.1:0".parse().expect("an address")),
        public: false,
    }
}

pub(crate) fn port(proxy: &Handle) -> u16 {
    let addresses = proxy.listening();
    let port = addresses.iter().find_map(|address| match address {
        Listen::Tcp(address) => Some(address.port()),
        _ => None,
    });
    port.expect("a TCP listener")
}

/// Returns a session whose token may be sent to `upstream`.
pub(crate) fn session(issuer: &Issuer, upstream: &str) -> Rotator {
    session_by(SystemClock, issuer, upstream, |_| {})
}

fn session_by(
    clock: impl Clock,
    issuer: &Issuer,
    upstream: &str,
    listen: impl Fn(&Event) + Send + Sync + 'static,
) -> Rotator {
    let source = refresh_token(issuer.token_url(), "demo")
        .transport(ReqwestTransport::new().expect("a transport"))
        .build()
        .expect("a source");
    Rotator::builder(source)
        .origin(upstream)
        .clock(clock)
        .on_event(listen)
        .build()
        .expect("a rotator")
}

pub(crate) fn tokens(grant: &Grant) -> TokenSet {
    TokenSet::bearer(grant.access_token.as_str())
        .with_refresh_token(grant.refresh_token.as_str())
        .expires_in(grant.expires_in)
}

pub(crate) fn client() -> Client {
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client")
}

/// Returns a client with prior knowledge of HTTP/2.
pub(crate) fn http2_client() -> Client {
    Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client")
}

/// Checks that the answer is a complete problem document and returns the name of its type.
pub(crate) async fn problem(answer: Response) -> String {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(body["status"], status);
    assert!(body["title"].is_string() && body["detail"].is_string());
    let kind = body["type"].as_str().expect("a type");
    let name = kind.strip_prefix("urn:token-rotator:problem:");
    name.expect("a type of this proxy").to_owned()
}

pub(crate) fn http2_upstream(config: &mut Config) {
    config.routes[0].protocol = Protocol::Http2;
}
