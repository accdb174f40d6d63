//! One deadline for a request: waiting, redirects and the replay included.

mod common;

use std::time::Duration;

use common::{Heard, Tested, World, echo, login, within};
use token_rotator_reqwest::{Client, Error, TokenError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SOON: Duration = Duration::from_millis(200);

/// Property: time runs out while a refused request waits for the refresh; the refresh goes on.
#[tokio::test]
async fn waiting_after_a_refusal_counts() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    world.issuer.expire_access_tokens();
    world.issuer.gate().close();
    let error = within(api.get("/echo").timeout(SOON).send())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Timeout { after } if after == SOON),
        "{error}"
    );
    assert!(error.is_timeout());
    world.issuer.gate().open();
    assert_eq!(
        echo(within(api.get("/echo").send()).await?).await["generation"],
        2
    );
    assert_eq!((world.asked(), world.reached("/echo")), (1, 2));
    Ok(())
}

/// Property: the same before a request is sent, from the client's own default.
#[tokio::test]
async fn waiting_before_sending_counts() -> Tested {
    let world = World::new().await;
    let api = world.reading().timeout(SOON).build()?;
    login(&api, "alice").await;
    world.issuer.gate().close();
    world.issuer.expire_access_tokens();
    assert!(api.get("/echo").send().await.unwrap_err().is_timeout());
    assert_eq!(world.reached("/echo"), 1);
    let error = within(api.get("/echo").send()).await.unwrap_err();
    assert!(
        matches!(error, Error::Timeout { after } if after == SOON),
        "{error}"
    );
    assert_eq!(world.reached("/echo"), 1);
    Ok(())
}

/// Property: what the wait has used is gone for the replay.
#[tokio::test]
async fn the_replay_gets_what_is_left() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    world.issuer.expire_access_tokens();
    world.issuer.gate().close();
    let limit = Duration::from_secs(2);
    let begun = tokio::time::Instant::now();
    let request = tokio::spawn(api.get("/echo").timeout(limit).send());
    within(world.issuer.gate().arrived(1)).await;
    // Time is what this is about: three quarters of it go by, then the replay hangs.
    tokio::time::sleep_until(begun + limit * 3 / 4).await;
    world.upstream.gate().close();
    world.issuer.gate().open();
    within(world.upstream.gate().arrived(1)).await;
    let error = within(request).await?.unwrap_err();
    assert!(
        matches!(error, Error::Timeout { after } if after == limit),
        "{error}"
    );
    assert!(begun.elapsed() < limit * 3 / 2, "{:?}", begun.elapsed());
    Ok(())
}

/// Property: time runs on while the answer's body is read.
#[tokio::test]
async fn reading_the_answer_counts() -> Tested {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await?;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart";
        stream.write_all(head).await?;
        // The rest never comes, and the connection stays.
        std::future::pending::<std::io::Result<()>>().await
    });
    let api = Client::builder()
        .base_url(base)
        .configure(reqwest::ClientBuilder::no_proxy)
        .bearer_field("accessToken")
        .build()?;
    api.set_access_token("token")?;
    let answer = within(api.get("/").timeout(SOON).send()).await?;
    assert_eq!(answer.status(), 200);
    let error = within(answer.bytes()).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    Ok(())
}

/// Property: a caller waits no longer than the client allows, whoever else still waits.
#[tokio::test]
async fn waiting_has_a_limit_of_its_own() -> Tested {
    let world = World::new().await;
    let heard = Heard::new();
    let api = world
        .reading()
        .wait_timeout(SOON)
        .on_event(heard.listener())
        .build()?;
    login(&api, "alice").await;
    world.issuer.expire_access_tokens();
    world.issuer.gate().close();
    let answer = within(api.get("/echo").send()).await?;
    assert_eq!(answer.status(), 401);
    assert!(matches!(
        answer.extensions().get::<TokenError>(),
        Some(TokenError::WaitTimedOut { after }) if *after == SOON
    ));
    let error = within(api.get("/echo").send()).await.unwrap_err();
    assert!(error.is_token() && error.is_timeout(), "{error}");
    world.issuer.gate().open();
    heard.wait_for("Refreshed").await;
    assert_eq!(world.asked(), 1);
    Ok(())
}

/// Property: a request without a limit and one with the longest there is both work.
#[tokio::test]
async fn no_limit_is_no_limit() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    assert_eq!(api.get("/echo").send().await?.status(), 200);
    let year = Duration::from_secs(365 * 86_400);
    assert_eq!(api.get("/echo").timeout(year).send().await?.status(), 200);
    Ok(())
}

/// Property: nobody listens there: an error of the network, without the query in it.
#[tokio::test]
async fn a_refused_connection_is_told_without_the_query() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    world.upstream.shutdown().await;
    let error = api.get("/echo?key=CANARY").send().await.unwrap_err();
    assert!(
        error.is_connect() && error.as_reqwest().is_some(),
        "{error}"
    );
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains("/echo") && !shown.contains("CANARY"),
        "{shown}"
    );
    Ok(())
}
