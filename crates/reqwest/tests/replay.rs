//! What is replayed, what is not, and that nothing is altered: rule 10.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Hands, Heard, Tested, World, echo, login, within};
use futures_util::stream;
use reqwest::{Body, multipart};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use token_rotator::Refreshed;
use token_rotator_reqwest::{Client, Rotator, SourceError, TokenError, TokenSet};
use token_rotator_testkit::Fault;
use tokio::sync::Semaphore;

async fn listening(world: &World) -> Result<(Client, Heard), common::Failure> {
    let heard = Heard::new();
    let api = world.reading().on_event(heard.listener()).build()?;
    login(&api, "alice").await;
    Ok((api, heard))
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn streamed(parts: &'static [&'static str]) -> Body {
    Body::wrap_stream(stream::iter(
        parts.iter().map(|part| Ok::<_, std::io::Error>(*part)),
    ))
}

/// Property: method, query, headers and body of the replay are those of the request.
#[tokio::test]
async fn a_replay_is_the_same_request() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    world.issuer.expire_access_tokens();
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

/// Property: a body that cannot be sent twice is sent once; its 401 is handed back, and the refresh
/// it started serves those who follow.
#[tokio::test]
async fn a_streamed_body_is_sent_once() -> Tested {
    let world = World::new().await;
    let (api, heard) = listening(&world).await?;
    world.issuer.expire_access_tokens();
    let answer = api.post("/echo").body(streamed(&["once"])).send().await?;
    assert_eq!(answer.status(), 401);
    heard.wait_for("NotReplayed { reason: BodyOnce }").await;
    heard.wait_for("Refreshed").await;
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
    assert_eq!((world.asked(), world.reached("/echo")), (1, 2));
    Ok(())
}

/// Property: near expiry such a request waits for the refresh before it is sent; others do not.
#[tokio::test]
async fn near_expiry_a_streamed_body_waits() -> Tested {
    let world = World::new().await;
    let (clock, door) = (Hands::default(), Arc::new(Semaphore::new(0)));
    let (next, held) = (world.issuer.sign_in("next").access_token, Arc::clone(&door));
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
    let heard = Heard::new();
    let rotator = Rotator::builder(source)
        .origin(world.upstream.url())
        .clock(clock.clone())
        .on_event(heard.listener())
        .build()?;
    let old = world.issuer.sign_in("old").access_token;
    rotator
        .sign_in(TokenSet::bearer(old).expires_in(Duration::from_secs(400)))?
        .await?;
    let api = world.builder().rotator(rotator).build()?;

    clock.advance(Duration::from_secs(300));
    let early = api.post("/echo").body(streamed(&["x"])).send().await?;
    assert_eq!(echo(early).await["subject"], "old");
    assert_eq!(heard.count("RefreshStarted"), 0);

    // The last minute.
    clock.advance(Duration::from_secs(60));
    let waiting = tokio::spawn(api.post("/echo").body(streamed(&["y"])).send());
    heard.wait_for("RefreshStarted").await;
    assert_eq!(echo(api.get("/echo").send().await?).await["subject"], "old");
    assert_eq!(world.reached("/echo"), 2);
    door.add_permits(1);
    assert_eq!(echo(within(waiting).await??).await["subject"], "next");
    assert_eq!(world.reached("/echo"), 3);
    Ok(())
}

/// Property: the second answer is final, however old the token has become meanwhile; and the session
/// learns of it.
#[tokio::test]
async fn the_second_answer_is_final() -> Tested {
    let world = World::new().await;
    let clock = Hands::default();
    let moved = clock.clone();
    let token = world.issuer.sign_in("alice").access_token;
    let source = move |_last| {
        let tokens = TokenSet::bearer(token.as_str());
        std::future::ready(Ok(Refreshed::from(tokens).with_answer(Arc::new(()))))
    };
    let heard = Heard::new();
    let rotator = Rotator::builder(source)
        .origin(world.upstream.url())
        .clock(clock)
        .on_event(heard.listener())
        .after_refresh(move |_refreshed| {
            moved.advance(Duration::from_secs(3600));
            std::future::ready(Ok(()))
        })
        .build()?;
    rotator.sign_in(TokenSet::bearer("stale"))?.await?;
    let api = world.builder().rotator(rotator).build()?;
    let answer = within(api.get("/always-401").send()).await?;
    assert_eq!(
        (answer.status().as_u16(), world.reached("/always-401")),
        (401, 2)
    );
    for _ in 0..2 {
        heard.wait_for("Refreshed").await;
    }
    Ok(())
}

/// Property: a small form is kept and replayed, byte for byte; a large one is sent once.
#[tokio::test]
async fn a_small_form_is_replayed_and_a_large_one_is_not() -> Tested {
    let world = World::new().await;
    let (api, heard) = listening(&world).await?;
    let small = || {
        multipart::Form::new()
            .text("name", "value")
            .part("file", multipart::Part::bytes(vec![7; 1000]))
    };
    world.issuer.expire_access_tokens();
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

    world.issuer.expire_access_tokens();
    let large =
        multipart::Form::new().part("file", multipart::Part::bytes(vec![7; 2 * 1024 * 1024]));
    let answer = api.post("/echo").multipart(large).send().await?;
    assert_eq!(answer.status(), 401);
    heard.wait_for("NotReplayed { reason: BodyOnce }").await;
    Ok(())
}

