//! Bodies: streamed, replayed byte for byte, or sent once.

use bytes::Bytes;
use futures_util::StreamExt;

use crate::world::{World, client};

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

async fn upload(world: &World, body: impl Into<reqwest::Body>) -> reqwest::Response {
    let request = client().post(world.url("/upload")).body(body);
    request.send().await.expect("an answer")
}

fn chunks(body: Vec<u8>) -> reqwest::Body {
    let chunks: Vec<_> = body.chunks(1_000).map(Bytes::copy_from_slice).collect();
    let chunks = futures_util::stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>));
    reqwest::Body::wrap_stream(chunks)
}

/// With a length and without one, the second time it is the same body.
#[tokio::test]
async fn a_body_is_replayed_byte_for_byte() {
    let body = bytes(50_000);
    for chunked in [false, true] {
        let world = World::new().await;
        let plain = upload(&world, body.clone()).await;
        let plain: serde_json::Value = plain.json().await.expect("JSON");
        world.issuer.expire_access_tokens();
        let sent = if chunked {
            chunks(body.clone())
        } else {
            body.clone().into()
        };
        let answer = upload(&world, sent).await;
        assert_eq!(answer.status(), 200);
        let replayed: serde_json::Value = answer.json().await.expect("JSON");
        assert_eq!(replayed, plain);
        assert_eq!(replayed["bytes"], 50_000);
        assert_eq!(world.refreshes(), 1);
        assert_eq!(world.upstream.counters().refused, 1);
    }
}

/// Over the cap it is sent once: its 401 is handed back, and a refresh is started for those who
/// follow.
#[tokio::test]
async fn a_body_over_the_cap_is_sent_once() {
    for chunked in [false, true] {
        let world = World::new().await;
        world.issuer.expire_access_tokens();
        let body = bytes(200_000);
        let sent = if chunked { chunks(body) } else { body.into() };
        let answer = upload(&world, sent).await;
        assert_eq!(answer.status(), 401);
        let challenge = answer.headers()["www-authenticate"].to_str().expect("text");
        assert!(challenge.contains("invalid_token"), "{challenge}");
        // The next joins the refresh that this one started.
        assert_eq!(world.get("/echo").await.status(), 200);
        assert_eq!(world.refreshes(), 1);
    }
}

/// What all copies together may take is a bound for each.
#[tokio::test]
async fn copies_have_a_bound_together() {
    let world = World::with(|config| config.limits.replay_bytes_total = 10_000).await;
    world.issuer.expire_access_tokens();
    assert_eq!(upload(&world, bytes(20_000)).await.status(), 401);
    assert_eq!(upload(&world, bytes(20_000)).await.status(), 200);
    let metrics = world.proxy.metrics();
    assert!(
        metrics.contains("token_rotator_proxy_copies_bytes 0\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_long_download_streams() {
    let world = World::new().await;
    let mut stream = world.get("/download/5000000").await.bytes_stream();
    let (mut count, mut chunks) = (0, 0);
    while let Some(chunk) = stream.next().await {
        for byte in chunk.expect("a chunk") {
            assert_eq!(byte, (count % 251) as u8);
            count += 1;
        }
        chunks += 1;
    }
    assert_eq!(count, 5_000_000);
    assert!(chunks > 10, "{chunks}");
}

#[tokio::test]
async fn a_long_upload_streams() {
    let world = World::new().await;
    let answer = upload(&world, chunks(bytes(5_000_000))).await;
    let answer: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(answer["bytes"], 5_000_000);
}

/// A refusal with a long body of its own, or one without end, does not hold the replay up.
#[tokio::test]
async fn a_long_refusal_is_dropped() {
    for path in ["/long-401/100000", "/long-401/endless"] {
        let world = World::new().await;
        world.issuer.expire_access_tokens();
        assert_eq!(world.get(path).await.status(), 200, "{path}");
        assert_eq!(world.refreshes(), 1);
    }
}
