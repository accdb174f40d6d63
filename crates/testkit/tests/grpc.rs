//! gRPC responses of the upstream, over HTTP/2 without TLS.

mod support;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use support::{TestResult, start_servers};
use token_rotator_testkit::{Issuer, Upstream};

struct GrpcResponse {
    version: http::Version,
    headers: HeaderMap,
    message: Bytes,
    trailers: Option<HeaderMap>,
}

async fn call(
    upstream: &Upstream,
    path: &str,
    token: &str,
) -> Result<GrpcResponse, reqwest::Error> {
    let request = support::h2_client()
        .post(format!("{}{path}", upstream.url()))
        .bearer_auth(token);
    let request = request
        .header("content-type", "application/grpc")
        .body(&b"\0\0\0\0\x02hi"[..]);
    let (head, body) = http::Response::from(request.send().await?.error_for_status()?).into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    Ok(GrpcResponse {
        version: head.version,
        headers: head.headers,
        message: body.to_bytes(),
        trailers,
    })
}

fn status(headers: &HeaderMap) -> Option<&str> {
    headers
        .get("grpc-status")
        .and_then(|value| value.to_str().ok())
}

#[tokio::test]
async fn a_valid_token_gets_the_message_and_status_0_in_trailers() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let token = issuer.sign_in("alice").access_token;
    for path in [
        "/grpc/ok",
        "/grpc/unauthenticated",
        "/grpc/late-unauthenticated",
    ] {
        let response = call(&upstream, path, &token).await?;
        assert_eq!(response.version, http::Version::HTTP_2);
        assert_eq!(response.headers["content-type"], "application/grpc");
        assert_eq!(status(&response.headers), None);
        assert_eq!(&response.message[..], b"\0\0\0\0\x02hi");
        assert_eq!(response.trailers.as_ref().and_then(status), Some("0"));
    }
    Ok(())
}

#[tokio::test]
async fn an_invalid_token_gets_status_16_in_headers_or_trailers() -> TestResult {
    let (_issuer, upstream) = start_servers(Issuer::builder()).await;
    assert_eq!(
        call(&upstream, "/grpc/ok", "rubbish")
            .await?
            .trailers
            .as_ref()
            .and_then(status),
        Some("0")
    );
    let trailers_only = call(&upstream, "/grpc/unauthenticated", "rubbish").await?;
    assert_eq!(
        (
            status(&trailers_only.headers),
            trailers_only.trailers,
            trailers_only.message.len()
        ),
        (Some("16"), None, 0)
    );
    let late = call(&upstream, "/grpc/late-unauthenticated", "rubbish").await?;
    assert_eq!(
        (
            status(&late.headers),
            late.trailers.as_ref().and_then(status)
        ),
        (None, Some("16"))
    );
    assert_eq!(
        (upstream.counters().served, upstream.counters().refused),
        (1, 2)
    );
    Ok(())
}
