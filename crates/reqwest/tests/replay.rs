//! Tests which requests are replayed, and that a replay alters nothing (rule 10).

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{ClientFixture, EventLog, ManualClock, TestResult, echo, login, within};
use futures_util::stream;
use reqwest::{Body, multipart};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use token_rotator::Refreshed;
use token_rotator_reqwest::{Client, Rotator, SourceError, TokenError, TokenSet};
use token_rotator_testkit::Fault;
use tokio::sync::Semaphore;

async fn client_with_log(fixture: &ClientFixture) -> Result<(Client, EventLog), common::Failure> {
    let log = EventLog::new();
    let api = fixture
        .builder_with_parser()
        .on_event(log.listener())
        .build()?;
    login(&api, "alice").await;
    Ok((api, log))
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("a string");
    }
    text
}

fn streamed(parts: &'static [&'static str]) -> Body {
    Body::wrap_stream(stream::iter(
        parts.iter().map(|part| Ok::<_, std::io::Error>(*part)),
    ))
}

/// Property: the replay has the method, query, headers and body of the request.
#[tokio::test]
async fn a_replay_is_the_same_request() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    fixture.issuer.expire_access_tokens();
    let request = api
        .request(reqwest::Method::PATCH, "/echo")
        .query(&[("a", "1"), ("b", "x y")])
        .header("x-one", "1")
        .json(&json!({"some": "body"}));
    let echoed = echo(request.send().await?).await;
    assert_eq!(
        (&echoed["method"], &echoed["query"]),
        (&json!("PATCH"), &json!("a=1&b=x+y"))
    );
    assert_eq!(echoed["headers"]["x-one"], json!(["1"]));
    assert_eq!(echoed["headers"]["authorization"], json!(["Bearer 2"]));
    assert_eq!(echoed["body_sha256"], sha256(br#"{"some":"body"}"#));
    let form = api.post("/echo").form(&[("a", "1")]).send().await?;
    assert_eq!(echo(form).await["body_sha256"], sha256(b"a=1"));
    Ok(())
}

/// Property: a body that cannot be sent twice is sent once. Its 401 is handed back, and the refresh
/// that it starts serves later requests.
#[tokio::test]
async fn a_streamed_body_is_sent_once() -> TestResult {
    let fixture = ClientFixture::new().await;
    let (api, log) = client_with_log(&fixture).await?;
    fixture.issuer.expire_access_tokens();
    let answer = api.post("/echo").body(streamed(&["once"])).send().await?;
    assert_eq!(answer.status(), 401);
    log.wait_for("NotReplayed { reason: BodyOnce }").await;
    log.wait_for("Refreshed").await;
    let echoed = echo(
        api.post("/echo")
            .body(streamed(&["on", "ce"]))
            .send()
            .await?,
    )
    .await;
    assert_eq!(
        (&echoed["generation"], &echoed["body_sha256"]),
        (&json!(2), &json!(sha256(b"once")))
    );
    assert_eq!(
        (fixture.refresh_requests(), fixture.request_count("/echo")),
        (1, 2)
    );
    Ok(())
}

/// Property: near expiry a request with such a body waits for the refresh before it is sent; other
/// requests do not wait.
#[tokio::test]
async fn near_expiry_a_streamed_body_waits() -> TestResult {
    let fixture = ClientFixture::new().await;
    let (clock, door) = (ManualClock::default(), Arc::new(Semaphore::new(0)));
    let (next, held) = (
        fixture.issuer.sign_in("next").access_token,
        Arc::clone(&door),
    );
    let source = move |_last| {
        let (next, held) = (next.clone(), Arc::clone(&held));
        async move {
            held.acquire()
                .await
                .map_err(|_| SourceError::not_sent("closed"))?
                .forget();
            Ok::<_, SourceError>(TokenSet::bearer(next))
        }
    };
    let log = EventLog::new();
    let rotator = Rotator::builder(source)
        .origin(fixture.upstream.url())
        .clock(clock.clone())
        .on_event(log.listener())
        .build()?;
    let old = fixture.issuer.sign_in("old").access_token;
    rotator
        .sign_in(TokenSet::bearer(old).expires_in(Duration::from_secs(400)))?
        .await?;
    let api = fixture.builder().rotator(rotator).build()?;

    clock.advance(Duration::from_secs(300));
    let early = api.post("/echo").body(streamed(&["x"])).send().await?;
    assert_eq!(echo(early).await["subject"], "old");
    assert_eq!(log.count("RefreshStarted"), 0);

    // The last minute of the token has begun.
    clock.advance(Duration::from_secs(60));
    let waiting = tokio::spawn(api.post("/echo").body(streamed(&["y"])).send());
    log.wait_for("RefreshStarted").await;
    assert_eq!(echo(api.get("/echo").send().await?).await["subject"], "old");
    assert_eq!(fixture.request_count("/echo"), 2);
    door.add_permits(1);
    assert_eq!(echo(within(waiting).await??).await["subject"], "next");
    assert_eq!(fixture.request_count("/echo"), 3);
    Ok(())
}

/// Property: the answer of the replay is final, however old the token is by then, and an event
/// reports it.
#[tokio::test]
async fn the_second_answer_is_final() -> TestResult {
    let fixture = ClientFixture::new().await;
    let clock = ManualClock::default();
    let moved = clock.clone();
    let token = fixture.issuer.sign_in("alice").access_token;
    let source = move |_last| {
        let tokens = TokenSet::bearer(token.as_str());
        std::future::ready(Ok(Refreshed::from(tokens).with_answer(Arc::new(()))))
    };
    let log = EventLog::new();
    let rotator = Rotator::builder(source)
        .origin(fixture.upstream.url())
        .clock(clock)
        .on_event(log.listener())
        .after_refresh(move |_refreshed| {
            moved.advance(Duration::from_secs(3600));
            std::future::ready(Ok(()))
        })
        .build()?;
    rotator.sign_in(TokenSet::bearer("stale"))?.await?;
    let api = fixture.builder().rotator(rotator).build()?;
    let answer = within(api.get("/always-401").send()).await?;
    assert_eq!(
        (
            answer.status().as_u16(),
            fixture.request_count("/always-401")
        ),
        (401, 2)
    );
    for _ in 0..2 {
        log.wait_for("Refreshed").await;
    }
    Ok(())
}

/// Property: a small form is kept and replayed byte for byte; a large form is sent once.
#[tokio::test]
async fn a_small_form_is_replayed_and_a_large_one_is_not() -> TestResult {
    let fixture = ClientFixture::new().await;
    let (api, log) = client_with_log(&fixture).await?;
    let small = || {
        multipart::Form::new()
            .text("name", "value")
            .part("file", multipart::Part::bytes(vec![7; 1000]))
    };
    fixture.issuer.expire_access_tokens();
    let echoed = echo(api.post("/echo").multipart(small()).send().await?).await;
    assert_eq!(echoed["generation"], 2);
    let kind = echoed["headers"]["content-type"][0]
        .as_str()
        .unwrap_or_default();
    let (_, boundary) = kind.split_once("boundary=").expect("a boundary");
    let part = |name: &str, body: &[u8]| {
        let disposition = format!("Content-Disposition: form-data; name=\"{name}\"");
        let before = format!("--{boundary}\r\n{disposition}\r\n\r\n");
        [before.as_bytes(), body, b"\r\n"].concat()
    };
    let end = format!("--{boundary}--\r\n");
    let whole = [
        part("name", b"value"),
        part("file", &[7; 1000]),
        end.into_bytes(),
    ]
    .concat();
    assert_eq!(echoed["body_sha256"], sha256(&whole));
    assert_eq!(
        echoed["headers"]["content-length"],
        json!([whole.len().to_string()])
    );

    fixture.issuer.expire_access_tokens();
    let large =
        multipart::Form::new().part("file", multipart::Part::bytes(vec![7; 2 * 1024 * 1024]));
    let answer = api.post("/echo").multipart(large).send().await?;
    assert_eq!(answer.status(), 401);
    log.wait_for("NotReplayed { reason: BodyOnce }").await;
    Ok(())
}

/// Property: a request that opts out of the replay gets its 401, and still starts a refresh for
/// other requests.
#[tokio::test]
async fn no_replay_hands_the_401_back() -> TestResult {
    let fixture = ClientFixture::new().await;
    let (api, log) = client_with_log(&fixture).await?;
    fixture.issuer.expire_access_tokens();
    let answer = api.post("/echo").no_replay().send().await?;
    assert_eq!(answer.status(), 401);
    log.wait_for("NotReplayed { reason: OptedOut }").await;
    log.wait_for("Refreshed").await;
    assert_eq!(
        (fixture.refresh_requests(), fixture.request_count("/echo")),
        (1, 1)
    );
    Ok(())
}

/// Property: a request without the token has no effect on the session.
#[tokio::test]
async fn a_request_without_token_does_not_affect_the_session() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    let echoed = echo(api.get("/open/echo").without_token().send().await?).await;
    assert_eq!(echoed["headers"].get("authorization"), None);
    let answer = api.get("/echo").without_token().send().await?;
    assert_eq!(
        (answer.status().as_u16(), fixture.refresh_requests()),
        (401, 0)
    );
    Ok(())
}

