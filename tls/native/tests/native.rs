//! `default-features = false`: a program that chooses native-tls, and one that has no TLS.

#[path = "../../server.rs"]
mod server;

use server::TlsServer;
use token_rotator_oauth2::{SecretBytes, Transport as _, TransportError};
use token_rotator_reqwest::{Client, ReqwestTransport};

async fn post(url: &str, transport: ReqwestTransport) -> Result<u16, TransportError> {
    let request = http::Request::post(url).body(SecretBytes::default());
    let answer = transport.send(request.expect("a request")).await?;
    Ok(answer.status().as_u16())
}

#[cfg(feature = "native-tls")]
#[tokio::test]
async fn native_tls_sends_https_requests() {
    let server = TlsServer::start(None).await;
    let root = || reqwest::Certificate::from_pem(server.authority.pem.as_bytes()).expect("a root");
    let added = root();
    let api = Client::builder()
        .base_url(&server.url)
        .configure(move |builder| builder.no_proxy().tls_certs_merge([added.clone()]))
        .on_refresh_success(|token: &String| token)
        .build()
        .expect("a client");
    let answer = api.get("/client").send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let transport =
        ReqwestTransport::configured(|builder| builder.no_proxy().tls_certs_merge([root()]));
    let url = format!("{}/transport", server.url);
    let answer = post(&url, transport.expect("a transport")).await;
    assert_eq!(answer.expect("an answer"), 200);
    assert_eq!(server.paths(), ["/client", "/transport"]);
}

/// Without TLS an https address is misconfigured: nothing is sent, and the hint names the feature.
#[cfg(not(feature = "native-tls"))]
#[tokio::test]
async fn without_tls_the_hint_names_the_feature() {
    let server = TlsServer::start(None).await;
    let transport = ReqwestTransport::configured(reqwest::ClientBuilder::no_proxy);
    let error = post(&server.url, transport.expect("a transport")).await;
    let error = error.expect_err("no TLS");
    assert!(
        matches!(error, TransportError::Misconfigured { .. }),
        "{error:?}"
    );
    assert!(
        error.hint().is_some_and(|hint| hint.contains("`rustls`")),
        "{error:?}"
    );

    let error = reqwest::get(&server.url).await.expect_err("no TLS");
    let error = token_rotator_reqwest::source_error(error);
    assert_eq!(error.kind(), token_rotator::FailureKind::Misconfigured);

    let api = Client::builder()
        .base_url(&server.url)
        .configure(reqwest::ClientBuilder::no_proxy)
        .on_refresh_success(|token: &String| token)
        .build()
        .expect("a client");
    let error = api.get("/").send().await.expect_err("no TLS");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("`rustls`")),
        "{error:?}"
    );
    assert_eq!(server.paths(), Vec::<String>::new());
}
