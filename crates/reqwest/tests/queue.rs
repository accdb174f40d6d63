//! Tests that one refresh serves every waiter (rules 1 to 5).

mod common;

use common::{ClientFixture, EventLog, TestResult, echo, exposed_text, login, within};
use futures_util::future::join_all;
use token_rotator_reqwest::TokenError;
use token_rotator_testkit::Fault;

/// Property: one refresh serves every request that is refused before it or during it.
#[tokio::test]
async fn one_refresh_serves_fifty_requests_refused_together() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    fixture.issuer.expire_access_tokens();
    fixture.upstream.gate().close();
    fixture.issuer.gate().close();
    let requests: Vec<_> = (0..50)
        .map(|number| {
            let request = api.post("/echo").body(format!("body {number}"));
            tokio::spawn(request.send())
        })
        .collect();
    within(fixture.upstream.gate().arrived(50)).await;
    fixture.upstream.gate().open();
    within(fixture.issuer.gate().arrived(1)).await;
    fixture.issuer.gate().open();
    for answer in within(join_all(requests)).await {
        assert_eq!(echo(answer??).await["generation"], 2);
    }
    let counters = fixture.issuer.counters();
    assert_eq!((counters.token_requests, counters.refreshes), (1, 1));
    assert_eq!(counters.reuses, 0);
    assert_eq!(fixture.request_count("/echo"), 100);
    Ok(())
}

/// Property: a 401 for an older token is answered with the current token, without a refresh.
#[tokio::test]
async fn a_late_401_starts_no_refresh() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    fixture.issuer.expire_access_tokens();
    let late = tokio::spawn(api.get("/slow-401").send());
    within(fixture.upstream.slow_arrived(1)).await;
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    fixture.upstream.release_slow();
    assert_eq!(echo(within(late).await??).await["generation"], 2);
    assert_eq!(fixture.refresh_requests(), 1);
    Ok(())
}

/// Property: a refresh belongs to no caller; it continues when the caller that started it is
/// dropped.
#[tokio::test]
async fn a_dropped_leader_leaves_the_refresh_running() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.gate().close();
    let leader = tokio::spawn(api.get("/echo").send());
    within(fixture.issuer.gate().arrived(1)).await;
    let others: Vec<_> = (0..50)
        .map(|_| tokio::spawn(api.get("/echo").send()))
        .collect();
    leader.abort();
    assert!(leader.await.is_err_and(|error| error.is_cancelled()));
    fixture.issuer.gate().open();
    for answer in within(join_all(others)).await {
        assert_eq!(echo(answer??).await["generation"], 2);
    }
    let counters = fixture.issuer.counters();
    assert_eq!((counters.token_requests, counters.reuses), (1, 0));
    Ok(())
}

/// Property: if the refresh fails, every waiter gets its own unchanged 401 with the shared cause,
/// and no second refresh starts.
#[tokio::test]
async fn a_failed_refresh_reaches_every_waiter() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    fixture.issuer.expire_access_tokens();
    let unavailable = Fault::Status {
        status: 503,
        retry_after: Some("60".to_owned()),
    };
    fixture.issuer.faults().push(unavailable.always());
    fixture.upstream.gate().close();
    let requests: Vec<_> = (0..50)
        .map(|_| tokio::spawn(api.get("/echo").send()))
        .collect();
    within(fixture.upstream.gate().arrived(50)).await;
    fixture.upstream.gate().open();
    for answer in within(join_all(requests)).await {
        let answer = answer??;
        assert_eq!(answer.status(), 401);
        let reason = answer.extensions().get::<TokenError>().expect("a reason");
        assert!(reason.to_string().contains("503"), "{reason}");
        assert!(answer.text().await?.contains("invalid_token"));
    }
    assert_eq!(fixture.refresh_requests(), 1);

    // During the cool-down a request that would need the issuer fails without being sent.
    let error = api.get("/echo").send().await.unwrap_err();
    assert!(error.is_token() && !error.is_timeout(), "{error}");
    assert_eq!(
        (fixture.refresh_requests(), fixture.request_count("/echo")),
        (1, 50)
    );
    Ok(())
}

