//! A running proxy for tests.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use token_rotator_testkit::Upstream;

use crate::user::User;

pub(crate) struct Sidecar {
    child: Child,
    pub(crate) url: String,
    pub(crate) admin: Option<String>,
    log: Option<JoinHandle<String>>,
}

impl Sidecar {
    /// Starts a proxy of this user to `upstream`, on a free port.
    pub(crate) fn start(user: &User, upstream: &Upstream) -> Self {
        Self::start_with(user, &["--upstream", upstream.url()])
    }

    pub(crate) fn start_with(user: &User, more: &[&str]) -> Self {
        let mut command = user.command(&["proxy", "--listen", "127.0.0.1:0", "--json"]);
        command.args(more);
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let log = child.stderr.take().expect("its log");
        let log = std::thread::spawn(move || Self::read(log));
        let mut line = String::new();
        out.read_line(&mut line).expect("its addresses");
        let Ok(addresses) = serde_json::from_str::<Value>(&line) else {
            panic!("it did not start: {}", log.join().expect("its log"));
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            child,
            url: text(&addresses["listen"][0]).expect("an address"),
            admin: text(&addresses["admin"]),
            log: Some(log),
        }
    }

    fn read(mut log: ChildStderr) -> String {
        let mut text = String::new();
        log.read_to_string(&mut text).expect("text");
        text
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).expect("a pid");
        let id = rustix::process::Pid::from_raw(id).expect("a pid");
        rustix::process::kill_process(id, signal).expect("signal sent");
    }

    /// Waits for the end of the process. Returns its exit code and its log.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("it ended");
        let log = self.log.take().expect("read only once");
        (status.code(), log.join().expect("its log"))
    }

    pub(crate) fn end(self) -> (Option<i32>, String) {
        self.signal(rustix::process::Signal::TERM);
        self.ended()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // Killing fails if the process has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a client")
}
