//! The cookie session: login, refresh, and how the refresh endpoint fails.

mod common;

use common::{Heard, Tested, World, echo, login, within};
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

/// Property: the refresh cookie of the login reaches the refresh endpoint and rotates, over many
/// expiries, without ever being used twice.
#[tokio::test]
async fn a_session_lives_from_login_to_logout() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
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
    let counters = world.issuer.counters();
    assert_eq!(
        (counters.refreshes, counters.token_requests, counters.reuses),
        (5, 5, 0)
    );
    Ok(())
}

/// Property: without the cookie store nothing is kept.
#[tokio::test]
async fn cookies_can_be_turned_off() -> Tested {
    let world = World::new().await;
    let api = world.reading().cookies(false).build()?;
    login(&api, "alice").await;
    world.issuer.expire_access_tokens();
    let answer = api.get("/echo").send().await?;
    assert_eq!(answer.status(), 401);
    Ok(())
}

/// Property: the lifetime in the answer starts the next refresh before expiry.
#[tokio::test]
async fn the_lifetime_of_the_answer_counts() -> Tested {
    let world = World::new().await;
    let api = world.builder().bearer_field("accessToken").build()?;
    login(&api, "alice").await;
    api.refresh_now().await?;
    let token = api.rotator().access_token().expect("a token");
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(token.token_set().expiry(), token_rotator::Expiry::In(hour));

    // Nothing in the answer, nothing from the parser: the token's own `exp` and `iat`.
    let quiet = World::of(
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

/// Property: an answer of the refresh endpoint decides what it should, and only 400, 401 and 403
/// end the session.
#[tokio::test]
async fn every_failure_is_sorted() -> Tested {
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
        let world = World::of(Issuer::builder().refresh_policy(RefreshPolicy::MultiUse)).await;
        let heard = Heard::new();
        let failed = heard.clone();
        let api = world
            .reading()
            .on_event(heard.listener())
            .on_refresh_failed(move |error| failed.say(format!("signed out: {error}")))
            .build()?;
        login(&api, "alice").await;
        world.issuer.expire_access_tokens();
        world.issuer.faults().push(fault.clone().always());
        let answer = api.get("/echo").send().await?;
        assert_eq!(answer.status(), 401, "{fault:?}");
        let why = answer.extensions().get::<TokenError>();
        assert!(
            matches!(why, Some(TokenError::Refresh(RefreshError::Source(_)))),
            "{fault:?}"
        );
        assert_eq!(heard.count("signed out"), usize::from(ends), "{fault:?}");
        // What does not end the session is an event, and no more.
        assert_eq!(heard.count("Ended"), usize::from(ends), "{fault:?}");
        assert_eq!(
            heard.count("RefreshFailed"),
            usize::from(!ends),
            "{fault:?}"
        );
        assert_eq!(api.rotator().has_ended(), ends, "{fault:?}");

        // What has not ended the session is over when the endpoint is well again.
        world.issuer.faults().clear();
        if !ends {
            within(api.refresh_now()).await?;
            assert_eq!(api.get("/echo").send().await?.status(), 200, "{fault:?}");
        }
    }
    Ok(())
}

/// Property: a 500 logs nobody out; the next attempt comes after the cool-down, or at once where the
/// endpoint is said to allow that.
#[tokio::test]
async fn a_500_logs_nobody_out() -> Tested {
    let world = World::new().await;
    let heard = Heard::new();
    let failed = heard.clone();
    let api = world
        .reading()
        .on_refresh_failed(move |error| failed.say(format!("signed out: {error}")))
        .build()?;
    login(&api, "alice").await;
    world.issuer.expire_access_tokens();
    world.issuer.faults().push(status(500).once());
    assert_eq!(api.get("/echo").send().await?.status(), 401);
    assert_eq!(world.asked(), 1);
    api.refresh_now().await?;
    assert_eq!(api.get("/echo").send().await?.status(), 200);
    assert_eq!(heard.lines().len(), 0);

    let again = world.reading().profile(Profile::multi_use()).build()?;
    login(&again, "bob").await;
    world.issuer.expire_access_tokens();
    world.issuer.faults().push(status(500).once());
    let answer = again.get("/echo").send().await?;
    assert_eq!(echo(answer).await["generation"], 2);
    assert_eq!(world.asked(), 4);
    Ok(())
}

/// Property: unless it is said that the endpoint takes a used cookie again, it is asked once: a lost
/// answer trips no reuse alarm, and the access token is served while it lasts.
#[tokio::test]
async fn a_lost_answer_is_not_asked_for_again() -> Tested {
    let world = World::new().await;
    let heard = Heard::new();
    let failed = heard.clone();
    let api = world
        .reading()
        .on_event(heard.listener())
        .on_refresh_failed(move |error| failed.say(format!("signed out: {error}")))
        .build()?;
    login(&api, "alice").await;
    world.issuer.faults().push(Fault::AnswerLost.once());
    let error = api.refresh_now().await.unwrap_err();
    let TokenError::Refresh(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.kind(), FailureKind::Uncertain, "{error:?}");
    let counters = world.issuer.counters();
    assert_eq!((counters.token_requests, counters.reuses), (1, 0));
    assert_eq!(heard.count("RefreshFailed"), 1);
    assert_eq!((heard.count("signed out"), heard.count("Ended")), (0, 0));
    assert!(!api.rotator().has_ended());
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 1);
    assert_eq!(world.asked(), 1);
    Ok(())
}

/// Property: `Retry-After` is heeded, by `refresh_now` too.
#[tokio::test]
async fn the_issuer_is_left_alone_when_it_asks() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    world.issuer.expire_access_tokens();
    let busy = Fault::Status {
        status: 429,
        retry_after: Some("30".to_owned()),
    };
    world.issuer.faults().push(busy.once());
    assert_eq!(api.get("/echo").send().await?.status(), 401);
    assert!(api.refresh_now().await.is_err());
    assert_eq!(world.asked(), 1);
    Ok(())
}

/// Property: a request of the user's own to exactly the refresh endpoint passes by the rotation; one
/// to another query or to a path that only begins like it does not.
#[tokio::test]
async fn the_refresh_endpoint_can_be_asked_by_hand() -> Tested {
    let world = World::new().await;
    let endpoint = "/api/auth/refresh?op=refresh";
    let api = world.reading().refresh_endpoint(endpoint).build()?;
    let answer = api.post(format!("{endpoint}#part")).send().await?;
    assert_eq!((answer.status().as_u16(), world.asked()), (401, 1));
    // Refused, and refused by the refresh that this starts.
    let answer = api.post("/api/auth/refresh?op=other").send().await?;
    assert_eq!((answer.status().as_u16(), world.asked()), (401, 3));

    let rpc = world
        .reading()
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

/// Property: default headers go with requests and with the refresh, and the refresh has no body and
/// no token.
#[tokio::test]
async fn default_headers_go_along() -> Tested {
    let world = World::new().await;
    // The upstream's echo stands in for a refresh endpoint that shows what it was sent.
    let shown = std::sync::Arc::new(std::sync::Mutex::new(Value::Null));
    let kept = shown.clone();
    let token = world.issuer.sign_in("alice").access_token;
    let api = world
        .builder()
        .refresh_endpoint("/open/echo")
        .default_header("x-requested-with", "XMLHttpRequest")
        .on_refresh_success_with(move |data: &Value| {
            *kept.lock().expect("unpoisoned") = data.clone();
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
