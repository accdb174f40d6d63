//! Requests that may go without a token, and what the second answer says.

use http::StatusCode;
use token_rotator::TokenError;
use token_rotator_testkit::Fault;
use tower::{Layer, ServiceExt};

use crate::world::{World, http, read};

async fn anonymous() -> World {
    World::signed_out(token_rotator::RotatorBuilder::anonymous).await
}

/// The first request goes out bare, its refusal starts the first refresh, and it goes out once more
/// with the token that brought. Those that follow have it from the start.
#[tokio::test]
async fn the_first_refusal_brings_the_first_token() {
    let world = anonymous().await;
    let (status, echo) = read(world.send("/echo?first").await).await;
    assert_eq!(
        (status, echo["query"].as_str()),
        (StatusCode::OK, Some("first"))
    );
    assert_eq!(world.send("/echo").await.status(), StatusCode::OK);
    let records = world.upstream.record();
    let sent: Vec<_> = records
        .iter()
        .map(|record| (record.status, record.generation))
        .collect();
    assert_eq!(sent, [(401, None), (200, Some(2)), (200, Some(2))]);
    assert_eq!(world.refreshes(), 1);
}

/// However many bare requests are refused, one refresh serves them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_without_a_token_is_one_refresh() {
    let world = anonymous().await;
    world.upstream.gate().close();
    let client = world.client();
    let requests = (0..50).map(|_| tokio::spawn(client.clone().oneshot(world.get("/echo"))));
    let requests: Vec<_> = requests.collect();
    world.upstream.gate().arrived(50).await;
    world.upstream.gate().open();
    for request in requests {
        let answer = request.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let counters = world.upstream.counters();
    assert_eq!((counters.refused, counters.served), (50, 50));
    assert_eq!(world.refreshes(), 1);
}

/// What needs no token gets none and starts nothing.
#[tokio::test]
async fn a_request_that_is_let_in_bare_starts_nothing() {
    let world = anonymous().await;
    let (status, echo) = read(world.send("/open/echo").await).await;
    assert_eq!(status, StatusCode::OK);
    assert!(echo["headers"].get("authorization").is_none(), "{echo}");
    assert_eq!(world.issuer.counters().token_requests, 0);
}

/// Whatever the reason given to a request without a token, a token is what it lacked.
#[tokio::test]
async fn any_reason_given_to_a_bare_request_brings_a_token() {
    for (status, error) in [
        (401, "invalid_request"),
        (401, "insufficient_scope"),
        (403, "insufficient_scope"),
    ] {
        let world = anonymous().await;
        let client = world.layer().also_status_codes([StatusCode::FORBIDDEN]);
        let path = format!("/challenge?when=bad&status={status}&value=Bearer%20error%3D{error}");
        let answer = client.layer(http()).oneshot(world.get(&path)).await;
        assert_eq!(
            answer.expect("an answer").status(),
            StatusCode::OK,
            "{path}"
        );
        assert_eq!(world.refreshes(), 1, "{path}");
    }
}

/// Where there is no first token to be had, the refusal of the bare request is the answer.
#[tokio::test]
async fn without_a_first_token_the_refusal_is_handed_back() {
    let world = anonymous().await;
    world.issuer.faults().push(Fault::HtmlForbidden);
    let answer = world.send("/echo").await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let why = answer.extensions().get::<TokenError>();
    assert!(matches!(why, Some(TokenError::Refresh(_))), "{why:?}");
    assert_eq!(world.upstream.counters().refused, 1);
}

/// A step-up that only the replay hears of is typed like any other, and refreshes nothing more.
#[tokio::test]
async fn a_step_up_found_on_the_replay_is_typed() {
    let challenge = "value=Bearer%20error%3Dinsufficient_user_authentication,%20max_age%3D5";
    for status in [401, 403] {
        let world = World::new().await;
        world.issuer.expire_access_tokens();
        let client = world.layer().also_status_codes([StatusCode::FORBIDDEN]);
        let path = format!("/challenge?when=good&status={status}&{challenge}");
        let answer = client.layer(http()).oneshot(world.get(&path)).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), status);
        let typed = answer.extensions().get::<TokenError>();
        assert!(
            matches!(typed, Some(TokenError::StepUp(step_up)) if step_up.max_age == Some(5)),
            "{typed:?}"
        );
        assert_eq!(world.refreshes(), 1);
        let records = world.upstream.record();
        let sent: Vec<_> = records
            .iter()
            .map(|record| (record.status, record.generation))
            .collect();
        assert_eq!(sent, [(401, Some(1)), (status, Some(2))]);
    }
}
