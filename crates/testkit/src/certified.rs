//! A certified issuer that none of us wrote: npm's `oidc-provider`, run as a child process.

mod expiries;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Set to a reason, it lets tests against the certified issuer be skipped on a machine that cannot
/// run it.
const WITHOUT: &str = "TOKEN_ROTATOR_WITHOUT_OIDC_PROVIDER";

/// npm's certified `oidc-provider` with single-use refresh tokens whose reuse revokes the grant,
/// and an API that asks it about every token.
///
/// It ends with this value: the child lives as long as its standard input is open.
#[derive(Debug)]
pub struct CertifiedIssuer {
    ready: Ready,
    _child: Child,
}

/// What it says of itself when it is ready.
#[derive(Clone, Deserialize)]
struct Ready {
    issuer: String,
    token_endpoint: String,
    revocation_endpoint: String,
    upstream: String,
    control: String,
    clients: Clients,
    access_token_seconds: u64,
}

#[derive(Clone, Deserialize)]
struct Clients {
    basic: CertifiedClient,
}

/// A client of the certified issuer that has a secret.
#[derive(Clone, Deserialize)]
pub struct CertifiedClient {
    /// Its name at the issuer.
    pub client_id: String,
    /// What it proves itself with.
    pub client_secret: String,
}

impl std::fmt::Debug for CertifiedClient {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CertifiedClient")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Ready")
            .field("token_endpoint", &self.token_endpoint)
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

/// A grant at the certified issuer, for its public client.
#[derive(Clone, Deserialize)]
pub struct CertifiedGrant {
    /// The grant's name at the issuer.
    pub grant_id: String,
    /// The client it was given to.
    pub client_id: String,
    /// Its first refresh token.
    pub refresh_token: String,
}

impl std::fmt::Debug for CertifiedGrant {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CertifiedGrant")
            .field("grant_id", &self.grant_id)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// What the certified issuer and its API have counted since they started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct CertifiedStats {
    /// Requests to the token endpoint.
    pub token_requests: u64,
    /// Refresh grants that succeeded.
    pub refreshes: u64,
    /// Token requests that were answered with an error.
    pub errors: u64,
    /// Refresh tokens that were presented a second time.
    pub reuses: u64,
    /// Grants revoked for it.
    pub grants_revoked: u64,
    /// Requests that the API answered.
    pub upstream_200: u64,
    /// Requests that the API refused.
    pub upstream_401: u64,
}

impl CertifiedIssuer {
    /// Starts it, with access tokens that live this long; it counts whole seconds.
    ///
    /// `None` where the environment says that this machine cannot run it; the reason is printed.
    ///
    /// # Panics
    ///
    /// If it does not start: its packages are installed by `cargo xtask test --only install`.
    pub async fn start(access_lifetime: Duration) -> Option<Self> {
        if let Ok(reason) = std::env::var(WITHOUT) {
            eprintln!("skipped, for want of the certified issuer: {reason}");
            return None;
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("oidc");
        assert!(
            folder.join("node_modules").is_dir(),
            "the certified issuer is not installed; run `cargo xtask test --only install`"
        );
        let mut child = Command::new("node")
            .arg(folder.join("issuer.mjs"))
            .arg("--access-token-seconds")
            .arg(access_lifetime.as_secs().to_string())
            .arg("--token-prefix")
            .arg("CANARY-7f3a-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node can be started");
        let output = child.stdout.take().expect("its output is piped");
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .await
            .expect("its output can be read");
        let ready = serde_json::from_str(&line).expect("it says where it can be reached");
        Some(Self {
            ready,
            _child: child,
        })
    }

    /// The client without a secret. It may have any address on 127.0.0.1 with the path `/callback` as its redirect URI.
    pub const PUBLIC_CLIENT: &str = "public-client";

    /// A client with a secret, which it puts into the `Authorization` header. It may have any grant that the public one may
    /// have, and client credentials.
    pub fn confidential_client(&self) -> &CertifiedClient {
        &self.ready.clients.basic
    }

    /// The issuer's identifier, under which its metadata lies. Users sign in there with any name and password.
    pub fn issuer_url(&self) -> &str {
        &self.ready.issuer
    }

    /// Where refresh tokens are exchanged.
    pub fn token_url(&self) -> &str {
        &self.ready.token_endpoint
    }

    /// Where tokens are revoked (RFC 7009).
    pub fn revocation_url(&self) -> &str {
        &self.ready.revocation_endpoint
    }

    /// The API's origin. `/echo` there answers whoever brings a good token.
    pub fn upstream_url(&self) -> &str {
        &self.ready.upstream
    }

    /// How long access tokens live.
    pub fn access_lifetime(&self) -> Duration {
        Duration::from_secs(self.ready.access_token_seconds)
    }

    /// A session of its public client, without any login.
    ///
    /// # Panics
    ///
    /// If the issuer does not answer.
    pub async fn sign_in(&self) -> CertifiedGrant {
        let grant = self.control(Method::POST, "/_mint").await;
        serde_json::from_value(grant).expect("a grant")
    }

    /// Every access token so far is refused from now on. Refresh tokens and grants stay.
    ///
    /// # Panics
    ///
    /// If the issuer does not answer.
    pub async fn expire_access_tokens(&self) {
        self.control(Method::POST, "/_expire").await;
    }

    /// Waits until half of the life of the access token that the API has taken last is over.
    ///
    /// # Panics
    ///
    /// If the API has taken no token yet, or the issuer does not answer.
    pub async fn half_life(&self) {
        self.control(Method::GET, "/_aged?share=0.5").await;
    }

    /// Waits until the access token that the API has taken last has expired.
    ///
    /// # Panics
    ///
    /// If the API has taken no token yet, or the issuer does not answer.
    pub async fn expiry(&self) {
        self.control(Method::GET, "/_aged?share=1").await;
    }

    /// The API holds its next refusals back until so many requests wait for one, then refuses all of
    /// them together; those that come after are refused as they come.
    ///
    /// # Panics
    ///
    /// If the issuer does not answer.
    pub async fn refuse_together(&self, requests: u64) {
        let fault = serde_json::json!({ "hold_refusals": requests });
        self.control_with(Method::POST, "/_fault", fault.to_string())
            .await;
    }

    /// What was counted since it started.
    ///
    /// # Panics
    ///
    /// If the issuer does not answer.
    pub async fn stats(&self) -> CertifiedStats {
        let stats = self.control(Method::GET, "/_stats").await;
        serde_json::from_value(stats).expect("counters")
    }

    /// Whether the grant is good.
    ///
    /// # Panics
    ///
    /// If the issuer does not answer.
    pub async fn alive(&self, grant: &CertifiedGrant) -> bool {
        let path = format!("/_alive?grant_id={}", grant.grant_id);
        self.control(Method::GET, &path).await["alive"] == true
    }

    /// One request to the fixture's own controls.
    async fn control(&self, method: Method, path: &str) -> Value {
        self.control_with(method, path, String::new()).await
    }

    /// The same with a body of JSON.
    async fn control_with(&self, method: Method, path: &str, body: String) -> Value {
        let authority = self.ready.control.trim_start_matches("http://");
        let stream = TcpStream::connect(authority)
            .await
            .expect("the fixture is there");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("it speaks HTTP");
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", authority)
            .body(Full::<Bytes>::from(body))
            .expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        let status = answer.status();
        let body = answer
            .into_body()
            .collect()
            .await
            .expect("its body")
            .to_bytes();
        connection.abort();
        assert!(
            status.is_success(),
            "the fixture answered {path} with {status}"
        );
        serde_json::from_slice(&body).expect("JSON")
    }
}
