//! A Redis server.

use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Program;
use super::process::{ServerProcess, TemporaryDirectory, run, start_on_free_port};

const PROGRAM: Program = Program {
    name: "redis-server",
    other_directories: &["/usr/bin"],
    package: "redis-server",
    skip_variable: "TOKEN_ROTATOR_WITHOUT_REDIS",
};

/// A Redis server without persistence.
#[derive(Debug)]
pub struct RedisServer {
    process: ServerProcess,
    port: u16,
    arguments: Vec<String>,
    directory: TemporaryDirectory,
}

impl RedisServer {
    /// Returns why tests that need Redis are skipped. Returns `None` if it can run.
    ///
    /// # Panics
    ///
    /// Panics if Redis is not installed and the environment variable `CI` is `true`.
    pub fn skip_reason() -> Option<String> {
        PROGRAM.skip_reason()
    }

    /// Starts a server. Returns `None` and prints the reason if this machine cannot run it.
    ///
    /// # Panics
    ///
    /// Panics if the server does not start.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Starts a server with additional arguments, such as `--maxmemory 1mb`.
    ///
    /// # Panics
    ///
    /// Panics if the server does not start.
    pub async fn start_with(arguments: &[&str]) -> Option<Self> {
        if let Some(reason) = Self::skip_reason() {
            eprintln!("{reason}");
            return None;
        }
        let _prefix = token_rotator_issuer::begin_leak_search();
        let directory = TemporaryDirectory::new("redis");
        let arguments: Vec<String> = arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect();
        let spawn = |port| spawn(&directory, port, &arguments);
        let (process, port) = start_on_free_port(&directory, spawn, responds).await;
        Some(Self {
            process,
            port,
            arguments,
            directory,
        })
    }

    /// Returns the server's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Suspends the server: connections stay open, and the server does not respond.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Resumes the server after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Kills the server without a shutdown, like a crash.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills the server and starts an empty server on the same port.
    ///
    /// # Panics
    ///
    /// Panics if the server does not start.
    pub async fn restart_empty(&mut self) {
        self.process.kill();
        self.process = spawn(&self.directory, self.port, &self.arguments);
        let port = self.port;
        let ready = self.process.wait_until_ready(|| responds(port)).await;
        assert!(ready, "redis-server does not start again");
    }

    /// Runs one command with `redis-cli --raw`, and returns its output.
    ///
    /// # Panics
    ///
    /// Panics if the server does not respond.
    pub fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "--raw", "-p"]);
        command.arg(self.port.to_string()).args(arguments);
        run(command)
    }

    /// Returns all keys and values, as `redis-cli --raw` prints them.
    ///
    /// # Panics
    ///
    /// Panics if the server does not respond.
    pub fn dump(&self) -> String {
        let mut dump = String::new();
        for key in self.command(&["--scan"]).lines() {
            let read_command: &[&str] = match self.command(&["TYPE", key]).trim() {
                "hash" => &["HGETALL", key],
                _ => &["GET", key],
            };
            dump.push_str(key);
            dump.push('\n');
            dump.push_str(&self.command(read_command));
        }
        dump
    }
}

fn spawn(directory: &TemporaryDirectory, port: u16, arguments: &[String]) -> ServerProcess {
    let mut command = Command::new(PROGRAM.expect());
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--daemonize", "no", "--port", &port.to_string(), "--dir"])
        .arg(directory.path())
        .args(arguments);
    ServerProcess::start("redis-server", command, &directory.path().join("log"))
}

/// Returns whether the server has loaded its data and responds. A request for a password is a response too.
async fn responds(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else {
        return false;
    };
    let mut response = [0; 7];
    stream.write_all(b"PING\r\n").await.is_ok()
        && stream.read_exact(&mut response).await.is_ok()
        && response != *b"-LOADIN"
}
