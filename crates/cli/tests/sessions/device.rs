//! Signing in on another device.

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::json;
use token_rotator_testkit::Issuer;

use crate::attended::Login;
use crate::metadata;
use crate::user::{CLIENT, Came, User};

/// At an issuer whose device codes are good for this long and may be asked about every second.
async fn user(lifetime: Duration) -> User {
    let codes = (lifetime, Duration::from_secs(1));
    User::with(Issuer::builder().device_codes(codes.0, codes.1)).await
}

fn begin(user: &User, arguments: &[&str]) -> Login {
    Login::begin(user, &[&["--grant", "device"], arguments].concat())
}

/// The code that is to be entered: what stands alone after the words that say so.
fn code(login: &mut Login) -> String {
    login.until(|line| line.contains("enter the code").then_some(()));
    login.until(|line| (!line.is_empty()).then(|| line.to_owned()))
}

/// With the code taken out, which is drawn anew for each sign-in.
fn told(came: &Came, code: &str) -> String {
    came.told().replace(code, "CODE")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_from_the_code_to_the_logout() {
    let user = user(Duration::from_secs(600)).await;
    let mut login = begin(&user, &["--scope", "openid read", "--session", "work"]);
    let code = code(&mut login);
    assert!(user.issuer.approve_device(&code, "bob"));
    let came = login.end(&user);
    assert_eq!(came.code, 0, "{came:?}");
    assert_snapshot!(told(&came, &code), @"
    exit code 0
    Open this address on any device:

        http://ISSUER/device

    and enter the code

        CODE

    or open this one, and see that it shows the same code:

        http://ISSUER/device?user_code=CODE

    Signed in: session `work`.
    ");
    let token = user.run(&["token", "-s", "work"]).out;
    assert!(user.issuer.accepts(token.trim()));
    let id_token = user.run(&["token", "-s", "work", "--id-token"]).out;
    assert_eq!(id_token.trim().split('.').count(), 3, "{id_token}");
    assert_eq!(user.run(&["token", "-s", "work", "--refresh"]).code, 0);
    assert_eq!(user.run(&["logout", "-s", "work"]).code, 0);
    assert_eq!(user.issuer.counters().ended_by_client, 1);
    assert_eq!(user.run(&["token", "-s", "work"]).code, 3);
}

/// What is typed takes the place of what is discovered, endpoint by endpoint, and stays.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_outdoes_the_discovered_one() {
    let user = user(Duration::from_secs(600)).await;
    let device = user.issuer.device_authorization_url();
    // Its token endpoint is none.
    let issuer = metadata::serve(&json!({"device_authorization_endpoint": device}));
    let mut command = user.command(&["login", "--grant", "device", "--client-id", CLIENT]);
    command.args(["--issuer", &issuer]);
    command.args(["--token-endpoint", user.issuer.token_url()]);
    let mut login = Login::of(command);
    assert!(user.issuer.approve_device(&code(&mut login), "bob"));
    let came = login.end(&user);
    assert_eq!(came.code, 0, "{came:?}");
    assert_eq!(user.run(&["token", "--refresh"]).code, 0);
    let came = user.run(&["logout"]);
    assert!(
        came.said.contains("names no revocation endpoint"),
        "{came:?}"
    );
    assert_eq!(user.issuer.counters().ended_by_client, 0);
}

/// Ctrl-C gives the prompt back here as well.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_sign_in_is_no_session() {
    let user = user(Duration::from_secs(600)).await;
    let mut login = begin(&user, &[]);
    code(&mut login);
    let process = rustix::process::Pid::from_raw(login.id().cast_signed()).expect("a process");
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("it is ours");
    assert_eq!(login.end(&user).code, 130);
    assert_eq!(user.run(&["token"]).code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_denied() {
    let user = user(Duration::from_secs(600)).await;
    let mut login = begin(&user, &[]);
    let code = code(&mut login);
    assert!(user.issuer.deny_device(&code));
    let came = login.end(&user);
    assert_snapshot!(told(&came, &code), @"
    exit code 1
    Open this address on any device:

        http://ISSUER/device

    and enter the code

        CODE

    or open this one, and see that it shows the same code:

        http://ISSUER/device?user_code=CODE

    error: nobody has signed in
      because the sign-in was denied on the other device (access_denied)
    hint: sign in again, and allow it
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_nobody_enters() {
    let user = user(Duration::from_secs(1)).await;
    let mut login = begin(&user, &[]);
    let code = code(&mut login);
    let came = login.end(&user);
    assert_snapshot!(told(&came, &code), @"
    exit code 1
    Open this address on any device:

        http://ISSUER/device

    and enter the code

        CODE

    or open this one, and see that it shows the same code:

        http://ISSUER/device?user_code=CODE

    error: nobody has signed in
      because the code expired before anybody entered it
    hint: sign in again, and enter the new code in time
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_enters_the_code_in_the_users_time() {
    let user = user(Duration::from_secs(600)).await;
    let mut login = begin(&user, &["--timeout", "100ms"]);
    let code = code(&mut login);
    let came = login.end(&user);
    assert_snapshot!(told(&came, &code), @"
    exit code 1
    Open this address on any device:

        http://ISSUER/device

    and enter the code

        CODE

    or open this one, and see that it shows the same code:

        http://ISSUER/device?user_code=CODE

    error: nobody has signed in
      because the code was not entered within 100ms
    hint: sign in again; `--timeout` gives more time
    ");
}

/// An issuer that cannot be reached meanwhile is told of once, and not taken for a code that expired.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_is_told_of_once() {
    let user = user(Duration::from_secs(4)).await;
    let mut login = begin(&user, &[]);
    let code = code(&mut login);
    user.issuer.shutdown().await;
    let came = login.end(&user);
    assert_eq!(came.code, 1, "{came:?}");
    assert_eq!(came.said.matches("warning:").count(), 1, "{came:?}");
    assert_snapshot!(told(&came, &code), @"
    exit code 1
    Open this address on any device:

        http://ISSUER/device

    and enter the code

        CODE

    or open this one, and see that it shows the same code:

        http://ISSUER/device?user_code=CODE

    warning: the issuer cannot say whether anybody has entered the code
      because the issuer was not reached
      because error sending request
      because client error (Connect)
      because tcp connect error
      because Connection refused (os error 111)
    hint: nothing has to be done; it is asked again while the code is good
    error: nobody has signed in
      because the code expired while the issuer gave no answer: the issuer was not reached
      because error sending request
      because client error (Connect)
      because tcp connect error
      because Connection refused (os error 111)
    hint: check the network, then sign in again
    ");
}
