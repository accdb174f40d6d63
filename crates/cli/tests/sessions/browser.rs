//! Sign-in with a browser.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use reqwest::{Client, StatusCode, Url};

use crate::login::Login;
use crate::user::{SERVICE, SERVICE_SECRET, User};

/// Returns an HTTP client that acts as the browser.
fn browser() -> Client {
    let builder = Client::builder().no_proxy();
    builder.build().expect("a client")
}

/// Opens the address and follows its redirects to the last page.
async fn browse(address: &str) -> (StatusCode, String) {
    let answer = browser().get(address).send().await.expect("a page");
    let status = answer.status();
    (status, answer.text().await.expect("its text"))
}

/// Signs in as session `default`.
pub(crate) async fn sign_in(user: &User, arguments: &[&str]) {
    let mut login = Login::start(user, &[&["--no-browser"], arguments].concat());
    let (status, page) = browse(&login.address()).await;
    assert_eq!(status, 200, "{page}");
    let output = login.finish(user);
    assert_eq!(output.code, 0, "{output:?}");
}

/// Returns the redirect address of a sign-in, and its `state`.
fn redirect_of(address: &str) -> (Url, String) {
    let address = Url::parse(address).expect("an address");
    let parameter = |wanted: &str| {
        let found = address.query_pairs().find(|(name, _)| name == wanted);
        found.expect("a parameter").1.into_owned()
    };
    let redirect = Url::parse(&parameter("redirect_uri")).expect("an address");
    (redirect, parameter("state"))
}

/// Adds these parameters to the redirect address.
fn with(redirect: &Url, parameters: &[(&str, &str)]) -> Url {
    let mut redirect = redirect.clone();
    redirect.query_pairs_mut().extend_pairs(parameters);
    redirect
}

fn session_file(user: &User) -> PathBuf {
    user.home()
        .join(".config/token-rotator/sessions/default.toml")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_from_the_browser_to_the_logout() {
    let user = User::new().await;
    let mut login = Login::start(&user, &["--no-browser", "--scope", "openid read"]);
    let address = login.address();
    let (redirect, state) = redirect_of(&address);
    assert_eq!(redirect.host_str(), Some("127.0.0.1"));
    let answer = browser().get(&address).send().await.expect("a page");
    let last = answer.url().clone();
    let code = last.query_pairs().find(|(name, _)| name == "code");
    let code = code.expect("a code").1.into_owned();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let policy = answer.headers()["content-security-policy"].to_str();
    assert!(policy.expect("text").starts_with("default-src 'none'"));
    let page = answer.text().await.expect("its text");
    assert!(page.contains("<h1>Signed in</h1>"), "{page}");
    let output = login.finish(&user);
    assert_snapshot!(output.report(), @"
    exit code 0
    Open this address in a browser on this machine:

        ADDRESS

    Signed in: session `default`.
    ");

    let token = user.token();
    assert!(user.issuer.accepts(&token));
    let id_token = user.run(&["token", "--id-token"]).stdout;
    assert_eq!(id_token.trim().split('.').count(), 3, "{id_token}");
    for secret in [&token, &code, &state] {
        assert!(!page.contains(secret.as_str()), "{page}");
    }
    // Later commands discover the endpoints again: the session file has none.
    let written = std::fs::read_to_string(session_file(&user)).expect("the session's file");
    assert!(written.contains("issuer = "), "{written}");
    assert!(!written.contains("endpoint"), "{written}");
    assert_eq!(user.run(&["token", "--refresh"]).code, 0);
    let counters = user.issuer.counters();
    assert_eq!((counters.logins, counters.refreshes), (1, 1));

    let output = user.run(&["logout"]);
    assert!(
        output.stderr.contains("revoked at the issuer"),
        "{output:?}"
    );
    assert_eq!(user.issuer.counters().ended_by_client, 1);
    assert_eq!(user.run(&["token"]).code, 3);

    let mut again = Login::spawn(user.command(&["login", "--no-browser"]));
    browse(&again.address()).await;
    assert_eq!(again.finish(&user).code, 0);
    assert!(user.issuer.accepts(&user.token()));
}

/// A confidential client authenticates when it exchanges the code. The request has its parameters.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_secret_signs_a_user_in() {
    let user = User::new().await;
    let begin = |secret: &str| {
        let mut command = user.command(&["login", "--no-browser", "--client-id", SERVICE]);
        command.args(["--issuer", user.issuer.url(), "--audience", "api"]);
        command.args(["--resource", "https://api.example.com"]);
        command.env("TOKEN_ROTATOR_CLIENT_SECRET", secret);
        Login::spawn(command)
    };
    let mut guessed = begin("guessed");
    let address = guessed.address();
    for parameter in ["audience=api", "resource=https%3A%2F%2Fapi.example.com"] {
        assert!(address.contains(parameter), "{address}");
    }
    assert!(!address.contains("guessed"), "{address}");
    let (status, _) = browse(&address).await;
    assert_eq!(status, 400);
    let output = guessed.finish(&user);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("invalid_client"), "{output:?}");

    let mut login = begin(SERVICE_SECRET);
    let (status, page) = browse(&login.address()).await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(login.finish(&user).code, 0);
}

