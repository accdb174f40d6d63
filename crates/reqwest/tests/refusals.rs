//! What counts as a refusal besides a 401.

mod common;

use common::{Tested, World, echo, login, read};
use serde_json::Value;
use token_rotator_reqwest::TokenError;

/// Property: the statuses given replace 401, and a challenge that comes with one is heeded.
#[tokio::test]
async fn other_statuses_can_refuse() -> Tested {
    let world = World::new().await;
    let api = world.reading().status_codes([401, 419]).build()?;
    login(&api, "alice").await;
    world.issuer.expire_access_tokens();
    assert_eq!(
        echo(api.get("/custom-419").send().await?).await["generation"],
        2
    );
    assert_eq!((world.asked(), world.reached("/custom-419")), (1, 2));

    let only = world.reading().status_codes([419]).build()?;
    login(&only, "bob").await;
    world.issuer.expire_access_tokens();
    assert_eq!(only.get("/echo").send().await?.status(), 401);
    assert_eq!(world.asked(), 1);
    Ok(())
}

/// Property: a predicate sees the answer's head, and adds to the statuses.
#[tokio::test]
async fn a_predicate_can_refuse() -> Tested {
    let world = World::new().await;
    let api = world
        .reading()
        .refused_when(|answer| answer.status() == 419 && answer.url().path() == "/custom-419")
        .build()?;
    login(&api, "alice").await;
    world.issuer.expire_access_tokens();
    assert_eq!(
        echo(api.get("/custom-419").send().await?).await["generation"],
        2
    );
    world.issuer.expire_access_tokens();
    let answer = api.get("/always-401").send().await?;
    assert!(answer.extensions().get::<TokenError>().is_some());
    Ok(())
}

/// Property: a code in the body can refuse; what is read to be judged is handed on as it came.
#[tokio::test]
async fn a_body_can_refuse() -> Tested {
    let world = World::new().await;
    let api = world
        .reading()
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

    world.issuer.expire_access_tokens();
    let answer = api.get("/custom-body-code").send().await?;
    assert_eq!(read::<Value>(answer).await["code"], "OK");
    assert_eq!((world.asked(), world.reached("/custom-body-code")), (1, 3));

    // Not JSON: not read.
    let download = api.get("/download/100000").send().await?;
    assert_eq!(download.bytes().await?.len(), 100_000);
    Ok(())
}

/// Property: a JSON body that is too long to be judged arrives whole.
#[tokio::test]
async fn a_long_body_is_not_judged_and_arrives_whole() -> Tested {
    let world = World::new().await;
    let api = world
        .reading()
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
    assert_eq!(world.asked(), 0);
    Ok(())
}
