//! Tests bodies: replayed unaltered, or sent once.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use token_rotator::tower::SendOnce;
use token_rotator::{Event, NotReplayed};
use tower::{Layer, ServiceExt};

use crate::fixture::{LayerFixture, ManualClock, http, read};

/// The replay carries the same method, headers and body as the first send.
#[tokio::test]
async fn a_replay_alters_no_part_of_the_request() {
    let fixture = LayerFixture::new().await;
    let body: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let send = || {
        let request = Request::put(format!("{}/echo?a=1&a=2", fixture.upstream.url()))
            .header("x-custom", "one")
            .header("x-custom", "two")
            .body(Full::new(Bytes::from(body.clone())))
            .expect("a request");
        fixture.client().oneshot(request)
    };
    let (status, first_echo) = read(send().await.expect("an answer")).await;
    assert_eq!(status, 200);
    fixture.issuer.expire_access_tokens();
    let (status, replayed) = read(send().await.expect("an answer")).await;
    assert_eq!(status, 200);
    assert_eq!(fixture.refreshes(), 1);
    for part in ["method", "path", "query", "body_length", "body_sha256"] {
        assert_eq!(first_echo[part], replayed[part], "{part}");
    }
    assert_eq!(
        first_echo["headers"]["x-custom"],
        replayed["headers"]["x-custom"]
    );
    assert_eq!(replayed["body_length"], 200_000);
    assert_ne!(first_echo["generation"], replayed["generation"]);
}

/// A body that cannot be sent twice is sent once. The caller gets its refusal, and a refresh starts
/// for later requests.
#[tokio::test]
async fn a_stream_is_sent_once() {
    let fixture = LayerFixture::new().await;
    fixture.issuer.expire_access_tokens();
    let client = fixture.layer().copy_body(SendOnce).layer(http());
    let upload = || {
        let stream = Full::new(Bytes::from_static(b"once")).boxed();
        Request::post(format!("{}/upload", fixture.upstream.url()))
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
    assert_eq!(fixture.count_events(once), 1);
    let answer = client.oneshot(upload()).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(fixture.refreshes(), 1);
}

/// Near expiry a request with such a body waits for the refresh. Other requests are sent with the
/// token that is still good.
#[tokio::test]
async fn near_expiry_a_stream_waits_for_the_refresh() {
    let clock = ManualClock::new();
    let fixture = LayerFixture::with(|builder| builder.clock(clock.clone())).await;
    clock.advance_secs(3_600 - 30);
    fixture.issuer.gate().close();
    let client = fixture.layer().copy_body(SendOnce).layer(http());
    let stream = Full::new(Bytes::from_static(b"once")).boxed();
    let request = Request::post(format!("{}/upload", fixture.upstream.url()))
        .body(stream)
        .expect("a request");
    let upload = tokio::spawn(client.oneshot(request));
    fixture.issuer.gate().arrived(1).await;
    assert_eq!(fixture.upstream.counters().served, 0);

    let (status, echo) = read(
        fixture
            .client()
            .oneshot(fixture.get("/echo"))
            .await
            .expect("an answer"),
    )
    .await;
    assert_eq!(
        (status.as_u16(), &echo["generation"]),
        (200, &serde_json::json!(1))
    );

    fixture.issuer.gate().open();
    let answer = upload.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(fixture.refreshes(), 1);
    assert_eq!(fixture.upstream.counters().by_generation.get(&2), Some(&1));
}
