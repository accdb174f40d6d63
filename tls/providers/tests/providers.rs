//! One program has the client of this project with its default features (aws-lc-rs), and kube and tonic with ring. Each
//! makes an https request. rustls panics if it has to choose between two providers, so no panic is the property: the client
//! of this project, which comes first, chooses for the process.

#[path = "../../server.rs"]
mod server;

use server::{Authority, TlsServer, WrongTime};
use token_rotator_oauth2::{SecretBytes, Transport as _, TransportError};
use token_rotator_reqwest::{Client, ReqwestTransport};

/// The client of this project with the authority among its roots.
fn client(server: &TlsServer) -> Client {
    let root = reqwest_root(&server.authority);
    Client::builder()
        .base_url(&server.url)
        .configure(move |builder| builder.no_proxy().tls_certs_merge([root.clone()]))
        .on_refresh_success(|token: &String| token)
        .build()
        .expect("a client")
}

fn reqwest_root(authority: &Authority) -> token_rotator_reqwest::reqwest::Certificate {
    token_rotator_reqwest::reqwest::Certificate::from_pem(authority.pem.as_bytes())
        .expect("a certificate")
}

#[tokio::test]
async fn three_clients_with_two_providers_send_https_requests() {
    let server = TlsServer::start(None).await;

    let answer = client(&server).get("/reqwest").send().await;
    assert_eq!(answer.expect("an answer").status(), 200);

    let root = reqwest_root(&server.authority);
    let transport =
        ReqwestTransport::configured(|builder| builder.no_proxy().tls_certs_merge([root]));
    let request =
        http::Request::post(format!("{}/oauth2", server.url)).body(SecretBytes::default());
    let answer = transport
        .expect("a transport")
        .send(request.expect("a request"))
        .await;
    assert_eq!(answer.expect("an answer").status(), 200);

    let mut config = kube::Config::new(server.url.parse().expect("an address"));
    config.root_cert = Some(vec![server.authority.der.clone()]);
    let kube = kube::Client::try_from(config).expect("a client of kube");
    let request = http::Request::get("/kube")
        .body(Vec::new())
        .expect("a request");
    let answer = kube.request_text(request).await;
    assert_eq!(answer.expect("an answer"), "hello");

    let tls = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(tonic::transport::Certificate::from_pem(
            &server.authority.pem,
        ))
        .domain_name("localhost");
    let endpoint = tonic::transport::Endpoint::from_shared(server.url.clone());
    let endpoint = endpoint
        .expect("an address")
        .tls_config(tls)
        .expect("a configuration");
    let channel = endpoint.connect().await;
    assert!(channel.is_ok(), "{:?}", channel.err());

    assert_eq!(server.paths(), ["/reqwest", "/oauth2", "/kube"]);
}

/// A certificate that is not valid yet, or no longer, names the clock in the hint of the client and of the transport.
#[tokio::test]
async fn a_certificate_outside_its_time_names_the_clock() {
    for time in [WrongTime::NotYet, WrongTime::Expired] {
        let server = TlsServer::start(Some(time)).await;
        let error = client(&server)
            .get("/")
            .send()
            .await
            .expect_err("no connection");
        let hint = error.hint().expect("a hint");
        assert!(hint.contains("clock"), "{time:?}: {error:?}: {hint}");

        let root = reqwest_root(&server.authority);
        let transport =
            ReqwestTransport::configured(|builder| builder.no_proxy().tls_certs_merge([root]));
        let request = http::Request::post(&server.url).body(SecretBytes::default());
        let transport = transport.expect("a transport");
        let error = transport.send(request.expect("a request")).await;
        let error = error.expect_err("no connection");
        assert!(matches!(error, TransportError::NotSent { .. }), "{error:?}");
        assert!(
            error.hint().is_some_and(|hint| hint.contains("clock")),
            "{error:?}"
        );
    }
}
