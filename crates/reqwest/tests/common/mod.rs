//! The fixture of all tests: an issuer, an upstream, and a client that is signed in.

#![allow(dead_code, reason = "no test binary uses all of it")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};
use token_rotator::Clock;
use token_rotator_reqwest::{
    Client, ClientBuilder, Event, Response, SecretString, Unset, WithParser,
};
use token_rotator_testkit::{Issuer, IssuerBuilder, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type TestResult = Result<(), Failure>;

/// The answer of the login and the refresh endpoint.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionAnswer {
    pub(crate) access_token: String,
    pub(crate) ws_token: String,
}

pub(crate) struct ClientFixture {
    pub(crate) issuer: Issuer,
    pub(crate) upstream: Upstream,
}

impl ClientFixture {
    pub(crate) async fn new() -> Self {
        Self::of(Issuer::builder()).await
    }

    pub(crate) async fn of(issuer: IssuerBuilder) -> Self {
        let issuer = issuer.start().await.expect("an issuer");
        let upstream = Upstream::start(&issuer).await.expect("an upstream");
        Self { issuer, upstream }
    }

    /// Returns a builder for a client of this upstream, without a source of tokens.
    pub(crate) fn builder(&self) -> ClientBuilder<Unset> {
        Client::builder()
            .base_url(self.upstream.url())
            .configure(reqwest::ClientBuilder::no_proxy)
    }

    /// Returns a builder that uses the given client.
    pub(crate) fn builder_with(&self, client: reqwest::Client) -> ClientBuilder<Unset> {
        let builder = Client::builder().base_url(self.upstream.url());
        builder.client(client)
    }

    /// Returns a builder for a client of this upstream, with a parser.
    pub(crate) fn builder_with_parser(&self) -> ClientBuilder<WithParser<SessionAnswer>> {
        self.builder()
            .on_refresh_success(|data: &SessionAnswer| &data.access_token)
    }

    /// Returns a client that is signed in as alice and has a refresh cookie.
    pub(crate) async fn signed_in(&self) -> Client {
        let api = self.builder_with_parser().build().expect("a client");
        login(&api, "alice").await;
        api
    }

    pub(crate) fn refreshes(&self) -> u64 {
        self.issuer.counters().refreshes
    }

    /// Number of refresh requests, whatever their outcome.
    pub(crate) fn refresh_requests(&self) -> u64 {
        self.issuer.counters().token_requests
    }

    /// Number of requests that reached this path of the upstream.
    pub(crate) fn request_count(&self, path: &str) -> usize {
        let record = self.upstream.record();
        record.iter().filter(|request| request.path == path).count()
    }
}

/// Signs in over HTTP and installs cookie and token.
pub(crate) async fn login(api: &Client, user: &str) {
    let credentials = json!({"user": user, "password": "any"});
    let request = api.post("/login").without_token().json(&credentials);
    let session: SessionAnswer = read(request.send().await.expect("a login")).await;
    api.set_access_token(session.access_token).expect("a token");
}

pub(crate) async fn read<T: serde::de::DeserializeOwned>(response: Response) -> T {
    assert_eq!(response.status(), 200);
    response.json().await.expect("JSON")
}

pub(crate) async fn echo(response: Response) -> Value {
    read(response).await
}

/// Fails a test that hangs; every test is much faster.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("done in time")
}

pub(crate) fn exposed_text(token: Option<SecretString>) -> Option<String> {
    use token_rotator::ExposeSecret as _;
    token.map(|token| token.expose_secret().to_owned())
}

/// Records lines in order; a test can wait for the next line.
#[derive(Clone)]
pub(crate) struct EventLog {
    lines: Arc<Mutex<Vec<String>>>,
    incoming: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>>,
    sender: mpsc::UnboundedSender<String>,
}

impl EventLog {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            lines: Arc::default(),
            incoming: Arc::new(tokio::sync::Mutex::new(receiver)),
            sender,
        }
    }

    pub(crate) fn push(&self, line: impl Into<String>) {
        let line = line.into();
        self.lines.lock().expect("unpoisoned").push(line.clone());
        let _ = self.sender.send(line);
    }

    /// Returns a listener for `on_event`.
    pub(crate) fn listener(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let log = self.clone();
        move |event| log.push(format!("{event:?}"))
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("unpoisoned").clone()
    }

    pub(crate) fn count(&self, start: &str) -> usize {
        let lines = self.lines();
        lines.iter().filter(|line| line.starts_with(start)).count()
    }

    /// Waits for the next line with this beginning.
    pub(crate) async fn wait_for(&self, start: &str) -> String {
        let mut incoming = self.incoming.lock().await;
        loop {
            let line = within(incoming.recv()).await.expect("a sender lives");
            if line.starts_with(start) {
                return line;
            }
        }
    }
}

/// A clock that a test advances.
#[derive(Clone, Default)]
pub(crate) struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000) + self.steady()
    }

    fn steady(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// Starts a server that redirects every request to `to` and requires no credentials.
pub(crate) async fn start_redirecting_server(to: String) -> String {
    start_redirecting_server_with(307, to).await
}

pub(crate) async fn start_redirecting_server_with(status: u16, to: String) -> String {
    start_server(move |_head| {
        format!(
            "HTTP/1.1 {status} There\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
    })
    .await
}

/// Starts a server that answers every request with the result of `answer` for its head.
pub(crate) async fn start_server(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            while !is_whole(&read) {
                match stream.read_buf(&mut read).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            let answer = answer(&String::from_utf8_lossy(&read));
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

/// Returns whether the request is complete, including its body.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.split_once("content-length: ");
    let length = length.and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}
