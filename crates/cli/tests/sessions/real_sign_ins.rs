//! Sign-ins in the browser at issuers as they are. Each test has the name of its case.

use std::io::Write as _;
use std::process::Stdio;

use insta::assert_snapshot;
use reqwest::{Client, Url};
use serde_json::{Value, json};

use crate::fake_issuer::{FakeIssuer, jwt, now};
use crate::login::Login;
use crate::user::{CLIENT, CommandOutput, User};

/// A waiting login at this issuer.
struct Waiting {
    login: Login,
    redirect: Url,
    state: String,
    nonce: Option<String>,
    address: Url,
}

fn begin(user: &User, fake: &FakeIssuer, flags: &[&str]) -> Waiting {
    let mut command = user.command(&["login", "--no-browser", "--client-id", CLIENT]);
    command.args(flags);
    if !flags.contains(&"--issuer") {
        command.args(["--issuer", &fake.url]);
    }
    command.stdin(Stdio::piped());
    let mut login = Login::spawn(command);
    let address = Url::parse(&login.address()).expect("an address");
    let find = |wanted: &str| {
        let found = address.query_pairs().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.into_owned())
    };
    Waiting {
        login,
        redirect: Url::parse(&find("redirect_uri").expect("an address")).expect("an address"),
        state: find("state").expect("a state"),
        nonce: find("nonce"),
        address,
    }
}

impl Waiting {
    /// Redirects the browser with a code.
    async fn redirect(self, user: &User, fake: &FakeIssuer) -> CommandOutput {
        let mut address = self.redirect.clone();
        let parameters = [("code", "c1"), ("state", self.state.as_str())];
        address.query_pairs_mut().extend_pairs(parameters);
        let browser = Client::builder().no_proxy().build().expect("a client");
        browser.get(address).send().await.expect("a page");
        fake.shown(self.login.finish(user))
    }
}

