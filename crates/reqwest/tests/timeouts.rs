//! Tests the deadline of a request, which includes waits, redirects and the replay.

mod common;

use std::time::Duration;

use common::{ClientFixture, EventLog, TestResult, echo, login, within};
use token_rotator_reqwest::{Client, Error, TokenError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SOON: Duration = Duration::from_millis(200);

/// Property: the deadline passes while a refused request waits for the refresh; the refresh goes
/// on.
#[tokio::test]
async fn the_wait_after_a_refusal_counts() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.gate().close();
    let error = within(api.get("/echo").timeout(SOON).send())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Timeout { after } if after == SOON),
        "{error}"
    );
    assert!(error.is_timeout());
    fixture.issuer.gate().open();
    assert_eq!(
        echo(within(api.get("/echo").send()).await?).await["generation"],
        2
    );
    assert_eq!(
        (fixture.refresh_requests(), fixture.request_count("/echo")),
        (1, 2)
    );
    Ok(())
}

/// Property: the client's default deadline passes while a request waits before it is sent.
#[tokio::test]
async fn the_wait_before_a_send_counts() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.builder_with_parser().timeout(SOON).build()?;
    login(&api, "alice").await;
    fixture.issuer.gate().close();
    fixture.issuer.expire_access_tokens();
    assert!(api.get("/echo").send().await.unwrap_err().is_timeout());
    assert_eq!(fixture.request_count("/echo"), 1);
    let error = within(api.get("/echo").send()).await.unwrap_err();
    assert!(
        matches!(error, Error::Timeout { after } if after == SOON),
        "{error}"
    );
    assert_eq!(fixture.request_count("/echo"), 1);
    Ok(())
}

/// Property: the time of the wait counts against the deadline of the replay.
#[tokio::test]
async fn the_replay_gets_the_remaining_time() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.gate().close();
    let limit = Duration::from_secs(2);
    let begun = tokio::time::Instant::now();
    let request = tokio::spawn(api.get("/echo").timeout(limit).send());
    within(fixture.issuer.gate().arrived(1)).await;
    // Three quarters of the deadline pass on the real clock, then the replay hangs.
    tokio::time::sleep_until(begun + limit * 3 / 4).await;
    fixture.upstream.gate().close();
    fixture.issuer.gate().open();
    within(fixture.upstream.gate().arrived(1)).await;
    let error = within(request).await?.unwrap_err();
    assert!(
        matches!(error, Error::Timeout { after } if after == limit),
        "{error}"
    );
    assert!(begun.elapsed() < limit * 3 / 2, "{:?}", begun.elapsed());
    Ok(())
}

/// Property: the deadline also counts while the answer's body is read.
#[tokio::test]
async fn the_read_of_the_answer_counts() -> TestResult {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await?;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart";
        stream.write_all(head).await?;
        // The rest of the body never arrives, and the connection stays open.
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

/// Property: a caller waits at most for the client's wait limit, however long other callers wait.
#[tokio::test]
async fn a_wait_has_its_own_limit() -> TestResult {
    let fixture = ClientFixture::new().await;
    let log = EventLog::new();
    let api = fixture
        .builder_with_parser()
        .wait_timeout(SOON)
        .on_event(log.listener())
        .build()?;
    login(&api, "alice").await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.gate().close();
    let answer = within(api.get("/echo").send()).await?;
    assert_eq!(answer.status(), 401);
    assert!(matches!(
        answer.extensions().get::<TokenError>(),
        Some(TokenError::WaitTimedOut { after }) if *after == SOON
    ));
    let error = within(api.get("/echo").send()).await.unwrap_err();
    assert!(error.is_token() && error.is_timeout(), "{error}");
    fixture.issuer.gate().open();
    log.wait_for("Refreshed").await;
    assert_eq!(fixture.refresh_requests(), 1);
    Ok(())
}

/// Property: a request without a deadline and a request with the longest deadline both work.
#[tokio::test]
async fn a_request_without_deadline_works() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    assert_eq!(api.get("/echo").send().await?.status(), 200);
    let year = Duration::from_secs(365 * 86_400);
    assert_eq!(api.get("/echo").timeout(year).send().await?.status(), 200);
    Ok(())
}

/// Property: a refused connection is a network error whose text does not contain the query.
#[tokio::test]
async fn a_refused_connection_is_an_error_without_the_query() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    fixture.upstream.shutdown().await;
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