/// Property: whoever opts out is handed their 401; it starts a refresh for the others all the same.
#[tokio::test]
async fn no_replay_hands_the_401_back() -> Tested {
    let world = World::new().await;
    let (api, heard) = listening(&world).await?;
    world.issuer.expire_access_tokens();
    let answer = api.post("/echo").no_replay().send().await?;
    assert_eq!(answer.status(), 401);
    heard.wait_for("NotReplayed { reason: OptedOut }").await;
    heard.wait_for("Refreshed").await;
    assert_eq!((world.asked(), world.reached("/echo")), (1, 1));
    Ok(())
}

/// Property: without the token a request takes no part in the session.
#[tokio::test]
async fn without_token_is_without_everything() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    let echoed = echo(api.get("/open/echo").without_token().send().await?).await;
    assert_eq!(echoed["headers"].get("authorization"), None);
    let answer = api.get("/echo").without_token().send().await?;
    assert_eq!((answer.status().as_u16(), world.asked()), (401, 0));
    Ok(())
}

/// Property: the caller's own `Authorization` wins over the token, and is nobody else's business.
#[tokio::test]
async fn credentials_of_ones_own_win() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    let other = world.issuer.sign_in("bob").access_token;
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
    let with_user = world.upstream.url().replace("://", "://me:password@") + "/open/echo";
    let echoed = echo(api.get(with_user).send().await?).await;
    assert_eq!(echoed["headers"]["authorization"], json!(["Basic unknown"]));
    assert_eq!((world.asked(), world.reached("/echo")), (0, 3));
    Ok(())
}

/// Property: that holds where the session's token has a header of its own too: it is not added, and
/// the refusal is nobody else's business.
#[tokio::test]
async fn credentials_of_ones_own_win_over_a_custom_header() -> Tested {
    let world = World::new().await;
    let api = world.reading().token_header("x-auth-token").build()?;
    login(&api, "alice").await;
    let echoed = echo(api.get("/open/echo").bearer_auth("mine").send().await?).await;
    assert_eq!(
        echoed["headers"]["authorization"],
        json!(["Bearer unknown"])
    );
    assert_eq!(echoed["headers"].get("x-auth-token"), None);
    let path = "/header/x-auth-token/echo";
    let answer = api.get(path).bearer_auth("mine").send().await?;
    assert_eq!((answer.status().as_u16(), world.asked()), (401, 0));
    assert_eq!(world.reached(path), 1);

    // What a gateway wants beside the token is a default header.
    let gateway = world
        .reading()
        .token_header("x-auth-token")
        .default_header("authorization", "Basic Z2F0ZXdheQ==")
        .build()?;
    login(&gateway, "alice").await;
    let echoed = echo(gateway.get("/open/echo").send().await?).await;
    assert_eq!(echoed["headers"]["authorization"], json!(["Basic unknown"]));
    assert_eq!(echoed["headers"]["x-auth-token"], json!(["1"]));
    Ok(())
}

/// Property: if the refresh fails, the refused answer reaches its caller as it came.
#[tokio::test]
async fn a_refused_answer_is_handed_back_as_it_came() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    world.issuer.faults().push(Fault::HtmlForbidden.always());
    let refused =
        "/challenge?value=Bearer%20realm%3D%22a%22%2C%20error%3D%22invalid_token%22&value=Basic";
    let plain = api.get(refused).without_token().send().await?;
    let (status, headers) = (plain.status(), plain.headers().clone());
    let body = plain.bytes().await?;

    let answer = api.get(refused).send().await?;
    assert_eq!(
        answer.url().as_str(),
        format!("{}{refused}", world.upstream.url())
    );
    assert!(answer.extensions().get::<TokenError>().is_some());
    let mut same = answer.headers().clone();
    // The one header that tells the time.
    same.insert("date", headers["date"].clone());
    assert_eq!((answer.status(), same), (status, headers));
    assert_eq!(answer.bytes().await?, body);
    assert_eq!((world.asked(), world.reached("/challenge")), (1, 2));
    Ok(())
}

/// Property: what a newer token would not cure is handed back, with its reason where there is one.
#[tokio::test]
async fn refusals_that_are_not_about_the_token_are_handed_back() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    let scope = "/challenge?value=Bearer%20error%3D%22insufficient_scope%22";
    assert_eq!(api.get(scope).send().await?.status(), 401);
    let step_up = "/challenge?value=Bearer%20error%3D%22insufficient_user_authentication%22%2C%20acr_values%3D%22gold%22";
    let answer = api.get(step_up).send().await?;
    let Some(TokenError::StepUp(wanted)) = answer.extensions().get() else {
        panic!("{:?}", answer.extensions().get::<TokenError>());
    };
    assert_eq!(wanted.acr_values.as_deref(), Some("gold"));
    assert_eq!(world.asked(), 0);

    // Where there was no token it cannot have been about one: the first may do.
    let bare = world.reading().build()?;
    let answer = bare.get(format!("{scope}&when=bad")).send().await?;
    assert_eq!((answer.status().as_u16(), world.asked()), (401, 1));
    Ok(())
}