/// Property: the caller's own `Authorization` wins over the token, and its refusal has no effect on
/// the session.
#[tokio::test]
async fn the_callers_credentials_win() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    let other = fixture.issuer.sign_in("bob").access_token;
    let answer = api.get("/echo").bearer_auth(&other).send().await?;
    assert_eq!(echo(answer).await["subject"], "bob");
    let answer = api.get("/echo").bearer_auth("rubbish").send().await?;
    assert_eq!(answer.status(), 401);
    let answer = api
        .get("/echo")
        .basic_auth("me", Some("password"))
        .send()
        .await?;
    assert_eq!(answer.status(), 401);
    let with_user = fixture.upstream.url().replace("://", "://me:password@") + "/open/echo";
    let echoed = echo(api.get(with_user).send().await?).await;
    assert_eq!(echoed["headers"]["authorization"], json!(["Basic unknown"]));
    assert_eq!(
        (fixture.refresh_requests(), fixture.request_count("/echo")),
        (0, 3)
    );
    Ok(())
}

/// Property: the caller's own `Authorization` also wins if the session's token has a custom header:
/// the token is not added, and the refusal has no effect on the session.
#[tokio::test]
async fn the_callers_credentials_win_over_a_custom_header() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture
        .builder_with_parser()
        .token_header("x-auth-token")
        .build()?;
    login(&api, "alice").await;
    let echoed = echo(api.get("/open/echo").bearer_auth("mine").send().await?).await;
    assert_eq!(
        echoed["headers"]["authorization"],
        json!(["Bearer unknown"])
    );
    assert_eq!(echoed["headers"].get("x-auth-token"), None);
    let path = "/header/x-auth-token/echo";
    let answer = api.get(path).bearer_auth("mine").send().await?;
    assert_eq!(
        (answer.status().as_u16(), fixture.refresh_requests()),
        (401, 0)
    );
    assert_eq!(fixture.request_count(path), 1);

    // A header that a gateway needs beside the token is a default header.
    let gateway = fixture
        .builder_with_parser()
        .token_header("x-auth-token")
        .default_header("authorization", "Basic Z2F0ZXdheQ==")
        .build()?;
    login(&gateway, "alice").await;
    let echoed = echo(gateway.get("/open/echo").send().await?).await;
    assert_eq!(echoed["headers"]["authorization"], json!(["Basic unknown"]));
    assert_eq!(echoed["headers"]["x-auth-token"], json!(["1"]));
    Ok(())
}

