//! A Redis server.

use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Program;
use super::process::{Directory, Process, free_port, run};

const PROGRAM: Program = Program {
    name: "redis-server",
    elsewhere: &["/usr/bin"],
    package: "redis-server",
    without: "TOKEN_ROTATOR_WITHOUT_REDIS",
};

/// A Redis server that keeps nothing on disk.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    port: u16,
    arguments: Vec<String>,
    directory: Directory,
}

impl RedisServer {
    /// Why tests that need it are to be skipped; `None`: they are not.
    ///
    /// # Panics
    ///
    /// If it is not installed where `CI` is `true`.
    pub fn missing() -> Option<String> {
        PROGRAM.missing()
    }

    /// Starts one. `None` where this machine cannot; the reason is printed.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with more arguments, such as `--maxmemory 1mb`.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start_with(arguments: &[&str]) -> Option<Self> {
        if let Some(reason) = Self::missing() {
            eprintln!("{reason}");
            return None;
        }
        let _prefix = token_rotator_issuer::begin_leak_search();
        let directory = Directory::new("redis");
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        for _ in 0..5 {
            let port = free_port();
            let mut process = spawn(&directory, port, &arguments);
            if process.is_ready(|| answers(port)).await {
                return Some(Self {
                    process,
                    port,
                    arguments,
                    directory,
                });
            }
        }
        let log = std::fs::read_to_string(directory.path().join("log"));
        panic!("redis-server does not start: {}", log.unwrap_or_default());
    }

    /// Its port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, as `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Stops it in its tracks: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it and starts an empty one in its place.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn restart_empty(&mut self) {
        self.process.kill();
        self.process = spawn(&self.directory, self.port, &self.arguments);
        let port = self.port;
        let ready = self.process.is_ready(|| answers(port)).await;
        assert!(ready, "redis-server does not start again");
    }

    /// Runs one command with `redis-cli --raw`, and answers what it prints.
    ///
    /// # Panics
    ///
    /// If the server does not answer.
    pub fn command(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "--raw", "-p"]);
        command.arg(self.port.to_string()).args(words);
        run(command)
    }

    /// All that it holds, as `redis-cli --raw` prints it.
    ///
    /// # Panics
    ///
    /// If the server does not answer.
    pub fn dump(&self) -> String {
        let mut dump = String::new();
        for key in self.command(&["--scan"]).lines() {
            let read: &[&str] = match self.command(&["TYPE", key]).trim() {
                "hash" => &["HGETALL", key],
                _ => &["GET", key],
            };
            dump.push_str(key);
            dump.push('\n');
            dump.push_str(&self.command(read));
        }
        dump
    }
}

fn spawn(directory: &Directory, port: u16, arguments: &[String]) -> Process {
    let mut command = Command::new(PROGRAM.expect());
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--daemonize", "no", "--port", &port.to_string(), "--dir"])
        .arg(directory.path())
        .args(arguments);
    Process::start("redis-server", command, &directory.path().join("log"))
}

/// Whether it speaks, be it to ask for a password, and has loaded its data.
async fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else {
        return false;
    };
    let mut answer = [0; 7];
    stream.write_all(b"PING\r\n").await.is_ok()
        && stream.read_exact(&mut answer).await.is_ok()
        && answer != *b"-LOADIN"
}
