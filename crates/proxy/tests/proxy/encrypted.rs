//! Tests TLS to the upstream.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, Version};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use token_rotator_proxy::Protocol;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::fixture::{ProxyFixture, problem};

/// Starts an upstream for `localhost` that answers with the HTTP version of the request. Returns
/// its URL and certificate.
pub(crate) async fn upstream(alpn: &[&str]) -> (String, CertificateDer<'static>) {
    let generated =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = generated.cert.der().clone();
    let key = PrivateKeyDer::try_from(generated.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a configuration");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = service_fn(|request| async move {
                    let request: http::Request<hyper::body::Incoming> = request;
                    let version = match request.version() {
                        Version::HTTP_2 => "2",
                        _ => "1.1",
                    };
                    let bearer = request.headers().contains_key("authorization");
                    let text = format!("HTTP/{version}, token: {bearer}");
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(text))))
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (format!("https://localhost:{port}"), certificate)
}

#[tokio::test]
async fn the_upstream_chooses_the_version_unless_the_route_sets_it() {
    for (alpn, protocol, expected) in [
        (
            &["h2", "http/1.1"][..],
            Protocol::Auto,
            "HTTP/2, token: true",
        ),
        (&["http/1.1"][..], Protocol::Auto, "HTTP/1.1, token: true"),
        (&[][..], Protocol::Auto, "HTTP/1.1, token: true"),
        (
            &["h2", "http/1.1"][..],
            Protocol::Http1,
            "HTTP/1.1, token: true",
        ),
    ] {
        let (url, certificate) = upstream(alpn).await;
        let fixture = ProxyFixture::with_upstream(&url, |config| {
            config.routes[0].extra_roots = vec![certificate.to_vec()];
            config.routes[0].protocol = protocol;
        })
        .await;
        for _ in 0..3 {
            let answer = fixture.get("/").await;
            assert_eq!(answer.status(), 200, "{alpn:?}");
            assert_eq!(answer.text().await.expect("text"), expected);
        }
    }
}

#[tokio::test]
async fn an_upstream_with_an_untrusted_certificate_gets_no_token() {
    let (url, _) = upstream(&["http/1.1"]).await;
    let fixture = ProxyFixture::with_upstream(&url, |_| {}).await;
    let answer = fixture.get("/").await;
    assert_eq!(answer.status(), 502);
    assert_eq!(problem(answer).await, "upstream");
}
