//! The running `issuer` and how to talk to it: HTTP/1.1 as it stands on the wire, so that a reset
//! and a close can be told apart.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take that is sure to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// `token-rotator issuer --json` with some flags, until it is dropped.
pub(crate) struct Running {
    child: Child,
    endpoints: Value,
    patience: Duration,
}

/// What a client holds after a sign-in or a refresh.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    /// `None` where the answer brought none.
    pub(crate) refresh: Option<String>,
}

/// An answer, or what became of the connection: [`ErrorKind::UnexpectedEof`] is a close.
pub(crate) type Answered = Result<Reply, ErrorKind>;

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
    head: String,
}

impl Running {
    /// Starts it and waits until it has printed where it is.
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
            patience: PATIENCE,
        }
    }

    /// For an answer that may never come.
    pub(crate) fn patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The address printed under this name.
    pub(crate) fn url(&self, name: &str) -> &str {
        self.endpoints[name].as_str().expect("an address")
    }

    /// Signs in as the client `demo`, with the password grant (RFC 6749 section 4.3).
    pub(crate) fn sign_in(&self) -> Tokens {
        let form = "grant_type=password&username=alice&password=a&client_id=demo";
        Tokens::from(&self.post("token", form).expect("an answer"))
    }

    /// Redeems a refresh token as the client `demo`.
    pub(crate) fn refresh(&self, tokens: &Tokens) -> Answered {
        let refresh = tokens.refresh.as_deref().expect("a refresh token");
        self.post(
            "token",
            &format!("grant_type=refresh_token&client_id=demo&refresh_token={refresh}"),
        )
    }

    /// What the API's echo says to an access token: the status.
    pub(crate) fn echo(&self, access: &str) -> u16 {
        let authorization = format!("authorization: Bearer {access}\r\n");
        let answer = self.send("GET", self.url("echo"), &authorization, "");
        answer.expect("an answer").status
    }

    /// Posts a form to the address printed under this name.
    pub(crate) fn post(&self, name: &str, form: &str) -> Answered {
        let headers = "content-type: application/x-www-form-urlencoded\r\n";
        self.send("POST", self.url(name), headers, form)
    }

    /// What both servers have counted.
    pub(crate) fn counters(&self) -> Value {
        let answer = self.send("GET", self.url("counters"), "", "");
        answer.expect("an answer").json()
    }

    /// One request over a connection of its own.
    pub(crate) fn send(&self, method: &str, url: &str, headers: &str, body: &str) -> Answered {
        let address = url.trim_start_matches("http://");
        let (authority, path) = address.split_once('/').expect("a path");
        let mut stream = TcpStream::connect(authority).expect("a connection");
        let patience = Some(self.patience);
        stream.set_read_timeout(patience).expect("a timeout");
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

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which the test will have noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?} is no JSON"))
    }

    /// The value of a header, if it is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl From<&Reply> for Tokens {
    fn from(reply: &Reply) -> Self {
        let json = reply.json();
        let field = |name: &str| json[name].as_str().map(str::to_owned);
        Self {
            access: field("access_token").unwrap_or_else(|| panic!("{json} brings no token")),
            refresh: field("refresh_token"),
        }
    }
}
