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
    assert_snapshot!("doctor_no_session", user.diagnosis(&[]));
    user.session("");
    assert_snapshot!("doctor_nothing_but_a_client", user.diagnosis(&[]));
    user.session(&format!("token_endpoint = \"{}\"", user.issuer.token_url()));
    assert_snapshot!("doctor_nobody_signed_in", user.diagnosis(&[]));
    user.issuer.set_access_lifetime(Duration::from_secs(1));
    user.sign_in("default");
    user.until_expired().await;
    assert_snapshot!("doctor_expired", user.diagnosis(&[]));
    user.issuer.set_access_lifetime(Duration::from_secs(300));
    assert_eq!(user.run(&["token"]).code, 0);
    assert_snapshot!("doctor_good", user.diagnosis(&[]));
    user.issuer.faults().push(Fault::AnswerLost.times(1));
    user.run(&["token", "--refresh"]);
    assert_snapshot!("doctor_answer_lost", user.diagnosis(&[]));
    user.run(&["logout"]);
    user.issuer.shutdown().await;
    assert_snapshot!("doctor_signed_out_and_no_issuer", user.diagnosis(&[]));
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
    assert_snapshot!("doctor_ended", user.diagnosis(&[]));
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
    assert_snapshot!("doctor_refresh_in_the_air", user.diagnosis(&[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_that_say_too_little() {
    let user = User::new().await;
    let endpoint = user.issuer.url().to_owned();
    let silent = metadata::serve(&json!({"token_endpoint": null}));
    user.session(&format!("issuer = \"{silent}\"\ngrant = \"refresh-token\""));
    assert_snapshot!("doctor_no_token_endpoint", user.diagnosis(&[&silent]));
    let token = format!("{endpoint}/token");
    let browsers = metadata::serve(&json!({"token_endpoint": token}));
    user.session(&format!("issuer = \"{browsers}\"\ngrant = \"device\""));
    assert_snapshot!("doctor_no_device_endpoint", user.diagnosis(&[&browsers]));
    user.configure(&format!(
        "[sessions.default]\nclient_id = \"{SERVICE}\"\ngrant = \"client-credentials\"\nissuer = \"{}\"\n",
        user.issuer.url()
    ));
    assert_snapshot!("doctor_client_of_its_own", user.diagnosis(&[]));
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
    assert_snapshot!("doctor_history_cannot_be_read", user.diagnosis(&[]));
    let mut command = user.any("sh");
    let line = "trap '' XFSZ && ulimit -f 0 && exec \"$0\" doctor";
    command.args(["-c", line, env!("CARGO_BIN_EXE_token-rotator")]);
    let came = user.came(command.output().expect("it runs"));
    let lines = came.out.lines().take(3);
    let told: String = lines.map(|line| format!("{line}\n")).collect();
    assert_snapshot!("doctor_disk_is_full", user.made_same(&told));
}

/// A server's store is told as what it is.
#[tokio::test(flavor = "multi_thread")]
async fn stores_at_servers() {
    let user = User::new().await;
    for (store, name) in [
        ("redis://127.0.0.1:1", "doctor_redis"),
        ("postgres://127.0.0.1:1/db", "doctor_postgres"),
    ] {
        let mut command = user.command(&["doctor", "--store", store, "--key", "env:KEY"]);
        command.env("KEY", "07".repeat(32));
        let came = user.came(command.output().expect("it runs"));
        assert_snapshot!(name, user.made_same(&came.told()));
    }
}
