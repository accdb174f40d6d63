//! An issuer whose answers a test writes itself.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::user::{CLIENT, CommandOutput, User};

/// Metadata, and scripted answers of the token endpoint. It serves until the test ends.
#[derive(Clone)]
pub(crate) struct FakeIssuer {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    metadata: Value,
    answers: VecDeque<(u16, String)>,
    requests: Vec<TokenRequest>,
}

/// A request to the token endpoint.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest {
    pub(crate) authorization: Option<String>,
    pub(crate) form: String,
}

impl FakeIssuer {
    /// Starts an issuer whose metadata has these fields too.
    pub(crate) fn start(more: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let mut metadata = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
        });
        let fields = metadata.as_object_mut().expect("an object");
        for (name, value) in more.as_object().expect("an object") {
            // `URL` stands for the address of this issuer.
            let value = value.to_string().replace("URL", &url);
            fields.insert(name.clone(), serde_json::from_str(&value).expect("JSON"));
        }
        let state = Arc::new(Mutex::new(State {
            metadata,
            answers: VecDeque::new(),
            requests: Vec::new(),
        }));
        let fake = Self { url, state };
        let served = fake.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // A closed connection is ignored.
                let _ = served.serve(&stream);
            }
        });
        fake
    }

    /// Adds an answer of the token endpoint. The last answer is repeated.
    pub(crate) fn answer(&self, status: u16, body: impl Into<Value>) -> &Self {
        // A text is the body itself, and every other value is JSON.
        let body = match body.into() {
            Value::String(text) => text,
            json => json.to_string(),
        };
        let answer = (status, body);
        self.state
            .lock()
            .expect("no panic")
            .answers
            .push_back(answer);
        self
    }

    /// Answers every later request of the token endpoint like this.
    pub(crate) fn answer_always(&self, status: u16, body: impl Into<Value>) {
        self.state.lock().expect("no panic").answers.clear();
        self.answer(status, body);
    }

    pub(crate) fn requests(&self) -> Vec<TokenRequest> {
        self.state.lock().expect("no panic").requests.clone()
    }

    /// Returns the form of the last request.
    pub(crate) fn last_form(&self) -> String {
        self.requests().pop().expect("a request").form
    }

    /// Signs in with a refresh token and these flags.
    pub(crate) fn login(&self, user: &User, flags: &[&str]) -> CommandOutput {
        let mut command = user.command(&["login", "--grant", "refresh-token"]);
        command.args(["--client-id", CLIENT, "--issuer", &self.url]);
        command.args(flags);
        self.shown(user.with_input(command, "r0"))
    }

    /// Replaces the address of this issuer.
    pub(crate) fn shown(&self, mut output: CommandOutput) -> CommandOutput {
        output.stderr = output.stderr.replace(&self.url, "http://FAKE");
        output.stdout = output.stdout.replace(&self.url, "http://FAKE");
        output
    }

    fn serve(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut parts = line.split(' ').map(str::to_owned);
        let (method, path) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let (mut length, mut authorization) = (0, None);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(": ") else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap_or(0),
                "authorization" => authorization = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut form = vec![0; length];
        reader.read_exact(&mut form)?;
        let form = String::from_utf8_lossy(&form).into_owned();
        let (status, body) = self.respond(&method, &path, authorization, form);
        write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn respond(
        &self,
        method: &str,
        path: &str,
        authorization: Option<String>,
        form: String,
    ) -> (u16, String) {
        let mut state = self.state.lock().expect("no panic");
        match (method, path) {
            ("POST", "/token") => {
                state.requests.push(TokenRequest {
                    authorization,
                    form,
                });
                match state.answers.len() {
                    0 => (500, String::new()),
                    1 => state.answers[0].clone(),
                    _ => state.answers.pop_front().expect("an answer"),
                }
            }
            ("GET", path) if path.starts_with("/.well-known/oauth-authorization-server") => {
                (200, state.metadata.to_string())
            }
            _ => (404, String::new()),
        }
    }
}

/// Returns an unsigned JWT with these claims.
pub(crate) fn jwt(claims: &Value) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2ln", part("{}"), part(&claims.to_string()))
}

/// Returns the present time in seconds since 1970.
pub(crate) fn now() -> u64 {
    let now = std::time::SystemTime::now();
    let since = now
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    since.as_secs()
}
