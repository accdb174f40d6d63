//! What else counts as a refusal: other statuses, headers, codes in the body.

use bytes::Bytes;
use http::response::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use token_rotator::TokenError;
use token_rotator::middleware::challenge::StepUp;
use tower::{BoxError, Layer, Service, ServiceExt};

use crate::world::{World, http, read};

/// Another status counts as a refusal. The replay showed that the newer token is accepted, so its
/// refusal is about its age and not about a fresh token.
#[tokio::test]
async fn other_statuses_can_count_as_refusals() {
    let world = World::new().await;
    world.issuer.expire_access_tokens();
    let status = StatusCode::from_u16(419).expect("a status");
    assert_eq!(world.send("/custom-419").await.status(), status);
    assert_eq!(world.refreshes(), 0);

    let widened = world.layer().status_codes([status]).layer(http());
    let answer = widened.oneshot(world.get("/custom-419")).await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
    assert_eq!(world.refreshes(), 1);

    world.issuer.expire_access_tokens();
    let by_head = world.layer().refused_when(|parts| parts.status == 419);
    let accepted = by_head.layer(http()).oneshot(world.get("/custom-419"));
    assert_eq!(accepted.await.expect("an answer").status(), StatusCode::OK);
    assert_eq!(world.refreshes(), 2);
}

/// What a challenge says is as good at a status that counts as a refusal as at a 401: one that no
/// other token would meet starts nothing, and a step-up is typed.
#[tokio::test]
async fn a_challenge_outweighs_the_status_it_comes_with() {
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
        let world = World::new().await;
        let forbidden = world.layer().status_codes([StatusCode::FORBIDDEN]);
        let path = format!("/challenge?status=403{challenge}");
        let answer = forbidden.layer(http()).oneshot(world.get(&path)).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{challenge}");
        assert_eq!(world.refreshes(), refreshes, "{challenge}");
        assert_eq!(world.upstream.counters().refused, 1 + refreshes);
        let typed = match answer.extensions().get::<TokenError>() {
            Some(TokenError::StepUp(step_up)) => Some(step_up.clone()),
            None => None,
            other => panic!("{challenge}: {other:?}"),
        };
        assert_eq!(typed, step_up, "{challenge}");
    }
}

/// The code in the body of an answer.
#[derive(Clone, Debug, PartialEq)]
struct Code(String);

/// Leaves the code in the extensions and the body as it was.
async fn read_code<B>(answer: Response<B>) -> Result<Response<Full<Bytes>>, BoxError>
where
    B: http_body::Body<Error: Into<BoxError>>,
{
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(Into::into)?.to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body)?;
    if let Some(code) = json["code"].as_str() {
        parts.extensions.insert(Code(code.to_owned()));
    }
    Ok(Response::from_parts(parts, Full::new(body)))
}

fn expired(parts: &Parts) -> bool {
    parts
        .extensions
        .get::<Code>()
        .is_some_and(|code| code.0 == "TOKEN_EXPIRED")
}

fn reading(
    world: &World,
) -> impl Service<
    Request<Full<Bytes>>,
    Response = Response<Full<Bytes>>,
    Error: std::fmt::Debug,
    Future: Send,
> + use<> {
    let reading = http::<Full<Bytes>>().and_then(read_code);
    world.layer().refused_when(expired).layer(reading)
}

/// A 200 whose body says that the token was refused is replayed, where an inner service reads it.
#[tokio::test]
async fn a_code_in_the_body_can_count_as_a_refusal() {
    let world = World::new().await;
    world.issuer.expire_access_tokens();
    let answer = reading(&world)
        .oneshot(world.get("/custom-body-code"))
        .await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.extensions().get(), Some(&Code("OK".to_owned())));
    assert_eq!(read(answer).await.1["code"], "OK");
    assert_eq!(world.refreshes(), 1);
    assert_eq!(world.upstream.counters().refused, 1);
}

/// Where the refresh fails such an answer comes back as the inner service left it.
#[tokio::test]
async fn a_code_in_the_body_is_handed_back_untouched() {
    let world = World::new().await;
    world.issuer.revoke_family(&world.grant);
    let answer = reading(&world)
        .oneshot(world.get("/custom-body-code"))
        .await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let why = answer.extensions().get::<TokenError>();
    assert!(matches!(why, Some(TokenError::Refresh(_))), "{why:?}");
    let code = Code("TOKEN_EXPIRED".to_owned());
    assert_eq!(answer.extensions().get(), Some(&code));
    assert_eq!(read(answer).await.1["code"], "TOKEN_EXPIRED");
}
