//! Failures that processes share: the issuer gets one request, and every process names the time.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::Value;
use token_rotator_testkit::{Fault, PostgresServer, RedisServer};

use crate::user::{CLIENT, CommandOutput, User};

/// A user whose session is in the store at this address, or in files.
struct StoreUser {
    user: User,
    store: Option<String>,
}

impl StoreUser {
    /// Signs in. The access token has expired.
    async fn expired(store: Option<String>) -> Self {
        let this = Self::signed_in(store, Duration::from_secs(1)).await;
        while this.status()["state"] != "expired" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        this
    }

    /// Signs in. The access token lives this long, and each later one for five minutes.
    async fn signed_in(store: Option<String>, lifetime: Duration) -> Self {
        let user = User::new().await;
        let (token, revocation) = (user.issuer.token_url(), user.issuer.revoke_url());
        user.configure(&format!(
            "[sessions.default]\nclient_id = \"{CLIENT}\"\ntoken_endpoint = \"{token}\"\n\
             revocation_endpoint = \"{revocation}\"\n"
        ));
        let this = Self { user, store };
        this.user.issuer.set_access_lifetime(lifetime);
        let login = this.command(&["login", "--grant", "refresh-token"]);
        let output = this.user.with_input(login, &this.user.refresh_token());
        assert_eq!(output.code, 0, "{output:?}");
        this.user
            .issuer
            .set_access_lifetime(Duration::from_secs(300));
        this
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.store {
            Some(store) => {
                let mut command = self.user.command(&["--store", store]);
                command.args(["--key", "env:SESSIONS_KEY"]);
                command.env("SESSIONS_KEY", "07".repeat(32));
                command
            }
            None => self.user.command(&[]),
        };
        command.args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.user.output_of(self.command(arguments))
    }

    fn status(&self) -> Value {
        let output = self.run(&["status", "--json"]);
        assert_eq!(output.code, 0, "{output:?}");
        let all: Value = serde_json::from_str(&output.stdout).expect("JSON");
        all[0].clone()
    }

    fn spawn(&self, count: usize, arguments: &[&str]) -> Vec<Child> {
        let children = (0..count).map(|_| self.command(arguments).spawn().expect("it runs"));
        children.collect()
    }

    fn outputs(&self, children: Vec<Child>) -> Vec<CommandOutput> {
        let outputs = children.into_iter().map(|child| {
            let output = child.wait_with_output().expect("its output");
            self.user.capture(output)
        });
        outputs.collect()
    }

    fn requests(&self) -> u64 {
        self.user.issuer.counters().token_requests
    }

    fn busy(&self, retry_after: Option<&str>) {
        let fault = Fault::Status {
            status: 503,
            retry_after: retry_after.map(str::to_owned),
        };
        self.user.issuer.faults().push(fault.always());
    }

    /// 30 processes at once, and the issuer answers 503 with `Retry-After: 120`: one request, and 30
    /// exits with code 4 that name the time.
    async fn thirty_processes_send_one_request(self) {
        let before = self.requests();
        self.busy(Some("120"));
        let gate = self.user.issuer.gate();
        gate.close();
        let children = self.spawn(30, &["token"]);
        gate.arrived(1).await;
        gate.open();
        for output in self.outputs(children) {
            assert_eq!(output.code, 4, "{output:?}");
            let wait = output.stderr.split("retry after ").nth(1);
            let wait = wait.and_then(|wait| wait.split(' ').next()?.parse::<u64>().ok());
            let named = wait.is_some_and(|wait| (60..=120).contains(&wait));
            assert!(named, "{output:?}");
        }
        assert_eq!(self.requests() - before, 1);
        // Every later command knows it too, `--refresh` included.
        for arguments in [&["token"][..], &["token", "--refresh"], &["exec", "true"]] {
            let output = self.run(arguments);
            assert_eq!(output.code, 4, "{output:?}");
            assert!(output.stderr.contains("retry after "), "{output:?}");
        }
        assert_eq!(self.requests() - before, 1);
        let failures = &self.status()["shared_failures"];
        assert_eq!(failures.as_array().map(Vec::len), Some(1), "{failures}");
        let failure = &failures[0];
        assert_eq!(failure["kind"], "transient");
        assert_eq!(failure["asked_by_issuer"], true);
        assert!(failure["until"].is_string(), "{failure}");
        let host = failure["host"].as_str().expect("a host");
        let table = self.run(&["status"]).stdout;
        let line = format!("failure: session `default`: host {host}, transient, ");
        assert!(table.contains(&line), "{table}");
        assert!(
            table.contains("the issuer asked for the next refresh in "),
            "{table}"
        );
        let doctor = self.run(&["doctor"]);
        assert_eq!(doctor.code, 1, "{doctor:?}");
        assert!(
            doctor.stdout.contains("bad  default: shared failure:"),
            "{doctor:?}"
        );
    }

