//! What real issuers answer and how they are configured. Each test has the name of its case.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::fake_issuer::{FakeIssuer, jwt, now};
use crate::user::{CLIENT, CommandOutput, SERVICE, User};

/// A token set that expires at once, so that the next command refreshes it.
pub(crate) fn expiring(number: u32) -> Value {
    json!({
        "access_token": format!("a{number}"),
        "refresh_token": format!("r{number}"),
        "token_type": "Bearer",
        "expires_in": 1,
    })
}

pub(crate) fn lasting(number: u32) -> Value {
    let mut tokens = expiring(number);
    tokens["expires_in"] = json!(3600);
    tokens
}

/// Signs in at an issuer with these metadata fields and flags. The token has expired when this returns.
pub(crate) async fn expired(more: &Value, flags: &[&str]) -> (User, FakeIssuer) {
    let user = User::new().await;
    let fake = FakeIssuer::start(more);
    fake.answer(200, expiring(1));
    let output = fake.login(&user, flags);
    assert_eq!(output.code, 0, "{output:?}");
    user.until_expired().await;
    (user, fake)
}

pub(crate) fn run(user: &User, fake: &FakeIssuer, arguments: &[&str]) -> CommandOutput {
    fake.shown(user.run(arguments))
}

#[tokio::test(flavor = "multi_thread")]
async fn something_before_the_issuer_answers() {
    let (user, fake) = expired(&json!({}), &[]).await;
    fake.answer_always(401, "<html><h1>401 Authorization Required</h1></html>");
    let output = run(&user, &fake, &["token"]);
    assert_snapshot!(output.report(), @"
    exit code 4
    error: there is no token for session `default`
      because the access token could not be refreshed: a firewall or gateway in front of the issuer refused the request with a web page (HTTP 401)
    hint: see whether a firewall or a proxy before the issuer blocks this machine; if not, signing in again may help: `token-rotator login --session default`
    ");
    let status = user.run(&["status", "--json"]).stdout;
    assert!(status.contains(r#""state": "expired""#), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_fails_and_the_refresh_token_stays_good() {
    let user = User::new().await;
    let refresh_token = user.refresh_token();
    user.issuer.shutdown().await;
    let output = user.login("default", &refresh_token);
    assert_snapshot!(output.report(), @"
    exit code 4
    error: the refresh token could not be exchanged
      because the issuer was not reached
      because error sending request
      because client error (Connect)
      because tcp connect error
      because Connection refused (os error 111)
    hint: nothing was sent; the refresh token is still good: try again in a moment
    ");
    // The discovery fails, and no grant has sent anything.
    for grant in [
        "refresh-token",
        "client-credentials",
        "device",
        "authorization-code",
    ] {
        let mut command = user.command(&["login", "--no-browser", "--grant", grant]);
        command.args(["--client-id", CLIENT, "--issuer", user.issuer.url()]);
        let output = user.with_input(command, &refresh_token);
        assert_eq!(output.code, 4, "{grant}: {output:?}");
        let says = output.stderr.contains("the refresh token is still good");
        assert_eq!(says, grant == "refresh-token", "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_type_by_another_name() {
    for name in ["User Access Token", "bot", "BearerToken", "bearer", ""] {
        let user = User::new().await;
        let fake = FakeIssuer::start(&json!({}));
        let mut tokens = lasting(1);
        tokens["token_type"] = json!(name);
        fake.answer(200, tokens);
        assert_eq!(fake.login(&user, &[]).code, 0, "{name}");
        assert_eq!(
            user.run(&["token", "-f", "header"]).stdout,
            "Authorization: Bearer a1\n"
        );
    }
    // A type that is no Bearer token: the login keeps the refresh token of the answer.
    let user = User::new().await;
    let fake = FakeIssuer::start(&json!({}));
    let mut tokens = lasting(1);
    tokens["token_type"] = json!("DPoP");
    fake.answer(200, tokens.clone());
    let output = fake.login(&user, &[]);
    assert_snapshot!(output.report(), @r#"
    exit code 1
    error: the issuer's answer cannot be used
      because the issuer's token type is `DPoP`, and only Bearer tokens can be sent
    hint: the session is saved with the refresh token of that answer; have the issuer give Bearer tokens; if it gives them under this name, set `token_type = "bearer"`
    "#);
    user.configure("[sessions.default]\ntoken_type = \"bearer\"\n");
    tokens["access_token"] = json!("a2");
    fake.answer_always(200, tokens);
    let output = run(&user, &fake, &["token", "--refresh"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        fake.requests()[1].form.contains("refresh_token=r1"),
        "{:?}",
        fake.requests()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_other_shapes() {
    // The form encoding.
    let user = User::new().await;
    let fake = FakeIssuer::start(&json!({}));
    fake.answer(
        200,
        "access_token=a1&expires_in=3600&refresh_token=r1&token_type=bearer&scope=repo",
    );
    assert_eq!(fake.login(&user, &[]).code, 0);
    assert_eq!(user.token(), "a1");
    // Nested objects, by flags and by the configuration.
    let nested = json!({"ok": true, "authed_user": lasting(2)});
    let fields = "access_token=authed_user.access_token,refresh_token=authed_user.refresh_token,\
                  expires_in=authed_user.expires_in";
    let user = User::new().await;
    let fake = FakeIssuer::start(&json!({}));
    fake.answer(200, nested.clone());
    let output = fake.login(&user, &["--fields", fields]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(user.token(), "a2");
    let output = run(&user, &fake, &["token", "--refresh"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(fake.last_form().contains("refresh_token=r2"));
    // A field without a path is refused before anything is spent.
    let before = fake.requests().len();
    user.configure("[sessions.default]\nfields.acces_token = \"authed_user.access_token\"\n");
    let output = run(&user, &fake, &["token", "--refresh"]);
    assert_snapshot!(output.report(), @r#"
    exit code 1
    error: line 2 of ~/.config/token-rotator/config.toml cannot be used
      because `sessions.default.fields`: `acces_token = "authed_user.access_token"` is no field with a path; the fields are access_token, token_type, refresh_token, refresh_token_expires_in, id_token, scope, expires_in, and a path is written like authed_user.access_token
    hint: correct the line; docs/program.md has all keys
    "#);
    assert_eq!(fake.requests().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn error_codes_of_one_vendor() {
    let inactive = json!({"error": "token_inactive", "error_description": "Token is inactive"});
    let (user, fake) = expired(&json!({}), &["--profile", "hydra:1m"]).await;
    fake.answer_always(401, inactive.clone());
    let output = run(&user, &fake, &["token"]);
    assert_snapshot!(output.report(), @"
    exit code 3
    error: there is no token for session `default`
      because the access token could not be refreshed: the issuer refused the request (HTTP 401, token_inactive): Token is inactive
    hint: sign in with `token-rotator login --session default`
    ");
    // Without the profile the code is unknown: the session goes on, and the message shows the code.
    let (user, fake) = expired(&json!({}), &[]).await;
    fake.answer_always(401, inactive.clone());
    let output = run(&user, &fake, &["token"]);
    assert_snapshot!(output.report(), @"
    exit code 4
    error: there is no token for session `default`
      because the access token could not be refreshed: the issuer refused the request with an unknown code (HTTP 401, token_inactive): Token is inactive
    hint: try again in a moment; if that does not help, signing in again may help: `token-rotator login --session default`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_is_read_is_used() {
    let user = User::new().await;
    let post = json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]});
    let fake = FakeIssuer::start(&post);
    fake.answer(200, lasting(1));
    let login = |fake: &FakeIssuer, flags: &[&str]| {
        let mut command = user.command(&["login", "--grant", "refresh-token"]);
        command.args(["--client-id", SERVICE, "--issuer", &fake.url]);
        command
            .args(flags)
            .env("TOKEN_ROTATOR_CLIENT_SECRET", "s3cret");
        let output = fake.shown(user.with_input(command, "r0"));
        (output, fake.requests().pop().expect("a request"))
    };
    let (output, request) = login(&fake, &["-s", "a"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(request.form.contains("client_secret=s3cret"), "{request:?}");
    assert_eq!(request.authorization, None);
    // The user says otherwise.
    let (_, request) = login(&fake, &["-s", "b", "--client-auth", "basic"]);
    assert!(request.authorization.is_some(), "{request:?}");
    // Basic is the default, and first if the issuer offers both.
    for methods in [
        json!({}),
        json!({"token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"]}),
    ] {
        let fake = FakeIssuer::start(&methods);
        fake.answer(200, lasting(1));
        let (_, request) = login(&fake, &["-s", "c"]);
        assert!(request.authorization.is_some(), "{request:?}");
    }
    // The error names the flag.
    let fake = FakeIssuer::start(&json!({}));
    fake.answer(401, json!({"error": "invalid_client"}));
    let (output, _) = login(&fake, &["-s", "d"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the issuer did not take the refresh token
      because the issuer refused the request (HTTP 401, invalid_client)
    hint: check the client id, the client's secret and how the client authenticates (`--client-auth basic`, `post` or `none`)
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scope_at_a_refresh() {
    for (flags, sent) in [
        (&[][..], false),
        (&["--profile", "entra"], true),
        (&["--profile", "b2c"], true),
        (&["--scope-at-refresh"], true),
        (&["--profile", "b2c", "--scope-at-refresh", "false"], false),
    ] {
        let user = User::new().await;
        let fake = FakeIssuer::start(&json!({}));
        fake.answer(200, lasting(1));
        let output = fake.login(&user, &[&["--scope", "api offline_access"], flags].concat());
        assert_eq!(output.code, 0, "{output:?}");
        assert_eq!(run(&user, &fake, &["token", "--refresh"]).code, 0);
        let form = fake.last_form();
        assert_eq!(
            form.contains("scope=api+offline_access"),
            sent,
            "{flags:?}: {form}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_with_one_bad_entry() {
    let user = User::new().await;
    let fake = FakeIssuer::start(&json!({
        "revocation_endpoint": "/revoke",
        "introspection_endpoint": "http://issuer.example/introspect",
    }));
    fake.answer(200, lasting(1));
    assert_eq!(fake.login(&user, &[]).code, 0);
    assert_eq!(run(&user, &fake, &["token", "--refresh"]).code, 0);
    let doctor = run(&user, &fake, &["doctor"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    let notes: Vec<_> = doctor
        .stdout
        .lines()
        .filter(|line| line.contains("left out"))
        .collect();
    assert_snapshot!(notes.join("\n"), @"
    note default: discovery: the document at http://FAKE/.well-known/oauth-authorization-server cannot be used: the revocation endpoint cannot be used: the origin is empty; the revocation endpoint is left out
    note default: discovery: the document at http://FAKE/.well-known/oauth-authorization-server cannot be used: the introspection endpoint cannot be used: `http://` would send the token to `issuer.example` in the clear; the introspection endpoint is left out
    ");
    // A bad endpoint that is needed is the error.
    let bad = json!({"device_authorization_endpoint": "http://issuer.example/device"});
    let fake = FakeIssuer::start(&bad);
    let login = [
        "login",
        "--grant",
        "device",
        "--client-id",
        CLIENT,
        "--issuer",
        &fake.url,
    ];
    let output = run(&user, &fake, &[&login[..], &["-s", "other"]].concat());
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the issuer's device authorization endpoint cannot be used
      because the document at http://FAKE/.well-known/oauth-authorization-server cannot be used: the device authorization endpoint cannot be used: `http://` would send the token to `issuer.example` in the clear
    hint: let the issuer correct its document, or give the endpoint: `--device-authorization-endpoint`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_lifetimes() {
    let user = User::new().await;
    let fake = FakeIssuer::start(&json!({}));
    let with_id = |number: u32, exp: u64| {
        let mut tokens = lasting(number);
        tokens["id_token"] = json!(jwt(&json!({"aud": CLIENT, "sub": "alice", "exp": exp})));
        tokens
    };
    // The id_token ends before the access token.
    fake.answer(200, with_id(1, now() - 5))
        .answer(200, with_id(2, now() + 600));
    assert_eq!(fake.login(&user, &[]).code, 0);
    assert_eq!(user.token(), "a1");
    assert_eq!(fake.requests().len(), 1);
    let output = run(&user, &fake, &["token", "--id-token"]);
    assert_eq!(output.code, 1, "it came expired: {output:?}");
    // It is due, and a refresh brings a new one.
    let user = User::new().await;
    let fake = FakeIssuer::start(&json!({}));
    fake.answer(200, with_id(1, now() + 60))
        .answer(200, with_id(2, now() + 600));
    assert_eq!(fake.login(&user, &[]).code, 0);
    let output = run(&user, &fake, &["token", "--id-token", "--min-ttl", "5m"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(fake.requests().len(), 2);
    assert_eq!(
        run(&user, &fake, &["token", "--id-token"]).stdout,
        output.stdout
    );
    assert_eq!(fake.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn places() {
    let user = User::new().await;
    let home = user.home().display().to_string();
    let (config, store) = (format!("{home}/c/config.toml"), format!("{home}/s"));
    std::fs::create_dir(format!("{home}/c")).expect("a directory");
    std::fs::write(&config, "").expect("a file");
    let fake = FakeIssuer::start(&json!({}));
    fake.answer(200, lasting(1));
    let run = |arguments: &[&str]| {
        let mut command = user.command(arguments);
        command.env_remove("HOME");
        command.args(["--config", &config, "--store", &store]);
        user.with_input(command, "r0")
    };
    let login = [
        "login",
        "--grant",
        "refresh-token",
        "--client-id",
        CLIENT,
        "--issuer",
        &fake.url,
    ];
    let output = run(&login);
    assert_eq!(output.code, 0, "{output:?}");
    for command in [
        &["token"][..],
        &["status"],
        &["history"],
        &["doctor"],
        &["token", "--refresh"],
    ] {
        let output = run(command);
        assert_eq!(output.code, 0, "{command:?}: {output:?}");
    }
    assert!(user.run(&["status", "--json"]).stdout.contains("[]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts() {
    let user = User::signed_in().await;
    let git = |asked: &str| {
        let command = user.command(&["token", "-f", "git-credential", "get"]);
        let asked = format!("protocol=https\nhost=git.example.com\n{asked}\n");
        user.with_input(command, &asked)
    };
    let origins = "origins = [\"https://git.example.com\"]\n";
    user.configure(&format!("[sessions.default]\n{origins}"));
    for asked in [
        "",
        "username=alice\n",
        "username=oauth2\n",
        "username=x-access-token\n",
    ] {
        let output = git(asked);
        assert!(output.stdout.contains("password="), "{asked}: {output:?}");
        assert!(output.stdout.contains(asked), "{asked}: {output:?}");
    }
    let output = git("username=bob\n");
    assert_snapshot!(output.report(), @r#"
    exit code 0
    warning: session `default` does not answer for user `bob`
      because its tokens do not name this user
    hint: if the session is this user's, say so: `username = "bob"` under [sessions.default] in ~/.config/token-rotator/config.toml; if not, name the user's session in git's configuration: `token-rotator token --session NAME`
    "#);
    user.configure(&format!(
        "[sessions.default]\n{origins}username = \"bob\"\n"
    ));
    assert!(
        git("username=bob\n")
            .stdout
            .contains("username=bob\npassword=")
    );
    assert!(git("").stdout.contains("username=bob\npassword="));
    assert!(!git("username=alice\n").stdout.contains("password="));
}

#[tokio::test(flavor = "multi_thread")]
async fn environment() {
    // An empty variable is unset.
    let user = User::signed_in().await;
    let mut command = user.command(&["token"]);
    for name in [
        "TOKEN_ROTATOR_ISSUER",
        "TOKEN_ROTATOR_CLIENT_ID",
        "TOKEN_ROTATOR_CLIENT_SECRET",
        "TOKEN_ROTATOR_CLIENT_SECRET_FILE",
        "TOKEN_ROTATOR_GRANT",
        "TOKEN_ROTATOR_SCOPE",
        "TOKEN_ROTATOR_PROFILE",
        "TOKEN_ROTATOR_TOKEN_ENDPOINT",
        "TOKEN_ROTATOR_SESSION",
        "TOKEN_ROTATOR_CONFIG",
        "TOKEN_ROTATOR_STORE",
        "TOKEN_ROTATOR_KEY",
        "KUBERNETES_EXEC_INFO",
    ] {
        command.env(name, "");
    }
    let output = user.output_of(command);
    assert_eq!(output.code, 0, "{output:?}");
    // A secret of the login is missing later.
    let fake = FakeIssuer::start(&json!({}));
    fake.answer(200, lasting(1));
    let mut command = user.command(&["login", "-s", "work", "--grant", "refresh-token"]);
    command.args(["--client-id", SERVICE, "--issuer", &fake.url]);
    command.env("TOKEN_ROTATOR_CLIENT_SECRET", "s3cret");
    assert_eq!(user.with_input(command, "r0").code, 0);
    let file = user.home().join(".config/token-rotator/sessions/work.toml");
    let written = std::fs::read_to_string(file).expect("a file");
    assert!(!written.contains("s3cret"), "{written}");
    assert_eq!(user.run(&["token", "-s", "work"]).stdout, "a1\n");
    let output = run(&user, &fake, &["token", "-s", "work", "--refresh"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no token for session `work`
      because the access token could not be refreshed: the client's secret is missing: the environment variable TOKEN_ROTATOR_CLIENT_SECRET is not set, and it was set at the login
    hint: set it, or name a file with `client_secret_file`
    ");
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_whose_answer_is_lost() {
    let user = User::new().await;
    let fake = FakeIssuer::start(&json!({}));
    fake.answer(502, "<html>Bad Gateway</html>");
    let output = fake.login(&user, &[]);
    assert_snapshot!(output.report(), @"
    exit code 4
    error: the issuer did not take the refresh token
      because the issuer gave no clear answer (HTTP 502)
    hint: the refresh token may be spent: try it once more, and get a new one if the issuer refuses it
    ");
}
