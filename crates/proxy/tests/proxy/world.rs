//! An issuer, an upstream, a session that is signed in, and the proxy in front.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use token_rotator::{ExposeSecret, Rotator, SourceError, TokenSet, TokenSource};
use token_rotator_proxy::{Config, Handle, Listen, Listener, Route};
use token_rotator_testkit::{Grant, Issuer, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct World {
    pub(crate) issuer: Issuer,
    pub(crate) upstream: Upstream,
    pub(crate) rotator: Rotator,
    pub(crate) grant: Grant,
    pub(crate) proxy: Handle,
    pub(crate) address: SocketAddr,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(set: impl FnOnce(&mut Config)) -> Self {
        let issuer = Issuer::builder().start().await.expect("an issuer");
        let upstream = Upstream::start(&issuer).await.expect("an upstream");
        let grant = issuer.sign_in("alice");
        let rotator = session(&issuer, &[upstream.url()]);
        let tokens = TokenSet::bearer(grant.access_token.as_str())
            .with_refresh_token(grant.refresh_token.as_str())
            .expires_in(grant.expires_in);
        rotator.sign_in(tokens).expect("usable tokens");
        let mut config = config(vec![Route::new("api", upstream.url(), rotator.clone())]);
        set(&mut config);
        let proxy = Handle::start(&config).expect("a proxy");
        let address = tcp(&proxy);
        Self {
            issuer,
            upstream,
            rotator,
            grant,
            proxy,
            address,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        client()
            .get(self.url(path))
            .send()
            .await
            .expect("an answer")
    }

    pub(crate) fn refreshes(&self) -> u64 {
        self.issuer.counters().refreshes
    }

    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        raw(self.address, request).await
    }
}

/// One route or more on one loopback port with two workers.
pub(crate) fn config(routes: Vec<Route>) -> Config {
    Config {
        listeners: vec![loopback()],
        routes,
        workers: 2,
        ..Config::default()
    }
}

pub(crate) fn loopback() -> Listener {
    Listener {
        listen: Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))),
        public: false,
    }
}

pub(crate) fn tcp(proxy: &Handle) -> SocketAddr {
    let listening = proxy.listening();
    let address = listening.iter().find_map(|place| match place {
        Listen::Tcp(address) => Some(*address),
        _ => None,
    });
    address.expect("a TCP listener")
}

/// A session that refreshes at the issuer; nobody is signed in yet.
pub(crate) fn session(issuer: &Issuer, origins: &[&str]) -> Rotator {
    let mut builder =
        Rotator::builder(source(issuer.token_url())).runtime(tokio::runtime::Handle::current());
    for origin in origins {
        builder = builder.origin(origin);
    }
    builder.build().expect("a rotator")
}

/// A caller that keeps to one connection as long as it can and follows nothing.
pub(crate) fn client() -> reqwest::Client {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    client.build().expect("a client")
}

/// The refresh token grant (RFC 6749 section 6), as short as it can be written.
fn source(token_url: &str) -> impl TokenSource + use<> {
    let token_url = token_url.to_owned();
    move |last: Option<Arc<TokenSet>>| {
        let token_url = token_url.clone();
        async move {
            let last = last.as_ref().and_then(|last| last.refresh_token());
            let Some(refresh_token) = last.map(|token| token.expose_secret().to_owned()) else {
                return Err(SourceError::terminal("nothing to refresh from"));
            };
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", "demo"),
                ("refresh_token", refresh_token.as_str()),
            ];
            let answer = client().post(token_url).form(&form).send().await;
            let answer = answer.map_err(|_| SourceError::uncertain("no answer"))?;
            if answer.status() == 503 {
                return Err(
                    SourceError::transient("not now").with_retry_after(Duration::from_secs(7))
                );
            }
            if !answer.status().is_success() {
                return Err(SourceError::terminal("refused"));
            }
            let answer: serde_json::Value = answer.json().await.expect("JSON");
            let field = |name: &str| answer[name].as_str().expect("a string").to_owned();
            let lifetime = answer["expires_in"].as_u64().expect("a number");
            Ok(TokenSet::bearer(field("access_token"))
                .with_refresh_token(field("refresh_token"))
                .expires_in(Duration::from_secs(lifetime)))
        }
    }
}

/// Writes these bytes and reads until the proxy closes the connection.
pub(crate) async fn raw(address: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request.as_ref()).await.expect("written");
    let mut answer = Vec::new();
    // A reset after an answer leaves the answer read.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The name in a problem's type.
pub(crate) async fn problem(answer: reqwest::Response) -> (u16, String) {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let body: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(body["status"], status);
    let kind = body["type"].as_str().expect("a type");
    let name = kind
        .strip_prefix("urn:token-rotator:problem:")
        .expect("ours");
    (status, name.to_owned())
}
