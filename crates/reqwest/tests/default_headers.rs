//! Default headers go where the token may go, and nowhere else.

mod common;

use common::{Tested, World, echo, login, redirecting};
use serde_json::{Value, json};
use token_rotator_reqwest::{Client, SourceError};
use token_rotator_testkit::Upstream;

async fn client(world: &World, declared: &str) -> Result<Client, common::Failure> {
    let api = world
        .reading()
        .origin(declared)
        .default_header("x-api-key", "key")
        .build()?;
    login(&api, "alice").await;
    Ok(api)
}

fn key(echoed: &Value) -> Option<&Value> {
    echoed["headers"].get("x-api-key")
}

/// Property: declared origins get them, at first, at a redirect and at a replay.
#[tokio::test]
async fn declared_origins_get_them() -> Tested {
    let world = World::new().await;
    let declared = Upstream::start(&world.issuer).await?;
    let api = client(&world, declared.url()).await?;
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
    world.issuer.expire_access_tokens();
    let echoed = echo(api.get("/echo").send().await?).await;
    assert_eq!(echoed["generation"], 2);
    assert_eq!(key(&echoed), Some(&json!(["key"])));
    // Without the token too: they are not the session's.
    let echoed = echo(api.get("/open/echo").without_token().send().await?).await;
    assert_eq!(key(&echoed), Some(&json!(["key"])));
    Ok(())
}

/// Property: other origins get none, by an absolute URL or by a redirect; and whoever a request met
/// there does not choose what they are used for afterwards. What the caller set goes along.
#[tokio::test]
async fn other_origins_get_none() -> Tested {
    let world = World::new().await;
    let foreign = Upstream::start(&world.issuer).await?;
    let there = format!("{}/open/echo", foreign.url());
    let away = redirecting(there.clone()).await;
    let back = redirecting(format!("{}/open/echo", world.upstream.url())).await;
    let api = client(&world, &away).await?;
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

/// Property: a refresh of one's own takes them along to declared origins only.
#[tokio::test]
async fn a_refresh_elsewhere_gets_none() -> Tested {
    let world = World::new().await;
    let foreign = Upstream::start(&world.issuer).await?;
    let (here, there) = (
        format!("{}/open/echo", world.upstream.url()),
        format!("{}/open/echo", foreign.url()),
    );
    let api = world
        .builder()
        .default_header("x-api-key", "key")
        .on_refresh_success_with(|seen: &Value| seen["token"].as_str().map(str::to_owned))
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
