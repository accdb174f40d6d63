//! What happens to requests that are refused.

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use token_rotator::{Event, Purpose, TokenError};
use token_rotator_testkit::Fault;
use tower::ServiceExt;

use crate::world::{HandClock, World, http, read};

/// However many requests meet a 401 for the same token, one refresh serves them all, and each is
/// answered as if nothing had happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_refusals_is_one_refresh() {
    let world = World::new().await;
    world.issuer.expire_access_tokens();
    let client = world.client();
    let requests = (0..100).map(|number| {
        let client = client.clone();
        let request = world.get(&format!("/echo?number={number}"));
        tokio::spawn(async move { read(client.oneshot(request).await.expect("an answer")).await })
    });
    for (number, request) in requests.collect::<Vec<_>>().into_iter().enumerate() {
        let (status, echo) = request.await.expect("no panic");
        assert_eq!(status, StatusCode::OK);
        assert_eq!(echo["query"], format!("number={number}"));
    }
    assert_eq!(world.refreshes(), 1);
    assert_eq!(world.issuer.counters().reuses, 0);
    assert!(world.issuer.session_alive(&world.grant));
}

/// A refusal of a token that has been replaced meanwhile is answered with the newer token.
#[tokio::test]
async fn a_late_refusal_refreshes_nothing() {
    let world = World::new().await;
    world.issuer.expire_access_tokens();
    let slow = tokio::spawn(world.client().oneshot(world.get("/slow-401")));
    world.upstream.slow_arrived(1).await;

    let (status, _) = read(
        world
            .client()
            .oneshot(world.get("/echo"))
            .await
            .expect("an answer"),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(world.refreshes(), 1);

    world.upstream.release_slow();
    let answer = slow.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(world.refreshes(), 1);
}

/// When the refresh fails the caller gets the very answer that refused the request, and why.
#[tokio::test]
async fn a_failed_refresh_hands_the_refusal_back_untouched() {
    let world = World::new().await;
    world.issuer.expire_access_tokens();
    let plain = http().oneshot(world.get("/echo")).await.expect("an answer");
    let plain = plain
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    world.issuer.revoke_family(&world.grant);

    let answer = world
        .client()
        .oneshot(world.get("/echo"))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let why = answer.extensions().get::<TokenError>().cloned();
    assert!(matches!(why, Some(TokenError::Refresh(_))), "{why:?}");
    let challenge = answer.headers()["www-authenticate"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(challenge.contains("invalid_token"), "{challenge}");
    let body = answer
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    // The upstream says the same to a request without a token but for the reason.
    assert_eq!(body.is_empty(), plain.is_empty());
    assert_eq!(world.heard(|event| matches!(event, Event::Ended { .. })), 1);

    // The session has ended: the next request fails before it is sent, with the same error.
    let sent = world.upstream.counters().refused;
    let error = world
        .client()
        .oneshot(world.get("/echo"))
        .await
        .expect_err("no token");
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(world.upstream.counters().refused, sent);
}

/// A request goes out twice at the most, and an API that refuses every token causes no loop.
#[tokio::test]
async fn an_api_that_always_refuses_is_asked_twice() {
    let world = World::new().await;
    world.rotator.refresh_now().await.expect("a token");
    world.issuer.expire_access_tokens();
    let before = world.refreshes();
    let answer = world
        .client()
        .oneshot(world.get("/always-401"))
        .await
        .expect("an answer");
    // Fresh as it is, refreshing it would not help: the refusal comes straight back.
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let why = answer.extensions().get::<TokenError>();
    assert!(
        matches!(why, Some(TokenError::FreshTokenRefused)),
        "{why:?}"
    );
    assert_eq!(world.refreshes(), before);
    assert_eq!(world.upstream.counters().refused, 1);
}

/// Two sends and one refresh, where the token is old enough for its refusal to mean its age.
#[tokio::test]
async fn a_replay_that_is_refused_too_is_the_answer() {
    let clock = HandClock::new();
    let world = World::with(|builder| builder.clock(clock.clone())).await;
    clock.advance_secs(10);
    let answer = world
        .client()
        .oneshot(world.get("/always-401"))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(world.refreshes(), 1);
    assert_eq!(world.upstream.counters().refused, 2);
    assert!(answer.extensions().get::<TokenError>().is_none());
}

/// 403, and challenges that say that another token would not help, refresh nothing.
#[tokio::test]
async fn refusals_that_are_not_about_the_token_pass_through() {
    let clock = HandClock::new();
    let world = World::with(|builder| builder.clock(clock.clone())).await;
    clock.advance_secs(10);
    let client = world.client();
    let get = |path: &str| client.clone().oneshot(world.get(path));
    assert_eq!(get("/status/403").await.expect("an answer").status(), 403);
    let scope = "/challenge?value=Bearer%20error%3D%22insufficient_scope%22";
    assert_eq!(get(scope).await.expect("an answer").status(), 401);
    let step_up = "/challenge?value=Bearer%20error%3D%22insufficient_user_authentication%22%2C%20acr_values%3D%22mfa%22";
    let answer = get(step_up).await.expect("an answer");
    let typed = answer.extensions().get::<TokenError>();
    assert!(
        matches!(typed, Some(TokenError::StepUp(step_up)) if step_up.acr_values.as_deref() == Some("mfa")),
        "{typed:?}"
    );
    assert_eq!(world.refreshes(), 0);
}

/// A failure that is not the end of the session leaves it to be refreshed later.
#[tokio::test]
async fn an_outage_of_the_issuer_signs_nobody_out() {
    let clock = HandClock::new();
    let world = World::with(|builder| builder.clock(clock.clone())).await;
    clock.advance_secs(10);
    world.issuer.expire_access_tokens();
    world.issuer.faults().push(Fault::ResetBefore);
    let answer = world
        .client()
        .oneshot(world.get("/echo"))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(!world.rotator.has_ended());
    clock.advance_secs(2);
    let (status, _) = read(
        world
            .client()
            .oneshot(world.get("/echo"))
            .await
            .expect("an answer"),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    let refused = |event: &Event| {
        matches!(
            event,
            Event::RefreshStarted {
                purpose: Purpose::Refused,
                ..
            }
        )
    };
    assert_eq!(world.heard(refused), 2);
}

/// The caller may opt out of the replay, and a refresh starts for those who follow all the same.
#[tokio::test]
async fn a_request_can_opt_out_of_its_replay() {
    let world = World::new().await;
    world.issuer.expire_access_tokens();
    let mut request: Request<_> = world.get("/echo");
    request
        .extensions_mut()
        .insert(token_rotator::tower::NoReplay);
    let answer = world.client().oneshot(request).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let (status, _) = read(
        world
            .client()
            .oneshot(world.get("/echo"))
            .await
            .expect("an answer"),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(world.refreshes(), 1);
}
