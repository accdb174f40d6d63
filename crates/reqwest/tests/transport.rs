//! Tests reqwest below the other crates: as transport of `token-rotator-oauth2` and as tower
//! service.

mod common;

use bytes::Bytes;
use common::{ClientFixture, TestResult, within};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use token_rotator_oauth2::{SecretBytes, Transport as _, TransportError};
use token_rotator_reqwest::{
    HttpService, ReqwestTransport, Rotator, SourceError, TokenSet, source_error,
};
use token_rotator_testkit::Fault;
use tower_service::Service as _;

fn transport() -> ReqwestTransport {
    ReqwestTransport::configured(reqwest::ClientBuilder::no_proxy).expect("a transport")
}

fn post(url: &str, body: String) -> Request<SecretBytes> {
    Request::builder()
        .method(Method::POST)
        .uri(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.into())
        .expect("a request")
}

/// Property: the transport passes requests and answers unaltered and follows no redirect. Its error
/// states whether a part of the request may have been sent.
#[tokio::test]
async fn the_transport_passes_requests_unaltered() -> TestResult {
    let fixture = ClientFixture::new().await;
    let grant = fixture.issuer.sign_in("alice");
    let form =
        |token: &str| format!("grant_type=refresh_token&client_id=demo&refresh_token={token}");
    let answer = transport()
        .send(post(fixture.issuer.token_url(), form(&grant.refresh_token)))
        .await?;
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("cache-control"));
    let tokens: serde_json::Value = serde_json::from_slice(answer.body().expose())?;
    let next = tokens["refresh_token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();

    fixture
        .issuer
        .faults()
        .push(Fault::Redirect("/elsewhere".to_owned()));
    let answer = transport()
        .send(post(fixture.issuer.token_url(), form(&next)))
        .await?;
    assert_eq!(answer.status(), 307);
    fixture.issuer.faults().push(Fault::AnswerLost);
    let lost = transport()
        .send(post(fixture.issuer.token_url(), form(&next)))
        .await;
    assert!(
        matches!(lost, Err(TransportError::MaybeSent { .. })),
        "{lost:?}"
    );

    let url = fixture.issuer.token_url().to_owned();
    fixture.issuer.shutdown().await;
    let unsent = transport().send(post(&url, form(&next))).await;
    assert!(
        matches!(unsent, Err(TransportError::NotSent { .. })),
        "{unsent:?}"
    );
    let error = reqwest::Client::new()
        .get(format!("{url}?key=CANARY"))
        .send()
        .await
        .unwrap_err();
    let error = source_error(error);
    assert_eq!(error.kind(), token_rotator::FailureKind::NotSent);
    assert!(!format!("{error:?}").contains("CANARY"));
    Ok(())
}

/// Property: a too long answer is an error, and the answer to a redirect is the redirect itself.
#[tokio::test]
async fn the_transport_is_bounded() -> TestResult {
    let fixture = ClientFixture::new().await;
    let token = fixture.issuer.sign_in("alice").access_token;
    let get = |path: &str| {
        Request::get(format!("{}{path}", fixture.upstream.url()))
            .header("authorization", format!("Bearer {token}"))
            .body(SecretBytes::default())
    };
    let whole = transport().send(get("/download/1048576")?).await?;
    assert_eq!(whole.body().len(), 1_048_576);
    let long = transport().send(get("/download/1048577")?).await;
    assert!(
        matches!(long, Err(TransportError::AnswerTooLong)),
        "{long:?}"
    );
    let stubborn = ReqwestTransport::configured(|builder| {
        builder
            .no_proxy()
            .redirect(reqwest::redirect::Policy::limited(10))
    })?;
    let not_followed = stubborn.send(get("/redirect/same")?).await?;
    assert_eq!(not_followed.status(), 307);
    let given_client =
        ReqwestTransport::from_client(reqwest::Client::builder().no_proxy().build()?);
    let followed = given_client.send(get("/redirect/same")?).await?;
    assert_eq!(
        (followed.status().as_u16(), followed.body().len()),
        (302, 0)
    );
    Ok(())
}

/// Property: reqwest works as a service below the tower layer: a request is refused, refreshed and
/// replayed.
#[tokio::test]
async fn reqwest_works_below_the_tower_layer() -> TestResult {
    use tower_layer::Layer as _;

    let fixture = ClientFixture::new().await;
    let grant = fixture.issuer.sign_in("alice");
    let next = fixture.issuer.sign_in("bob").access_token;
    let source =
        move |_last| std::future::ready(Ok::<_, SourceError>(TokenSet::bearer(next.clone())));
    let rotator = Rotator::builder(source)
        .origin(fixture.upstream.url())
        .build()?;
    rotator.sign_in(TokenSet::bearer("stale"))?.await?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let mut service = rotator.layer()?.layer(HttpService(client));
    let request = Request::post(format!("{}/echo", fixture.upstream.url()))
        .body(Full::new(Bytes::from("body")))?;
    let answer = within(service.call(request)).await?;
    assert_eq!(answer.status(), 200);
    let echoed = answer.into_body().collect().await?.to_bytes();
    let echoed: serde_json::Value = serde_json::from_slice(&echoed)?;
    assert_eq!(
        (&echoed["subject"], &echoed["body_length"]),
        (&"bob".into(), &4.into())
    );
    assert!(fixture.issuer.accepts(&grant.access_token));
    Ok(())
}
