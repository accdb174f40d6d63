//! A `PgBouncer`, which shares a few connections of a `PostgreSQL` server among many clients.

use tokio::net::TcpStream;

use super::Program;
use super::postgres::{PostgresServer, command_without_root, make_accessible};
use super::process::{ServerProcess, TemporaryDirectory, start_on_free_port};

const PROGRAM: Program = Program {
    name: "pgbouncer",
    other_directories: &["/usr/sbin"],
    package: "pgbouncer",
    skip_variable: "TOKEN_ROTATOR_WITHOUT_PGBOUNCER",
};

/// A `PgBouncer` in transaction mode. Between two transactions a client has no server connection and no session
/// settings.
#[derive(Debug)]
pub struct PgBouncer {
    _process: ServerProcess,
    port: u16,
    _directory: TemporaryDirectory,
}

impl PgBouncer {
    /// Returns why tests that need `PgBouncer` are skipped. Returns `None` if it can run.
    ///
    /// # Panics
    ///
    /// Panics if `PgBouncer` is not installed and the environment variable `CI` is `true`.
    pub fn skip_reason() -> Option<String> {
        PROGRAM.skip_reason()
    }

    /// Starts a `PgBouncer` with two connections to `server`. Returns `None` and prints the reason if this machine
    /// cannot run it.
    ///
    /// # Panics
    ///
    /// Panics if `PgBouncer` does not start.
    pub async fn start(server: &PostgresServer) -> Option<Self> {
        if let Some(reason) = Self::skip_reason() {
            eprintln!("{reason}");
            return None;
        }
        let directory = TemporaryDirectory::new("pgbouncer");
        make_accessible(directory.path());
        let users = directory.path().join("users");
        std::fs::write(&users, "\"postgres\" \"\"\n").expect("a file");
        let spawn = |port| {
            let settings = format!(
                "[databases]\n\
                 postgres = host=127.0.0.1 port={} dbname=postgres user=postgres\n\
                 [pgbouncer]\n\
                 listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = trust\nauth_file = {}\n\
                 pool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 200\n",
                server.port(),
                users.display()
            );
            let file = directory.path().join("pgbouncer.ini");
            std::fs::write(&file, settings).expect("a file");
            let mut command = command_without_root(&PROGRAM.expect());
            command.arg(&file).current_dir(directory.path());
            let log = directory.path().join("log");
            ServerProcess::start("pgbouncer", command, &log)
        };
        let (process, port) = start_on_free_port(&directory, spawn, accepts_connections).await;
        Some(Self {
            _process: process,
            port,
            _directory: directory,
        })
    }

    /// Returns the URL `postgres://postgres@127.0.0.1:PORT/postgres`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

async fn accepts_connections(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}