/// A connection that a browser opens in advance and never uses does not delay the sign-in.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed() {
    let user = User::new().await;
    let mut login = Login::start(&user, &["--no-browser"]);
    let address = login.address();
    let port = redirect_of(&address).0.port().expect("a port");
    let mut idle = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    // A later connection is served, so the idle one has been accepted.
    browse(&address).await;
    assert_eq!(login.finish(&user).code, 0);
    let mut nothing = [0; 1];
    assert_eq!(idle.read(&mut nothing).expect("its end"), 0);
}

/// Configured endpoints need no discovery.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_without_metadata_is_configured() {
    let user = User::new().await;
    user.configure(&format!(
        "[sessions.default]\nclient_id = \"desk\"\nauthorization_endpoint = \"{}\"\ntoken_endpoint = \"{}\"\n",
        user.issuer.authorize_url(),
        user.issuer.token_url()
    ));
    let mut login = Login::spawn(user.command(&["login", "--no-browser"]));
    let (status, page) = browse(&login.address()).await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(login.finish(&user).code, 0);
    assert!(user.issuer.accepts(&user.token()));
    let output = user.run(&["logout"]);
    assert!(
        output.stderr.contains("no `revocation_endpoint`"),
        "{output:?}"
    );
}

/// A login at another issuer does not use the previous issuer's endpoints.
#[tokio::test(flavor = "multi_thread")]
async fn another_issuer_brings_its_own_endpoints() {
    let before = User::signed_in().await;
    let written = std::fs::read_to_string(session_file(&before)).expect("the session's file");
    assert!(written.contains("token_endpoint"), "{written}");
    let other = User::new().await;
    let mut command = before.command(&["login", "--grant", "authorization-code", "--no-browser"]);
    command.args(["--issuer", other.issuer.url()]);
    let mut login = Login::spawn(command);
    browse(&login.address()).await;
    let output = login.finish(&before);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(other.issuer.accepts(&before.token()));
}

/// If the discovery fails, nothing is sent and the refresh token is not in doubt.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_without_discovery_is_not_sent() {
    let user = User::new().await;
    sign_in(&user, &[]).await;
    user.issuer.shutdown().await;
    assert_eq!(user.run(&["token", "--refresh"]).code, 4);
    let status: serde_json::Value =
        serde_json::from_str(&user.run(&["status", "--json"]).stdout).expect("JSON");
    assert_eq!(status[0]["state"], "good");
    assert!(status[0]["journal"].is_null(), "{status}");
    assert!(status[0]["last_failure"].is_object(), "{status}");
}

/// The program that opens addresses gets the printed address.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_opened() {
    let user = User::new().await;
    let opened = user.home().join("opened");
    let made = std::process::Command::new("mkfifo").arg(&opened).status();
    assert!(made.expect("mkfifo").success());
    let script = format!("#!/bin/sh\nprintf %s \"$1\" > '{}'\n", opened.display());
    let directory = user.home().join("bin");
    executable(&directory.join("xdg-open"), &script);
    let mut command = user.command(&["login", "--client-id", "desk"]);
    command.args(["--issuer", user.issuer.url()]);
    command.args(["--login-hint", "bob@example.com", "--prompt", "login"]);
    let path = std::env::var("PATH").expect("a path");
    command.env("PATH", format!("{}:{path}", directory.display()));
    let mut login = Login::spawn(command);
    let address = login.address();
    assert_eq!(
        std::fs::read_to_string(&opened).expect("an address"),
        address
    );
    for parameter in [
        "login_hint=bob%40example.com",
        "prompt=login",
        "code_challenge_method=S256",
    ] {
        assert!(address.contains(parameter), "{address}");
    }
    browse(&address).await;
    let output = login.finish(&user);
    assert_eq!(output.code, 0, "{output:?}");
}

