//! Every finding of `doctor`.

use std::fs;
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::json;
use token_rotator_testkit::{Fault, Issuer};

use crate::metadata;
use crate::user::{CLIENT, SERVICE, User};

impl User {
    /// Returns the output of `doctor`, with times and the URLs of other issuers replaced.
    fn diagnosis(&self, others: &[&str]) -> String {
        let output = self.run(&["doctor"]);
        let mut report = self.normalized(&output.report());
        for other in others {
            report = report.replace(other, "http://OTHER");
        }
        for seconds in 0..20 {
            report = report.replace(&format!(": {seconds}s ago:"), ": AGO:");
        }
        report
    }

    fn session(&self, more: &str) {
        self.configure(&format!(
            "[sessions.default]\nclient_id = \"{CLIENT}\"\n{more}\n"
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_states_of_a_session() {
    let user = User::new().await;
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 0
    ok   configuration: there is no ~/.config/token-rotator/config.toml, and none is needed
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    note sessions: there are none
         hint: make one with `token-rotator login --issuer URL --client-id ID`
    ");
    user.session("");
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 1
    ok   configuration: ~/.config/token-rotator/config.toml can be read
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    bad  default: issuer: the session has no issuer: neither an issuer nor its token endpoint is configured
         hint: give the issuer: `--issuer URL`, or `issuer` in the configuration; if it has no metadata, give each endpoint: `--token-endpoint`
    bad  default: session: no user has signed in yet
         hint: sign in with `token-rotator login --session default`
    ");
    user.session(&format!("token_endpoint = \"{}\"", user.issuer.token_url()));
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 1
    ok   configuration: ~/.config/token-rotator/config.toml can be read
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    ok   default: issuer: http://ISSUER answers
    ok   default: clock: this machine's clock agrees with the issuer's
    bad  default: session: no user has signed in yet
         hint: sign in with `token-rotator login --session default`
    ");
    user.issuer.set_access_lifetime(Duration::from_secs(1));
    user.sign_in("default");
    user.until_expired().await;
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 0
    ok   configuration: ~/.config/token-rotator/config.toml can be read
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    ok   default: issuer: http://ISSUER answers
    ok   default: clock: this machine's clock agrees with the issuer's
    ok   default: session: its token has expired; the next use refreshes it
    ");
    user.issuer.set_access_lifetime(Duration::from_secs(300));
    assert_eq!(user.run(&["token"]).code, 0);
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 0
    ok   configuration: ~/.config/token-rotator/config.toml can be read
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    ok   default: issuer: http://ISSUER answers
    ok   default: clock: this machine's clock agrees with the issuer's
    ok   default: session: its token is valid
    ");
    user.issuer.faults().push(Fault::AnswerLost.times(1));
    user.run(&["token", "--refresh"]);
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 0
    ok   configuration: ~/.config/token-rotator/config.toml can be read
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    ok   default: issuer: http://ISSUER answers
    ok   default: clock: this machine's clock agrees with the issuer's
    ok   default: session: its token is valid
    note default: journal: a refresh got no answer; its refresh token may be spent
         hint: it is presented again when the profile allows, or when nothing else is left; `token-rotator token --session default --refresh` does it now
    note default: last failure: AGO: the access token could not be refreshed: the issuer may have been reached, but its answer was not
         hint: `token-rotator history --session default` shows what happened before
    ");
    user.run(&["logout"]);
    user.issuer.shutdown().await;
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 1
    ok   configuration: ~/.config/token-rotator/config.toml can be read
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    bad  default: issuer: http://ISSUER does not answer: the issuer was not reached: error sending request: client error (Connect): tcp connect error: Connection refused (os error 111)
         hint: check the network, proxies and certificates
    bad  default: session: the user has signed out
         hint: sign in with `token-rotator login --session default`
    note default: last failure: AGO: the access token could not be refreshed: the issuer may have been reached, but its answer was not
         hint: `token-rotator history --session default` shows what happened before
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_issuer_has_ended() {
    let user = User::expired().await;
    let refused = Fault::OAuthError {
        status: 400,
        error: "invalid_grant".to_owned(),
    };
    user.issuer.faults().push(refused.times(1));
    assert_eq!(user.run(&["token"]).code, 3);
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 1
    ok   configuration: there is no ~/.config/token-rotator/config.toml, and none is needed
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    ok   default: issuer: http://ISSUER answers
    ok   default: clock: this machine's clock agrees with the issuer's
    bad  default: session: the issuer has refused its refresh token
         hint: sign in with `token-rotator login --session default`
    note default: last failure: AGO: the access token could not be refreshed: the issuer refused the request (HTTP 400, invalid_grant)
         hint: sign in again
    ");
}

/// A process that is killed during a refresh leaves it open in the journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_of_a_killed_process() {
    let user = User::signed_in().await;
    user.issuer.gate().close();
    let mut command = user.command(&["token", "--refresh"]);
    let mut child = command.spawn().expect("it runs");
    user.issuer.gate().arrived(1).await;
    child.kill().expect("the test owns it");
    child.wait().expect("its end");
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 0
    ok   configuration: there is no ~/.config/token-rotator/config.toml, and none is needed
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    ok   default: issuer: http://ISSUER answers
    ok   default: clock: this machine's clock agrees with the issuer's
    ok   default: session: its token is valid
    note default: journal: a refresh is in flight, or its process died
         hint: no action is needed: the next command that needs a token resolves it by the profile
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_with_incomplete_metadata() {
    let user = User::new().await;
    let endpoint = user.issuer.url().to_owned();
    let silent = metadata::serve(&json!({"token_endpoint": null}));
    user.session(&format!("issuer = \"{silent}\"\ngrant = \"refresh-token\""));
    assert_snapshot!(user.diagnosis(&[&silent]), @"
    exit code 1
    ok   configuration: ~/.config/token-rotator/config.toml can be read
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    ok   default: discovery: http://OTHER publishes its endpoints
    bad  default: issuer: its metadata names no token endpoint
         hint: give it: `token_endpoint` in the configuration, or `--token-endpoint` at the next login
    bad  default: session: no user has signed in yet
         hint: sign in with `token-rotator login --session default`
    ");
    let token = format!("{endpoint}/token");
    let browsers = metadata::serve(&json!({"token_endpoint": token}));
    user.session(&format!("issuer = \"{browsers}\"\ngrant = \"device\""));
    assert_snapshot!(user.diagnosis(&[&browsers]), @"
    exit code 1
    ok   configuration: ~/.config/token-rotator/config.toml can be read
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    note default: discovery: http://OTHER names no `device_authorization_endpoint`
         hint: the next login needs it: configure it, or choose another `grant`
    ok   default: issuer: http://ISSUER answers
    ok   default: clock: this machine's clock agrees with the issuer's
    bad  default: session: no user has signed in yet
         hint: sign in with `token-rotator login --session default`
    ");
    user.configure(&format!(
        "[sessions.default]\nclient_id = \"{SERVICE}\"\ngrant = \"client-credentials\"\nissuer = \"{}\"\n",
        user.issuer.url()
    ));
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 0
    ok   configuration: ~/.config/token-rotator/config.toml can be read
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `service`
    ok   default: discovery: http://ISSUER publishes its endpoints
    ok   default: issuer: http://ISSUER answers
    ok   default: clock: this machine's clock agrees with the issuer's
    ok   default: session: the client signs in by itself at the first use
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ() {
    let user = User::with(Issuer::builder().clock_skew(3_600_000)).await;
    user.session(&format!("token_endpoint = \"{}\"", user.issuer.token_url()));
    let report = user.diagnosis(&[]);
    assert!(report.contains("clock: "), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_instead_of_the_history_and_a_full_disk() {
    let user = User::signed_in().await;
    let history = user
        .home()
        .join(".local/state/token-rotator/history/default.jsonl");
    fs::remove_file(&history).expect("it is there");
    fs::create_dir(history).expect("a directory");
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 1
    ok   configuration: there is no ~/.config/token-rotator/config.toml, and none is needed
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    ok   default: issuer: http://ISSUER answers
    ok   default: clock: this machine's clock agrees with the issuer's
    bad  default: record: ~/.local/state/token-rotator/history/default.jsonl cannot be read: Is a directory (os error 21)
         hint: check who owns it, or remove it: sessions work without their history
    note default: history: ~/.local/state/token-rotator/history/default.jsonl cannot be read: Is a directory (os error 21)
         hint: check who owns it, or remove it: sessions work without their history
    ");
    let mut command = user.program("sh");
    let line = "trap '' XFSZ && ulimit -f 0 && exec \"$0\" doctor";
    command.args(["-c", line, env!("CARGO_BIN_EXE_token-rotator")]);
    let output = user.output_of(command);
    let lines = output.stdout.split_inclusive('\n').take(3);
    let report: String = lines.collect();
    assert_snapshot!(user.normalized(&report), @"
    ok   configuration: there is no ~/.config/token-rotator/config.toml, and none is needed
    bad  store: it cannot store sessions: cannot write into ~/.local/state/token-rotator: File too large (os error 27)
         hint: raise the limit of file sizes (`ulimit -f`)
    ");
}

/// The store on a server is named by its kind.
#[tokio::test(flavor = "multi_thread")]
async fn stores_on_servers() {
    let user = User::new().await;
    let diagnosis = |store| {
        let mut command = user.command(&["doctor", "--store", store, "--key", "env:KEY"]);
        command.env("KEY", "07".repeat(32));
        let output = user.output_of(command);
        user.normalized(&output.report())
    };
    assert_snapshot!(diagnosis("redis://127.0.0.1:1"), @"
    exit code 0
    ok   configuration: there is no ~/.config/token-rotator/config.toml, and none is needed
    ok   store: on a Redis server
    note sessions: there are none
         hint: make one with `token-rotator login --issuer URL --client-id ID`
    ");
    assert_snapshot!(diagnosis("postgres://127.0.0.1:1/db"), @"
    exit code 0
    ok   configuration: there is no ~/.config/token-rotator/config.toml, and none is needed
    ok   store: on a PostgreSQL server
    note sessions: there are none
         hint: make one with `token-rotator login --issuer URL --client-id ID`
    ");
}
