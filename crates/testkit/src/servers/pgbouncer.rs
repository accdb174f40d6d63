//! `PgBouncer`, which shares a few connections of a `PostgreSQL` server among many clients.

use tokio::net::TcpStream;

use super::Program;
use super::postgres::{PostgresServer, give_to_nobody, not_as_root};
use super::process::{Directory, Process, free_port};

const PROGRAM: Program = Program {
    name: "pgbouncer",
    elsewhere: &["/usr/sbin"],
    package: "pgbouncer",
    without: "TOKEN_ROTATOR_WITHOUT_PGBOUNCER",
};

/// `PgBouncer` in transaction mode: between two transactions a client has no connection to the
/// server, and nothing it has set there.
#[derive(Debug)]
pub struct PgBouncer {
    _process: Process,
    port: u16,
    _directory: Directory,
}

impl PgBouncer {
    /// Why tests that need it are to be skipped; `None`: they are not.
    ///
    /// # Panics
    ///
    /// If it is not installed where `CI` is `true`.
    pub fn missing() -> Option<String> {
        PROGRAM.missing()
    }

    /// Starts one before this server, with two connections to it. `None` where this machine
    /// cannot; the reason is printed.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start(server: &PostgresServer) -> Option<Self> {
        if let Some(reason) = Self::missing() {
            eprintln!("{reason}");
            return None;
        }
        let directory = Directory::new("pgbouncer");
        give_to_nobody(directory.path());
        let users = directory.path().join("users");
        std::fs::write(&users, "\"postgres\" \"\"\n").expect("a file");
        for _ in 0..5 {
            let port = free_port();
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
            let mut command = not_as_root(&PROGRAM.expect());
            command.arg(&file).current_dir(directory.path());
            let log = directory.path().join("log");
            let mut process = Process::start("pgbouncer", command, &log);
            if process.is_ready(|| listens(port)).await {
                return Some(Self {
                    _process: process,
                    port,
                    _directory: directory,
                });
            }
        }
        let log = std::fs::read_to_string(directory.path().join("log"));
        panic!("pgbouncer does not start: {}", log.unwrap_or_default());
    }

    /// Its address, as `postgres://postgres@127.0.0.1:port/postgres`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

async fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}
