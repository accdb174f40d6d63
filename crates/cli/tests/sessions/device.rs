//! Sign-in on another device.

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::json;
use token_rotator_testkit::Issuer;

use crate::login::Login;
use crate::metadata;
use crate::user::{CLIENT, CommandOutput, User};

/// Returns a user whose issuer gives device codes with this lifetime and a poll interval of one second.
async fn user(lifetime: Duration) -> User {
    let codes = (lifetime, Duration::from_secs(1));
    User::with(Issuer::builder().device_codes(codes.0, codes.1)).await
}

fn begin(user: &User, arguments: &[&str]) -> Login {
    Login::start(user, &[&["--grant", "device"], arguments].concat())
}

/// Reads the code to enter: the next line after the one that announces it.
fn code(login: &mut Login) -> String {
    login.read_until(|line| line.contains("enter the code").then_some(()));
    login.read_until(|line| (!line.is_empty()).then(|| line.to_owned()))
}

/// Replaces the code, which differs in each sign-in.
fn report(output: &CommandOutput, code: &str) -> String {
    output.report().replace(code, "CODE")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_from_the_code_to_the_logout() {
    let user = user(Duration::from_secs(600)).await;
    let mut login = begin(&user, &["--scope", "openid read", "--session", "work"]);
    let code = code(&mut login);
    assert!(user.issuer.approve_device(&code, "bob"));
    let output = login.finish(&user);
    assert_eq!(output.code, 0, "{output:?}");
    assert_snapshot!(report(&output, &code), @"
    exit code 0
    Open this address on any device:

        http://ISSUER/device

    and enter the code

        CODE

    or open this address, and check that it shows the same code:

        http://ISSUER/device?user_code=CODE

    Signed in: session `work`.
    ");
    let token = user.run(&["token", "-s", "work"]).stdout;
    assert!(user.issuer.accepts(token.trim()));
    let id_token = user.run(&["token", "-s", "work", "--id-token"]).stdout;
    assert_eq!(id_token.trim().split('.').count(), 3, "{id_token}");
    assert_eq!(user.run(&["token", "-s", "work", "--refresh"]).code, 0);
    assert_eq!(user.run(&["logout", "-s", "work"]).code, 0);
    assert_eq!(user.issuer.counters().ended_by_client, 1);
    assert_eq!(user.run(&["token", "-s", "work"]).code, 3);
}

/// An endpoint flag replaces the discovered endpoint, and is saved for later commands.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_flag_replaces_the_discovered_endpoint() {
    let user = user(Duration::from_secs(600)).await;
    let device = user.issuer.device_authorization_url();
    // The token endpoint in this metadata does not work.
    let issuer = metadata::serve(&json!({"device_authorization_endpoint": device}));
    let mut command = user.command(&["login", "--grant", "device", "--client-id", CLIENT]);
    command.args(["--issuer", &issuer]);
    command.args(["--token-endpoint", user.issuer.token_url()]);
    let mut login = Login::spawn(command);
    assert!(user.issuer.approve_device(&code(&mut login), "bob"));
    let output = login.finish(&user);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(user.run(&["token", "--refresh"]).code, 0);
    let output = user.run(&["logout"]);
    assert!(
        output.stderr.contains("names no revocation endpoint"),
        "{output:?}"
    );
    assert_eq!(user.issuer.counters().ended_by_client, 0);
}

/// Ctrl-C ends the login without a session.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_sign_in_stores_no_session() {
    let user = user(Duration::from_secs(600)).await;
    let mut login = begin(&user, &[]);
    code(&mut login);
    let process = rustix::process::Pid::from_raw(login.id().cast_signed()).expect("a process");
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("the test owns it");
    assert_eq!(login.finish(&user).code, 130);
    assert_eq!(user.run(&["token"]).code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_denied() {
    let user = user(Duration::from_secs(600)).await;
    let mut login = begin(&user, &[]);
    let code = code(&mut login);
    assert!(user.issuer.deny_device(&code));
    let output = login.finish(&user);
    assert_snapshot!(report(&output, &code), @"
    exit code 1
    Open this address on any device:

        http://ISSUER/device

    and enter the code

        CODE

    or open this address, and check that it shows the same code:

        http://ISSUER/device?user_code=CODE

    error: the sign-in was not completed
      because the sign-in was denied on the other device (access_denied)
    hint: sign in again, and allow it
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_expires() {
    let user = user(Duration::from_secs(1)).await;
    let mut login = begin(&user, &[]);
    let code = code(&mut login);
    let output = login.finish(&user);
    assert_snapshot!(report(&output, &code), @"
    exit code 1
    Open this address on any device:

        http://ISSUER/device

    and enter the code

        CODE

    or open this address, and check that it shows the same code:

        http://ISSUER/device?user_code=CODE

    error: the sign-in was not completed
      because the code expired before it was entered
    hint: sign in again, and enter the new code in time
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_not_entered_before_the_timeout() {
    let user = user(Duration::from_secs(600)).await;
    let mut login = begin(&user, &["--timeout", "100ms"]);
    let code = code(&mut login);
    let output = login.finish(&user);
    assert_snapshot!(report(&output, &code), @"
    exit code 1
    Open this address on any device:

        http://ISSUER/device

    and enter the code

        CODE

    or open this address, and check that it shows the same code:

        http://ISSUER/device?user_code=CODE

    error: the sign-in was not completed
      because the code was not entered within 100ms
    hint: sign in again; `--timeout` gives more time
    ");
}

/// An issuer that becomes unreachable is reported once, and not as an expired code.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_issuer_is_reported_once() {
    let user = user(Duration::from_secs(4)).await;
    let mut login = begin(&user, &[]);
    let code = code(&mut login);
    user.issuer.shutdown().await;
    let output = login.finish(&user);
    assert_eq!(output.code, 4, "{output:?}");
    assert_eq!(output.stderr.matches("warning:").count(), 1, "{output:?}");
    assert_snapshot!(report(&output, &code), @"
    exit code 4
    Open this address on any device:

        http://ISSUER/device

    and enter the code

        CODE

    or open this address, and check that it shows the same code:

        http://ISSUER/device?user_code=CODE

    warning: the issuer does not answer whether the code was entered
      because the issuer was not reached
      because error sending request
      because client error (Connect)
      because tcp connect error
      because Connection refused (os error 111)
    hint: no action is needed: the issuer is asked again while the code is valid
    error: the sign-in was not completed
      because the code expired while the issuer gave no answer: the issuer was not reached
      because error sending request
      because client error (Connect)
      because tcp connect error
      because Connection refused (os error 111)
    hint: check the network, then sign in again
    ");
}