    /// Without `Retry-After`, the requests are at most one more than the cool-downs that passed. They
    /// double from 0.5 s, with a jitter of 20 %.
    fn thirty_processes_share_the_cool_downs(&self) {
        let before = self.requests();
        let began = std::time::Instant::now();
        self.busy(None);
        for output in self.outputs(self.spawn(30, &["token"])) {
            assert_eq!(output.code, 4, "{output:?}");
        }
        let passed = began.elapsed();
        let mut ends = Duration::ZERO;
        let cool_downs = (0..).map(|number| Duration::from_millis(400) * 2_u32.pow(number));
        let cool_downs = cool_downs.take_while(|cool_down| {
            ends += *cool_down;
            ends <= passed
        });
        let most = 1 + cool_downs.count() as u64;
        let requests = self.requests() - before;
        assert!(
            (1..=most).contains(&requests),
            "{requests} requests in {passed:?}"
        );
        let failure = &self.status()["shared_failures"][0];
        assert_eq!(failure["kind"], "transient", "{failure}");
        assert_eq!(failure["asked_by_issuer"], false, "{failure}");
    }

    /// With a token that is still good, 30 processes succeed although the issuer is away.
    fn thirty_processes_use_a_good_token(&self) {
        self.busy(Some("120"));
        let output = self.run(&["token", "--refresh"]);
        assert_eq!(output.code, 4, "{output:?}");
        let before = self.requests();
        for output in self.outputs(self.spawn(30, &["token"])) {
            assert_eq!(output.code, 0, "{output:?}");
        }
        assert_eq!(self.requests(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_processes_on_files() {
    let user = StoreUser::expired(None).await;
    user.thirty_processes_send_one_request().await;
    let user = StoreUser::expired(None).await;
    user.thirty_processes_share_the_cool_downs();
    let user = StoreUser::signed_in(None, Duration::from_secs(300)).await;
    user.thirty_processes_use_a_good_token();
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_processes_on_redis() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let store = || Some(server.url());
    StoreUser::expired(store())
        .await
        .thirty_processes_send_one_request()
        .await;
    let busy = StoreUser::expired(store()).await;
    busy.thirty_processes_share_the_cool_downs();
    let good = StoreUser::signed_in(store(), Duration::from_secs(300)).await;
    good.thirty_processes_use_a_good_token();
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_processes_on_postgres() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let store = || Some(server.url());
    StoreUser::expired(store())
        .await
        .thirty_processes_send_one_request()
        .await;
    let busy = StoreUser::expired(store()).await;
    busy.thirty_processes_share_the_cool_downs();
    let good = StoreUser::signed_in(store(), Duration::from_secs(300)).await;
    good.thirty_processes_use_a_good_token();
}

/// A command waits once through a short cool-down of another process and takes part in the next refresh.
/// With `--no-wait` it fails at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_through_a_short_cool_down() {
    let user = StoreUser::expired(None).await;
    let fault = Fault::Status {
        status: 503,
        retry_after: None,
    };
    user.user.issuer.faults().push(fault.once());
    let failed = user.run(&["token"]);
    assert_eq!(failed.code, 4, "{failed:?}");
    let waited = user.run(&["token"]);
    assert_eq!(waited.code, 0, "{waited:?}");

    let user = StoreUser::expired(None).await;
    // A cool-down of up to 36 s, after several failures in a row.
    let fault = Fault::Status {
        status: 503,
        retry_after: None,
    };
    user.user.issuer.faults().push(fault.always());
    for _ in 0..4 {
        let failed = user.run(&["token", "--refresh"]);
        assert_eq!(failed.code, 4, "{failed:?}");
    }
    let before = user.requests();
    let mut refused = user.run(&["token", "--no-wait"]);
    assert_eq!(user.requests(), before);
    let wait = refused.stderr.split("retry after ").nth(1);
    let wait = wait
        .and_then(|wait| wait.split(' ').next())
        .expect("a time");
    refused.stderr = refused
        .stderr
        .replace(&format!("after {wait} s"), "after N s");
    let host = user.status()["shared_failures"][0]["host"].clone();
    let host = host.as_str().expect("a host");
    refused.stderr = refused.stderr.replace(&format!("`{host}`"), "`HOST`");
    assert_snapshot!(refused.report(), @"
    exit code 4
    error: there is no token for session `default`
      because a refresh on host `HOST` failed a moment ago: the issuer cannot answer now (HTTP 503)
    hint: retry after N s; `token-rotator token --session default --refresh` tries now
    ");
}

/// Answers without a name for the cause: the error asks the user to sign in within three attempts after the
/// expiry, exit 3, and `--refresh` heals the session.
#[tokio::test(flavor = "multi_thread")]
async fn codes_without_a_name() {
    let answers = [
        // Twitch.
        (
            400,
            r#"{"error":"Bad Request","status":400,"message":"Invalid refresh token"}"#,
        ),
        // Reddit.
        (400, r#"{"error":400,"message":"Bad Request"}"#),
        // Firebase.
        (
            400,
            r#"{"error":{"code":400,"message":"SOMETHING_NEW","status":"INVALID_ARGUMENT"}}"#,
        ),
        // Laravel.
        (419, "<html><body>Page Expired</body></html>"),
        // A gateway's web page.
        (401, "<html><body>Unauthorized</body></html>"),
    ];
    let mut users = Vec::new();
    for (status, body) in answers {
        let user = StoreUser::expired(None).await;
        let body = body.to_owned();
        let fault = Fault::Body { status, body };
        user.user.issuer.faults().push(fault.always());
        users.push((user, 0, None));
    }
    // Every command is a process of its own. The cool-down between two counted refusals is 10 s.
    while users.iter().any(|(_, _, told)| told.is_none()) {
        for (user, attempts, told) in &mut users {
            if told.is_some() {
                continue;
            }
            let before = user.requests();
            let output = user.run(&["token"]);
            *attempts += user.requests() - before;
            match output.code {
                3 => *told = Some(output),
                4 => {
                    let help = "`token-rotator login --session default`";
                    let is_first = user.requests() > before;
                    assert!(!is_first || output.stderr.contains(help), "{output:?}");
                }
                _ => panic!("{output:?}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (user, attempts, told) in users {
        let told = told.expect("an error");
        assert_eq!(attempts, 3, "{told:?}");
        assert!(told.stderr.contains("and gives no reason"), "{told:?}");
        assert!(
            told.stderr
                .contains("hint: sign in with `token-rotator login"),
            "{told:?}"
        );
        assert_eq!(user.status()["state"], "refused");
        let doctor = user.run(&["doctor"]);
        assert_eq!(doctor.code, 1, "{doctor:?}");
        assert_eq!(user.run(&["token"]).code, 3);
        // The gateway recovers.
        user.user.issuer.faults().clear();
        assert_eq!(user.run(&["token", "--refresh"]).code, 0);
        assert_eq!(user.run(&["token"]).code, 0);
        assert_eq!(user.status()["state"], "good");
    }
}