/// Property: after a sign-out no token is installed, and every waiter gets its 401.
#[tokio::test]
async fn a_sign_out_wins_over_a_running_refresh() -> TestResult {
    let fixture = ClientFixture::new().await;
    let log = EventLog::new();
    let api = fixture
        .builder_with_parser()
        .on_event(log.listener())
        .build()?;
    login(&api, "alice").await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.gate().close();
    let waiting = tokio::spawn(api.get("/echo").send());
    within(fixture.issuer.gate().arrived(1)).await;
    api.clear();
    let answer = within(waiting).await??;
    assert_eq!(answer.status(), 401);
    assert!(matches!(
        answer.extensions().get::<TokenError>(),
        Some(TokenError::SignedOut)
    ));
    fixture.issuer.gate().open();
    log.wait_for("LateTokens").await;
    assert!(api.access_token().is_none());
    assert_eq!(api.get("/echo").send().await?.status(), 401);
    assert_eq!(fixture.refresh_requests(), 1);
    Ok(())
}

/// Property: a request stays with its user, and the new user's token is not overwritten.
#[tokio::test]
async fn a_sign_in_of_another_user_wins_over_a_running_refresh() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.gate().close();
    let waiting = tokio::spawn(api.get("/echo").send());
    within(fixture.issuer.gate().arrived(1)).await;
    let bob = fixture.issuer.sign_in("bob");
    api.set_access_token(&bob.access_token)?;
    let answer = within(waiting).await??;
    assert_eq!(answer.status(), 401);
    assert!(matches!(
        answer.extensions().get::<TokenError>(),
        Some(TokenError::SessionChanged)
    ));
    fixture.issuer.gate().open();
    assert!(api.shutdown(std::time::Duration::from_secs(10)).await);
    assert_eq!(exposed_text(api.access_token()), Some(bob.access_token));
    assert_eq!(echo(api.get("/echo").send().await?).await["subject"], "bob");
    Ok(())
}

/// Property: only a refusal of the token has an effect; every other answer is handed back.
#[tokio::test]
async fn other_errors_are_handed_back_unchanged() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    for status in [400, 403, 404, 409, 419, 500, 503] {
        let answer = api.get(format!("/status/{status}")).send().await?;
        assert_eq!(answer.status(), status);
        let body = answer.json::<serde_json::Value>().await?;
        assert_eq!(body["status"], status);
        assert_eq!(fixture.request_count(&format!("/status/{status}")), 1);
    }
    assert_eq!(fixture.refresh_requests(), 0);
    Ok(())
}

/// Property: a request that is refused with any token is sent twice and causes one refresh.
#[tokio::test]
async fn a_request_is_replayed_once() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    fixture.issuer.expire_access_tokens();
    let answer = api.get("/always-401").send().await?;
    assert_eq!(answer.status(), 401);
    assert_eq!(
        (
            fixture.request_count("/always-401"),
            fixture.refresh_requests()
        ),
        (2, 1)
    );
    // The token is new, so the next refusal starts no refresh.
    let answer = api.get("/always-401").send().await?;
    assert!(matches!(
        answer.extensions().get::<TokenError>(),
        Some(TokenError::FreshTokenRefused)
    ));
    assert_eq!(
        (
            fixture.request_count("/always-401"),
            fixture.refresh_requests()
        ),
        (3, 1)
    );
    Ok(())
}

/// Property: a request without a token is sent, and its 401 starts the first refresh, as after a
/// page load with only the cookie.
#[tokio::test]
async fn the_first_401_starts_the_first_refresh() -> TestResult {
    let fixture = ClientFixture::new().await;
    let jar = std::sync::Arc::new(reqwest::cookie::Jar::default());
    let shared_jar = jar.clone();
    let page = fixture
        .builder()
        .configure(move |builder| builder.no_proxy().cookie_provider(jar.clone()))
        .bearer_field("accessToken")
        .build()?;
    login(&page, "alice").await;

    let reloaded = fixture
        .builder()
        .configure(move |builder| builder.no_proxy().cookie_provider(shared_jar.clone()))
        .bearer_field("accessToken")
        .build()?;
    assert!(reloaded.access_token().is_none());
    let requests = (0..10).map(|_| reloaded.get("/echo").send());
    for answer in join_all(requests).await {
        assert_eq!(echo(answer?).await["generation"], 2);
    }
    assert_eq!(fixture.refresh_requests(), 1);
    Ok(())
}
