//! Sessions on a server that several machines share: Redis and `PostgreSQL`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;
use token_rotator_testkit::{PostgresServer, RedisServer};

use crate::user::{CLIENT, CommandOutput, User};

/// One user on two machines with one store and one key.
struct Machines {
    user: User,
    homes: [TempDir; 2],
    store: String,
}

impl Machines {
    async fn at(store: String) -> Self {
        let user = User::new().await;
        let machines = Self {
            homes: [(); 2].map(|()| TempDir::new().expect("a home")),
            user,
            store,
        };
        for home in &machines.homes {
            let directory = home.path().join(".config/token-rotator");
            std::fs::create_dir_all(&directory).expect("a directory");
            let issuer = &machines.user.issuer;
            let (token, revocation) = (issuer.token_url(), issuer.revoke_url());
            let text = format!(
                "[sessions.default]\nclient_id = \"{CLIENT}\"\ntoken_endpoint = \"{token}\"\n\
                 revocation_endpoint = \"{revocation}\"\n"
            );
            std::fs::write(directory.join("config.toml"), text).expect("a file");
        }
        machines
    }

    /// Returns the command of the program on one of the machines.
    fn command(&self, machine: usize, arguments: &[&str]) -> Command {
        let mut command = self.user.command(&["--store", &self.store]);
        command
            .args(["--key", "env:SESSIONS_KEY"])
            .args(arguments)
            .env("HOME", self.home(machine))
            .env("SESSIONS_KEY", "07".repeat(32))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn home(&self, machine: usize) -> &Path {
        self.homes[machine].path()
    }

    fn run(&self, machine: usize, arguments: &[&str]) -> CommandOutput {
        self.user.output_of(self.command(machine, arguments))
    }

    fn status(&self, machine: usize) -> Value {
        let output = self.run(machine, &["status", "--json"]);
        assert_eq!(output.code, 0, "{output:?}");
        let all: Value = serde_json::from_str(&output.stdout).expect("JSON");
        all[0].clone()
    }

    /// Uses a session from both machines, from login to logout. `dump` returns all data of the server.
    async fn use_session(&self, dump: impl Fn() -> String) {
        let issuer = &self.user.issuer;
        let output = self.run(1, &["token"]);
        assert_ne!(
            output.code, 0,
            "there is a token before the login: {output:?}"
        );

        issuer.set_access_lifetime(Duration::from_secs(1));
        let login = self.command(0, &["login"]);
        let refresh_token = self.user.refresh_token();
        let output = self.user.with_input(login, &refresh_token);
        assert_eq!(output.code, 0, "{output:?}");
        issuer.set_access_lifetime(Duration::from_secs(300));
        while self.status(1)["state"] != "expired" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }

        // Twenty processes on two machines send one refresh. Both machines see its lease.
        let before = issuer.counters().refreshes;
        issuer.gate().close();
        let crowd: Vec<_> = (0..20)
            .map(|number| self.command(number % 2, &["token"]).spawn())
            .collect();
        issuer.gate().arrived(1).await;
        let leases = [0, 1].map(|machine| self.status(machine)["lease"].clone());
        let table = self.run(1, &["status"]).stdout;
        issuer.gate().open();
        for lease in &leases {
            assert!(lease["fence"].as_u64() > Some(0), "{lease}");
            assert!(lease["until"].is_string(), "{lease}");
            assert!(lease["process"].is_null(), "{lease}");
        }
        assert_eq!(leases[0]["fence"], leases[1]["fence"]);
        assert!(table.contains("held, ends in "), "{table}");
        let mut tokens: Vec<_> = crowd
            .into_iter()
            .map(|child| {
                let output = child.expect("it runs").wait_with_output();
                let output = self.user.capture(output.expect("its output"));
                assert_eq!(output.code, 0, "{output:?}");
                output.stdout
            })
            .collect();
        tokens.dedup();
        assert_eq!(tokens.len(), 1, "they are all the same");
        let token = tokens[0].trim();
        assert!(issuer.accepts(token));
        let counters = issuer.counters();
        assert_eq!((counters.refreshes - before, counters.reuses), (1, 0));

        let status = self.status(1);
        assert_eq!(status["state"], "good");
        assert!(status["lease"].is_null(), "{status}");
        let output = self.run(
            1,
            &["exec", "--", "sh", "-c", "printf %s \"$ACCESS_TOKEN\""],
        );
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (0, token),
            "{output:?}"
        );
        let data = dump();
        assert!(data.len() > 100 && !data.contains(token), "it is encrypted");

        let output = self.run(1, &["logout"]);
        assert_eq!(output.code, 0, "{output:?}");
        assert!(!issuer.accepts(token), "it was revoked");
        assert_eq!(self.status(0)["state"], "signed_out");
        assert_eq!(self.run(0, &["token"]).code, 3);
        assert_eq!(issuer.counters().reuses, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_share_a_session_in_redis() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let machines = Machines::at(server.url()).await;
    machines.use_session(|| server.dump()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_share_a_session_in_postgres() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let machines = Machines::at(server.url()).await;
    machines.use_session(|| server.dump()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_away() {
    let user = User::new().await;
    let output = run_with_store(&user, "redis://127.0.0.1:1", &["login"]);
    assert_snapshot!(output.report(), @"
    exit code 4
    error: the store cannot keep the session
      because Redis at 127.0.0.1:1 cannot be reached: nothing listens there
      because Connection refused (os error 111)
    hint: start the server, or correct the address
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_away_for_a_token() {
    let user = User::new().await;
    let output = run_with_store(&user, "redis://127.0.0.1:1", &["token"]);
    assert_snapshot!(output.report(), @"
    exit code 4
    error: there is no token for session `default`
      because the session could not be read from its store: Redis at 127.0.0.1:1 cannot be reached: nothing listens there
      because Connection refused (os error 111)
    hint: start the server, or correct the address
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_away() {
    let user = User::new().await;
    let output = run_with_store(&user, "postgres://me:hunter2@127.0.0.1:1/db", &["login"]);
    assert_snapshot!(output.report(), @"
    exit code 4
    error: the store cannot keep a session
      because PostgreSQL at 127.0.0.1:1 cannot be reached: nothing listens there
      because error connecting to server
      because Connection refused (os error 111)
    hint: start the server, or correct the address
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_address_is_wrong() {
    let user = User::new().await;
    let output = run_with_store(&user, "redis://:hunter2@ho st", &["status"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the store cannot be opened
      because the address of the Redis server cannot be read
    hint: write the address as redis://user:password@host:port/database, with special characters percent-encoded
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_address_is_wrong() {
    let user = User::new().await;
    let output = run_with_store(&user, "postgres://me:hunter2@host:port/db", &["status"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the store cannot be opened
      because the address given to `url` cannot be read
    hint: write the address as postgres://user:password@host:port/database, with special characters percent-encoded
    ");
}

/// Runs a command with the sessions on this server.
fn run_with_store(user: &User, store: &str, arguments: &[&str]) -> CommandOutput {
    let token_endpoint = user.issuer.token_url();
    user.configure(&format!(
        "[sessions.default]\nclient_id = \"{CLIENT}\"\ntoken_endpoint = \"{token_endpoint}\"\n"
    ));
    let mut command = user.command(&["--store", store, "--key", "env:KEY"]);
    command.args(arguments).env("KEY", "07".repeat(32));
    let output = user.with_input(command, &user.refresh_token());
    assert!(!output.stderr.contains("hunter2"), "{output:?}");
    output
}
