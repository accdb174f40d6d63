//! Tests requests that may be sent without a token, and their replay.

use http::StatusCode;
use token_rotator::TokenError;
use token_rotator_testkit::Fault;
use tower::{Layer, ServiceExt};

use crate::fixture::{LayerFixture, http, read};

async fn anonymous_fixture() -> LayerFixture {
    LayerFixture::signed_out(token_rotator::RotatorBuilder::anonymous).await
}

/// The first request is sent without a token. Its refusal starts the first refresh, and the replay
/// carries the new token. Later requests carry the token from the start.
#[tokio::test]
async fn the_first_refusal_brings_the_first_token() {
    let fixture = anonymous_fixture().await;
    let (status, echo) = read(fixture.send("/echo?first").await).await;
    assert_eq!(
        (status, echo["query"].as_str()),
        (StatusCode::OK, Some("first"))
    );
    assert_eq!(fixture.send("/echo").await.status(), StatusCode::OK);
    let records = fixture.upstream.record();
    let sent: Vec<_> = records
        .iter()
        .map(|record| (record.status, record.generation))
        .collect();
    assert_eq!(sent, [(401, None), (200, Some(2)), (200, Some(2))]);
    assert_eq!(fixture.refreshes(), 1);
}

/// One refresh serves any number of refused requests without a token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_without_a_token_is_one_refresh() {
    let fixture = anonymous_fixture().await;
    fixture.upstream.gate().close();
    let client = fixture.client();
    let requests = (0..50).map(|_| tokio::spawn(client.clone().oneshot(fixture.get("/echo"))));
    let requests: Vec<_> = requests.collect();
    fixture.upstream.gate().arrived(50).await;
    fixture.upstream.gate().open();
    for request in requests {
        let answer = request.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let counters = fixture.upstream.counters();
    assert_eq!((counters.refused, counters.served), (50, 50));
    assert_eq!(fixture.refreshes(), 1);
}

/// A request that needs no token is sent without one and starts no refresh.
#[tokio::test]
async fn an_accepted_request_without_a_token_starts_no_refresh() {
    let fixture = anonymous_fixture().await;
    let (status, echo) = read(fixture.send("/open/echo").await).await;
    assert_eq!(status, StatusCode::OK);
    assert!(echo["headers"].get("authorization").is_none(), "{echo}");
    assert_eq!(fixture.issuer.counters().token_requests, 0);
}

/// Any reason for the refusal of a request without a token brings a token.
#[tokio::test]
async fn any_refusal_of_a_request_without_a_token_brings_a_token() {
    for (status, error) in [
        (401, "invalid_request"),
        (401, "insufficient_scope"),
        (403, "insufficient_scope"),
    ] {
        let fixture = anonymous_fixture().await;
        let client = fixture.layer().also_status_codes([StatusCode::FORBIDDEN]);
        let path = format!("/challenge?when=bad&status={status}&value=Bearer%20error%3D{error}");
        let answer = client.layer(http()).oneshot(fixture.get(&path)).await;
        assert_eq!(
            answer.expect("an answer").status(),
            StatusCode::OK,
            "{path}"
        );
        assert_eq!(fixture.refreshes(), 1, "{path}");
    }
}

/// If the first refresh fails, the caller gets the refusal of the request without a token.
#[tokio::test]
async fn without_a_first_token_the_refusal_is_handed_back() {
    let fixture = anonymous_fixture().await;
    fixture.issuer.faults().push(Fault::HtmlForbidden);
    let answer = fixture.send("/echo").await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let error = answer.extensions().get::<TokenError>();
    assert!(matches!(error, Some(TokenError::Refresh(_))), "{error:?}");
    assert_eq!(fixture.upstream.counters().refused, 1);
}

/// A step-up challenge of the replay is a typed error and starts no further refresh.
#[tokio::test]
async fn a_step_up_on_the_replay_is_a_typed_error() {
    let challenge = "value=Bearer%20error%3Dinsufficient_user_authentication,%20max_age%3D5";
    for status in [401, 403] {
        let fixture = LayerFixture::new().await;
        fixture.issuer.expire_access_tokens();
        let client = fixture.layer().also_status_codes([StatusCode::FORBIDDEN]);
        let path = format!("/challenge?when=good&status={status}&{challenge}");
        let answer = client.layer(http()).oneshot(fixture.get(&path)).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), status);
        let typed = answer.extensions().get::<TokenError>();
        assert!(
            matches!(typed, Some(TokenError::StepUp(step_up)) if step_up.max_age == Some(5)),
            "{typed:?}"
        );
        assert_eq!(fixture.refreshes(), 1);
        let records = fixture.upstream.record();
        let sent: Vec<_> = records
            .iter()
            .map(|record| (record.status, record.generation))
            .collect();
        assert_eq!(sent, [(401, Some(1)), (status, Some(2))]);
    }
}
