//! Tests the cookie session: login, refresh, and failures of the refresh endpoint.

mod common;

use common::{ClientFixture, EventLog, TestResult, echo, login, within};
use serde_json::{Value, json};
use token_rotator::FailureKind;
use token_rotator::middleware::RotatorExt as _;
use token_rotator_reqwest::{Profile, RefreshError, TokenError};
use token_rotator_testkit::{Fault, Issuer, RefreshPolicy};

fn status(status: u16) -> Fault {
    Fault::Status {
        status,
        retry_after: None,
    }
}

/// Property: the refresh cookie of the login reaches the refresh endpoint and rotates over many
/// expiries, and is never used twice.
#[tokio::test]
async fn a_session_works_from_login_to_logout() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    for generation in 2..7 {
        api.refresh_now().await?;
        assert_eq!(
            echo(api.get("/echo").send().await?).await["generation"],
            generation
        );
    }
    assert_eq!(api.post("/logout").send().await?.status(), 204);
    api.clear();
    assert_eq!(api.get("/echo").send().await?.status(), 401);
    let counters = fixture.issuer.counters();
    assert_eq!(
        (counters.refreshes, counters.token_requests, counters.reuses),
        (5, 5, 0)
    );
    Ok(())
}

/// Property: without the cookie store no cookie is kept.
#[tokio::test]
async fn cookies_can_be_turned_off() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.builder_with_parser().cookies(false).build()?;
    login(&api, "alice").await;
    fixture.issuer.expire_access_tokens();
    let answer = api.get("/echo").send().await?;
    assert_eq!(answer.status(), 401);
    Ok(())
}

/// Property: the lifetime in the answer starts the next refresh before expiry.
#[tokio::test]
async fn the_lifetime_of_the_answer_counts() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.builder().bearer_field("accessToken").build()?;
    login(&api, "alice").await;
    api.refresh_now().await?;
    let token = api.rotator().access_token().expect("a token");
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(token.token_set().expiry(), token_rotator::Expiry::In(hour));

    // Neither the answer nor the parser gives a lifetime, so the token's `exp` and `iat` count.
    let quiet = ClientFixture::of(
        Issuer::builder()
            .announce_lifetime(false)
            .clock_skew(-7_200_000),
    )
    .await;
    let api = quiet.signed_in().await;
    let token = api
        .rotator()
        .access_token()
        .expect("a token of an hour, by a clock two hours slow");
    assert_eq!(token.token_set().expiry(), token_rotator::Expiry::In(hour));
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 1);
    Ok(())
}

/// Property: each answer of the refresh endpoint has its failure kind, and only 400, 401 and 403
/// end the session.
#[tokio::test]
async fn every_failure_is_sorted() -> TestResult {
    let terminal = |status: u16| Fault::OAuthError {
        status,
        error: "whatever".to_owned(),
    };
    let cases = [
        (terminal(400), true),
        (terminal(401), true),
        (terminal(403), true),
        (Fault::HtmlForbidden, false),
        (status(404), false),
        (status(405), false),
        (status(408), false),
        (status(425), false),
        (status(429), false),
        (status(500), false),
        (status(502), false),
        (status(503), false),
        (Fault::Redirect("/api/auth/refresh".to_owned()), false),
        (Fault::ResetBefore, false),
        (Fault::ErrorInside200, false),
    ];
    for (fault, ends) in cases {
        let fixture =
            ClientFixture::of(Issuer::builder().refresh_policy(RefreshPolicy::MultiUse)).await;
        let log = EventLog::new();
        let failed = log.clone();
        let api = fixture
            .builder_with_parser()
            .on_event(log.listener())
            .on_refresh_failed(move |error| failed.push(format!("signed out: {error}")))
            .build()?;
        login(&api, "alice").await;
        fixture.issuer.expire_access_tokens();
        fixture.issuer.faults().push(fault.clone().always());
        let answer = api.get("/echo").send().await?;
        assert_eq!(answer.status(), 401, "{fault:?}");
        let error = answer.extensions().get::<TokenError>();
        assert!(
            matches!(error, Some(TokenError::Refresh(RefreshError::Source(_)))),
            "{fault:?}"
        );
        assert_eq!(log.count("signed out"), usize::from(ends), "{fault:?}");
        // A failure that does not end the session is only an event.
        assert_eq!(log.count("Ended"), usize::from(ends), "{fault:?}");
        assert_eq!(log.count("RefreshFailed"), usize::from(!ends), "{fault:?}");
        assert_eq!(api.rotator().has_ended(), ends, "{fault:?}");

        // If the session has not ended, it works again when the endpoint recovers.
        fixture.issuer.faults().clear();
        if !ends {
            within(api.refresh_now()).await?;
            assert_eq!(api.get("/echo").send().await?.status(), 200, "{fault:?}");
        }
    }
    Ok(())
}

