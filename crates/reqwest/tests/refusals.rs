//! Tests additional refusals besides a 401.

mod common;

use common::{ClientFixture, TestResult, echo, login, read};
use serde_json::Value;
use token_rotator_reqwest::TokenError;

/// Property: the given statuses replace 401, and the client obeys a challenge of such a status.
#[tokio::test]
async fn other_statuses_can_refuse() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture
        .builder_with_parser()
        .status_codes([401, 419])
        .build()?;
    login(&api, "alice").await;
    fixture.issuer.expire_access_tokens();
    assert_eq!(
        echo(api.get("/custom-419").send().await?).await["generation"],
        2
    );
    assert_eq!(
        (
            fixture.refresh_requests(),
            fixture.request_count("/custom-419")
        ),
        (1, 2)
    );

    let only = fixture.builder_with_parser().status_codes([419]).build()?;
    login(&only, "bob").await;
    fixture.issuer.expire_access_tokens();
    assert_eq!(only.get("/echo").send().await?.status(), 401);
    assert_eq!(fixture.refresh_requests(), 1);
    Ok(())
}

/// Property: a predicate judges the answer's head, in addition to the statuses.
#[tokio::test]
async fn a_predicate_can_refuse() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture
        .builder_with_parser()
        .refused_when(|answer| answer.status() == 419 && answer.url().path() == "/custom-419")
        .build()?;
    login(&api, "alice").await;
    fixture.issuer.expire_access_tokens();
    assert_eq!(
        echo(api.get("/custom-419").send().await?).await["generation"],
        2
    );
    fixture.issuer.expire_access_tokens();
    // The token was accepted, so its refusal starts a refresh. The endpoint refuses the replay too,
    // and its next refusal starts none.
    assert_eq!(api.get("/always-401").send().await?.status(), 401);
    let answer = api.get("/always-401").send().await?;
    assert!(answer.extensions().get::<TokenError>().is_some());
    Ok(())
}

/// Property: a code in the body can refuse; the body that was read for it is handed on unchanged.
#[tokio::test]
async fn a_body_can_refuse() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture
        .builder_with_parser()
        .refused_when_body(|status, body| {
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            status == 200 && body["code"] == "TOKEN_EXPIRED"
        })
        .build()?;
    login(&api, "alice").await;
    let answer = api.get("/custom-body-code").send().await?;
    assert_eq!(answer.url().path(), "/custom-body-code");
    assert_eq!(answer.content_length(), Some(13));
    assert!(answer.remote_addr().is_some());
    assert_eq!(read::<Value>(answer).await["code"], "OK");

    fixture.issuer.expire_access_tokens();
    let answer = api.get("/custom-body-code").send().await?;
    assert_eq!(read::<Value>(answer).await["code"], "OK");
    assert_eq!(
        (
            fixture.refresh_requests(),
            fixture.request_count("/custom-body-code")
        ),
        (1, 3)
    );

    // A body that is not JSON is not read.
    let download = api.get("/download/100000").send().await?;
    assert_eq!(download.bytes().await?.len(), 100_000);
    Ok(())
}

/// Property: a JSON body that is too long for the predicate arrives whole.
#[tokio::test]
async fn a_long_body_is_not_judged_and_arrives_whole() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture
        .builder_with_parser()
        .refused_when_body(|_status, _body| true)
        .build()?;
    login(&api, "alice").await;
    let long = "x".repeat(100_000);
    let echoed = echo(
        api.get("/echo")
            .header("x-long-a", &long[..40_000])
            .header("x-long-b", &long[..40_000])
            .send()
            .await?,
    )
    .await;
    assert_eq!(
        echoed["headers"]["x-long-a"][0].as_str().map(str::len),
        Some(40_000)
    );
    assert_eq!(fixture.refresh_requests(), 0);
    Ok(())
}
