//! Sign-in without a user's help, and sign-out.

use crate::user::{CLIENT, SERVICE, SERVICE_SECRET, User};

/// A refresh token from stdin is exchanged at once: the session has the issuer's newest token, and the
/// pasted refresh token cannot be used again.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_from_stdin_is_spent_at_once() {
    let user = User::new().await;
    let pasted = user.refresh_token();
    let output = user.login("work", &format!("  {pasted}\n"));
    assert_eq!((output.code, output.stdout.as_str()), (0, ""), "{output:?}");
    assert_eq!(output.stderr, "Signed in: session `work`.\n");
    assert_eq!(user.issuer.counters().refreshes, 1);
    let token = user.run(&["token", "-s", "work"]).stdout;
    assert!(user.issuer.accepts(token.trim()));
    assert_eq!(user.issuer.counters().refreshes, 1);
    let again = user.login("other", &pasted);
    assert_eq!(again.code, 1);
    assert!(
        again.stderr.contains("spent; get a new one"),
        "{}",
        again.stderr
    );
}

/// The settings of the first login are saved.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_login_needs_only_the_name() {
    let user = User::signed_in().await;
    let again = user.with_input(user.command(&["login"]), &user.refresh_token());
    assert_eq!(again.code, 0, "{again:?}");
    let file = user
        .home()
        .join(".config/token-rotator/sessions/default.toml");
    let written = std::fs::read_to_string(file).expect("the session's file");
    assert!(
        written.contains(&format!("client_id = \"{CLIENT}\"")),
        "{written}"
    );
}

/// A client signs in with the configuration and a secret from the environment, with a login or without.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_signs_in_as_itself() {
    let user = User::new().await;
    user.configure(&format!(
        "[sessions.job]\ngrant = \"client-credentials\"\nclient_id = \"{SERVICE}\"\ntoken_endpoint = \"{}\"\n",
        user.issuer.token_url()
    ));
    let run = |arguments: &[&str]| {
        let mut command = user.command(arguments);
        command.env("TOKEN_ROTATOR_CLIENT_SECRET", SERVICE_SECRET);
        user.output_of(command)
    };
    for arguments in [&["token", "-s", "job"][..], &["login", "-s", "job"]] {
        let output = run(arguments);
        assert_eq!(output.code, 0, "{output:?}");
    }
    let token = run(&["token", "-s", "job"]).stdout;
    assert!(user.issuer.accepts(token.trim()));
}

/// The token endpoint of a client is discovered.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_finds_its_token_endpoint() {
    let user = User::new().await;
    user.configure(&format!(
        "[sessions.job]\ngrant = \"client-credentials\"\nclient_id = \"{SERVICE}\"\nissuer = \"{}\"\n",
        user.issuer.url()
    ));
    for arguments in [
        &["token", "-s", "job"][..],
        &["login", "-s", "job"],
        &["doctor", "-s", "job"],
    ] {
        let mut command = user.command(arguments);
        command.env("TOKEN_ROTATOR_CLIENT_SECRET", SERVICE_SECRET);
        let output = user.output_of(command);
        assert_eq!(output.code, 0, "{output:?}");
    }
}

/// The environment overrides the configuration file.
#[tokio::test(flavor = "multi_thread")]
async fn the_environment_overrides_the_file() {
    let user = User::new().await;
    user.configure(
        "[sessions.default]\nclient_id = \"unknown-client\"\ngrant = \"client-credentials\"\n",
    );
    let mut command = user.command(&["token"]);
    command
        .env("TOKEN_ROTATOR_CLIENT_ID", SERVICE)
        .env("TOKEN_ROTATOR_CLIENT_SECRET", SERVICE_SECRET)
        .env("TOKEN_ROTATOR_TOKEN_ENDPOINT", user.issuer.token_url());
    let output = user.output_of(command);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(user.issuer.accepts(output.stdout.trim()));
}

/// A logout ends the session for every process, and revokes it at the issuer.
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_and_revokes() {
    let user = User::signed_in().await;
    let token = user.token();
    let output = user.run(&["logout"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(
        output.stderr,
        "Signed out, and revoked at the issuer: session `default`.\n"
    );
    assert!(!user.issuer.accepts(&token));
    assert_eq!(user.issuer.counters().ended_by_client, 1);
    assert_eq!(user.run(&["token"]).code, 3);
    assert_eq!(
        user.run(&["logout"]).stderr,
        "Already signed out: session `default`.\n"
    );
    user.sign_in("default");
    assert!(user.issuer.accepts(&user.token()));
}
