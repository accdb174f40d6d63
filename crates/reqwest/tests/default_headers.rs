//! Tests that default headers go to the origins that may get the token, and to no other origin.

mod common;

use common::{ClientFixture, TestResult, echo, login, start_redirecting_server};
use serde_json::{Value, json};
use token_rotator_reqwest::{Client, SourceError};
use token_rotator_testkit::Upstream;

async fn client(fixture: &ClientFixture, declared: &str) -> Result<Client, common::Failure> {
    let api = fixture
        .builder_with_parser()
        .origin(declared)
        .default_header("x-api-key", "key")
        .build()?;
    login(&api, "alice").await;
    Ok(api)
}

fn key(echoed: &Value) -> Option<&Value> {
    echoed["headers"].get("x-api-key")
}

/// Property: declared origins get the default headers: at the first send, at a redirect and at a
/// replay.
#[tokio::test]
async fn declared_origins_get_default_headers() -> TestResult {
    let fixture = ClientFixture::new().await;
    let declared = Upstream::start(&fixture.issuer).await?;
    let api = client(&fixture, declared.url()).await?;
    let there: String =
        url::form_urlencoded::byte_serialize(format!("{}/echo", declared.url()).as_bytes())
            .collect();
    for url in [
        "/echo".to_owned(),
        "/redirect/same?to=/echo".to_owned(),
        format!("{}/echo", declared.url()),
        format!("/redirect/to?url={there}"),
    ] {
        let echoed = echo(api.get(&url).send().await?).await;
        assert_eq!(key(&echoed), Some(&json!(["key"])), "{url}");
    }
    fixture.issuer.expire_access_tokens();
    let echoed = echo(api.get("/echo").send().await?).await;
    assert_eq!(echoed["generation"], 2);
    assert_eq!(key(&echoed), Some(&json!(["key"])));
    // A request without the token carries them too, because they are not part of the session.
    let echoed = echo(api.get("/open/echo").without_token().send().await?).await;
    assert_eq!(key(&echoed), Some(&json!(["key"])));
    Ok(())
}

/// Property: other origins get no default headers, by an absolute URL or by a redirect, and cannot
/// choose where they are used later. The caller's own headers go along.
#[tokio::test]
async fn other_origins_get_no_default_headers() -> TestResult {
    let fixture = ClientFixture::new().await;
    let foreign = Upstream::start(&fixture.issuer).await?;
    let there = format!("{}/open/echo", foreign.url());
    let away = start_redirecting_server(there.clone()).await;
    let back = start_redirecting_server(format!("{}/open/echo", fixture.upstream.url())).await;
    let api = client(&fixture, &away).await?;
    for request in [
        api.get(&there),
        api.get(&there).without_token(),
        api.get(&away),
        api.post(&away).body("body"),
        api.get(&back),
    ] {
        let echoed = echo(request.header("x-mine", "1").send().await?).await;
        assert_eq!(key(&echoed), None, "{}", echoed["path"]);
        assert_eq!(echoed["headers"]["x-mine"], json!(["1"]));
    }
    let own = api.get(&there).header("x-api-key", "mine");
    let echoed = echo(own.send().await?).await;
    assert_eq!(key(&echoed), Some(&json!(["mine"])));
    Ok(())
}

/// Property: a refresh through a closure carries the default headers to declared origins only.
#[tokio::test]
async fn a_refresh_at_another_origin_gets_no_default_headers() -> TestResult {
    let fixture = ClientFixture::new().await;
    let foreign = Upstream::start(&fixture.issuer).await?;
    let (here, there) = (
        format!("{}/open/echo", fixture.upstream.url()),
        format!("{}/open/echo", foreign.url()),
    );
    let api = fixture
        .builder()
        .default_header("x-api-key", "key")
        .on_refresh_success_with(|answer: &Value| answer["token"].as_str().map(str::to_owned))
        .refresh_with(move |call| {
            let (here, there) = (here.clone(), there.clone());
            async move {
                let at_home = call.send(call.post(&here)?).await?;
                let elsewhere = call.send(call.post(&there)?).await?;
                if key(&at_home) != Some(&json!(["key"])) || key(&elsewhere).is_some() {
                    return Err(SourceError::terminal(format!("{at_home} {elsewhere}")));
                }
                Ok(json!({"token": "token"}))
            }
        })
        .build()?;
    api.refresh_now().await?;
    Ok(())
}
