//! Everything that `doctor` can find.

use std::fs;
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::json;
use token_rotator_testkit::{Fault, Issuer};

use crate::metadata;
use crate::user::{CLIENT, SERVICE, User};

impl User {
    /// What `doctor` finds, with times and other issuers taken out.
    fn diagnosis(&self, others: &[&str]) -> String {
        let came = self.run(&["doctor"]);
        let mut told = self.made_same(&came.told());
        for other in others {
            told = told.replace(other, "http://OTHER");
        }
        for seconds in 0..20 {
            told = told.replace(&format!(": {seconds}s ago:"), ": AGO:");
        }
        told
    }

    fn session(&self, more: &str) {
        self.configure(&format!(
            "[sessions.default]\nclient_id = \"{CLIENT}\"\n{more}\n"
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_from_its_begin_to_its_end() {
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
    bad  default: issuer: it is not known which issuer to ask: the session has neither an issuer nor the token endpoint of one
         hint: give the issuer: `--issuer URL`, or `issuer` in the configuration; where it has no metadata, its endpoints one by one: `--token-endpoint`
    bad  default: session: nobody has signed in yet
         hint: sign in with `token-rotator login --session default`
    ");
    user.session(&format!("token_endpoint = \"{}\"", user.issuer.token_url()));
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 1
    ok   configuration: ~/.config/token-rotator/config.toml can be read
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    ok   default: issuer: http://ISSUER answers
    ok   default: clock: this machine's agrees with the issuer's
    bad  default: session: nobody has signed in yet
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
    ok   default: clock: this machine's agrees with the issuer's
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
    ok   default: clock: this machine's agrees with the issuer's
    ok   default: session: its token is good
    ");
    user.issuer.faults().push(Fault::AnswerLost.times(1));
    user.run(&["token", "--refresh"]);
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 0
    ok   configuration: ~/.config/token-rotator/config.toml can be read
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    ok   default: issuer: http://ISSUER answers
    ok   default: clock: this machine's agrees with the issuer's
    ok   default: session: its token is good
    note default: journal: a refresh got no answer; its refresh token may be spent
         hint: it is presented again when the profile allows, or when nothing else is left; `token-rotator token --session default --refresh` does it now
    ok   default: last failure: AGO: the access token could not be refreshed: the issuer may have been reached, but its answer was not
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
    bad  default: session: somebody has signed out
         hint: sign in with `token-rotator login --session default`
    ok   default: last failure: AGO: the access token could not be refreshed: the issuer may have been reached, but its answer was not
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
    ok   default: clock: this machine's agrees with the issuer's
    bad  default: session: the issuer has refused its refresh token
         hint: sign in with `token-rotator login --session default`
    ok   default: last failure: AGO: the access token could not be refreshed: the issuer refused the request (HTTP 400, invalid_grant)
    ");
}

/// Whoever was killed in the middle of a refresh has left it open.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_nobody_ends() {
    let user = User::signed_in().await;
    user.issuer.gate().close();
    let mut command = user.command(&["token", "--refresh"]);
    let mut child = command.spawn().expect("it runs");
    user.issuer.gate().arrived(1).await;
    child.kill().expect("it is ours");
    child.wait().expect("its end");
    assert_snapshot!(user.diagnosis(&[]), @"
    exit code 0
    ok   configuration: there is no ~/.config/token-rotator/config.toml, and none is needed
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    ok   default: issuer: http://ISSUER answers
    ok   default: clock: this machine's agrees with the issuer's
    ok   default: session: its token is good
    note default: journal: a refresh is in the air, or its process died
         hint: whoever needs a token next goes by the session's profile; nothing has to be done
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_that_say_too_little() {
    let user = User::new().await;
    let endpoint = user.issuer.url().to_owned();
    let silent = metadata::serve(&json!({"token_endpoint": null}));
    user.session(&format!("issuer = \"{silent}\"\ngrant = \"refresh-token\""));
    assert_snapshot!(user.diagnosis(&[&silent]), @"
    exit code 1
    ok   configuration: ~/.config/token-rotator/config.toml can be read
    ok   store: ~/.local/state/token-rotator, which only its owner may read
    ok   default: client: `desk`
    ok   default: discovery: http://OTHER says where its endpoints are
    bad  default: issuer: its metadata names no token endpoint
         hint: give it: `token_endpoint` in the configuration, or `--token-endpoint` at the next login
    bad  default: session: nobody has signed in yet
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
    ok   default: clock: this machine's agrees with the issuer's
    bad  default: session: nobody has signed in yet
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
    ok   default: discovery: http://ISSUER says where its endpoints are
    ok   default: issuer: http://ISSUER answers
    ok   default: clock: this machine's agrees with the issuer's
    ok   default: session: the client signs in by itself at the first use
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_apart() {
    let user = User::with(Issuer::builder().clock_skew(3_600_000)).await;
    user.session(&format!("token_endpoint = \"{}\"", user.issuer.token_url()));
    let told = user.diagnosis(&[]);
    assert!(told.contains("clock: "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_in_the_way() {
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
    ok   default: clock: this machine's agrees with the issuer's
    bad  default: record: ~/.local/state/token-rotator/history/default.jsonl cannot be read: Is a directory (os error 21)
         hint: check who owns it, or remove it, which is safe: it is only looked at
    note default: history: ~/.local/state/token-rotator/history/default.jsonl cannot be read: Is a directory (os error 21)
         hint: remove it; it is only looked at
    ");
    let mut command = user.any("sh");
    let line = "trap '' XFSZ && ulimit -f 0 && exec \"$0\" doctor";
    command.args(["-c", line, env!("CARGO_BIN_EXE_token-rotator")]);
    let came = user.came(command.output().expect("it runs"));
    let lines = came.out.split_inclusive('\n').take(3);
    let told: String = lines.collect();
    assert_snapshot!(user.made_same(&told), @"
    ok   configuration: there is no ~/.config/token-rotator/config.toml, and none is needed
    bad  store: it takes no session: cannot write into ~/.local/state/token-rotator: File too large (os error 27)
         hint: raise the limit of file sizes (`ulimit -f`)
    ");
}

/// A server's store is told as what it is.
#[tokio::test(flavor = "multi_thread")]
async fn stores_at_servers() {
    let user = User::new().await;
    let diagnosis = |store| {
        let mut command = user.command(&["doctor", "--store", store, "--key", "env:KEY"]);
        command.env("KEY", "07".repeat(32));
        let came = user.came(command.output().expect("it runs"));
        user.made_same(&came.told())
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
