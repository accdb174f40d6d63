//! Tests refused requests.

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use token_rotator::{Event, Purpose, TokenError};
use token_rotator_testkit::Fault;
use tower::ServiceExt;

use crate::fixture::{LayerFixture, ManualClock, http, read};

/// Many requests meet a 401 for the same token. One refresh serves all of them, and each gets the
/// answer that an accepted request gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_refusals_is_one_refresh() {
    let fixture = LayerFixture::new().await;
    fixture.issuer.expire_access_tokens();
    let client = fixture.client();
    let requests = (0..100).map(|number| {
        let client = client.clone();
        let request = fixture.get(&format!("/echo?number={number}"));
        tokio::spawn(async move { read(client.oneshot(request).await.expect("an answer")).await })
    });
    for (number, request) in requests.collect::<Vec<_>>().into_iter().enumerate() {
        let (status, echo) = request.await.expect("no panic");
        assert_eq!(status, StatusCode::OK);
        assert_eq!(echo["query"], format!("number={number}"));
    }
    assert_eq!(fixture.refreshes(), 1);
    assert_eq!(fixture.issuer.counters().reuses, 0);
    assert!(fixture.issuer.session_alive(&fixture.grant));
}

/// A late refusal of a replaced token is answered with the newer token.
#[tokio::test]
async fn a_late_refusal_refreshes_nothing() {
    let fixture = LayerFixture::new().await;
    fixture.issuer.expire_access_tokens();
    let slow = tokio::spawn(fixture.client().oneshot(fixture.get("/slow-401")));
    fixture.upstream.slow_arrived(1).await;

    let (status, _) = read(
        fixture
            .client()
            .oneshot(fixture.get("/echo"))
            .await
            .expect("an answer"),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(fixture.refreshes(), 1);

    fixture.upstream.release_slow();
    let answer = slow.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(fixture.refreshes(), 1);
}

/// If the refresh fails, the caller gets the unchanged refusal and the error.
#[tokio::test]
async fn a_failed_refresh_hands_the_refusal_back_untouched() {
    let fixture = LayerFixture::new().await;
    fixture.issuer.expire_access_tokens();
    let plain = http()
        .oneshot(fixture.get("/echo"))
        .await
        .expect("an answer");
    let plain = plain
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    fixture.issuer.revoke_family(&fixture.grant);

    let answer = fixture
        .client()
        .oneshot(fixture.get("/echo"))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let error = answer.extensions().get::<TokenError>().cloned();
    assert!(matches!(error, Some(TokenError::Refresh(_))), "{error:?}");
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
    // The upstream answers a request without a token alike, except for the reason.
    assert_eq!(body.is_empty(), plain.is_empty());
    assert_eq!(
        fixture.count_events(|event| matches!(event, Event::Ended { .. })),
        1
    );

    // The session has ended: the next request fails with the same error before it is sent.
    let sent = fixture.upstream.counters().refused;
    let error = fixture
        .client()
        .oneshot(fixture.get("/echo"))
        .await
        .expect_err("no token");
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(fixture.upstream.counters().refused, sent);
}

/// A request is sent at most twice, so an API that refuses every token causes no loop.
#[tokio::test]
async fn an_api_that_always_refuses_gets_two_requests() {
    let fixture = LayerFixture::new().await;
    fixture.rotator.refresh_now().await.expect("a token");
    fixture.issuer.expire_access_tokens();
    let before = fixture.refreshes();
    let answer = fixture
        .client()
        .oneshot(fixture.get("/always-401"))
        .await
        .expect("an answer");
    // The token is new, so a refresh would not help: the caller gets the refusal at once.
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let error = answer.extensions().get::<TokenError>();
    assert!(
        matches!(error, Some(TokenError::FreshTokenRefused)),
        "{error:?}"
    );
    assert_eq!(fixture.refreshes(), before);
    assert_eq!(fixture.upstream.counters().refused, 1);
}

/// Two sends and one refresh happen if the token is old enough for a refresh to help.
#[tokio::test]
async fn the_answer_of_a_refused_replay_is_returned() {
    let clock = ManualClock::new();
    let fixture = LayerFixture::with(|builder| builder.clock(clock.clone())).await;
    clock.advance_secs(10);
    let answer = fixture
        .client()
        .oneshot(fixture.get("/always-401"))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(fixture.refreshes(), 1);
    assert_eq!(fixture.upstream.counters().refused, 2);
    assert!(answer.extensions().get::<TokenError>().is_none());
}

/// 403, and challenges that a new token cannot satisfy, cause no refresh.
#[tokio::test]
async fn refusals_that_are_not_about_the_token_pass_through() {
    let clock = ManualClock::new();
    let fixture = LayerFixture::with(|builder| builder.clock(clock.clone())).await;
    clock.advance_secs(10);
    let client = fixture.client();
    let get = |path: &str| client.clone().oneshot(fixture.get(path));
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
    assert_eq!(fixture.refreshes(), 0);
}

/// A failure that does not end the session allows a later refresh.
#[tokio::test]
async fn an_outage_of_the_issuer_ends_no_session() {
    let clock = ManualClock::new();
    let fixture = LayerFixture::with(|builder| builder.clock(clock.clone())).await;
    clock.advance_secs(10);
    fixture.issuer.expire_access_tokens();
    fixture.issuer.faults().push(Fault::ResetBefore);
    let answer = fixture
        .client()
        .oneshot(fixture.get("/echo"))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(!fixture.rotator.has_ended());
    clock.advance_secs(2);
    let (status, _) = read(
        fixture
            .client()
            .oneshot(fixture.get("/echo"))
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
    assert_eq!(fixture.count_events(refused), 2);
}

/// A request may opt out of the replay; its refusal still starts a refresh for later requests.
#[tokio::test]
async fn a_request_can_opt_out_of_its_replay() {
    let fixture = LayerFixture::new().await;
    fixture.issuer.expire_access_tokens();
    let mut request: Request<_> = fixture.get("/echo");
    request
        .extensions_mut()
        .insert(token_rotator::tower::NoReplay);
    let answer = fixture.client().oneshot(request).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let (status, _) = read(
        fixture
            .client()
            .oneshot(fixture.get("/echo"))
            .await
            .expect("an answer"),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(fixture.refreshes(), 1);
}
