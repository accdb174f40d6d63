//! A running `issuer`, and an HTTP/1.1 client over raw sockets that distinguishes a reset from a close.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// How long an expected answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// `token-rotator issuer --json` with some flags. Dropping it ends the process.
pub(crate) struct RunningIssuer {
    child: Child,
    endpoints: Value,
    timeout: Duration,
}

/// The tokens of a client after a sign-in or a refresh.
#[derive(Clone, Debug)]
pub(crate) struct TokenPair {
    pub(crate) access: String,
    /// `None` if the answer had no refresh token.
    pub(crate) refresh: Option<String>,
}

/// An answer, or the error of the connection: [`ErrorKind::UnexpectedEof`] is a close.
pub(crate) type AnswerResult = Result<Reply, ErrorKind>;

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
    head: String,
}

impl RunningIssuer {
    /// Starts the issuer and waits until it has printed its addresses.
    pub(crate) fn with(flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_token-rotator"))
            .args(["issuer", "--json"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let endpoints = serde_json::from_str(&line);
        Self {
            child,
            endpoints: endpoints.unwrap_or_else(|_| panic!("{flags:?} printed {line:?}")),
            timeout: ANSWER_TIMEOUT,
        }
    }

    /// Sets the read timeout, for an answer that may never arrive.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Returns the address printed under this name.
    pub(crate) fn url(&self, name: &str) -> &str {
        self.endpoints[name].as_str().expect("an address")
    }

    /// Signs in as the client `demo`, with the password grant (RFC 6749 section 4.3).
    pub(crate) fn sign_in(&self) -> TokenPair {
        let form = "grant_type=password&username=alice&password=a&client_id=demo";
        TokenPair::from(&self.post("token", form).expect("an answer"))
    }

    /// Redeems a refresh token as the client `demo`.
    pub(crate) fn refresh(&self, tokens: &TokenPair) -> AnswerResult {
        let refresh = tokens.refresh.as_deref().expect("a refresh token");
        self.post(
            "token",
            &format!("grant_type=refresh_token&client_id=demo&refresh_token={refresh}"),
        )
    }

    /// Sends an access token to the API's echo. Returns the status.
    pub(crate) fn echo(&self, access: &str) -> u16 {
        let authorization = format!("authorization: Bearer {access}\r\n");
        let answer = self.send("GET", self.url("echo"), &authorization, "");
        answer.expect("an answer").status
    }

    /// Posts a form to the address printed under this name.
    pub(crate) fn post(&self, name: &str, form: &str) -> AnswerResult {
        let headers = "content-type: application/x-www-form-urlencoded\r\n";
        self.send("POST", self.url(name), headers, form)
    }

    /// Returns the counters of both servers.
    pub(crate) fn counters(&self) -> Value {
        let answer = self.send("GET", self.url("counters"), "", "");
        answer.expect("an answer").json()
    }

    /// Sends one request over a new connection.
    pub(crate) fn send(&self, method: &str, url: &str, headers: &str, body: &str) -> AnswerResult {
        let address = url.trim_start_matches("http://");
        let (authority, path) = address.split_once('/').expect("a path");
        let mut stream = TcpStream::connect(authority).expect("a connection");
        let timeout = Some(self.timeout);
        stream.set_read_timeout(timeout).expect("a timeout");
        let length = body.len();
        let request = format!(
            "{method} /{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\
             content-length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        read.map_err(|error| error.kind())?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or(ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).expect("a status");
        Ok(Reply {
            status: status.parse().expect("a number"),
            body: body.to_owned(),
            head: head.to_owned(),
        })
    }
}

impl Drop for RunningIssuer {
    fn drop(&mut self) {
        // Killing fails if the process has ended by itself, which a test notices elsewhere.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?} is no JSON"))
    }

    /// Returns the value of a header. Returns `None` if the answer does not have it.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl From<&Reply> for TokenPair {
    fn from(reply: &Reply) -> Self {
        let json = reply.json();
        let field = |name: &str| json[name].as_str().map(str::to_owned);
        Self {
            access: field("access_token").unwrap_or_else(|| panic!("{json} has no token")),
            refresh: field("refresh_token"),
        }
    }
}
