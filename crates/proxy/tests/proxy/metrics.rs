//! Tests metrics, health and readiness.

use std::time::Duration;

use reqwest::Response;

use crate::fixture::ProxyFixture;
use crate::raw::Caller;

fn with_admin() -> impl Future<Output = ProxyFixture> {
    ProxyFixture::with(|config| config.admin = Some("127.0.0.1:0".parse().expect("an address")))
}

async fn get_admin(fixture: &ProxyFixture, path: &str) -> Response {
    let admin = fixture.proxy.admin().expect("an admin listener");
    let request = fixture.client.get(format!("http://{admin}{path}"));
    request.send().await.expect("an answer")
}

#[tokio::test]
async fn requests_replays_and_refusals_are_counted() {
    let fixture = with_admin().await;
    fixture.echo().await;
    fixture.issuer.expire_access_tokens();
    fixture.echo().await;
    fixture.get("/status/404").await;
    // The token was accepted before, so this refusal is replayed.
    fixture.get("/always-401").await;
    fixture.get("/a/../b").await;
    let answer = get_admin(&fixture, "/metrics").await;
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().expect("text");
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = answer.text().await.expect("text");
    for line in [
        "token_rotator_proxy_requests_total{route=\"api\",status=\"2xx\"} 2",
        "token_rotator_proxy_requests_total{route=\"api\",status=\"4xx\"}",
        "token_rotator_proxy_replays_total{route=\"api\"} 2",
        "token_rotator_proxy_refusals_handed_back_total{route=\"api\"} 1",
        "token_rotator_proxy_waiting{route=\"api\"} 0",
        "token_rotator_proxy_duration_seconds_count{route=\"api\"}",
        "token_rotator_proxy_copies_bytes 0",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn health_differs_from_readiness() {
    let fixture = with_admin().await;
    assert_eq!(get_admin(&fixture, "/healthz").await.status(), 200);
    assert_eq!(get_admin(&fixture, "/readyz").await.status(), 200);
    assert_eq!(get_admin(&fixture, "/elsewhere").await.status(), 404);
    fixture.rotator.sign_out().await.expect("signed out");
    assert_eq!(get_admin(&fixture, "/healthz").await.status(), 200);
    let answer = get_admin(&fixture, "/readyz").await;
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.expect("text");
    assert!(text.contains("api") && text.contains("hint:"), "{text}");
}

#[tokio::test]
async fn the_admin_listener_refuses_other_hosts_and_methods() {
    let fixture = with_admin().await;
    let admin = fixture.proxy.admin().expect("an admin listener");
    let request = fixture.client.get(format!("http://{admin}/metrics"));
    let answer = request.header("host", "attacker.test").send().await;
    assert_eq!(answer.expect("an answer").status(), 421);
    let post = fixture
        .client
        .post(format!("http://{admin}/metrics"))
        .send()
        .await;
    assert_eq!(post.expect("an answer").status(), 405);
}

#[tokio::test]
async fn the_admin_listener_limits_its_connections() {
    let fixture = with_admin().await;
    let port = fixture.proxy.admin().expect("an admin listener").port();
    let mut open_connections = Vec::new();
    for _ in 0..64 {
        open_connections.push(Caller::to(port).await);
    }
    // The proxy closes the surplus connection at once, not after an idle timeout.
    let mut surplus = Caller::to(port).await;
    let closed = tokio::time::timeout(Duration::from_secs(5), surplus.rest()).await;
    assert_eq!(closed.expect("closed at once"), "");
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    open_connections[63].send_bytes(request).await;
    assert!(
        open_connections[63]
            .rest()
            .await
            .starts_with("HTTP/1.1 200")
    );
    // A closed connection frees its slot.
    loop {
        let mut next = Caller::to(port).await;
        let sent = tokio::io::AsyncWriteExt::write_all(&mut next.0, request.as_bytes()).await;
        if sent.is_ok() && next.rest().await.starts_with("HTTP/1.1 200") {
            break;
        }
    }
}