/// Property: if the refresh fails, the caller gets the refused answer unchanged.
#[tokio::test]
async fn a_refused_answer_is_handed_back_unchanged() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    fixture.issuer.faults().push(Fault::HtmlForbidden.always());
    let refused =
        "/challenge?value=Bearer%20realm%3D%22a%22%2C%20error%3D%22invalid_token%22&value=Basic";
    let plain = api.get(refused).without_token().send().await?;
    let (status, headers) = (plain.status(), plain.headers().clone());
    let body = plain.bytes().await?;

    let answer = api.get(refused).send().await?;
    assert_eq!(
        answer.url().as_str(),
        format!("{}{refused}", fixture.upstream.url())
    );
    assert!(answer.extensions().get::<TokenError>().is_some());
    let mut same = answer.headers().clone();
    // Only the `date` header may differ.
    same.insert("date", headers["date"].clone());
    assert_eq!((answer.status(), same), (status, headers));
    assert_eq!(answer.bytes().await?, body);
    assert_eq!(
        (
            fixture.refresh_requests(),
            fixture.request_count("/challenge")
        ),
        (1, 2)
    );
    Ok(())
}

/// Property: a refusal that a newer token cannot cure is handed back, with its reason if there is
/// one.
#[tokio::test]
async fn refusals_that_are_not_about_the_token_are_handed_back() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    let scope = "/challenge?value=Bearer%20error%3D%22insufficient_scope%22";
    assert_eq!(api.get(scope).send().await?.status(), 401);
    let step_up = "/challenge?value=Bearer%20error%3D%22insufficient_user_authentication%22%2C%20acr_values%3D%22gold%22";
    let answer = api.get(step_up).send().await?;
    let Some(TokenError::StepUp(wanted)) = answer.extensions().get() else {
        panic!("{:?}", answer.extensions().get::<TokenError>());
    };
    assert_eq!(wanted.acr_values.as_deref(), Some("gold"));
    assert_eq!(fixture.refresh_requests(), 0);

    // The refused request carried no token, so the first token may be accepted.
    let bare = fixture.builder_with_parser().build()?;
    let answer = bare.get(format!("{scope}&when=bad")).send().await?;
    assert_eq!(
        (answer.status().as_u16(), fixture.refresh_requests()),
        (401, 1)
    );
    Ok(())
}
