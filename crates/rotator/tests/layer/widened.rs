//! Tests additional refusals: other statuses, headers, and codes in the body.

use bytes::Bytes;
use http::response::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use token_rotator::TokenError;
use token_rotator::middleware::challenge::StepUp;
use tower::{BoxError, Layer, Service, ServiceExt};

use crate::fixture::{LayerFixture, http, read};

/// Another status counts as a refusal. The replay shows that the newer token is accepted, so the
/// refusal concerns the token's age.
#[tokio::test]
async fn other_statuses_can_count_as_refusals() {
    let fixture = LayerFixture::new().await;
    fixture.issuer.expire_access_tokens();
    let status = StatusCode::from_u16(419).expect("a status");
    assert_eq!(fixture.send("/custom-419").await.status(), status);
    assert_eq!(fixture.refreshes(), 0);

    let widened = fixture.layer().status_codes([status]).layer(http());
    let answer = widened.oneshot(fixture.get("/custom-419")).await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
    assert_eq!(fixture.refreshes(), 1);

    fixture.issuer.expire_access_tokens();
    let by_head = fixture.layer().refused_when(|parts| parts.status == 419);
    let accepted = by_head.layer(http()).oneshot(fixture.get("/custom-419"));
    assert_eq!(accepted.await.expect("an answer").status(), StatusCode::OK);
    assert_eq!(fixture.refreshes(), 2);
}

/// A challenge has the same meaning with any status that counts as a refusal. A challenge that a
/// new token cannot satisfy starts no refresh, and a step-up is a typed error.
#[tokio::test]
async fn a_challenge_outweighs_its_status() {
    let mut mfa = StepUp::default();
    mfa.acr_values = Some("mfa".to_owned());
    let step_up = "Bearer%20error%3Dinsufficient_user_authentication,%20acr_values%3Dmfa";
    let cases = [
        ("&value=Bearer%20error%3Dinsufficient_scope", 0, None),
        ("&value=Bearer%20error%3Dinvalid_request", 0, None),
        (&format!("&value={step_up}"), 0, Some(mfa)),
        ("&value=Bearer%20error%3Dinvalid_token", 1, None),
        ("&value=Basic", 1, None),
        ("", 1, None),
    ];
    for (challenge, refreshes, step_up) in cases {
        let fixture = LayerFixture::new().await;
        let forbidden = fixture.layer().status_codes([StatusCode::FORBIDDEN]);
        let path = format!("/challenge?status=403{challenge}");
        let answer = forbidden.layer(http()).oneshot(fixture.get(&path)).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{challenge}");
        assert_eq!(fixture.refreshes(), refreshes, "{challenge}");
        assert_eq!(fixture.upstream.counters().refused, 1 + refreshes);
        let typed = match answer.extensions().get::<TokenError>() {
            Some(TokenError::StepUp(step_up)) => Some(step_up.clone()),
            None => None,
            error => panic!("{challenge}: {error:?}"),
        };
        assert_eq!(typed, step_up, "{challenge}");
    }
}

/// The code in the body of an answer.
#[derive(Clone, Debug, PartialEq)]
struct BodyCode(String);

/// Copies the code into the extensions and leaves the body unchanged.
async fn read_code<B>(answer: Response<B>) -> Result<Response<Full<Bytes>>, BoxError>
where
    B: http_body::Body<Error: Into<BoxError>>,
{
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(Into::into)?.to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body)?;
    if let Some(code) = json["code"].as_str() {
        parts.extensions.insert(BodyCode(code.to_owned()));
    }
    Ok(Response::from_parts(parts, Full::new(body)))
}

fn expired(parts: &Parts) -> bool {
    parts
        .extensions
        .get::<BodyCode>()
        .is_some_and(|code| code.0 == "TOKEN_EXPIRED")
}

fn reading(
    fixture: &LayerFixture,
) -> impl Service<
    Request<Full<Bytes>>,
    Response = Response<Full<Bytes>>,
    Error: std::fmt::Debug,
    Future: Send,
> + use<> {
    let reading = http::<Full<Bytes>>().and_then(read_code);
    fixture.layer().refused_when(expired).layer(reading)
}

/// A 200 whose body reports a refused token is replayed if an inner service reads the code.
#[tokio::test]
async fn a_code_in_the_body_can_count_as_a_refusal() {
    let fixture = LayerFixture::new().await;
    fixture.issuer.expire_access_tokens();
    let answer = reading(&fixture)
        .oneshot(fixture.get("/custom-body-code"))
        .await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.extensions().get(), Some(&BodyCode("OK".to_owned())));
    assert_eq!(read(answer).await.1["code"], "OK");
    assert_eq!(fixture.refreshes(), 1);
    assert_eq!(fixture.upstream.counters().refused, 1);
}

/// If the refresh fails, the caller gets that answer as the inner service returned it.
#[tokio::test]
async fn a_code_in_the_body_is_handed_back_untouched() {
    let fixture = LayerFixture::new().await;
    fixture.issuer.revoke_family(&fixture.grant);
    let answer = reading(&fixture)
        .oneshot(fixture.get("/custom-body-code"))
        .await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let error = answer.extensions().get::<TokenError>();
    assert!(matches!(error, Some(TokenError::Refresh(_))), "{error:?}");
    let code = BodyCode("TOKEN_EXPIRED".to_owned());
    assert_eq!(answer.extensions().get(), Some(&code));
    assert_eq!(read(answer).await.1["code"], "TOKEN_EXPIRED");
}
