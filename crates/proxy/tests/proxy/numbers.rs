//! Metrics, health and readiness.

use std::time::Duration;

use reqwest::Response;

use crate::raw::Caller;
use crate::scene::Scene;

fn with_admin() -> impl Future<Output = Scene> {
    Scene::with(|config| config.admin = Some("127.0.0.1:0".parse().expect("an address")))
}

async fn ask(scene: &Scene, path: &str) -> Response {
    let admin = scene.proxy.admin().expect("an admin listener");
    let request = scene.client.get(format!("http://{admin}{path}"));
    request.send().await.expect("an answer")
}

#[tokio::test]
async fn requests_replays_and_refusals_are_counted() {
    let scene = with_admin().await;
    scene.echo().await;
    scene.issuer.expire_access_tokens();
    scene.echo().await;
    scene.get("/status/404").await;
    scene.get("/always-401").await;
    scene.get("/a/../b").await;
    let answer = ask(&scene, "/metrics").await;
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().expect("text");
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = answer.text().await.expect("text");
    for line in [
        "token_rotator_proxy_requests_total{route=\"api\",status=\"2xx\"} 2",
        "token_rotator_proxy_requests_total{route=\"api\",status=\"4xx\"}",
        "token_rotator_proxy_replays_total{route=\"api\"} 1",
        "token_rotator_proxy_refusals_handed_back_total{route=\"api\"} 1",
        "token_rotator_proxy_waiting{route=\"api\"} 0",
        "token_rotator_proxy_duration_seconds_count{route=\"api\"}",
        "token_rotator_proxy_copies_bytes 0",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn alive_is_not_ready() {
    let scene = with_admin().await;
    assert_eq!(ask(&scene, "/healthz").await.status(), 200);
    assert_eq!(ask(&scene, "/readyz").await.status(), 200);
    assert_eq!(ask(&scene, "/elsewhere").await.status(), 404);
    scene.rotator.sign_out().await.expect("signed out");
    assert_eq!(ask(&scene, "/healthz").await.status(), 200);
    let answer = ask(&scene, "/readyz").await;
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.expect("text");
    assert!(text.contains("api") && text.contains("hint:"), "{text}");
}

#[tokio::test]
async fn the_admin_listener_is_for_nobody_elses_page() {
    let scene = with_admin().await;
    let admin = scene.proxy.admin().expect("an admin listener");
    let request = scene.client.get(format!("http://{admin}/metrics"));
    let answer = request.header("host", "attacker.test").send().await;
    assert_eq!(answer.expect("an answer").status(), 421);
    let post = scene
        .client
        .post(format!("http://{admin}/metrics"))
        .send()
        .await;
    assert_eq!(post.expect("an answer").status(), 405);
}

#[tokio::test]
async fn the_admin_listener_has_so_many_places() {
    let scene = with_admin().await;
    let port = scene.proxy.admin().expect("an admin listener").port();
    let mut kept = Vec::new();
    for _ in 0..64 {
        kept.push(Caller::to(port).await);
    }
    // At once, and not when it has said nothing for too long.
    let mut one_more = Caller::to(port).await;
    let closed = tokio::time::timeout(Duration::from_secs(5), one_more.rest()).await;
    assert_eq!(closed.expect("closed at once"), "");
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    kept[63].say(request).await;
    assert!(kept[63].rest().await.starts_with("HTTP/1.1 200"));
    // Its place is the next one's.
    loop {
        let mut next = Caller::to(port).await;
        let sent = tokio::io::AsyncWriteExt::write_all(&mut next.0, request.as_bytes()).await;
        if sent.is_ok() && next.rest().await.starts_with("HTTP/1.1 200") {
            break;
        }
    }
}