/// Property: a 500 ends no session. The next attempt follows after the cool-down, or at once if the
/// profile allows reuse.
#[tokio::test]
async fn a_500_ends_no_session() -> TestResult {
    let fixture = ClientFixture::new().await;
    let log = EventLog::new();
    let failed = log.clone();
    let api = fixture
        .builder_with_parser()
        .on_refresh_failed(move |error| failed.push(format!("signed out: {error}")))
        .build()?;
    login(&api, "alice").await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.faults().push(status(500).once());
    assert_eq!(api.get("/echo").send().await?.status(), 401);
    assert_eq!(fixture.refresh_requests(), 1);
    api.refresh_now().await?;
    assert_eq!(api.get("/echo").send().await?.status(), 200);
    assert_eq!(log.lines().len(), 0);

    let again = fixture
        .builder_with_parser()
        .profile(Profile::multi_use())
        .build()?;
    login(&again, "bob").await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.faults().push(status(500).once());
    let answer = again.get("/echo").send().await?;
    assert_eq!(echo(answer).await["generation"], 2);
    assert_eq!(fixture.refresh_requests(), 4);
    Ok(())
}

/// Property: unless the profile allows a used cookie, a lost answer causes no second request and no
/// reuse alarm. The access token is served until it expires.
#[tokio::test]
async fn a_lost_answer_causes_no_second_request() -> TestResult {
    let fixture = ClientFixture::new().await;
    let log = EventLog::new();
    let failed = log.clone();
    let api = fixture
        .builder_with_parser()
        .on_event(log.listener())
        .on_refresh_failed(move |error| failed.push(format!("signed out: {error}")))
        .build()?;
    login(&api, "alice").await;
    fixture.issuer.faults().push(Fault::AnswerLost.once());
    let error = api.refresh_now().await.unwrap_err();
    let TokenError::Refresh(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.kind(), FailureKind::Uncertain, "{error:?}");
    let counters = fixture.issuer.counters();
    assert_eq!((counters.token_requests, counters.reuses), (1, 0));
    assert_eq!(log.count("RefreshFailed"), 1);
    assert_eq!((log.count("signed out"), log.count("Ended")), (0, 0));
    assert!(!api.rotator().has_ended());
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 1);
    assert_eq!(fixture.refresh_requests(), 1);
    Ok(())
}

/// Property: the client obeys `Retry-After`, in `refresh_now` too.
#[tokio::test]
async fn retry_after_is_obeyed() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    fixture.issuer.expire_access_tokens();
    let busy = Fault::Status {
        status: 429,
        retry_after: Some("30".to_owned()),
    };
    fixture.issuer.faults().push(busy.once());
    assert_eq!(api.get("/echo").send().await?.status(), 401);
    assert!(api.refresh_now().await.is_err());
    assert_eq!(fixture.refresh_requests(), 1);
    Ok(())
}

/// Property: a user's own request to exactly the refresh endpoint bypasses the rotation. A request
/// with another query or a longer path does not.
#[tokio::test]
async fn the_refresh_endpoint_can_be_called_directly() -> TestResult {
    let fixture = ClientFixture::new().await;
    let endpoint = "/api/auth/refresh?op=refresh";
    let api = fixture
        .builder_with_parser()
        .refresh_endpoint(endpoint)
        .build()?;
    let answer = api.post(format!("{endpoint}#part")).send().await?;
    assert_eq!(
        (answer.status().as_u16(), fixture.refresh_requests()),
        (401, 1)
    );
    // The API refuses the request, and the refresh endpoint refuses the refresh that this starts.
    let answer = api.post("/api/auth/refresh?op=other").send().await?;
    assert_eq!(
        (answer.status().as_u16(), fixture.refresh_requests()),
        (401, 3)
    );

    let rpc = fixture
        .builder_with_parser()
        .refresh_endpoint("/open/echo?op=refresh")
        .build()?;
    login(&rpc, "alice").await;
    for (path, carried) in [
        ("/open/echo?op=refresh", false),
        ("/open/echo?op=other", true),
        ("/open/echo", true),
        ("/open/echo?op=refresh&more", true),
    ] {
        let echoed = echo(rpc.get(path).send().await?).await;
        let token = echoed["headers"].get("authorization");
        assert_eq!(token.is_some(), carried, "{path}");
    }
    Ok(())
}

/// Property: requests and refreshes carry the default headers, and the refresh has no body and no
/// token.
#[tokio::test]
async fn requests_and_refreshes_carry_default_headers() -> TestResult {
    let fixture = ClientFixture::new().await;
    // The upstream's echo acts as refresh endpoint and shows the request that it received.
    let shown = std::sync::Arc::new(std::sync::Mutex::new(Value::Null));
    let echo_copy = shown.clone();
    let token = fixture.issuer.sign_in("alice").access_token;
    let api = fixture
        .builder()
        .refresh_endpoint("/open/echo")
        .default_header("x-requested-with", "XMLHttpRequest")
        .on_refresh_success_with(move |data: &Value| {
            *echo_copy.lock().expect("unpoisoned") = data.clone();
            token.clone()
        })
        .build()?;
    let echoed = echo(
        api.get("/echo")
            .header("x-requested-with", "mine")
            .send()
            .await?,
    )
    .await;
    assert_eq!(echoed["headers"]["x-requested-with"], json!(["mine"]));
    let refresh = shown.lock().expect("unpoisoned").clone();
    assert_eq!(
        refresh["headers"]["x-requested-with"],
        json!(["XMLHttpRequest"])
    );
    assert_eq!(
        (&refresh["method"], &refresh["body_length"]),
        (&json!("POST"), &json!(0))
    );
    assert_eq!(refresh["headers"].get("authorization"), None);
    assert_eq!(refresh["headers"]["content-length"], json!(["0"]));
    assert_eq!(refresh["headers"].get("transfer-encoding"), None);
    Ok(())
}
