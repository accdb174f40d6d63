//! Bodies: replayed unaltered, or sent once.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use token_rotator::tower::SendOnce;
use token_rotator::{Event, NotReplayed};
use tower::{Layer, ServiceExt};

use crate::world::{HandClock, World, http, read};

/// The replay carries method, headers and body as the first send did.
#[tokio::test]
async fn a_replay_alters_nothing() {
    let world = World::new().await;
    let body: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let send = || {
        let request = Request::put(format!("{}/echo?a=1&a=2", world.upstream.url()))
            .header("x-custom", "one")
            .header("x-custom", "two")
            .body(Full::new(Bytes::from(body.clone())))
            .expect("a request");
        world.client().oneshot(request)
    };
    let (status, straight) = read(send().await.expect("an answer")).await;
    assert_eq!(status, 200);
    world.issuer.expire_access_tokens();
    let (status, replayed) = read(send().await.expect("an answer")).await;
    assert_eq!(status, 200);
    assert_eq!(world.refreshes(), 1);
    for part in ["method", "path", "query", "body_length", "body_sha256"] {
        assert_eq!(straight[part], replayed[part], "{part}");
    }
    assert_eq!(
        straight["headers"]["x-custom"],
        replayed["headers"]["x-custom"]
    );
    assert_eq!(replayed["body_length"], 200_000);
    assert_ne!(straight["generation"], replayed["generation"]);
}

/// A body that cannot be sent twice is sent once; its refusal is handed back, and a refresh starts
/// for those who follow.
#[tokio::test]
async fn a_stream_is_sent_once() {
    let world = World::new().await;
    world.issuer.expire_access_tokens();
    let client = world.layer().copy_body(SendOnce).layer(http());
    let upload = || {
        let stream = Full::new(Bytes::from_static(b"once")).boxed();
        Request::post(format!("{}/upload", world.upstream.url()))
            .body(stream)
            .expect("a request")
    };
    let answer = client.clone().oneshot(upload()).await.expect("an answer");
    assert_eq!(answer.status(), 401);
    let once = |event: &Event| {
        matches!(
            event,
            Event::NotReplayed {
                reason: NotReplayed::BodyOnce
            }
        )
    };
    assert_eq!(world.heard(once), 1);
    let answer = client.oneshot(upload()).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(world.refreshes(), 1);
}

/// Near expiry a body that cannot be sent twice waits for the refresh before it is sent, where any
/// other goes out with the token that is still good.
#[tokio::test]
async fn near_expiry_a_stream_waits_for_the_refresh() {
    let clock = HandClock::new();
    let world = World::with(|builder| builder.clock(clock.clone())).await;
    clock.advance_secs(3_600 - 30);
    world.issuer.gate().close();
    let client = world.layer().copy_body(SendOnce).layer(http());
    let stream = Full::new(Bytes::from_static(b"once")).boxed();
    let request = Request::post(format!("{}/upload", world.upstream.url()))
        .body(stream)
        .expect("a request");
    let upload = tokio::spawn(client.oneshot(request));
    world.issuer.gate().arrived(1).await;
    assert_eq!(world.upstream.counters().served, 0);

    let (status, echo) = read(
        world
            .client()
            .oneshot(world.get("/echo"))
            .await
            .expect("an answer"),
    )
    .await;
    assert_eq!(
        (status.as_u16(), &echo["generation"]),
        (200, &serde_json::json!(1))
    );

    world.issuer.gate().open();
    let answer = upload.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(world.refreshes(), 1);
    assert_eq!(world.upstream.counters().by_generation.get(&2), Some(&1));
}
