//! What `doctor` and `status` find about sessions at real issuers. Each test has the name of its case.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::fake_issuer::{FakeIssuer, now};
use crate::real_issuers::{expired, expiring, lasting, run};
use crate::user::User;

/// Returns the findings of `doctor` about the session's record, with times replaced.
fn findings(user: &User, fake: &FakeIssuer) -> String {
    let doctor = run(user, fake, &["doctor"]);
    let at = doctor.stdout.find("default: session:").expect("a finding");
    let mut text = format!("exit code {}\n", doctor.code) + &doctor.stdout[at - 5..];
    for seconds in 0..20 {
        text = text.replace(&format!(": {seconds}s ago:"), ": AGO:");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_fails_if_the_next_token_would() {
    let (user, fake) = expired(&json!({}), &[]).await;
    let refused = json!({"error": "invalid_client"});
    fake.answer_always(401, refused.clone());
    assert_eq!(run(&user, &fake, &["token"]).code, 1);
    let doctor = run(&user, &fake, &["doctor"]);
    assert_eq!(doctor.code, 1, "{doctor:?}");
    let at = doctor
        .stdout
        .find("bad  default: last failure")
        .expect("a finding");
    assert!(doctor.stdout[at..].contains("invalid_client"), "{doctor:?}");
    assert!(
        doctor.stdout[at..].contains("hint: check the client id"),
        "{doctor:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lifetimes_of_refresh_tokens() {
    let signed_in = async |lifetime: Value| {
        let user = User::new().await;
        let fake = FakeIssuer::start(&json!({}));
        let mut tokens = lasting(1);
        tokens["refresh_expires_in"] = lifetime;
        fake.answer(200, tokens);
        assert_eq!(fake.login(&user, &[]).code, 0);
        let status: Value =
            serde_json::from_str(&user.run(&["status", "--json"]).stdout).expect("JSON");
        let doctor = run(&user, &fake, &["doctor"]);
        (status[0]["refresh_token_expires_at"].clone(), doctor, user)
    };
    let (at, doctor, user) = signed_in(json!(30 * 24 * 3600 + 7200)).await;
    assert!(at.as_str().is_some_and(|at| at.ends_with('Z')), "{at}");
    assert_eq!(doctor.code, 0, "{doctor:?}");
    assert!(!doctor.stdout.contains("refresh token"), "{doctor:?}");
    assert!(
        user.run(&["status"]).stdout.contains("in 30d"),
        "{:?}",
        user.run(&["status"])
    );
    let (_, doctor, user) = signed_in(json!("100000")).await;
    assert_eq!(doctor.code, 0, "{doctor:?}");
    assert!(
        doctor
            .stdout
            .contains("note default: refresh token: it expires in 1d 3h"),
        "{doctor:?}"
    );
    let status = user.run(&["status"]);
    assert!(
        status.stderr.contains("its refresh token expires in 1d 3h"),
        "{status:?}"
    );
    let (at, doctor, _) = signed_in(json!(0)).await;
    assert_eq!((at, doctor.code), (Value::Null, 0), "{doctor:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_without_a_lasting_refresh_token() {
    let signed_in = async |tokens: Value| {
        let user = User::new().await;
        let fake = FakeIssuer::start(&json!({}));
        fake.answer(200, tokens);
        assert_eq!(fake.login(&user, &["--scope", "offline_access"]).code, 0);
        (user, fake)
    };
    let mut tokens = expiring(1);
    tokens["refresh_token_expires_in"] = json!(1);
    let (user, fake) = signed_in(tokens).await;
    user.until_expired().await;
    assert_snapshot!(findings(&user, &fake), @"
    exit code 1
    bad  default: session: its token and its refresh token have expired
         hint: sign in with `token-rotator login --session default`
    ");
    let mut tokens = lasting(1);
    tokens["refresh_token_expires_at"] = json!(now() - 5);
    let (user, fake) = signed_in(tokens).await;
    assert_snapshot!(findings(&user, &fake), @"
    exit code 1
    ok   default: session: its token is valid
    bad  default: refresh token: it has expired
         hint: sign in with `token-rotator login --session default`
    ");
    let mut tokens = lasting(1);
    tokens["refresh_token_expires_in"] = json!(100_000);
    let (user, fake) = signed_in(tokens).await;
    assert_snapshot!(findings(&user, &fake), @"
    exit code 0
    ok   default: session: its token is valid
    note default: refresh token: it expires in 1d 3h
         hint: sign in with `token-rotator login --session default` before
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_is_over() {
    let (user, fake) = expired(&json!({}), &[]).await;
    fake.answer_always(404, "");
    assert_eq!(run(&user, &fake, &["token"]).code, 1);
    fake.answer_always(200, lasting(2));
    assert_eq!(run(&user, &fake, &["token", "--refresh"]).code, 0);
    assert_snapshot!(findings(&user, &fake), @"
    exit code 0
    ok   default: session: its token is valid
    ok   default: last failure: AGO: the access token could not be refreshed: there is no such endpoint (HTTP 404); it works since
    ");
}
