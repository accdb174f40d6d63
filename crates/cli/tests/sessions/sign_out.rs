//! Sign-outs: without the key, by another party, and of sessions whose names differ by case.

use std::fs;
use std::path::PathBuf;

use insta::assert_snapshot;
use token_rotator_testkit::{PostgresServer, RedisServer};

use crate::user::{CLIENT, User};

impl User {
    fn stored_record(&self) -> PathBuf {
        let state = self.home().join(".local/state/token-rotator");
        let entries = fs::read_dir(state).expect("a directory");
        let files = entries.map(|entry| entry.expect("an entry").path());
        let mut records = files.filter(|file| file.extension().is_some_and(|end| end == "session"));
        records.next().expect("a record")
    }
}

/// "`logout` works with a locked keyring": without the key, the tombstone is not sealed, and it is
/// honoured. `doctor` reports it.
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_without_the_key_ends_the_session() {
    let user = User::signed_in().await;
    let key = user.home().join(".config/token-rotator/key");
    let away = user.home().join("key");
    fs::rename(&key, &away).expect("a key");
    let mut output = user.run(&["logout"]);
    let id = fs::read_to_string(user.stored_record()).is_ok();
    assert!(id, "the tombstone is not sealed");
    let words = output.stderr.split(' ').map(|word| {
        let is_id = word.len() == 16 && word.chars().all(|letter| letter.is_ascii_hexdigit());
        if is_id { "KEY" } else { word }
    });
    output.stderr = words.collect::<Vec<_>>().join(" ");
    assert_snapshot!(output.report(), @"
    exit code 1
    error: session `default` is signed out, but its tokens could not be revoked
      because ~/.local/state/token-rotator/default-37a8eec1ce19687d132fe29051dca629.session: it was sealed with key KEY from a key file, where no key is now
    hint: the tokens stay valid until the issuer ends them: end the grant on the issuer's account pages
    ");
    assert_eq!(user.run(&["token"]).code, 3);
    fs::rename(&away, &key).expect("a key");
    assert_eq!(user.run(&["token"]).code, 3);
    let doctor = user.run(&["doctor"]).stdout;
    assert!(
        doctor.contains("the key of the store did not seal it"),
        "{doctor}"
    );
    user.sign_in("default");
    assert_eq!(user.run(&["token"]).code, 0);
}

/// A logout with the key seals its tombstone. A lost key then blocks no new login.
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_seals_its_tombstone() {
    let user = User::signed_in().await;
    let output = user.run(&["logout"]);
    assert_snapshot!(output.report(), @"
    exit code 0
    Signed out, and revoked at the issuer: session `default`.
    ");
    let record = fs::read(user.stored_record()).expect("a record");
    let line = record.split(|byte| *byte == b'\n').next().expect("a line");
    let line = String::from_utf8_lossy(line).into_owned();
    assert!(
        line.contains("xchacha20poly1305") && line.contains("\"signed_out\":true"),
        "{line}"
    );
    let doctor = user.run(&["doctor"]).stdout;
    assert!(!doctor.contains("did not seal"), "{doctor}");
    fs::remove_file(user.home().join(".config/token-rotator/key")).expect("a key");
    assert_eq!(user.run(&["token"]).code, 3);
    user.sign_in("default");
    assert_eq!(user.run(&["token"]).code, 0);
}

/// A store server that two programs use: one has the key, the other one writes unsealed records.
async fn no_forged_sign_out(store: &str) {
    let user = User::new().await;
    let endpoint = user.issuer.token_url();
    let settings = format!("client_id = \"{CLIENT}\"\ntoken_endpoint = \"{endpoint}\"\n");
    user.configure(&format!(
        "[sessions.default]\n{settings}[sessions.other]\n{settings}"
    ));
    let run = |key: &str, arguments: &[&str]| {
        let mut command = user.command(&["--store", store, "--key", key]);
        command.args(arguments).env("KEY", "07".repeat(32));
        user.with_input(command, &user.refresh_token())
    };
    let output = run("env:KEY", &["login"]);
    assert_eq!(output.code, 0, "{output:?}");
    let sealed = run("env:KEY", &["token"]).stdout;
    // The party without the key signs in over the record, and out.
    let output = run("none", &["login", "--session", "other"]);
    assert_eq!(output.code, 0, "{output:?}");
    let output = run("none", &["logout", "--session", "other"]);
    assert_eq!(output.code, 0, "{output:?}");
    let status = run("env:KEY", &["status", "--session", "other", "--json"]).stdout;
    assert!(
        status.contains(r#""state": "new""#),
        "the sign-out counts as no record: {status}"
    );
    let output = run("env:KEY", &["login", "--session", "other"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(run("env:KEY", &["token", "--session", "other"]).code, 0);
    assert_eq!(run("env:KEY", &["token"]).stdout, sealed);
    // A sign-out with the key is sealed, and counts.
    assert_eq!(run("env:KEY", &["logout"]).code, 0);
    assert_eq!(run("env:KEY", &["token"]).code, 3);
    let status = run("env:KEY", &["status", "--session", "default", "--json"]).stdout;
    assert!(status.contains(r#""state": "signed_out""#), "{status}");
}

/// A writer of the store who has no key can forge a tombstone.
#[tokio::test(flavor = "multi_thread")]
async fn an_unsealed_sign_out_in_redis_counts_as_no_record() {
    if let Some(server) = RedisServer::start().await {
        no_forged_sign_out(&server.url()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsealed_sign_out_in_postgres_counts_as_no_record() {
    if let Some(server) = PostgresServer::start().await {
        no_forged_sign_out(&server.url()).await;
    }
}

/// "Session names that differ by case share files on macOS and Windows".
#[tokio::test(flavor = "multi_thread")]
async fn sessions_whose_names_differ_by_case_share_no_file() {
    let user = User::new().await;
    for session in ["work", "Work", "WORK"] {
        user.sign_in(session);
        assert_eq!(user.run(&["token", "--session", session]).code, 0);
    }
    for directory in [
        ".config/token-rotator/sessions",
        ".local/state/token-rotator/history",
        ".local/state/token-rotator",
    ] {
        let entries = fs::read_dir(user.home().join(directory)).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_ascii_lowercase());
        let mut names: Vec<_> = names.collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{directory}: {names:?}");
    }
    let status = user.run(&["status", "--json"]).stdout;
    for session in ["work", "Work", "WORK"] {
        assert!(
            status.contains(&format!("\"session\": \"{session}\"")),
            "{status}"
        );
    }
    assert_eq!(user.run(&["logout", "--session", "Work"]).code, 0);
    assert_eq!(user.run(&["token", "--session", "work"]).code, 0);
    assert_eq!(user.run(&["token", "--session", "Work"]).code, 3);
}
