//! What issuers, kubectl, git and others say no to.

use insta::assert_snapshot;
use serde_json::json;
use token_rotator_testkit::Fault;

use crate::metadata;
use crate::user::{CLIENT, Came, SERVICE, SERVICE_SECRET, User};

/// The service that signs in as itself, with these flags.
fn as_itself(user: &User, flags: &[&str]) -> Came {
    let issuer = user.issuer.url();
    let login = ["login", "--grant", "client-credentials"];
    let client = ["--client-id", SERVICE, "--issuer", issuer];
    user.run(&[&login[..], flags, &client].concat())
}

/// Somebody whose next refresh goes wrong like this.
async fn refreshed_with(fault: Fault) -> (User, Came) {
    let user = User::signed_in().await;
    user.issuer.faults().push(fault.times(1));
    let came = user.run(&["token", "--refresh"]);
    assert!(came.code > 0, "{came:?}");
    (user, came)
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
    let came = user.run(&["token"]);
    assert_eq!(came.code, 3, "{came:?}");
    assert_snapshot!("refresh_token_is_refused", came.told());
    // Later ones hear of it.
    let came = user.run(&["token"]);
    assert_eq!(came.code, 3, "{came:?}");
    assert_snapshot!("refresh_token_was_refused_before", came.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_refused() {
    let (_, came) = refreshed_with(refusal("invalid_client")).await;
    assert_snapshot!("client_is_refused", came.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_busy() {
    let busy = Fault::Status {
        status: 503,
        retry_after: None,
    };
    let (_, came) = refreshed_with(busy).await;
    assert_snapshot!("issuer_is_busy", came.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost() {
    let (_, came) = refreshed_with(Fault::AnswerLost).await;
    assert_snapshot!("answer_is_lost", came.told());
}

mistake!(refresh_token_is_spent, 1, |user| {
    let spent = user.refresh_token();
    assert_eq!(user.login("work", &spent).code, 0);
    user.login("other", &spent)
});
mistake!(stdin_is_no_text, 1, |user| {
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
    user.came(command.output().expect("it runs"))
});
mistake!(device_is_refused, 1, |user| {
    let issuer = user.issuer.url();
    user.run(&[
        "login",
        "--grant",
        "device",
        "--client-id",
        "nobody",
        "--issuer",
        issuer,
    ])
});
mistake!(client_has_no_secret, 1, |user| as_itself(&user, &[]));
mistake!(client_needs_a_secret, 1, |user| as_itself(
    &user,
    &["--client-auth", "post"]
));
mistake!(secret_cannot_be_read, 1, |user| as_itself(
    &user,
    &["--client-secret-file", "/nowhere"]
));
mistake!(resource_is_none, 1, |user| {
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
    user.came(command.output().expect("it runs"))
});
mistake!(issuer_names_no_token_endpoint, 1, |user| {
    let issuer = metadata::serve(&json!({"token_endpoint": null}));
    let mut command = user.command(&["login", "--grant", "client-credentials"]);
    command.args(["--client-id", SERVICE, "--issuer", &issuer]);
    command.env("TOKEN_ROTATOR_CLIENT_SECRET", SERVICE_SECRET);
    user.came(command.output().expect("it runs"))
});

/// The tokens are gone here, and the issuer did not hear of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_the_issuer_does_not_hear_of() {
    let user = User::signed_in().await;
    user.issuer.shutdown().await;
    let came = user.run(&["logout"]);
    assert_eq!(came.code, 1, "{came:?}");
    assert_snapshot!("tokens_are_not_revoked", came.told());
    assert_eq!(user.run(&["token"]).code, 3);
}

/// Where there is nowhere to revoke tokens a logout says so, and is none the worse for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_without_revocation() {
    let user = User::new().await;
    let (client, token) = (format!("client_id = \"{CLIENT}\""), user.issuer.token_url());
    user.configure(&format!(
        "[sessions.default]\n{client}\ntoken_endpoint = \"{token}\"\n"
    ));
    user.with_input(user.command(&["login"]), &user.refresh_token());
    assert_snapshot!("no_revocation_endpoint", user.run(&["logout"]).told());

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
    let came = user.run(&["logout", "-s", "work"]);
    assert_snapshot!("issuer_names_no_revocation_endpoint", came.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_would_have_to_last_longer() {
    let user = User::signed_in().await;
    let came = user.run(&["token", "--min-ttl", "1h"]);
    assert_snapshot!("no_token_lasts_so_long", came.told());
    // So fresh that another would last no longer: it is refreshed once, and not once more.
    let user = User::expired().await;
    let before = user.issuer.counters().refreshes;
    let mut came = user.run(&["token", "--min-ttl", "300s"]);
    assert_eq!(came.code, 1, "{came:?}");
    assert_eq!(user.issuer.counters().refreshes - before, 1);
    for left in 280..300 {
        came.said = came
            .said
            .replace(&format!("good for {left}s"), "good for LEFT");
    }
    assert_snapshot!("token_lasts_no_longer", came.told());
}

mistake!(operation_without_git, 1, |user| user.run(&["token", "get"]));
mistake!(git_says_no_text, 1, |user| {
    user.sign_in("default");
    let file = user.home().join("asked");
    std::fs::write(&file, b"protocol=\xff\n").expect("a file");
    let mut command = user.command(&["token", "-f", "git-credential", "get"]);
    command.stdin(std::fs::File::open(file).expect("it is there"));
    user.came(command.output().expect("it runs"))
});

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_asks_for_what_there_is_not() {
    let user = User::signed_in().await;
    let asked = |info: &str| {
        let mut command = user.command(&["token", "-f", "exec-credential"]);
        let output = command.env("KUBERNETES_EXEC_INFO", info).output();
        user.came(output.expect("it runs"))
    };
    let alpha = r#"{"apiVersion":"client.authentication.k8s.io/v1alpha1"}"#;
    assert_snapshot!("kubectl_is_too_old", asked(alpha).told());
    assert_snapshot!("kubectl_says_nothing", asked("{}").told());
}

mistake!(command_is_not_there, 127, |user| {
    user.sign_in("default");
    user.run(&["exec", "--", "no-such-command"])
});

/// A demo for which there are not enough descriptors, ports or callers.
#[tokio::test(flavor = "multi_thread")]
async fn demos_that_cannot_be_had() {
    let user = User::new().await;
    let came = user.run(&["demo", "--web", "--requests", "1001"]);
    assert_snapshot!("demo_has_too_many_callers", came.told());
    let port = user
        .issuer
        .url()
        .rsplit(':')
        .next()
        .expect("a port")
        .to_owned();
    let mut came = user.run(&["demo", "--web", "--port", &port]);
    came.said = came.said.replace(&port, "PORT");
    assert_snapshot!("demo_port_is_taken", came.told());
    for (flag, name) in [
        ("--port", "issuer_port_is_taken"),
        ("--upstream-port", "api_port_is_taken"),
    ] {
        let mut came = user.run(&["issuer", flag, &port]);
        assert_eq!(came.code, 1, "{came:?}");
        came.said = came.said.replace(&port, "PORT");
        assert_snapshot!(name, came.told());
    }
}
