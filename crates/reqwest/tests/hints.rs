//! Errors of the connection whose cause is known: a client without TLS, and a clock that is wrong. A layer around the
//! connector gives the errors of hyper and rustls; `tls/` has real ones.

use token_rotator::FailureKind;
use token_rotator_oauth2::{SecretBytes, Transport as _, TransportError};
use token_rotator_reqwest::{Client, ReqwestTransport, source_error};
use tower::util::MapErrLayer;

/// A layer whose every connection fails with this text.
fn failing(text: &'static str) -> MapErrLayer<impl Fn(tower::BoxError) -> tower::BoxError + Clone> {
    MapErrLayer::new(move |_| tower::BoxError::from(text))
}

/// Configures a client whose connections fail with this text.
fn configure(
    text: &'static str,
) -> impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send + Sync + 'static {
    move |builder| builder.no_proxy().connector_layer(failing(text))
}

/// An address that refuses connections. The layer replaces its error.
const NOWHERE: &str = "http://127.0.0.1:1/";

const NO_TLS: &str = "invalid URL, scheme is not http";
const NOT_YET: &str =
    "invalid peer certificate: certificate not valid yet: verification time 0 (UNIX)";

async fn refused_by(text: &'static str) -> TransportError {
    let transport = ReqwestTransport::configured(configure(text)).expect("a transport");
    let request = http::Request::post(NOWHERE).body(SecretBytes::default());
    let answer = transport.send(request.expect("a request")).await;
    answer.expect_err("no connection")
}

/// Row 5 of the Rust cases. A refresh to an https address in a client without TLS is misconfigured, and the hint names
/// the feature.
#[tokio::test]
async fn a_client_without_tls_is_misconfigured() {
    let error = refused_by(NO_TLS).await;
    assert!(
        matches!(error, TransportError::Misconfigured { .. }),
        "{error:?}"
    );
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("feature `rustls`")),
        "{error:?}"
    );

    let client = configure(NO_TLS)(reqwest::Client::builder())
        .build()
        .expect("a client");
    let error = client.get(NOWHERE).send().await.expect_err("no connection");
    let error = source_error(error);
    assert_eq!(error.kind(), FailureKind::Misconfigured);
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("feature `rustls`")),
        "{error:?}"
    );
}

/// A certificate that is not valid yet is no connection, and the hint names the clock.
#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_names_the_clock() {
    let error = refused_by(NOT_YET).await;
    assert!(matches!(error, TransportError::NotSent { .. }), "{error:?}");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("clock")),
        "{error:?}"
    );
}

/// Requests of the client have the hints of their causes, and other failures have none.
#[tokio::test]
async fn a_request_has_the_hint_for_its_cause() {
    for (text, expected) in [
        (NO_TLS, Some("feature `rustls`")),
        (NOT_YET, Some("clock")),
        ("connection reset", None),
    ] {
        let api = Client::builder()
            .base_url(NOWHERE)
            .configure(configure(text))
            .on_refresh_success(|token: &String| token)
            .build()
            .expect("a client");
        let error = api.get("/x").send().await.expect_err("no connection");
        match (error.hint(), expected) {
            (Some(hint), Some(expected)) => assert!(hint.contains(expected), "{text}: {hint}"),
            (hint, expected) => assert_eq!(hint, expected, "{text}"),
        }
    }
}
