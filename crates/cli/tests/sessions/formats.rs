//! Each format of `token`, read by the program that it is for.

use serde_json::Value;
use token_rotator_testkit::Upstream;

use crate::user::User;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn json_has_the_expiry_and_no_refresh_token() {
    let user = User::signed_in().await;
    let output = user.run(&["token", "--format", "json"]);
    let json_output = json(&output.stdout);
    assert_eq!(json_output["access_token"], user.token());
    assert_eq!(json_output["token_type"], "Bearer");
    assert!(
        json_output["expires_at"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z'))
    );
    assert!(json_output.get("refresh_token").is_none());
    let shown = json(
        &user
            .run(&["token", "-f", "json", "--show-refresh-token"])
            .stdout,
    );
    let refresh_token = shown["refresh_token"].as_str().expect("a refresh token");
    // It is the session's current refresh token: a login with it succeeds.
    assert_eq!(user.login("copy", refresh_token).code, 0);
}

/// `token -f header | curl -H @-`, at an API that checks the token.
#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_the_header() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an API");
    let mut curl = user.program("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "@-"]);
    curl.arg(format!("{}/echo", upstream.url()));
    let header = user.run(&["token", "-f", "header"]).stdout;
    assert_eq!(user.with_input(curl, &header).stdout, "200");
}

/// git gets the token for the allowed hosts only, and reports a refused token.
#[tokio::test(flavor = "multi_thread")]
async fn git_gets_the_token_for_allowed_hosts() {
    let user = User::signed_in().await;
    user.configure("[sessions.default]\norigins = [\"https://git.example.com\"]\n");
    let git = |operation: &str, input: &str| {
        let mut git = user.program("git");
        let helper = format!(
            "credential.helper=!{} token -f git-credential",
            env!("CARGO_BIN_EXE_token-rotator")
        );
        git.args([
            "-c",
            "credential.helper=",
            "-c",
            &helper,
            "credential",
            operation,
        ]);
        git.env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        user.with_input(git, input)
    };
    let allowed = "protocol=https\nhost=git.example.com\n";
    let filled = git("fill", &format!("{allowed}\n"));
    let token = user.token();
    assert!(
        filled.stdout.contains(&format!("password={token}\n")),
        "{filled:?}"
    );
    assert!(filled.stdout.contains("username=oauth2\n"));
    // No token for another host, another scheme or another port.
    for other in [
        "protocol=https\nhost=git.example.org\n\n",
        "protocol=http\nhost=git.example.com\n\n",
        "protocol=https\nhost=git.example.com:8443\n\n",
    ] {
        let filled = git("fill", other);
        assert!(!filled.stdout.contains("password="), "{filled:?}");
        assert_ne!(filled.code, 0);
    }
    // A refused token that is not the session's newest starts no refresh.
    let before = user.issuer.counters().refreshes;
    let stale = format!("{allowed}username=oauth2\npassword=not-{token}\n\n");
    assert_eq!(git("reject", &stale).code, 0);
    assert_eq!(user.issuer.counters().refreshes, before);
}

/// kubectl is answered in the version that it requests.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_is_answered_in_its_own_version() {
    let user = User::signed_in().await;
    for version in ["v1", "v1beta1"] {
        let version = format!("client.authentication.k8s.io/{version}");
        let mut command = user.command(&["token", "-f", "exec-credential"]);
        let info = format!(r#"{{"apiVersion":"{version}","kind":"ExecCredential","spec":{{}}}}"#);
        command.env("KUBERNETES_EXEC_INFO", info);
        let json_output = json(&user.output_of(command).stdout);
        assert_eq!(
            (&json_output["apiVersion"], &json_output["kind"]),
            (&version.into(), &"ExecCredential".into())
        );
        assert_eq!(json_output["status"]["token"], user.token());
        let expires = json_output["status"]["expirationTimestamp"]
            .as_str()
            .expect("a time");
        assert!(
            expires.ends_with('Z') && !expires.contains('.'),
            "{expires}"
        );
    }
}

/// A shell and Node read the same token from the same lines.
#[tokio::test(flavor = "multi_thread")]
async fn shells_and_node_read_dotenv() {
    let user = User::signed_in().await;
    let lines = user.run(&["token", "-f", "dotenv"]).stdout;
    let file = user.home().join(".env");
    std::fs::write(&file, &lines).expect("a file");
    let token = user.token();
    let mut shell = user.program("sh");
    shell
        .args(["-c", ". \"$0\"; printf %s \"$ACCESS_TOKEN\""])
        .arg(&file);
    assert_eq!(user.output_of(shell).stdout, token);
    let mut node = user.program("node");
    node.arg(format!("--env-file={}", file.display()));
    node.args(["-e", "process.stdout.write(process.env.ACCESS_TOKEN)"]);
    assert_eq!(user.output_of(node).stdout, token);
    let seconds = lines
        .lines()
        .find_map(|line| line.strip_prefix("ACCESS_TOKEN_EXPIRES_AT="));
    assert!(
        seconds.is_some_and(|seconds| seconds.parse::<u64>().is_ok()),
        "{lines}"
    );
}

/// A `--min-ttl` beyond the lifetime of the issuer's tokens is an error without a refresh. A shorter
/// one is met by the stored token.
#[tokio::test(flavor = "multi_thread")]
async fn min_ttl_starts_no_useless_refresh() {
    let user = User::new().await;
    user.issuer
        .set_access_lifetime(std::time::Duration::from_secs(90));
    user.sign_in("default");
    let first = user.token();
    let before = user.issuer.counters().refreshes;
    let output = user.run(&["token", "--min-ttl", "1h"]);
    assert_eq!(
        (output.code, user.issuer.counters().refreshes),
        (1, before),
        "{output:?}"
    );
    assert_eq!(
        user.run(&["token", "--min-ttl", "30s"]).stdout.trim(),
        first
    );
    let forced = user.run(&["token", "--refresh"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    assert_ne!(forced.stdout.trim(), first);
    assert_eq!(user.token(), forced.stdout.trim());
}
