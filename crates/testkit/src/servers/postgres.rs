//! A `PostgreSQL` server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use super::Program;
use super::process::{ServerProcess, TemporaryDirectory, run, start_on_free_port};

const PROGRAM: Program = Program {
    name: "postgres",
    other_directories: &[],
    package: "postgresql",
    skip_variable: "TOKEN_ROTATOR_WITHOUT_POSTGRES",
};

/// User and group id for servers that refuse to run as root. On Linux it belongs to an unprivileged account.
const UNPRIVILEGED_ID: u32 = 65_534;

/// A `PostgreSQL` server with the database `postgres` and the user `postgres`, who needs no password.
#[derive(Debug)]
pub struct PostgresServer {
    process: ServerProcess,
    port: u16,
    directory: TemporaryDirectory,
}

impl PostgresServer {
    /// Returns why tests that need `PostgreSQL` are skipped. Returns `None` if it can run.
    ///
    /// # Panics
    ///
    /// Panics if `PostgreSQL` is not installed and the environment variable `CI` is `true`.
    pub fn skip_reason() -> Option<String> {
        PROGRAM.skip_reason()
    }

    /// Starts a server. Returns `None` and prints the reason if this machine cannot run it.
    ///
    /// # Panics
    ///
    /// Panics if the server does not start.
    pub async fn start() -> Option<Self> {
        if let Some(reason) = Self::skip_reason() {
            eprintln!("{reason}");
            return None;
        }
        let _prefix = token_rotator_issuer::begin_leak_search();
        let directory = TemporaryDirectory::new("postgres");
        make_accessible(directory.path());
        initialise(directory.path());
        let spawn = |port| spawn(&directory, port);
        let (process, port) = start_on_free_port(&directory, spawn, responds).await;
        Some(Self {
            process,
            port,
            directory,
        })
    }

    /// Returns the server's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL `postgres://postgres@127.0.0.1:PORT/postgres`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
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

    /// Starts the server again after [`kill`](Self::kill), with its data.
    ///
    /// # Panics
    ///
    /// Panics if the server does not start.
    pub async fn restart(&mut self) {
        self.process.kill();
        let _ = std::fs::remove_file(self.directory.path().join("data/postmaster.pid"));
        self.process = spawn(&self.directory, self.port);
        let port = self.port;
        let ready = self.process.wait_until_ready(|| responds(port)).await;
        assert!(ready, "postgres does not start again");
    }

    /// Kills the server and starts an empty server on the same port.
    ///
    /// # Panics
    ///
    /// Panics if the server does not start.
    pub async fn restart_empty(&mut self) {
        self.process.kill();
        std::fs::remove_dir_all(self.directory.path().join("data")).expect("the data directory");
        initialise(self.directory.path());
        self.restart().await;
    }

    /// Runs SQL with `psql` as the superuser, and returns its output.
    ///
    /// # Panics
    ///
    /// Panics if `psql` fails.
    pub fn sql(&self, sql: &str) -> String {
        let mut command = Command::new(installed_program("psql"));
        command
            .args(["-X", "-h", "127.0.0.1", "-U", "postgres", "-p"])
            .arg(self.port.to_string())
            .args(["-v", "ON_ERROR_STOP=1", "-At", "-c", sql]);
        run(command)
    }

    /// Returns the output of `pg_dump`.
    ///
    /// # Panics
    ///
    /// Panics if `pg_dump` fails.
    pub fn dump(&self) -> String {
        let mut command = Command::new(installed_program("pg_dump"));
        command
            .args(["-h", "127.0.0.1", "-U", "postgres", "-p"])
            .arg(self.port.to_string());
        run(command)
    }
}

/// Returns the path of a program in the server's installation.
fn installed_program(name: &str) -> PathBuf {
    let program = PROGRAM.expect();
    // Resolves links, because a link to the server may be in another directory.
    let program = program.canonicalize().unwrap_or(program);
    program.with_file_name(name)
}

/// Creates a command that does not run as root, because the servers refuse to run as root.
pub(super) fn command_without_root(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={UNPRIVILEGED_ID}"))
        .arg(format!("--regid={UNPRIVILEGED_ID}"))
        .arg("--clear-groups")
        .arg(program);
    command
}

pub(super) fn make_accessible(path: &Path) {
    if geteuid().is_root() {
        let result = std::os::unix::fs::chown(path, Some(UNPRIVILEGED_ID), Some(UNPRIVILEGED_ID));
        result.expect("root may change the owner");
    }
}

fn initialise(directory: &Path) {
    let mut command = command_without_root(&installed_program("initdb"));
    command
        .arg("-D")
        .arg(directory.join("data"))
        .args(["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"])
        .args(["--locale=C", "--no-instructions"])
        .current_dir(directory);
    run(command);
}

fn spawn(directory: &TemporaryDirectory, port: u16) -> ServerProcess {
    let mut command = command_without_root(&PROGRAM.expect());
    command
        .arg("-D")
        .arg(directory.path().join("data"))
        .args(["-p", &port.to_string(), "-k"])
        .arg(directory.path())
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
        .args(["-c", "shared_buffers=16MB", "-c", "max_connections=200"])
        .current_dir(directory.path());
    ServerProcess::start("postgres", command, &directory.path().join("log"))
}

async fn responds(port: u16) -> bool {
    let status = tokio::process::Command::new(installed_program("pg_isready"))
        .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
        .stdin(Stdio::null())
        .status()
        .await;
    status
        .expect("pg_isready is installed with the server")
        .success()
}