/// Without a browser the user opens the address, and the sign-in goes on.
#[tokio::test(flavor = "multi_thread")]
async fn no_browser_to_open() {
    let user = User::new().await;
    let mut command = user.command(&["login", "--client-id", "desk"]);
    command.args(["--issuer", user.issuer.url()]);
    command.env("PATH", user.home());
    let mut login = Login::spawn(command);
    let address = login.address();
    login.read_until(|line| line.starts_with("hint:").then_some(()));
    browse(&address).await;
    let output = login.finish(&user);
    assert_snapshot!(output.report(), @"
    exit code 0
    Opening a browser at this address:

        ADDRESS

    warning: no browser could be opened
      because this machine has no program that opens addresses
    hint: open the address yourself, on this machine; `--grant device` needs no browser on it
    Signed in: session `default`.
    ");
}

/// The program that opens addresses may fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_cannot_be_opened() {
    let user = User::new().await;
    let directory = user.home().join("bin");
    for opener in ["xdg-open", "gio", "gnome-open", "kde-open", "wslview"] {
        executable(&directory.join(opener), "#!/bin/sh\nexit 3\n");
    }
    let mut command = user.command(&["login", "--client-id", "desk"]);
    command.args(["--issuer", user.issuer.url()]);
    let path = std::env::var("PATH").expect("a path");
    command.env("PATH", format!("{}:{path}", directory.display()));
    let mut login = Login::spawn(command);
    let address = login.address();
    login.read_until(|line| line.starts_with("hint:").then_some(()));
    browse(&address).await;
    assert_snapshot!(login.finish(&user).report(), @"
    exit code 0
    Opening a browser at this address:

        ADDRESS

    warning: no browser could be opened
      because the program that opens addresses could not open this one
    hint: open the address yourself, on this machine; `--grant device` needs no browser on it
    Signed in: session `default`.
    ");
}

fn executable(path: &Path, script: &str) {
    let directory = path.parent().expect("a directory");
    std::fs::create_dir_all(directory).expect("a directory");
    std::fs::write(path, script).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .expect("the test owns it");
}

/// A foreign request to the port of a sign-in gets no token and does not end the sign-in.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_of_another_sign_in_is_ignored() {
    let user = User::new().await;
    let mut login = Login::start(&user, &["--no-browser"]);
    let address = login.address();
    let (redirect, state) = redirect_of(&address);
    let send = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.expect("a page");
        answer.status().as_u16()
    };
    let get = async |url: Url| send(browser().get(url)).await;
    assert_eq!(
        get(redirect.join("/favicon.ico").expect("a URL")).await,
        404
    );
    assert_eq!(get(redirect.join("/").expect("a URL")).await, 404);
    let right = with(&redirect, &[("code", "stolen"), ("state", &state)]);
    assert_eq!(send(browser().post(right.clone())).await, 405);
    assert_eq!(send(browser().head(right)).await, 405);
    assert_eq!(get(redirect.clone()).await, 400);
    for state in ["", "guessed"] {
        let foreign = with(&redirect, &[("code", "stolen"), ("state", state)]);
        let (status, page) = browse(foreign.as_str()).await;
        assert_eq!(status, 400);
        assert!(page.contains("another sign-in"), "{page}");
    }
    let (status, page) = browse(&address).await;
    assert_eq!(status, 200, "{page}");
    let output = login.finish(&user);
    assert_snapshot!(output.report(), @"
    exit code 0
    Open this address in a browser on this machine:

        ADDRESS

    warning: a redirect was ignored
      because it belongs to another sign-in, or to none (`state`)
    hint: no action is needed: the sign-in still waits for its own redirect
    Signed in: session `default`.
    ");
    assert!(user.issuer.accepts(&user.token()));
    assert_eq!(user.issuer.counters().code_reuses, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_is_denied() {
    let user = User::new().await;
    user.issuer.deny_sign_ins(true);
    let mut login = Login::start(&user, &["--no-browser"]);
    let (status, page) = browse(&login.address()).await;
    assert_eq!(status, 400);
    assert!(page.contains("Not signed in"), "{page}");
    let output = login.finish(&user);
    assert_snapshot!(output.report(), @"
    exit code 1
    Open this address in a browser on this machine:

        ADDRESS

    error: the sign-in was not completed
      because the sign-in was denied: the user denied the request
    hint: sign in again, and allow it
    ");
    assert!(!session_file(&user).exists());
}

/// A redirect that names another issuer ends the sign-in. Its code is not used.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_from_another_issuer() {
    let user = User::new().await;
    let mut login = Login::start(&user, &["--no-browser"]);
    let (redirect, state) = redirect_of(&login.address());
    let issuer = ("iss", "https://other.example");
    let mixed_up = with(&redirect, &[("code", "c"), ("state", &state), issuer]);
    let (status, _) = browse(mixed_up.as_str()).await;
    assert_eq!(status, 400);
    let output = login.finish(&user);
    assert_snapshot!(output.report(), @"
    exit code 1
    Open this address in a browser on this machine:

        ADDRESS

    error: the sign-in was not completed
      because the redirect does not come from `http://ISSUER` (`iss`)
    hint: check `--issuer`; the code was not used, because the redirect may be an attack
    ");
    assert_eq!(user.issuer.counters().logins, 0);
}

/// Text from the issuer is escaped.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_no_markup_from_the_issuer() {
    let user = User::new().await;
    let mut login = Login::start(&user, &["--no-browser"]);
    let (redirect, state) = redirect_of(&login.address());
    let markup = "<script>alert(1)</script>";
    let refused = [
        ("error", "server_error"),
        ("error_description", markup),
        ("state", &state),
        ("iss", user.issuer.url()),
    ];
    let (_, page) = browse(with(&redirect, &refused).as_str()).await;
    assert!(page.contains("&lt;script&gt;"), "{page}");
    assert!(!page.contains("<script"), "{page}");
    let output = login.finish(&user);
    assert_snapshot!(output.report(), @"
    exit code 1
    Open this address in a browser on this machine:

        ADDRESS

    error: the sign-in was not completed
      because the issuer refused the sign-in (server_error): <script>alert(1)</script>
    hint: try again later
    ");
}

/// A code that the issuer refuses is reported in the browser too.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_not_exchanged() {
    let user = User::new().await;
    let mut login = Login::start(&user, &["--no-browser"]);
    let (redirect, state) = redirect_of(&login.address());
    let made_up = [
        ("code", "made-up"),
        ("state", state.as_str()),
        ("iss", user.issuer.url()),
    ];
    let (status, page) = browse(with(&redirect, &made_up).as_str()).await;
    assert_eq!(status, 400);
    assert!(page.contains("Not signed in"), "{page}");
    assert!(!page.contains("made-up"), "{page}");
    let output = login.finish(&user);
    assert_snapshot!(output.report(), @"
    exit code 1
    Open this address in a browser on this machine:

        ADDRESS

    error: the issuer gave no tokens for the sign-in
      because the code brought no tokens: the issuer refused the request (HTTP 400, invalid_grant): unknown code
    hint: sign in again
    ");
}

/// Ctrl-C ends the login and does not change the session.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_sign_in_changes_nothing() {
    let user = User::signed_in().await;
    let token = user.token();
    let written = std::fs::read_to_string(session_file(&user)).expect("the session's file");
    let mut login = Login::start(&user, &["--no-browser", "--grant", "authorization-code"]);
    let (redirect, _) = redirect_of(&login.address());
    // The answer shows that the sign-in waits, so its signal handler is installed.
    browse(redirect.as_str()).await;
    let process = rustix::process::Pid::from_raw(login.id().cast_signed()).expect("a process");
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("the test owns it");
    let output = login.finish(&user);
    assert_snapshot!(output.report(), @"
    exit code 130
    Open this address in a browser on this machine:

        ADDRESS

    warning: a redirect was ignored
      because it belongs to another sign-in, or to none (`state`)
    hint: no action is needed: the sign-in still waits for its own redirect
    error: the sign-in was cancelled
      because it was interrupted; the session has not changed
    hint: sign in again when you like
    ");
    assert_eq!(user.token(), token);
    let after = std::fs::read_to_string(session_file(&user)).expect("the session's file");
    assert_eq!(after, written);
}