fn without_refresh_token() -> Value {
    json!({"access_token": "a1", "token_type": "Bearer", "expires_in": 3650})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_without_a_refresh_token() {
    let user = User::new().await;
    let fake = FakeIssuer::start(&json!({}));
    fake.answer(200, without_refresh_token());
    let output = begin(&user, &fake, &["--scope", "read"])
        .redirect(&user, &fake)
        .await;
    assert_snapshot!(output.report(), @r#"
    exit code 0
    Open this address in a browser on this machine:

        ADDRESS

    warning: the issuer gave no refresh token
      because the session ends when its access token expires
    hint: most issuers give one for the scope `offline_access`: sign in again with `token-rotator login --session default --scope "read offline_access"`; some need another parameter, such as `--param access_type=offline`, or the grant `refresh_token` for this client
    Signed in: session `default`.
    "#);
    let findings = |user: &User, fake: &FakeIssuer| {
        let doctor = fake.shown(user.run(&["doctor"]));
        let at = doctor.stdout.find("default: session:").expect("a finding");
        let text = format!("exit code {}\n", doctor.code) + &doctor.stdout[at - 5..];
        (0..20).fold(text, |text, seconds| {
            text.replace(&format!(": {seconds}s ago:"), ": AGO:")
        })
    };
    assert_snapshot!(findings(&user, &fake), @r#"
    exit code 1
    ok   default: session: its token is valid
    bad  default: refresh token: the issuer gave none: the session ends when its access token expires, in 1h
         hint: most issuers give one for the scope `offline_access`: sign in again with `token-rotator login --session default --scope "read offline_access"`; some need another parameter, such as `--param access_type=offline`, or the grant `refresh_token` for this client
    "#);
    // The access token expires, or never says when it expires.
    for expires_in in [json!(1), json!(null)] {
        let mut tokens = without_refresh_token();
        tokens["expires_in"] = expires_in.clone();
        fake.answer_always(200, tokens);
        let output = begin(&user, &fake, &[]).redirect(&user, &fake).await;
        assert_eq!(output.code, 0, "{output:?}");
        if expires_in.is_null() {
            assert_snapshot!(findings(&user, &fake), @r#"
    exit code 0
    ok   default: session: its token is valid
    note default: refresh token: the issuer gave none: the session ends when its access token is refused
         hint: most issuers give one for the scope `offline_access`: sign in again with `token-rotator login --session default --scope "read offline_access"`; some need another parameter, such as `--param access_type=offline`, or the grant `refresh_token` for this client
    ok   default: last failure: AGO: the access token could not be refreshed: there is no refresh token; it works since
    "#);
        } else {
            user.until_expired().await;
            assert_snapshot!(findings(&user, &fake), @r#"
    exit code 1
    bad  default: session: its token has expired, and it has no refresh token
         hint: most issuers give one for the scope `offline_access`: sign in again with `token-rotator login --session default --scope "read offline_access"`; some need another parameter, such as `--param access_type=offline`, or the grant `refresh_token` for this client
    "#);
            assert_ne!(user.run(&["token"]).code, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_of_the_sign_in() {
    let user = User::new().await;
    let fake = FakeIssuer::start(&json!({}));
    fake.answer(200, without_refresh_token());
    let waiting = begin(
        &user,
        &fake,
        &["--param", "access_type=offline", "--prompt", "consent"],
    );
    let query = waiting.address.query().expect("a query").to_owned();
    assert!(
        query.contains("access_type=offline") && query.contains("prompt=consent"),
        "{query}"
    );
    assert_eq!(waiting.redirect(&user, &fake).await.code, 0);
    // The next login sends it again.
    let waiting = begin(&user, &fake, &[]);
    assert!(
        waiting
            .address
            .query()
            .expect("a query")
            .contains("access_type=offline")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_redirect_addresses() {
    let user = User::new().await;
    let fake = FakeIssuer::start(&json!({}));
    fake.answer(200, without_refresh_token());
    for (registered, host, path) in [
        (
            "http://localhost:0/OauthRedirect",
            "localhost",
            "/OauthRedirect",
        ),
        ("http://127.0.0.1:0/", "127.0.0.1", "/"),
        ("http://[::1]:0/a/b", "[::1]", "/a/b"),
    ] {
        let waiting = begin(&user, &fake, &["--redirect-uri", registered]);
        assert_eq!(waiting.redirect.host_str(), Some(host));
        assert_eq!(waiting.redirect.path(), path);
        let output = waiting.redirect(&user, &fake).await;
        assert_eq!(output.code, 0, "{registered}: {output:?}");
    }
    let output = user.run(&["login", "--redirect-uri", "http://example.com/callback"]);
    assert_snapshot!(output.report(), @"
    exit code 2
    error: invalid value 'http://example.com/callback' for '--redirect-uri <URL>': `example.com` is not this machine: the code would go to another one: write it like http://localhost:8400/callback

    For more information, try '--help'.
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_is_elsewhere() {
    let user = User::new().await;
    let fake = FakeIssuer::start(&json!({"authorization_response_iss_parameter_supported": true}));
    fake.answer(200, without_refresh_token());
    let mut waiting = begin(&user, &fake, &[]);
    let mut prompt = waiting.login.stdin();
    let address = |parameters: &[(&str, &str)]| {
        let mut address = waiting.redirect.clone();
        address.query_pairs_mut().extend_pairs(parameters);
        address
    };
    let state = ("state", waiting.state.as_str());
    // The redirect of another sign-in is ignored.
    let foreign = address(&[("code", "c0"), ("state", "other"), ("iss", &fake.url)]);
    writeln!(prompt, "\n{foreign}").expect("it reads");
    waiting
        .login
        .read_until(|line| line.contains("a redirect was ignored").then_some(()));
    assert_eq!(fake.requests().len(), 0);
    writeln!(
        prompt,
        "{}",
        address(&[("code", "c1"), state, ("iss", &fake.url)])
    )
    .expect("it reads");
    let output = fake.shown(waiting.login.finish(&user));
    assert_eq!(output.code, 0, "{output:?}");
    assert!(fake.last_form().contains("code=c1"));
    // A pasted redirect without `iss` is refused like a real one.
    let mut waiting = begin(&user, &fake, &[]);
    let mut prompt = waiting.login.stdin();
    let mut address = waiting.redirect.clone();
    let parameters = [("code", "c2"), ("state", waiting.state.as_str())];
    address.query_pairs_mut().extend_pairs(parameters);
    writeln!(prompt, "{address}").expect("it reads");
    let output = fake.shown(waiting.login.finish(&user));
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("(`iss`)"), "{output:?}");
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_templates() {
    let tenant = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let user = User::new().await;
    let fake = FakeIssuer::start(&json!({"issuer": "URL/{tenantid}/v2.0"}));
    let issuer = format!("{}/common/v2.0", fake.url);
    let flags = ["--issuer", &issuer, "--scope", "openid"];
    let login = [&["login", "--client-id", CLIENT], &flags[..]].concat();
    let output = fake.shown(user.run(&login));
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the issuer's endpoints could not be discovered
      because the document at http://FAKE/.well-known/oauth-authorization-server/common/v2.0 names the issuer `http://FAKE/{tenantid}/v2.0`, and not `http://FAKE/common/v2.0`
    hint: this document is for every tenant of Microsoft Entra ID: add `--profile entra` and an issuer like https://login.microsoftonline.com/common/v2.0, or write your tenant's id in place of `common`
    ");
    for (tid, code) in [(tenant, 0), ("00000000-0000-0000-0000-000000000000", 1)] {
        let flags = [&flags[..], &["--profile", "entra"]].concat();
        let waiting = begin(&user, &fake, &flags);
        let mut tokens = without_refresh_token();
        tokens["refresh_token"] = json!("r1");
        tokens["id_token"] = json!(jwt(&json!({
            "iss": format!("{}/{tenant}/v2.0", fake.url),
            "tid": tid,
            "aud": CLIENT,
            "exp": now() + 600,
            "nonce": waiting.nonce,
        })));
        fake.answer_always(200, tokens.clone());
        let output = waiting.redirect(&user, &fake).await;
        assert_eq!(output.code, code, "{tid}: {output:?}");
    }
}

/// Every value of these flags that cannot be used.
#[tokio::test(flavor = "multi_thread")]
async fn flags_that_cannot_be_used() {
    let user = User::new().await;
    let mut report = String::new();
    for (flag, value) in [
        ("--redirect-uri", "localhost"),
        ("--redirect-uri", "https://localhost/"),
        ("--redirect-uri", "http://localhost/#a"),
        ("--redirect-uri", "http://localhost/?a=b"),
        ("--redirect-uri", "http://localhost:99999/"),
        ("--fields", "access_token"),
        ("--param", "offline"),
    ] {
        let output = user.run(&["login", flag, value]);
        assert_eq!(output.code, 2, "{output:?}");
        report += output.stderr.lines().next().expect("a line");
        report += "\n\nFor more information, try '--help'.\n\n";
    }
    assert_snapshot!(report, @"
    error: invalid value 'localhost' for '--redirect-uri <URL>': the program listens for http alone, on this machine: write it like http://localhost:8400/callback

    For more information, try '--help'.

    error: invalid value 'https://localhost/' for '--redirect-uri <URL>': the program listens for http alone, on this machine: write it like http://localhost:8400/callback

    For more information, try '--help'.

    error: invalid value 'http://localhost/#a' for '--redirect-uri <URL>': it is not a URL without a fragment: write it like http://localhost:8400/callback

    For more information, try '--help'.

    error: invalid value 'http://localhost/?a=b' for '--redirect-uri <URL>': it has only host, port and path: write it like http://localhost:8400/callback

    For more information, try '--help'.

    error: invalid value 'http://localhost:99999/' for '--redirect-uri <URL>': its port is not a number up to 65535: write it like http://localhost:8400/callback

    For more information, try '--help'.

    error: invalid value 'access_token' for '--fields <NAME=PATH>': write NAME=PATH, several separated by commas

    For more information, try '--help'.

    error: invalid value 'offline' for '--param <NAME=VALUE>': write NAME=VALUE, such as access_type=offline

    For more information, try '--help'.
    ");
}
