//! `status`, `history` and `doctor`: they look and change nothing.

use std::time::Duration;

use serde_json::Value;
use token_rotator_testkit::Fault;

use crate::user::User;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The states of a session's life, as `status --json` tells them. Nothing is refreshed by looking.
#[tokio::test(flavor = "multi_thread")]
async fn status_tells_a_sessions_life() {
    let user = User::new().await;
    let state = || json(&user.run(&["status", "--json"]).out)[0]["state"].clone();
    assert_eq!(
        json(&user.run(&["status", "--json"]).out),
        Value::Array(Vec::new())
    );
    user.sign_in("default");
    assert_eq!(state(), "good");
    user.issuer.set_access_lifetime(Duration::from_secs(1));
    assert_eq!(user.run(&["token", "--refresh"]).code, 0);
    user.until_expired().await;
    assert_eq!(state(), "expired");
    let before = user.issuer.counters().refreshes;
    let status = json(&user.run(&["status", "--json"]).out);
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
    let table = user.run(&["status"]).out;
    assert!(
        table.contains("ended") && table.contains("invalid_grant"),
        "{table}"
    );
    user.run(&["logout"]);
    assert_eq!(state(), "signed_out");
}

/// Each generation is there with its reason, its process and its hash, and no token is.
#[tokio::test(flavor = "multi_thread")]
async fn history_tells_generations_and_no_tokens() {
    let user = User::signed_in().await;
    let first = user.token();
    assert_eq!(user.run(&["token", "--refresh"]).code, 0);
    let second = user.token();
    let came = user.run(&["history", "--json"]);
    let entries: Vec<Value> = came.out.lines().map(json).collect();
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
    let table = user.run(&["history"]).out;
    assert!(
        table.contains("refreshed") && table.contains("somebody asked for it"),
        "{table}"
    );
    for token in [&first, &second] {
        assert!(!came.out.contains(token.as_str()) && !table.contains(token.as_str()));
    }
    let newest = user.run(&["history", "-n", "1"]).out;
    assert!(
        newest.contains("refreshed") && !newest.contains("signed in"),
        "{newest}"
    );
}

/// A healthy session has nothing bad; an issuer that is gone, and a session that has ended, are told.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_what_is_wrong() {
    let user = User::signed_in().await;
    let healthy = user.run(&["doctor"]);
    assert_eq!(healthy.code, 0, "{}", healthy.out);
    for check in [
        "configuration",
        "store",
        "client",
        "issuer",
        "clock",
        "session",
    ] {
        assert!(
            healthy.out.contains(&format!("{check}:")),
            "{}",
            healthy.out
        );
    }
    user.run(&["logout"]);
    user.issuer.shutdown().await;
    let ill = user.run(&["doctor", "--json"]);
    assert_eq!(ill.code, 1);
    let findings = json(&ill.out);
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

/// Of a session with an issuer `doctor` tells whether that says where its endpoints are, and what the
/// next login will miss.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_looks_at_discovery() {
    let user = User::new().await;
    crate::browser::sign_in(&user, &[]).await;
    let checks = |arguments: &[&str]| {
        let came = user.run(&[&["doctor", "--json"], arguments].concat());
        let findings = json(&came.out);
        let found = findings.as_array().expect("a list").iter();
        let mut grades: Vec<_> = found
            .filter(|finding| finding["session"] == "default")
            .map(|finding| {
                let text = |key| finding[key].as_str().expect("text").to_owned();
                (text("check"), text("grade"))
            })
            .collect();
        grades.retain(|(check, _)| ["discovery", "issuer"].contains(&check.as_str()));
        (came.code, grades)
    };
    let told = |checks: &[(&str, &str)]| -> Vec<_> {
        let owned = |(check, grade): &(&str, &str)| ((*check).to_owned(), (*grade).to_owned());
        checks.iter().map(owned).collect()
    };
    let good = told(&[("discovery", "good"), ("issuer", "good")]);
    assert_eq!(checks(&[]), (0, good));

    user.issuer.shutdown().await;
    assert_eq!(checks(&[]), (1, told(&[("discovery", "bad")])));
    // With a token endpoint of its own a session is not lost without discovery.
    user.configure(&format!(
        "[sessions.default]\ntoken_endpoint = \"{}\"\n",
        user.issuer.token_url()
    ));
    let fair = told(&[("discovery", "fair"), ("issuer", "bad")]);
    assert_eq!(checks(&[]), (1, fair));

    let device = format!(
        "[sessions.default]\nissuer = \"{}\"\nclient_id = \"desk\"\ngrant = \"device\"\n",
        crate::metadata::serve(&serde_json::json!({}))
    );
    user.configure(&device);
    let missing = told(&[("discovery", "fair"), ("issuer", "good")]);
    assert_eq!(checks(&[]).1, missing);
}
