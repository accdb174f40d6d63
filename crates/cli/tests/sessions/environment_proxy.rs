//! A proxy of the environment gets no request for this machine.

use token_rotator_testkit::HttpProxy;

use crate::user::{CLIENT, SERVICE, SERVICE_SECRET, User};

/// Property: discovery, login, refresh, revocation and `doctor` reach an issuer on loopback without a
/// proxy, whichever variable names one.
#[tokio::test(flavor = "multi_thread")]
async fn a_loopback_issuer_is_reached_without_a_proxy() {
    let network = HttpProxy::start(None).await.expect("a proxy");
    let url = format!("http://me:hunter2@{}", network.address());
    let user = User::new().await;
    let command = |arguments: &[&str]| {
        let mut command = user.command(arguments);
        for name in [
            "http_proxy",
            "HTTP_PROXY",
            "https_proxy",
            "HTTPS_PROXY",
            "ALL_PROXY",
        ] {
            command.env(name, &url);
        }
        command
    };
    let login = command(&[
        "login",
        "--grant",
        "refresh-token",
        "--client-id",
        CLIENT,
        "--issuer",
        user.issuer.url(),
    ]);
    let output = user.with_input(login, &user.refresh_token());
    assert_eq!(output.code, 0, "{output:?}");
    let mut login = command(&[
        "login",
        "-s",
        "service",
        "--grant",
        "client-credentials",
        "--client-id",
        SERVICE,
        "--issuer",
        user.issuer.url(),
    ]);
    login.env("TOKEN_ROTATOR_CLIENT_SECRET", SERVICE_SECRET);
    let output = user.output_of(login);
    assert_eq!(output.code, 0, "{output:?}");
    for arguments in [
        &["token", "--refresh"][..],
        &["exec", "--", "true"],
        &["status"],
        &["doctor", "--session", "default"],
        &["doctor", "--session", "service"],
        &["logout"],
    ] {
        let mut command = command(arguments);
        if arguments.contains(&"service") {
            command.env("TOKEN_ROTATOR_CLIENT_SECRET", SERVICE_SECRET);
        }
        let output = user.output_of(command);
        assert_eq!(output.code, 0, "{arguments:?}: {output:?}");
    }
    let counters = user.issuer.counters();
    assert!(
        counters.refreshes > 0 && counters.token_requests > 1,
        "{counters:?}"
    );
    assert!(network.record().is_empty(), "{:?}", network.record());
}
