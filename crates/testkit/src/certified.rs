//! A certified issuer that this project did not write: npm's `oidc-provider`, run as a child process.

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

/// Names an environment variable. If it is set, tests skip the certified issuer and print its value as the reason.
const SKIP_VARIABLE: &str = "TOKEN_ROTATOR_WITHOUT_OIDC_PROVIDER";

/// npm's certified `oidc-provider`, and an API that asks it about every token.
///
/// Refresh tokens are single use, and a reused refresh token revokes the grant. The child process ends when its
/// standard input closes, so dropping this value ends it.
#[derive(Debug)]
pub struct CertifiedIssuer {
    ready: ReadyMessage,
    _child: Child,
}

/// The line of JSON that the child process prints when it is ready.
#[derive(Clone, Deserialize)]
struct ReadyMessage {
    issuer: String,
    token_endpoint: String,
    revocation_endpoint: String,
    upstream: String,
    control: String,
    clients: ReadyClients,
    access_token_seconds: u64,
}

#[derive(Clone, Deserialize)]
struct ReadyClients {
    basic: CertifiedClient,
}

/// A client of the certified issuer with a secret.
#[derive(Clone, Deserialize)]
pub struct CertifiedClient {
    /// The client id.
    pub client_id: String,
    /// The client secret.
    pub client_secret: String,
}

impl std::fmt::Debug for CertifiedClient {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CertifiedClient")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ReadyMessage {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ReadyMessage")
            .field("token_endpoint", &self.token_endpoint)
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

/// A grant of the certified issuer's public client.
#[derive(Clone, Deserialize)]
pub struct CertifiedGrant {
    /// The grant's id at the issuer.
    pub grant_id: String,
    /// The id of the grant's client.
    pub client_id: String,
    /// The grant's first refresh token.
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

/// Counters of the certified issuer and its API since their start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct CertifiedStats {
    /// Requests to the token endpoint.
    pub token_requests: u64,
    /// Refresh grants that succeeded.
    pub refreshes: u64,
    /// Token requests that the issuer answered with an error.
    pub errors: u64,
    /// Refresh tokens that a client presented a second time.
    pub reuses: u64,
    /// Grants that the issuer revoked after a reuse.
    pub grants_revoked: u64,
    /// Requests that the API accepted.
    pub upstream_200: u64,
    /// Requests that the API refused.
    pub upstream_401: u64,
}

impl CertifiedIssuer {
    /// Starts the issuer. `access_lifetime` counts in whole seconds.
    ///
    /// Returns `None` and prints the reason if `TOKEN_ROTATOR_WITHOUT_OIDC_PROVIDER` is set.
    ///
    /// # Panics
    ///
    /// Panics if the issuer does not start. `cargo xtask test --only install` installs its packages.
    pub async fn start(access_lifetime: Duration) -> Option<Self> {
        if let Ok(reason) = std::env::var(SKIP_VARIABLE) {
            eprintln!("skipped: the certified issuer cannot run: {reason}");
            return None;
        }
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("oidc");
        assert!(
            directory.join("node_modules").is_dir(),
            "the certified issuer is not installed; run `cargo xtask test --only install`"
        );
        let mut child = Command::new("node")
            .arg(directory.join("issuer.mjs"))
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
        let ready = serde_json::from_str(&line).expect("the ready message");
        Some(Self {
            ready,
            _child: child,
        })
    }

    /// Id of the client without a secret. Its redirect URI may be any address on 127.0.0.1 with the path `/callback`.
    pub const PUBLIC_CLIENT: &str = "public-client";

    /// Returns the client that sends its secret in the `Authorization` header. It may use all grants of the public
    /// client, and client credentials.
    pub fn confidential_client(&self) -> &CertifiedClient {
        &self.ready.clients.basic
    }

    /// Returns the issuer's identifier, which is also the base URL of its metadata. Users sign in with any name and
    /// password.
    pub fn issuer_url(&self) -> &str {
        &self.ready.issuer
    }

    /// Returns the URL of the token endpoint.
    pub fn token_url(&self) -> &str {
        &self.ready.token_endpoint
    }

    /// Returns the URL of the revocation endpoint (RFC 7009).
    pub fn revocation_url(&self) -> &str {
        &self.ready.revocation_endpoint
    }

    /// Returns the API's origin. `/echo` accepts every request with a valid token.
    pub fn upstream_url(&self) -> &str {
        &self.ready.upstream
    }

    /// Returns the lifetime of access tokens.
    pub fn access_lifetime(&self) -> Duration {
        Duration::from_secs(self.ready.access_token_seconds)
    }

    /// Creates a grant of the public client without a login.
    ///
    /// # Panics
    ///
    /// Panics if the issuer does not respond.
    pub async fn sign_in(&self) -> CertifiedGrant {
        let grant = self.control(Method::POST, "/_mint").await;
        serde_json::from_value(grant).expect("a grant")
    }

    /// Expires every access token issued so far. Refresh tokens and grants stay valid.
    ///
    /// # Panics
    ///
    /// Panics if the issuer does not respond.
    pub async fn expire_access_tokens(&self) {
        self.control(Method::POST, "/_expire").await;
    }

    /// Waits until `share` of the newest access token's lifetime has passed; 1 is its end. A revocation of that token
    /// does not end the wait.
    ///
    /// # Panics
    ///
    /// Panics if `share` is not from 0 to 1, if the issuer has issued no access token, or if it does not respond.
    pub async fn aged(&self, share: f64) {
        let path = format!("/_aged?share={share}");
        self.control(Method::GET, &path).await;
    }

    /// Waits until the newest access token has expired.
    ///
    /// # Panics
    ///
    /// Panics if the issuer has issued no access token, or if it does not respond.
    pub async fn expiry(&self) {
        self.aged(1.0).await;
    }

    /// Makes the API hold its next refusals until `requests` requests wait for one, and then send these refusals
    /// together. The API sends later refusals at once.
    ///
    /// # Panics
    ///
    /// Panics if the issuer does not respond.
    pub async fn refuse_together(&self, requests: u64) {
        let fault = serde_json::json!({ "hold_refusals": requests });
        self.control_with(Method::POST, "/_fault", fault.to_string())
            .await;
    }

    /// Returns the counters since the start of the issuer.
    ///
    /// # Panics
    ///
    /// Panics if the issuer does not respond.
    pub async fn stats(&self) -> CertifiedStats {
        let stats = self.control(Method::GET, "/_stats").await;
        serde_json::from_value(stats).expect("counters")
    }

    /// Returns whether the grant is valid.
    ///
    /// # Panics
    ///
    /// Panics if the issuer does not respond.
    pub async fn alive(&self, grant: &CertifiedGrant) -> bool {
        let path = format!("/_alive?grant_id={}", grant.grant_id);
        self.control(Method::GET, &path).await["alive"] == true
    }

    /// Sends a request without a body to the control interface of the child process.
    async fn control(&self, method: Method, path: &str) -> Value {
        self.control_with(method, path, String::new()).await
    }

    /// Sends a request with a JSON body to the control interface of the child process.
    async fn control_with(&self, method: Method, path: &str, body: String) -> Value {
        let authority = self.ready.control.trim_start_matches("http://");
        let stream = TcpStream::connect(authority)
            .await
            .expect("the control interface accepts connections");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("the control interface speaks HTTP");
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", authority)
            .body(Full::<Bytes>::from(body))
            .expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .expect("its body")
            .to_bytes();
        connection.abort();
        assert!(
            status.is_success(),
            "the control interface answered {path} with {status}"
        );
        serde_json::from_slice(&body).expect("JSON")
    }
}
