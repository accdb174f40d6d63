//! Each format, read by whoever expects it.

use serde_json::Value;
use token_rotator_testkit::Upstream;

use crate::user::User;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn json_says_when_it_expires_and_hides_the_refresh_token() {
    let user = User::signed_in().await;
    let came = user.run(&["token", "--format", "json"]);
    let said = json(&came.out);
    assert_eq!(said["access_token"], user.token());
    assert_eq!(said["token_type"], "Bearer");
    assert!(
        said["expires_at"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z'))
    );
    assert!(said.get("refresh_token").is_none());
    let shown = json(
        &user
            .run(&["token", "-f", "json", "--show-refresh-token"])
            .out,
    );
    let refresh_token = shown["refresh_token"].as_str().expect("it was asked for");
    // It is the session's own: whoever spends it is the session.
    assert_eq!(user.login("copy", refresh_token).code, 0);
}

/// `token -f header | curl -H @-`, at an API that looks at the token.
#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_the_header() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an API");
    let mut curl = user.any("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "@-"]);
    curl.arg(format!("{}/echo", upstream.url()));
    let header = user.run(&["token", "-f", "header"]).out;
    assert_eq!(user.with_input(curl, &header).out, "200");
}

/// git asks for the hosts that are named, is answered, and refuses what does not work.
#[tokio::test(flavor = "multi_thread")]
async fn git_asks_and_refuses() {
    let user = User::signed_in().await;
    user.configure("[sessions.default]\norigins = [\"https://git.example.com\"]\n");
    let git = |operation: &str, input: &str| {
        let mut git = user.any("git");
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
    let ours = "protocol=https\nhost=git.example.com\n";
    let filled = git("fill", &format!("{ours}\n"));
    let token = user.token();
    assert!(
        filled.out.contains(&format!("password={token}\n")),
        "{filled:?}"
    );
    assert!(filled.out.contains("username=oauth2\n"));
    // Not a word to anybody else, over another scheme or at another port.
    for other in [
        "protocol=https\nhost=git.example.org\n\n",
        "protocol=http\nhost=git.example.com\n\n",
        "protocol=https\nhost=git.example.com:8443\n\n",
    ] {
        let filled = git("fill", other);
        assert!(!filled.out.contains("password="), "{filled:?}");
        assert_ne!(filled.code, 0);
    }
    // What was refused is refreshed, once it is older than the issuer's own blink.
    let before = user.issuer.counters().refreshes;
    let stale = format!("{ours}username=oauth2\npassword=not-{token}\n\n");
    assert_eq!(git("reject", &stale).code, 0);
    assert_eq!(user.issuer.counters().refreshes, before);
}

/// kubectl asks in one of two versions and is answered in the same.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_is_answered_in_its_own_version() {
    let user = User::signed_in().await;
    for version in ["v1", "v1beta1"] {
        let version = format!("client.authentication.k8s.io/{version}");
        let mut command = user.command(&["token", "-f", "exec-credential"]);
        let info = format!(r#"{{"apiVersion":"{version}","kind":"ExecCredential","spec":{{}}}}"#);
        command.env("KUBERNETES_EXEC_INFO", info);
        let said = json(&user.came(command.output().expect("it runs")).out);
        assert_eq!(
            (&said["apiVersion"], &said["kind"]),
            (&version.into(), &"ExecCredential".into())
        );
        assert_eq!(said["status"]["token"], user.token());
        let expires = said["status"]["expirationTimestamp"]
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
    let lines = user.run(&["token", "-f", "dotenv"]).out;
    let file = user.home().join(".env");
    std::fs::write(&file, &lines).expect("a file");
    let token = user.token();
    let mut shell = user.any("sh");
    shell
        .args(["-c", ". \"$0\"; printf %s \"$ACCESS_TOKEN\""])
        .arg(&file);
    assert_eq!(user.came(shell.output().expect("it runs")).out, token);
    let mut node = user.any("node");
    node.arg(format!("--env-file={}", file.display()));
    node.args(["-e", "process.stdout.write(process.env.ACCESS_TOKEN)"]);
    assert_eq!(user.came(node.output().expect("node runs")).out, token);
    let seconds = lines
        .lines()
        .find_map(|line| line.strip_prefix("ACCESS_TOKEN_EXPIRES_AT="));
    assert!(
        seconds.is_some_and(|seconds| seconds.parse::<u64>().is_ok()),
        "{lines}"
    );
}

/// A token that has to last longer than it does is refreshed; one that no token of this issuer could
/// satisfy is an error and no refresh.
#[tokio::test(flavor = "multi_thread")]
async fn min_ttl_refreshes_what_is_too_short() {
    let user = User::new().await;
    user.issuer
        .set_access_lifetime(std::time::Duration::from_secs(90));
    user.sign_in("default");
    let first = user.token();
    let before = user.issuer.counters().refreshes;
    let came = user.run(&["token", "--min-ttl", "1h"]);
    assert_eq!(
        (came.code, user.issuer.counters().refreshes),
        (1, before),
        "{came:?}"
    );
    assert_eq!(user.run(&["token", "--min-ttl", "30s"]).out.trim(), first);
    let forced = user.run(&["token", "--refresh"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    assert_ne!(forced.out.trim(), first);
    assert_eq!(user.token(), forced.out.trim());
}
