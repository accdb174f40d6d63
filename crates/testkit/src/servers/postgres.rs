//! A `PostgreSQL` server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use super::Program;
use super::process::{Directory, Process, free_port, run};

const PROGRAM: Program = Program {
    name: "postgres",
    elsewhere: &[],
    package: "postgresql",
    without: "TOKEN_ROTATOR_WITHOUT_POSTGRES",
};

/// Whom servers run as that refuse to run as root: nobody.
const NOBODY: u32 = 65_534;

/// A `PostgreSQL` server with one database, `postgres`, whose user `postgres` needs no password.
#[derive(Debug)]
pub struct PostgresServer {
    process: Process,
    port: u16,
    directory: Directory,
}

impl PostgresServer {
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
        if let Some(reason) = Self::missing() {
            eprintln!("{reason}");
            return None;
        }
        let _prefix = token_rotator_issuer::begin_leak_search();
        let directory = Directory::new("postgres");
        give_to_nobody(directory.path());
        initialise(directory.path());
        for _ in 0..5 {
            let port = free_port();
            let mut process = spawn(&directory, port);
            if process.is_ready(|| answers(port)).await {
                return Some(Self {
                    process,
                    port,
                    directory,
                });
            }
        }
        let log = std::fs::read_to_string(directory.path().join("log"));
        panic!("postgres does not start: {}", log.unwrap_or_default());
    }

    /// Its port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, as `postgres://postgres@127.0.0.1:port/postgres`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
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

    /// Starts it again after [`kill`](Self::kill), with what it held.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn restart(&mut self) {
        self.process.kill();
        let _ = std::fs::remove_file(self.directory.path().join("data/postmaster.pid"));
        self.process = spawn(&self.directory, self.port);
        let port = self.port;
        let ready = self.process.is_ready(|| answers(port)).await;
        assert!(ready, "postgres does not start again");
    }

    /// Ends it and starts an empty one in its place.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn restart_empty(&mut self) {
        self.process.kill();
        std::fs::remove_dir_all(self.directory.path().join("data")).expect("its data");
        initialise(self.directory.path());
        self.restart().await;
    }

    /// Runs SQL with `psql`, as its superuser, and answers what it prints.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn sql(&self, sql: &str) -> String {
        let mut command = Command::new(beside("psql"));
        command
            .args(["-X", "-h", "127.0.0.1", "-U", "postgres", "-p"])
            .arg(self.port.to_string())
            .args(["-v", "ON_ERROR_STOP=1", "-At", "-c", sql]);
        run(command)
    }

    /// All that it holds, as `pg_dump` writes it.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn dump(&self) -> String {
        let mut command = Command::new(beside("pg_dump"));
        command
            .args(["-h", "127.0.0.1", "-U", "postgres", "-p"])
            .arg(self.port.to_string());
        run(command)
    }
}

/// A program that came with the server.
fn beside(name: &str) -> PathBuf {
    let program = PROGRAM.expect();
    // Beside the program, not beside a link to it.
    let program = program.canonicalize().unwrap_or(program);
    program.with_file_name(name)
}

/// A command that does not run as root, which the server refuses.
pub(super) fn not_as_root(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={NOBODY}"))
        .arg(format!("--regid={NOBODY}"))
        .arg("--clear-groups")
        .arg(program);
    command
}

pub(super) fn give_to_nobody(path: &Path) {
    if geteuid().is_root() {
        let given = std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY));
        given.expect("root may give away what it has");
    }
}

fn initialise(directory: &Path) {
    let mut command = not_as_root(&beside("initdb"));
    command
        .arg("-D")
        .arg(directory.join("data"))
        .args(["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"])
        .args(["--locale=C", "--no-instructions"])
        .current_dir(directory);
    run(command);
}

fn spawn(directory: &Directory, port: u16) -> Process {
    let mut command = not_as_root(&PROGRAM.expect());
    command
        .arg("-D")
        .arg(directory.path().join("data"))
        .args(["-p", &port.to_string(), "-k"])
        .arg(directory.path())
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
        .args(["-c", "shared_buffers=16MB", "-c", "max_connections=200"])
        .current_dir(directory.path());
    Process::start("postgres", command, &directory.path().join("log"))
}

async fn answers(port: u16) -> bool {
    let asked = tokio::process::Command::new(beside("pg_isready"))
        .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
        .stdin(Stdio::null())
        .status()
        .await;
    asked.expect("pg_isready came with it").success()
}
