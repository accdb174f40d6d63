//! Refusals by issuers, and requests by kubectl and git that cannot be answered.

use insta::assert_snapshot;
use serde_json::json;
use token_rotator_testkit::Fault;

use crate::metadata;
use crate::user::{CLIENT, CommandOutput, SERVICE, SERVICE_SECRET, User};

/// Signs in with client credentials and these flags.
fn client_login(user: &User, flags: &[&str]) -> CommandOutput {
    let issuer = user.issuer.url();
    let login = ["login", "--grant", "client-credentials"];
    let client = ["--client-id", SERVICE, "--issuer", issuer];
    user.run(&[&login[..], flags, &client].concat())
}

/// Refreshes with this fault. Returns the user and the output.
async fn refresh_with(fault: Fault) -> (User, CommandOutput) {
    let user = User::signed_in().await;
    user.issuer.faults().push(fault.times(1));
    let output = user.run(&["token", "--refresh"]);
    assert!(output.code > 0, "{output:?}");
    (user, output)
}

fn refusal(error: &str) -> Fault {
    Fault::OAuthError {
        status: 400,
        error: error.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_refused() {
    let user = User::expired().await;
    user.issuer.faults().push(refusal("invalid_grant").times(1));
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 3
    error: there is no token for session `default`
      because the access token could not be refreshed: the issuer refused the request (HTTP 400, invalid_grant)
    hint: sign in with `token-rotator login --session default`
    ");
    // The refusal is stored: a later command reports it.
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 3
    error: there is no token for session `default`
      because the issuer has refused this session's refresh token before
    hint: sign in with `token-rotator login --session default`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_refused() {
    let (_, output) = refresh_with(refusal("invalid_client")).await;
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no token for session `default`
      because the access token could not be refreshed: the issuer refused the request (HTTP 400, invalid_client)
    hint: check the client id, the client's secret and how the client authenticates (`--client-auth basic`, `post` or `none`)
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_busy() {
    let busy = Fault::Status {
        status: 503,
        retry_after: None,
    };
    let (_, output) = refresh_with(busy).await;
    assert_snapshot!(output.report(), @"
    exit code 4
    error: there is no token for session `default`
      because the access token could not be refreshed: the issuer cannot answer now (HTTP 503)
    hint: try again in a moment
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost() {
    let (_, output) = refresh_with(Fault::AnswerLost).await;
    assert_snapshot!(output.report(), @"
    exit code 4
    error: there is no token for session `default`
      because the access token could not be refreshed: the issuer may have been reached, but its answer was not
      because error sending request
      because client error (SendRequest)
      because connection closed before message completed
    hint: the answer was lost; `token-rotator status --session default` shows the session's state
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_token_is_spent() {
    let user = User::new().await;
    let spent = user.refresh_token();
    assert_eq!(user.login("work", &spent).code, 0);
    let output = user.login("other", &spent);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the issuer did not take the refresh token
      because the issuer refused the request (HTTP 400, invalid_grant): the refresh token was used before
    hint: a refresh token that was used before is spent; get a new one
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn stdin_is_no_text() {
    let user = User::new().await;
    let mut command = user.command(&["login", "--grant", "refresh-token"]);
    command.args([
        "--client-id",
        CLIENT,
        "--token-endpoint",
        user.issuer.token_url(),
    ]);
    let file = user.home().join("token");
    std::fs::write(&file, b"\xff\xfe").expect("a file");
    command.stdin(std::fs::File::open(file).expect("it is there"));
    let output = user.output_of(command);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no refresh token on stdin
      because stream did not contain valid UTF-8
    hint: pipe it in: `pass show issuer/refresh-token | token-rotator login --grant refresh-token`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn device_is_refused() {
    let user = User::new().await;
    let issuer = user.issuer.url();
    let output = user.run(&[
        "login",
        "--grant",
        "device",
        "--client-id",
        "unknown-client",
        "--issuer",
        issuer,
    ]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no code to enter on another device
      because the issuer gave no device code: the issuer refused the request (HTTP 401, invalid_client): unknown client or wrong secret
    hint: check the client id, the client's secret and how the client authenticates (`--client-auth basic`, `post` or `none`)
    ");
}

/// A refusal whose code names no cause.
#[tokio::test(flavor = "multi_thread")]
async fn client_request_is_invalid() {
    let user = User::new().await;
    user.issuer
        .faults()
        .push(refusal("invalid_request").times(1));
    let file = user.home().join("secret");
    std::fs::write(&file, SERVICE_SECRET).expect("a file");
    let file = file.display().to_string();
    let output = client_login(&user, &["--client-secret-file", &file]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the issuer gave the client no token
      because the issuer refused the request (HTTP 400, invalid_request)
    hint: check the client's id, its secret and its scope, and that it may use this grant
    ");
}

/// A refusal whose code names no cause.
#[tokio::test(flavor = "multi_thread")]
async fn refresh_request_is_invalid() {
    let user = User::new().await;
    let refresh_token = user.refresh_token();
    user.issuer
        .faults()
        .push(refusal("invalid_request").times(1));
    let output = user.login("other", &refresh_token);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the issuer did not take the refresh token
      because the issuer refused the request (HTTP 400, invalid_request)
    hint: check the client's id and its scope, then try again with the same token
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_secret_file_is_a_directory() {
    let user = User::new().await;
    let output = client_login(&user, &["--client-secret-file", "/"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the client's secret cannot be read
      because /: Is a directory (os error 21)
    hint: name a file with the secret that you may read: `client_secret_file`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_has_no_secret() {
    let user = User::new().await;
    let output = client_login(&user, &[]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the issuer gave the client no token
      because the issuer refused the request (HTTP 401, invalid_client): unknown client or wrong secret
    hint: no secret was given: set TOKEN_ROTATOR_CLIENT_SECRET, or name its location with `--client-secret-env` or `--client-secret-file`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_needs_a_secret() {
    let user = User::new().await;
    let output = client_login(&user, &["--client-auth", "post"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the client's secret is missing
      because `client_auth` says that the client authenticates with one
    hint: set TOKEN_ROTATOR_CLIENT_SECRET, or name its location with `client_secret_env` or `client_secret_file`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_cannot_be_read() {
    let user = User::new().await;
    let output = client_login(&user, &["--client-secret-file", "/nowhere"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the client's secret cannot be read
      because /nowhere: No such file or directory (os error 2)
    hint: write the file, or name another
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn resource_is_none() {
    let user = User::new().await;
    let issuer = user.issuer.url().to_owned();
    let mut command = user.command(&[
        "login",
        "--grant",
        "client-credentials",
        "--resource",
        "api",
    ]);
    command.args(["--client-id", SERVICE, "--issuer", &issuer]);
    command.env("TOKEN_ROTATOR_CLIENT_SECRET", SERVICE_SECRET);
    let output = user.output_of(command);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the issuer gave the client no token
      because no request to the token endpoint can be made: a resource is not an absolute URI without a fragment
    hint: write the resource like `https://api.example.com`, or set `audience` for other names
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_names_no_token_endpoint() {
    let user = User::new().await;
    let issuer = metadata::serve(&json!({"token_endpoint": null}));
    let mut command = user.command(&["login", "--grant", "client-credentials"]);
    command.args(["--client-id", SERVICE, "--issuer", &issuer]);
    command.env("TOKEN_ROTATOR_CLIENT_SECRET", SERVICE_SECRET);
    let output = user.output_of(command);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the issuer gave the client no token
      because the issuer names no token endpoint
    hint: give it: `token_endpoint` in the configuration, or `--token-endpoint`
    ");
}

/// The session ends locally even if the issuer cannot be reached.
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_without_the_issuer() {
    let user = User::signed_in().await;
    user.issuer.shutdown().await;
    let output = user.run(&["logout"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: session `default` is signed out, but its tokens could not be revoked
      because the issuer was not reached
      because error sending request
      because client error (Connect)
      because tcp connect error
      because Connection refused (os error 111)
    hint: the access token ends when it expires, and the refresh token stays valid until the issuer ends it; end the grant on the issuer's account pages
    ");
    assert_eq!(user.run(&["token"]).code, 3);
}

/// A logout succeeds without a revocation endpoint, and says that nothing was revoked.
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_without_revocation() {
    let user = User::new().await;
    let (client, token) = (format!("client_id = \"{CLIENT}\""), user.issuer.token_url());
    user.configure(&format!(
        "[sessions.default]\n{client}\ntoken_endpoint = \"{token}\"\n"
    ));
    user.with_input(user.command(&["login"]), &user.refresh_token());
    assert_snapshot!(user.run(&["logout"]).report(), @"
    exit code 0
    Signed out: session `default`. It has no `revocation_endpoint`: the access token ends when it expires, and the refresh token stays valid until the issuer ends it.
    ");

    let issuer = metadata::serve(&json!({}));
    let mut login = user.command(&["login", "-s", "work", "--grant", "refresh-token"]);
    login.args([
        "--client-id",
        CLIENT,
        "--issuer",
        &issuer,
        "--token-endpoint",
        token,
    ]);
    user.with_input(login, &user.refresh_token());
    let output = user.run(&["logout", "-s", "work"]);
    assert_snapshot!(output.report(), @"
    exit code 0
    Signed out: session `work`. Its issuer names no revocation endpoint: the access token ends when it expires, and the refresh token stays valid until the issuer ends it.
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_min_ttl_longer_than_the_lifetime() {
    let user = User::signed_in().await;
    let output = user.run(&["token", "--min-ttl", "1h"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: no token lasts for 3600s
      because the issuer's tokens are valid for 300s
    hint: ask for less with `--min-ttl`, or have the issuer give tokens that live longer
    ");
    // A token that was just issued is not refreshed a second time.
    let user = User::expired().await;
    let before = user.issuer.counters().refreshes;
    let mut output = user.run(&["token", "--min-ttl", "300s"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert_eq!(user.issuer.counters().refreshes - before, 1);
    for left in 280..300 {
        output.stderr = output
            .stderr
            .replace(&format!("valid for {left}s"), "valid for LEFT");
    }
    assert_snapshot!(output.report(), @"
    exit code 1
    error: no token lasts for 300s
      because the issuer's tokens are valid for LEFT
    hint: ask for less with `--min-ttl`, or have the issuer give tokens that live longer
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn operation_without_git() {
    let user = User::new().await;
    let output = user.run(&["token", "get"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: `token` takes no `get` in this format
      because git adds an operation when it calls a credential helper
    hint: add `--format git-credential`, or leave it out
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn git_request_is_no_text() {
    let user = User::signed_in().await;
    let file = user.home().join("request");
    std::fs::write(&file, b"protocol=\xff\n").expect("a file");
    let mut command = user.command(&["token", "-f", "git-credential", "get"]);
    command.stdin(std::fs::File::open(file).expect("it is there"));
    let output = user.output_of(command);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: git's request cannot be read
      because stream did not contain valid UTF-8
    hint: `--format git-credential` is for git, which writes its request to stdin
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_requests_an_unknown_version() {
    let user = User::signed_in().await;
    let request_with = |info: &str| {
        let mut command = user.command(&["token", "-f", "exec-credential"]);
        command.env("KUBERNETES_EXEC_INFO", info);
        user.output_of(command)
    };
    let alpha = r#"{"apiVersion":"client.authentication.k8s.io/v1alpha1"}"#;
    assert_snapshot!(request_with(alpha).report(), @"
    exit code 1
    error: kubectl asks for client.authentication.k8s.io/v1alpha1
      because the program supports client.authentication.k8s.io/v1 and client.authentication.k8s.io/v1beta1
    hint: write `apiVersion: client.authentication.k8s.io/v1` into the kubeconfig's `exec`
    ");
    assert_snapshot!(request_with("{}").report(), @"
    exit code 1
    error: KUBERNETES_EXEC_INFO cannot be read
      because missing field `apiVersion` at line 1 column 2
    hint: unset it, or have kubectl set it
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn command_is_not_there() {
    let user = User::signed_in().await;
    let output = user.run(&["exec", "--", "no-such-command"]);
    assert_snapshot!(output.report(), @"
    exit code 127
    error: no-such-command cannot be run
      because No such file or directory (os error 2)
    hint: check the name of the command and that you may execute it
    ");
}

/// A file that this user may not execute.
#[tokio::test(flavor = "multi_thread")]
async fn command_is_not_executable() {
    let user = User::signed_in().await;
    let script = user.home().join("script");
    std::fs::write(&script, "#!/bin/sh\n").expect("a file");
    let output = user.run(&["exec", "--", script.to_str().expect("UTF-8")]);
    assert_snapshot!(output.report(), @"
    exit code 127
    error: ~/script cannot be run
      because Permission denied (os error 13)
    hint: allow this user to execute the command
    ");
}

/// `demo` and `issuer` with too many callers or a port that is in use.
#[tokio::test(flavor = "multi_thread")]
async fn demos_that_cannot_start() {
    let user = User::new().await;
    let output = user.run(&["demo", "--web", "--requests", "1001"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: `--web` cannot run this many callers
      because it runs at most 1000, not 1001
    hint: use `--requests 1000` or fewer
    ");
    let port = user
        .issuer
        .url()
        .rsplit(':')
        .next()
        .expect("a port")
        .to_owned();
    let mut output = user.run(&["demo", "--web", "--port", &port]);
    output.stderr = output.stderr.replace(&port, "PORT");
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the page could not be served
      because 127.0.0.1:PORT cannot be listened on: Address already in use (os error 98)
    hint: choose another port with `--port`, or leave it out for a free one
    ");
    let issuer = |flag| {
        let mut output = user.run(&["issuer", flag, &port]);
        assert_eq!(output.code, 1, "{output:?}");
        output.stderr = output.stderr.replace(&port, "PORT");
        output
    };
    assert_snapshot!(issuer("--port").report(), @"
    exit code 1
    error: the issuer could not be started
      because cannot listen on 127.0.0.1:PORT
      because Address already in use (os error 98)
    hint: choose another port with `--port`, or leave it out for a free one
    ");
    assert_snapshot!(issuer("--upstream-port").report(), @"
    exit code 1
    error: the API could not be started
      because cannot listen on 127.0.0.1:PORT
      because Address already in use (os error 98)
    hint: choose another port with `--upstream-port`, or leave it out for a free one
    ");
}
