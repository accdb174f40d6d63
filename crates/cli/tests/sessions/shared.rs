//! Sessions at a server that several machines share: Redis and `PostgreSQL`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;
use token_rotator_testkit::{PostgresServer, RedisServer};

use crate::user::{CLIENT, Came, User};

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

    /// The program on one of the machines.
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

    fn run(&self, machine: usize, arguments: &[&str]) -> Came {
        let output = self.command(machine, arguments).output().expect("it runs");
        self.user.came(output)
    }

    fn status(&self, machine: usize) -> Value {
        let came = self.run(machine, &["status", "--json"]);
        assert_eq!(came.code, 0, "{came:?}");
        let all: Value = serde_json::from_str(&came.out).expect("JSON");
        all[0].clone()
    }

    /// A session's life, from one machine and the other. `dump` is all that the server holds.
    async fn live(&self, dump: impl Fn() -> String) {
        let issuer = &self.user.issuer;
        let came = self.run(1, &["token"]);
        assert_ne!(came.code, 0, "nobody has signed in: {came:?}");

        issuer.set_access_lifetime(Duration::from_secs(1));
        let login = self.command(0, &["login"]);
        let refresh_token = self.user.refresh_token();
        let came = self.user.with_input(login, &refresh_token);
        assert_eq!(came.code, 0, "{came:?}");
        issuer.set_access_lifetime(Duration::from_secs(300));
        while self.status(1)["state"] != "expired" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }

        // Twenty processes on two machines: one refresh, during which the lease is seen from both.
        let before = issuer.counters().refreshes;
        issuer.gate().close();
        let crowd: Vec<_> = (0..20)
            .map(|number| self.command(number % 2, &["token"]).spawn())
            .collect();
        issuer.gate().arrived(1).await;
        let leases = [0, 1].map(|machine| self.status(machine)["lease"].clone());
        let table = self.run(1, &["status"]).out;
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
                let came = self.user.came(output.expect("its output"));
                assert_eq!(came.code, 0, "{came:?}");
                came.out
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
        let came = self.run(
            1,
            &["exec", "--", "sh", "-c", "printf %s \"$ACCESS_TOKEN\""],
        );
        assert_eq!((came.code, came.out.as_str()), (0, token), "{came:?}");
        let held = dump();
        assert!(held.len() > 100 && !held.contains(token), "it is sealed");

        let came = self.run(1, &["logout"]);
        assert_eq!(came.code, 0, "{came:?}");
        assert!(!issuer.accepts(token), "it was revoked");
        assert_eq!(self.status(0)["state"], "signed_out");
        assert_eq!(self.run(0, &["token"]).code, 3);
        assert_eq!(issuer.counters().reuses, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_live_with_one_session_in_redis() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let machines = Machines::at(server.url()).await;
    machines.live(|| server.dump()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_live_with_one_session_in_postgres() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let machines = Machines::at(server.url()).await;
    machines.live(|| server.dump()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_away() {
    let user = User::new().await;
    let came = shared(&user, "redis://127.0.0.1:1", &["login"]);
    assert_eq!(came.code, 4, "{came:?}");
    assert_snapshot!(came.told(), @"
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
    let came = shared(&user, "redis://127.0.0.1:1", &["token"]);
    assert_eq!(came.code, 4, "{came:?}");
    assert_snapshot!(came.told(), @"
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
    let came = shared(&user, "postgres://me:hunter2@127.0.0.1:1/db", &["login"]);
    assert_eq!(came.code, 4, "{came:?}");
    assert_snapshot!(came.told(), @"
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
    let came = shared(&user, "redis://:hunter2@ho st", &["status"]);
    assert_eq!(came.code, 1, "{came:?}");
    assert_snapshot!(came.told(), @"
    exit code 1
    error: the store cannot be opened
      because the address of the Redis server cannot be read
    hint: write the address as redis://user:password@host:port/database, special characters percent-encoded
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_address_is_wrong() {
    let user = User::new().await;
    let came = shared(&user, "postgres://me:hunter2@host:port/db", &["status"]);
    assert_eq!(came.code, 1, "{came:?}");
    assert_snapshot!(came.told(), @"
    exit code 1
    error: the store cannot be opened
      because the address given to `url` cannot be read
    hint: write the address as postgres://user:password@host:port/database, special characters percent-encoded
    ");
}

/// A command of somebody whose sessions are at this server.
fn shared(user: &User, store: &str, arguments: &[&str]) -> Came {
    let token_endpoint = user.issuer.token_url();
    user.configure(&format!(
        "[sessions.default]\nclient_id = \"{CLIENT}\"\ntoken_endpoint = \"{token_endpoint}\"\n"
    ));
    let mut command = user.command(&["--store", store, "--key", "env:KEY"]);
    command.args(arguments).env("KEY", "07".repeat(32));
    let came = user.with_input(command, &user.refresh_token());
    assert!(!came.said.contains("hunter2"), "{came:?}");
    came
}
