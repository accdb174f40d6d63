//! `status`, `history` and `doctor`: they change nothing.

use std::time::Duration;

use serde_json::Value;
use token_rotator_testkit::Fault;

use crate::user::User;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The states of a session in `status --json`. `status` refreshes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn status_shows_the_states_of_a_session() {
    let user = User::new().await;
    let state = || json(&user.run(&["status", "--json"]).stdout)[0]["state"].clone();
    assert_eq!(
        json(&user.run(&["status", "--json"]).stdout),
        Value::Array(Vec::new())
    );
    user.sign_in("default");
    assert_eq!(state(), "good");
    user.issuer.set_access_lifetime(Duration::from_secs(1));
    assert_eq!(user.run(&["token", "--refresh"]).code, 0);
    user.until_expired().await;
    assert_eq!(state(), "expired");
    let before = user.issuer.counters().refreshes;
    let status = json(&user.run(&["status", "--json"]).stdout);
    assert_eq!(status[0]["has_refresh_token"], true);
    assert!(status[0]["last_refresh"]["token"].is_string());
    assert_eq!(user.issuer.counters().refreshes, before);
    user.issuer.faults().push(
        Fault::OAuthError {
            status: 400,
            error: "invalid_grant".into(),
        }
        .times(1),
    );
    assert_eq!(user.run(&["token"]).code, 3);
    assert_eq!(state(), "ended");
    let table = user.run(&["status"]).stdout;
    assert!(
        table.contains("ended") && table.contains("invalid_grant"),
        "{table}"
    );
    user.run(&["logout"]);
    assert_eq!(state(), "signed_out");
}

/// The history has each generation with its reason, its process and its hash, but no token.
#[tokio::test(flavor = "multi_thread")]
async fn history_shows_generations_and_no_tokens() {
    let user = User::signed_in().await;
    let first = user.token();
    assert_eq!(user.run(&["token", "--refresh"]).code, 0);
    let second = user.token();
    let output = user.run(&["history", "--json"]);
    let entries: Vec<Value> = output.stdout.lines().map(json).collect();
    let events: Vec<_> = entries
        .iter()
        .map(|entry| entry["event"].as_str())
        .collect();
    assert_eq!(events, [Some("signed_in"), Some("refreshed")]);
    assert_eq!(entries[1]["because"], "forced");
    assert_ne!(entries[0]["token"], entries[1]["token"]);
    assert!(
        entries
            .iter()
            .all(|entry| entry["token"].as_str().is_some_and(|mark| mark.len() == 12))
    );
    let table = user.run(&["history"]).stdout;
    assert!(
        table.contains("refreshed") && table.contains("a refresh was requested"),
        "{table}"
    );
    for token in [&first, &second] {
        assert!(!output.stdout.contains(token.as_str()) && !table.contains(token.as_str()));
    }
    let newest = user.run(&["history", "-n", "1"]).stdout;
    assert!(
        newest.contains("refreshed") && !newest.contains("signed in"),
        "{newest}"
    );
}

/// A healthy session has no bad finding. A missing issuer and an ended session have one.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_failures() {
    let user = User::signed_in().await;
    let healthy = user.run(&["doctor"]);
    assert_eq!(healthy.code, 0, "{}", healthy.stdout);
    for check in [
        "configuration",
        "store",
        "client",
        "issuer",
        "clock",
        "session",
    ] {
        assert!(
            healthy.stdout.contains(&format!("{check}:")),
            "{}",
            healthy.stdout
        );
    }
    user.run(&["logout"]);
    user.issuer.shutdown().await;
    let ill = user.run(&["doctor", "--json"]);
    assert_eq!(ill.code, 1);
    let findings = json(&ill.stdout);
    let bad: Vec<_> = findings
        .as_array()
        .expect("a list")
        .iter()
        .filter(|finding| finding["grade"] == "bad")
        .map(|finding| finding["check"].as_str().expect("a name"))
        .collect();
    assert_eq!(bad, ["issuer", "session"]);
    assert!(findings.as_array().expect("a list").iter().all(|finding| {
        finding["grade"] == "good"
            || finding["hint"]
                .as_str()
                .is_some_and(|hint| !hint.is_empty())
    }));
}

/// `doctor` checks the discovery, and the endpoints that the next login needs.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_checks_discovery() {
    let user = User::new().await;
    crate::browser::sign_in(&user, &[]).await;
    let checks = |arguments: &[&str]| {
        let output = user.run(&[&["doctor", "--json"], arguments].concat());
        let findings = json(&output.stdout);
        let found = findings.as_array().expect("a list").iter();
        let mut grades: Vec<_> = found
            .filter(|finding| finding["session"] == "default")
            .map(|finding| {
                let text = |key| finding[key].as_str().expect("text").to_owned();
                (text("check"), text("grade"))
            })
            .collect();
        grades.retain(|(check, _)| ["discovery", "issuer"].contains(&check.as_str()));
        (output.code, grades)
    };
    let expected = |checks: &[(&str, &str)]| -> Vec<_> {
        let owned = |(check, grade): &(&str, &str)| ((*check).to_owned(), (*grade).to_owned());
        checks.iter().map(owned).collect()
    };
    let good = expected(&[("discovery", "good"), ("issuer", "good")]);
    assert_eq!(checks(&[]), (0, good));

    user.issuer.shutdown().await;
    assert_eq!(checks(&[]), (1, expected(&[("discovery", "bad")])));
    // With a configured token endpoint the session works without discovery.
    user.configure(&format!(
        "[sessions.default]\ntoken_endpoint = \"{}\"\n",
        user.issuer.token_url()
    ));
    let fair = expected(&[("discovery", "fair"), ("issuer", "bad")]);
    assert_eq!(checks(&[]), (1, fair));

    let device = format!(
        "[sessions.default]\nissuer = \"{}\"\nclient_id = \"desk\"\ngrant = \"device\"\n",
        crate::metadata::serve(&serde_json::json!({}))
    );
    user.configure(&device);
    let missing = expected(&[("discovery", "fair"), ("issuer", "good")]);
    assert_eq!(checks(&[]).1, missing);
}
