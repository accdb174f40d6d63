//! A session is bound to the addresses of its login.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver};

use insta::assert_snapshot;
use serde_json::json;

use crate::metadata;
use crate::user::{CLIENT, CommandOutput, User};

/// A server of another party. It reports each request that it receives, and answers none.
struct OtherParty {
    url: String,
    requests: Receiver<String>,
}

impl OtherParty {
    fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let (sender, requests) = mpsc::channel();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut line = String::new();
                let _ = BufReader::new(stream).read_line(&mut line);
                let _ = sender.send(line);
            }
        });
        Self { url, requests }
    }

    /// Returns the output with the address of the server replaced, after a check that the server
    /// received no request.
    fn untouched(&self, mut output: CommandOutput) -> CommandOutput {
        let request = self.requests.try_recv();
        assert!(request.is_err(), "{request:?}: {output:?}");
        output.stderr = output.stderr.replace(&self.url, "http://OTHER");
        output
    }
}

/// "An environment variable of a cloned repository gets the refresh token".
#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_in_the_environment_gets_no_token() {
    let user = User::signed_in().await;
    let other = OtherParty::listen();
    let refresh = |variable: &str, value: &str| {
        let mut command = user.command(&["token", "--refresh"]);
        command.env(variable, value);
        other.untouched(user.output_of(command))
    };
    let output = refresh("TOKEN_ROTATOR_ISSUER", &other.url);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no token for session `default`
      because the session is bound to a sign-in without issuer, and its settings name http://OTHER; nothing was sent
    hint: correct the configuration, the flags or the environment; if the new address is right, `token-rotator rebind --session default` moves the session to it
    ");
    let endpoint = format!("{}/token", other.url);
    let output = refresh("TOKEN_ROTATOR_TOKEN_ENDPOINT", &endpoint);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no token for session `default`
      because the session is bound to the token endpoint http://ISSUER/token, and its settings name http://OTHER/token; nothing was sent
    hint: correct the configuration, the flags or the environment; if the new address is right, `token-rotator rebind --session default` moves the session to it
    ");
    assert_eq!(user.run(&["token", "--refresh"]).code, 0);
}

/// "`token_endpoint` changed by another user gets the refresh token": the configuration, and the
/// revocation endpoint at a logout, which still ends the session here.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_in_the_configuration_gets_no_token() {
    let user = User::signed_in().await;
    let other = OtherParty::listen();
    let url = &other.url;
    user.configure(&format!(
        "[sessions.default]\ntoken_endpoint = \"{url}/token\"\n"
    ));
    let output = other.untouched(user.run(&["token", "--refresh"]));
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output.stderr.contains("rebind --session default"),
        "{output:?}"
    );
    let doctor = user.run(&["doctor"]);
    assert_eq!(doctor.code, 1, "{doctor:?}");
    assert!(
        doctor.stdout.contains("addresses: the session is bound to"),
        "{doctor:?}"
    );
    // The check of the token endpoint sends a request without credentials.
    assert_eq!(
        other.requests.recv().as_deref(),
        Ok("GET /token HTTP/1.1\r\n")
    );

    user.configure(&format!(
        "[sessions.default]\nrevocation_endpoint = \"{url}/revoke\"\n"
    ));
    let output = other.untouched(user.run(&["logout"]));
    assert_snapshot!(output.report(), @"
    exit code 1
    error: session `default` is signed out, but its tokens could not be revoked
      because the session is bound to the revocation endpoint http://ISSUER/revoke, and its settings name http://OTHER/revoke; nothing was sent
    hint: the access token ends when it expires, and the refresh token stays valid until the issuer ends it; end the grant on the issuer's account pages
    ");
    assert_eq!(user.run(&["token"]).code, 3);
}

/// The metadata of the sealed issuer moves its token endpoint. The metadata is not sent over TLS, so
/// the endpoint is not followed.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_without_tls_moves_no_endpoint() {
    let user = User::new().await;
    let other = OtherParty::listen();
    let issuer = metadata::serve(&json!({
        "token_endpoint": format!("{}/token", other.url),
        "revocation_endpoint": format!("{}/revoke", other.url),
    }));
    let mut login = user.command(&["login", "--grant", "refresh-token", "--client-id", CLIENT]);
    login.args([
        "--issuer",
        &issuer,
        "--token-endpoint",
        user.issuer.token_url(),
    ]);
    let output = user.with_input(login, &user.refresh_token());
    assert_eq!(output.code, 0, "{output:?}");
    let sessions = user
        .home()
        .join(".config/token-rotator/sessions/default.toml");
    let settings = std::fs::read_to_string(&sessions).expect("a file");
    let kept: Vec<_> = settings
        .lines()
        .filter(|line| !line.starts_with("token_endpoint"))
        .collect();
    std::fs::write(&sessions, kept.join("\n")).expect("ours");
    let output = other.untouched(user.run(&["token", "--refresh"]));
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output
            .stderr
            .contains("and its settings name http://OTHER/token"),
        "{output:?}"
    );
}

/// `rebind` shows both addresses and moves the session without a login.
#[tokio::test(flavor = "multi_thread")]
async fn rebind_moves_the_session() {
    let user = User::signed_in().await;
    assert_snapshot!(user.run(&["rebind"]).report(), @"
exit code 0
Session `default` is bound to
  issuer               -
  token endpoint       http://ISSUER/token
  revocation endpoint  http://ISSUER/revoke
Nothing to do: its settings name these addresses.
");
    // Another name of the same server.
    let named = |url: &str| url.replace("127.0.0.1", "localhost");
    user.configure(&format!(
        "[sessions.default]\ntoken_endpoint = \"{}\"\nrevocation_endpoint = \"{}\"\n",
        named(user.issuer.token_url()),
        named(user.issuer.revoke_url()),
    ));
    assert_eq!(user.run(&["token", "--refresh"]).code, 1);
    let mut output = user.run(&["rebind", "--session", "default"]);
    output.stderr = output
        .stderr
        .replace(&named(user.issuer.url()), "http://LOCALHOST");
    assert_snapshot!(output.report(), @"
        exit code 0
        Session `default` is bound to
          issuer               -
          token endpoint       http://ISSUER/token
          revocation endpoint  http://ISSUER/revoke
        Session `default` is now bound to
          issuer               -
          token endpoint       http://LOCALHOST/token
          revocation endpoint  http://LOCALHOST/revoke
        ");
    let output = user.run(&["token", "--refresh"]);
    assert!(user.issuer.accepts(output.stdout.trim()), "{output:?}");
    let history = user.run(&["history", "--json"]);
    assert!(
        history.stdout.contains(r#""event":"rebound""#),
        "{history:?}"
    );
    let output = user.run(&["logout"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_snapshot!(user.run(&["rebind"]).report(), @"
    exit code 3
    error: session `default` is not signed in
      because only a session with tokens is bound to addresses
    hint: sign in with `token-rotator login --session default`
    ");
}
