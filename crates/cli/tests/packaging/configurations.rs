//! The packaged configurations run, with the addresses and directories of this machine.

use token_rotator_testkit::Upstream;

use crate::sidecar::{Sidecar, client};
use crate::user::{SERVICE, SERVICE_SECRET, User};
use crate::{kubernetes, text};

/// Runs the proxy with a configuration, and sends a request.
async fn assert_serves(configuration: &str, state: &str, secret: &str) {
    let user = User::new().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let file = user.home().join("client-secret");
    std::fs::write(&file, SERVICE_SECRET).expect("written");
    let mut adapted = configuration.to_owned();
    for (original, replacement) in [
        (state, user.home().join("state").display().to_string()),
        (secret, file.display().to_string()),
        ("my-service", SERVICE.to_owned()),
        (
            "https://issuer.example.com/token",
            user.issuer.token_url().to_owned(),
        ),
        ("https://api.example.com", upstream.url().to_owned()),
        ("127.0.0.1:8080", "127.0.0.1:0".to_owned()),
        ("127.0.0.1:9901", "127.0.0.1:0".to_owned()),
    ] {
        assert!(
            adapted.contains(original),
            "{original} is not in {configuration}"
        );
        adapted = adapted.replace(original, &replacement);
    }
    std::fs::create_dir(user.home().join("state")).expect("a directory");
    user.configure(&adapted);
    let command = user.command(&["proxy", "--json"]);
    let proxy = Sidecar::spawn(command);
    let admin = proxy.admin.clone().expect("an admin listener");
    for url in [format!("{admin}/readyz"), format!("{}/echo", proxy.url)] {
        let answer = client().get(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{url}");
    }
    assert_eq!(user.issuer.counters().client_credentials, 1);
    let (code, log) = proxy.end();
    assert_eq!(code, Some(0), "{log}");
    // A second start uses the stored session.
    let proxy = Sidecar::spawn(user.command(&["proxy", "--json"]));
    let answer = client().get(format!("{}/echo", proxy.url)).send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
    assert_eq!(user.issuer.counters().client_credentials, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_of_the_service_works() {
    let secret = "/run/credentials/token-rotator-proxy.service/client-secret";
    let unit = text("systemd/token-rotator-proxy.service");
    assert!(unit.contains("\nLoadCredential=client-secret:"), "{unit}");
    assert!(unit.contains("\nStateDirectory=token-rotator\n"), "{unit}");
    assert_serves(
        &text("systemd/proxy.toml"),
        "/var/lib/token-rotator",
        secret,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_of_the_pod_works() {
    let Some(documents) = kubernetes::documents() else {
        return;
    };
    let configuration = documents[0]["data"]["config.toml"].as_str();
    let secret = "/run/secrets/token-rotator/client-secret";
    assert_serves(
        configuration.expect("a configuration"),
        "/var/lib/token-rotator",
        secret,
    )
    .await;
}
