//! Errors that a new user meets. Each ends with a hint.

use std::process::Command;

use insta::assert_snapshot;

use crate::login::Login;
use crate::user::{CLIENT, SERVICE, User};

/// Returns a `login` with this grant and these flags. It names the token endpoint and no issuer.
fn login(user: &User, grant: &str, flags: &[&str]) -> Command {
    let mut command = user.command(&["login", "--grant", grant]);
    command.args(["--token-endpoint", user.issuer.token_url()]);
    command.args(flags);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn no_login_yet() {
    let user = User::new().await;
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 3
    error: there is no session `default`
      because no user has signed in yet, and ~/.config/token-rotator/config.toml has no [sessions.default]
    hint: sign in with `token-rotator login --session default --issuer URL --client-id ID`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_session() {
    let user = User::new().await;
    user.sign_in("work");
    let output = user.run(&["token", "-s", "wrok"]);
    assert_snapshot!(output.report(), @"
    exit code 3
    error: there is no session `wrok`
      because the known sessions are: work
    hint: sign in with `token-rotator login --session wrok --issuer URL --client-id ID`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_out() {
    let user = User::signed_in().await;
    user.run(&["logout"]);
    let output = user.run(&["exec", "--", "true"]);
    assert_snapshot!(output.report(), @"
    exit code 3
    error: there is no token for session `default`
      because the session is not signed in
    hint: sign in with `token-rotator login --session default`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_id() {
    let user = User::new().await;
    let command = login(&user, "refresh-token", &[]);
    let output = user.with_input(command, "a-refresh-token");
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the session has no client id
      because no flag, environment variable, configuration or earlier login names one
    hint: give the id that the issuer has registered: `--client-id`, or `client_id` in the configuration
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_issuer() {
    let user = User::new().await;
    let output = user.run(&["login", "--client-id", CLIENT]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the session has no issuer
      because neither an issuer nor its authorization endpoint is configured
    hint: give the issuer: `--issuer URL`, or `issuer` in the configuration; if it has no metadata, give each endpoint: `--authorization-endpoint`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_device_endpoint() {
    let user = User::new().await;
    let output = user.output_of(login(&user, "device", &["--client-id", CLIENT]));
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the session has no issuer
      because neither an issuer nor its device authorization endpoint is configured
    hint: give the issuer: `--issuer URL`, or `issuer` in the configuration; if it has no metadata, give each endpoint: `--device-authorization-endpoint`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn device_endpoint_alone() {
    let user = User::new().await;
    let endpoint = user.issuer.device_authorization_url();
    let mut command = user.command(&["login", "--client-id", CLIENT]);
    command.args(["--device-authorization-endpoint", endpoint]);
    let output = user.output_of(command);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the session has no issuer
      because neither an issuer nor its token endpoint is configured
    hint: give the issuer: `--issuer URL`, or `issuer` in the configuration; if it has no metadata, give each endpoint: `--token-endpoint`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_is_configured_differently() {
    let user = User::new().await;
    user.configure("[sessions.work]\nissuer = \"https://issuer.example\"\n");
    let output = Login::start(&user, &["--session", "work", "--no-browser"]).finish(&user);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: session `work` is configured differently
      because [sessions.work] in ~/.config/token-rotator/config.toml sets another `issuer` than this login, and later commands use that file
    hint: change it there, or sign in to a session of another name: `--session`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoint_is_configured_differently() {
    let user = User::new().await;
    user.configure("[sessions.default]\ntoken_endpoint = \"https://issuer.example/token\"\n");
    let output = Login::start(&user, &["--no-browser"]).finish(&user);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: session `default` is configured differently
      because [sessions.default] in ~/.config/token-rotator/config.toml sets another `token_endpoint` than this login, and later commands use that file
    hint: change it there, or sign in to a session of another name: `--session`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_redirect_before_the_timeout() {
    let user = User::new().await;
    let output = Login::start(&user, &["--no-browser", "--timeout", "100ms"]).finish(&user);
    assert_snapshot!(output.report(), @"
    exit code 1
    Open this address in a browser on this machine:

        ADDRESS

    error: the sign-in was not completed
      because no redirect arrived within 100ms
    hint: sign in again; `--timeout` gives more time, and `--grant device` needs no browser on this machine
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirect_port_is_taken() {
    let user = User::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let mut output = Login::start(&user, &["--redirect-port", &port]).finish(&user);
    output.stderr = output.stderr.replace(&port, "PORT");
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the browser's redirect cannot be received
      because port PORT of this machine cannot be listened on: Address already in use (os error 98)
    hint: end the program that listens there, or choose another port with `--redirect-uri`; 0 takes a free port
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_on_stdin() {
    let user = User::new().await;
    let output = user.login("default", "\n");
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no refresh token on stdin
      because it is empty
    hint: pipe it in: `pass show issuer/refresh-token | token-rotator login --grant refresh-token`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_lines_on_stdin() {
    let user = User::new().await;
    let output = user.login("default", "one\ntwo\n");
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no refresh token on stdin
      because it has blanks or several lines
    hint: pipe it in: `pass show issuer/refresh-token | token-rotator login --grant refresh-token`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_is_missing() {
    let user = User::new().await;
    let flags = ["--client-id", SERVICE, "--client-secret-env", "NOT_SET"];
    let output = user.output_of(login(&user, "client-credentials", &flags));
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the client's secret is missing
      because the environment variable NOT_SET is not set
    hint: set it, or name a file with `client_secret_file`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_is_wrong() {
    let user = User::new().await;
    let mut command = login(&user, "client-credentials", &["--client-id", SERVICE]);
    command.env("TOKEN_ROTATOR_CLIENT_SECRET", "guessed");
    let output = user.output_of(command);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the issuer gave the client no token
      because the issuer refused the request (HTTP 401, invalid_client): unknown client or wrong secret
    hint: check the client id, the client's secret and how the client authenticates (`--client-auth basic`, `post` or `none`)
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_to_elsewhere() {
    let user = User::new().await;
    let output = user.run(&["login", "--token-endpoint", "http://issuer.example/token"]);
    assert_snapshot!(output.report(), @"
    exit code 2
    error: invalid value 'http://issuer.example/token' for '--token-endpoint <URL>': http would send tokens unencrypted; use https (http is only for this machine: 127.0.0.1, [::1], localhost)

    For more information, try '--help'.
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_profile() {
    let user = User::new().await;
    let output = user.run(&["login", "--profile", "auth0"]);
    assert_snapshot!(output.report(), @"
    exit code 2
    error: invalid value 'auth0' for '--profile <PROFILE>': add for how long the issuer accepts a used refresh token again: auth0:30s

    For more information, try '--help'.
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_store() {
    let user = User::new().await;
    let output = user.run(&["status", "--store", "mysql://db"]);
    assert_snapshot!(output.report(), @"
    exit code 2
    error: invalid value 'mysql://db' for '--store <STORE>': there is no store for mysql://; write a directory, redis://, rediss:// or postgres://

    For more information, try '--help'.
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_store_without_key() {
    let user = User::new().await;
    let output = user.run(&["status", "--store", "redis://127.0.0.1:1"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the store has no key
      because every machine that uses a shared store needs the same key, so none is generated
    hint: make one with `openssl rand -hex 32`, and name its location on every machine: `--key env:NAME` or `--key file:PATH` (mode 0600)
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_id_token() {
    let user = User::signed_in().await;
    let output = user.run(&["token", "--id-token"]);
    assert_snapshot!(output.report(), @r#"
    exit code 1
    error: the issuer has given no id_token
      because it gives one if the scope has `openid`; some issuers give none with a refresh
    hint: sign in again with `--scope "openid ..."`, or leave `--id-token` out
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_token_in_raw_format() {
    let user = User::signed_in().await;
    let output = user.run(&["token", "--show-refresh-token"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the refresh token is not printed
      because it is printed only as JSON, where its field tells it from the access token
    hint: add `--format json`, or leave `--show-refresh-token` out
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn git_without_hosts() {
    let user = User::signed_in().await;
    let command = user.command(&["token", "-f", "git-credential", "get"]);
    let output = user.with_input(command, "protocol=https\nhost=git.example.com\n\n");
    assert_snapshot!(output.report(), @r#"
    exit code 1
    error: session `default` has no token for git
      because its configuration has no `origins` that may receive its token
    hint: name git's hosts: `origins = ["https://git.example.com"]` under [sessions.default] in ~/.config/token-rotator/config.toml, or `login --origin`
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_home() {
    let user = User::new().await;
    let mut command = user.command(&["status"]);
    command.env_remove("HOME");
    let output = user.output_of(command);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: no home directory is set
      because neither XDG_CONFIG_HOME nor HOME is set to an absolute path
    hint: set HOME to an absolute path, or give both `--config` and `--store`
    ");
}
