//! Signing in and out.

use crate::user::{CLIENT, SERVICE, SERVICE_SECRET, User};

/// A refresh token from elsewhere is spent at once, and what it brings is a session: the token is the
/// issuer's newest, and the one that was pasted is good for nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_from_stdin_is_spent_at_once() {
    let user = User::new().await;
    let pasted = user.refresh_token();
    let came = user.login("work", &format!("  {pasted}\n"));
    assert_eq!((came.code, came.out.as_str()), (0, ""), "{came:?}");
    assert_eq!(came.said, "Signed in: session `work`.\n");
    assert_eq!(user.issuer.counters().refreshes, 1);
    let token = user.run(&["token", "-s", "work"]).out;
    assert!(user.issuer.accepts(token.trim()));
    assert_eq!(user.issuer.counters().refreshes, 1);
    let again = user.login("other", &pasted);
    assert_eq!(again.code, 1);
    assert!(
        again.said.contains("spent; get a new one"),
        "{}",
        again.said
    );
}

/// What was typed once needs no typing again.
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

/// A client signs in as itself, from the configuration and a secret in the environment: with a login
/// to try it, and without any.
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
        user.came(command.output().expect("it runs"))
    };
    for arguments in [&["token", "-s", "job"][..], &["login", "-s", "job"]] {
        let came = run(arguments);
        assert_eq!(came.code, 0, "{came:?}");
    }
    let token = run(&["token", "-s", "job"]).out;
    assert!(user.issuer.accepts(token.trim()));
}

/// The issuer's name is enough for a client as well.
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
        let came = user.came(command.output().expect("it runs"));
        assert_eq!(came.code, 0, "{came:?}");
    }
}

/// The environment alone describes a session, and outdoes the file.
#[tokio::test(flavor = "multi_thread")]
async fn the_environment_outdoes_the_file() {
    let user = User::new().await;
    user.configure("[sessions.default]\nclient_id = \"nobody\"\ngrant = \"client-credentials\"\n");
    let mut command = user.command(&["token"]);
    command
        .env("TOKEN_ROTATOR_CLIENT_ID", SERVICE)
        .env("TOKEN_ROTATOR_CLIENT_SECRET", SERVICE_SECRET)
        .env("TOKEN_ROTATOR_TOKEN_ENDPOINT", user.issuer.token_url());
    let came = user.came(command.output().expect("it runs"));
    assert_eq!(came.code, 0, "{came:?}");
    assert!(user.issuer.accepts(came.out.trim()));
}

/// A logout ends the session for every process, and revokes it at the issuer.
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_and_revokes() {
    let user = User::signed_in().await;
    let token = user.token();
    let came = user.run(&["logout"]);
    assert_eq!(came.code, 0, "{came:?}");
    assert_eq!(
        came.said,
        "Signed out, and revoked at the issuer: session `default`.\n"
    );
    assert!(!user.issuer.accepts(&token));
    assert_eq!(user.issuer.counters().ended_by_client, 1);
    assert_eq!(user.run(&["token"]).code, 3);
    assert_eq!(
        user.run(&["logout"]).said,
        "Nobody was signed in: session `default`.\n"
    );
    user.sign_in("default");
    assert!(user.issuer.accepts(&user.token()));
}
