//! Tests how a sign-in on another device polls, waits and ends.

mod support;

use std::sync::Mutex;
use std::time::Duration;

use http::{HeaderValue, Response};
use serde_json::{Value, json};
use support::{Script, answer, shown};
use token_rotator::{ExposeSecret, FailureKind, SourceError};
use token_rotator_oauth2::{
    BuildError, DeviceAuthorization, DeviceAuthorizationError, DeviceError, DeviceGrant,
    DevicePoll, IdTokenError, IssuerMetadata, SecretBytes, TransportError, device,
};
use tokio::time::Instant;

const CODE: &str = "d3vice-Xy7Zw9-secret";

fn grant(script: &Script) -> DeviceGrant {
    let issuer = IssuerMetadata::new().with_issuer("https://issuer.example");
    let issuer = issuer.with_device_authorization_endpoint("https://issuer.example/device");
    let issuer = issuer
        .unwrap()
        .with_token_endpoint("https://issuer.example/token");
    let builder = device(&issuer.unwrap(), "client").scope("openid read");
    builder.transport(script.clone()).build().unwrap()
}

fn authorization_answer() -> Value {
    json!({
        "device_code": CODE,
        "user_code": "WDJB-MJHT",
        "verification_uri": "https://issuer.example/activate",
        "verification_uri_complete": "https://issuer.example/activate?user_code=WDJB-MJHT",
        "expires_in": 600,
        "interval": 2,
    })
}

async fn begin(
    script: &Script,
    authorization_answer: &Value,
) -> Result<DeviceAuthorization, DeviceAuthorizationError> {
    let _ = script
        .clone()
        .then(Ok(answer(200, &authorization_answer.to_string())));
    let authorization = grant(script).begin().await;
    script.requests();
    authorization
}

fn error(code: &str) -> Response<SecretBytes> {
    answer(400, &json!({ "error": code }).to_string())
}

fn tokens() -> Response<SecretBytes> {
    answer(
        200,
        r#"{"access_token":"a1","token_type":"Bearer","refresh_token":"r1"}"#,
    )
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Collects the waits between polls until polling ends.
async fn waits(authorization: &mut DeviceAuthorization, count: usize) -> Vec<u64> {
    let mut waits = Vec::new();
    for _ in 0..count {
        match authorization.poll().await.unwrap() {
            DevicePoll::Pending(wait) => {
                assert_eq!(wait, authorization.wait());
                waits.push(wait.as_secs());
            }
            DevicePoll::Tokens(_) => panic!("tokens after {waits:?}"),
        }
    }
    waits
}

#[tokio::test]
async fn the_request_asks_for_a_code_and_reads_the_answer() {
    let script = Script::answering(200, &authorization_answer().to_string());
    let authorization = grant(&script).begin().await.unwrap();
    let expected = [("scope", "openid read"), ("client_id", "client")];
    let form = script.form();
    let form: Vec<_> = form
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(form, expected);
    assert_eq!(authorization.user_code(), "WDJB-MJHT");
    assert_eq!(
        authorization.verification_uri(),
        "https://issuer.example/activate"
    );
    let complete = authorization.verification_uri_complete();
    assert_eq!(
        complete,
        Some("https://issuer.example/activate?user_code=WDJB-MJHT")
    );
    assert_eq!(authorization.expires_in(), Some(seconds(600)));
    assert_eq!(authorization.wait(), seconds(2));
}

#[tokio::test(start_paused = true)]
async fn polls_at_the_interval_until_the_user_has_signed_in() {
    let script = Script::default();
    let authorization = begin(&script, &authorization_answer()).await.unwrap();
    let script = script
        .then(Ok(error("authorization_pending")))
        .then(Ok(error("slow_down")))
        .then(Ok(error("authorization_pending")))
        .then(Ok(tokens()));
    let began = Instant::now();
    let tokens = authorization.tokens(tokio::time::sleep).await.unwrap();
    assert_eq!(tokens.refresh_token().unwrap().expose_secret(), "r1");
    assert_eq!(tokens.scope(), Some("openid read"));
    // The waits are 2 s and 2 s, then 5 s longer: 7 s and 7 s.
    assert_eq!(began.elapsed().as_secs(), 18);
    let requests = script.requests();
    assert_eq!(requests.len(), 4);
    for request in requests {
        assert_eq!(request.uri(), "https://issuer.example/token");
        let form = String::from_utf8(request.body().expose().to_vec()).unwrap();
        let expected = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code={CODE}&client_id=client"
        );
        assert_eq!(form, expected);
    }
}

#[tokio::test]
async fn the_default_interval_is_5_s_and_the_minimum_is_1_s() {
    for (interval, expected) in [
        (json!(null), 5),
        (json!("soon"), 5),
        (json!(0), 1),
        (json!("9"), 9),
        (json!(-3), 5),
    ] {
        let mut authorization_answer = authorization_answer();
        authorization_answer["interval"] = interval;
        let authorization = begin(&Script::default(), &authorization_answer)
            .await
            .unwrap();
        assert_eq!(
            authorization.wait(),
            seconds(expected),
            "{authorization_answer}"
        );
    }
}

#[tokio::test]
async fn waits_double_while_the_issuer_does_not_answer() {
    let script = Script::default();
    let mut authorization = begin(&script, &authorization_answer()).await.unwrap();
    let mut busy = answer(503, "");
    busy.headers_mut()
        .insert("retry-after", HeaderValue::from_static("77"));
    let _ = script
        .then(Err(TransportError::not_sent("refused")))
        .then(Err(TransportError::maybe_sent("timed out")))
        .then(Ok(answer(500, "")))
        .then(Ok(busy))
        .then(Ok(error("authorization_pending")))
        .then(Err(TransportError::maybe_sent("timed out")));
    assert_eq!(waits(&mut authorization, 6).await, [4, 8, 16, 77, 2, 4]);
}

#[tokio::test]
async fn slow_down_persists_after_an_outage_and_the_back_off_ends_at_5_minutes() {
    let script = Script::default();
    let mut lasting = authorization_answer();
    lasting["expires_in"] = json!(86_400);
    let mut authorization = begin(&script, &lasting).await.unwrap();
    let mut script = script
        .then(Ok(error("slow_down")))
        .then(Ok(error("slow_down")));
    for _ in 0..6 {
        script = script.then(Err(TransportError::not_sent("refused")));
    }
    let _ = script.then(Ok(error("authorization_pending")));
    let expected = [7, 12, 24, 48, 96, 192, 300, 300, 12];
    assert_eq!(waits(&mut authorization, 9).await, expected);
}

#[tokio::test]
async fn errors_with_status_200_are_read_as_github_sends_them() {
    let script = Script::default();
    let mut authorization = begin(&script, &authorization_answer()).await.unwrap();
    let _ = script
        .then(Ok(answer(200, r#"{"error":"authorization_pending"}"#)))
        .then(Ok(answer(200, r#"{"error":"slow_down","interval":7}"#)));
    assert_eq!(waits(&mut authorization, 2).await, [2, 7]);
}

#[tokio::test]
async fn every_end_of_a_sign_in_has_its_error() {
    let cases = [
        (error("access_denied"), "denied"),
        (error("expired_token"), "expired"),
        (answer(200, r#"{"error":"access_denied"}"#), "denied"),
        (error("invalid_grant"), "sign in again"),
        (error("invalid_client"), "check the client's id"),
    ];
    for (response, text) in cases {
        let script = Script::default();
        let mut authorization = begin(&script, &authorization_answer()).await.unwrap();
        let _ = script.then(Ok(response));
        let error = authorization.poll().await.unwrap_err();
        let said = format!("{error}; {}", error.hint().unwrap());
        assert!(said.contains(text), "{said}");
        let kind = match &error {
            DeviceError::AccessDenied | DeviceError::Expired => None,
            DeviceError::Refused(refused) => Some(refused.kind()),
            unexpected => panic!("{unexpected:?}"),
        };
        let expected = match text {
            "sign in again" => Some(FailureKind::Terminal),
            "check the client's id" => Some(FailureKind::Misconfigured),
            _ => None,
        };
        assert_eq!(kind, expected, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_is_sent_after_the_code_has_expired() {
    let script = Script::default();
    let mut authorization_answer = authorization_answer();
    authorization_answer["expires_in"] = json!(7);
    let authorization = begin(&script, &authorization_answer).await.unwrap();
    let mut asking = script.clone();
    for _ in 0..3 {
        asking = asking.then(Ok(error("authorization_pending")));
    }
    // Polls at 2, 4 and 6 s, not at 8 s.
    let error = authorization.tokens(tokio::time::sleep).await.unwrap_err();
    assert!(matches!(error, DeviceError::Expired), "{error:?}");
    assert_eq!(script.requests().len(), 3);
}

#[tokio::test]
async fn trouble_reports_why_the_issuer_does_not_answer() {
    let script = Script::default();
    let mut authorization_answer = authorization_answer();
    authorization_answer["expires_in"] = json!(20);
    let mut authorization = begin(&script, &authorization_answer).await.unwrap();
    let _ = script
        .then(Err(TransportError::not_sent("no route to host")))
        .then(Ok(error("authorization_pending")))
        .then(Ok(answer(302, "")))
        .then(Err(TransportError::not_sent("no route to host")));
    let kinds = [
        Some(FailureKind::NotSent),
        None,
        Some(FailureKind::Transient),
        Some(FailureKind::NotSent),
    ];
    for kind in kinds {
        assert!(authorization.poll().await.is_ok());
        assert_eq!(authorization.trouble().map(SourceError::kind), kind);
    }
    let error = authorization.poll().await.unwrap_err();
    assert!(
        matches!(&error, DeviceError::Unanswered(last) if last.kind() == FailureKind::NotSent),
        "{error:?}"
    );
    assert!(shown(&error).contains("no route to host"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_sign_in_ends_its_polls() {
    let script = Script::default();
    let authorization = begin(&script, &authorization_answer()).await.unwrap();
    let script = script.then(Ok(error("authorization_pending")));
    let slept = Mutex::new(Vec::new());
    let waiting = authorization.tokens(|wait| {
        slept.lock().unwrap().push(wait);
        tokio::time::sleep(wait)
    });
    let outcome = tokio::time::timeout(seconds(3), waiting).await;
    assert!(outcome.is_err(), "still waiting");
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(script.requests().len(), 1);
    assert_eq!(*slept.lock().unwrap(), [seconds(2), seconds(2)]);
}

#[tokio::test]
async fn dropping_a_poll_changes_nothing() {
    let issuer = IssuerMetadata::new()
        .with_device_authorization_endpoint("https://issuer.example/device")
        .unwrap()
        .with_token_endpoint("https://issuer.example/token")
        .unwrap();
    let transport = |request: http::Request<SecretBytes>| async move {
        if request.uri().path() == "/token" {
            std::future::pending::<()>().await;
        }
        Ok::<_, TransportError>(answer(200, &authorization_answer().to_string()))
    };
    let grant = device(&issuer, "client")
        .transport(transport)
        .build()
        .unwrap();
    let mut authorization = grant.begin().await.unwrap();
    let before = format!("{authorization:?}");
    {
        let mut question = std::pin::pin!(authorization.poll());
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        assert!(question.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(format!("{authorization:?}"), before);
}

#[tokio::test]
async fn an_answer_that_is_unsafe_to_show_is_refused() {
    let cases = [
        ("device_code", json!(null)),
        ("user_code", json!(null)),
        ("user_code", json!("A\u{1b}[2J")),
        ("user_code", json!("A\u{202e}B")),
        ("user_code", json!("A".repeat(65))),
        ("verification_uri", json!(null)),
        ("verification_uri", json!("http://issuer.example/activate")),
        ("verification_uri", json!("file:///etc/passwd")),
        ("verification_uri", json!("javascript:alert(1)")),
        ("verification_uri", json!("https://a.example/\u{7}")),
    ];
    for (name, value) in cases {
        let mut authorization_answer = authorization_answer();
        authorization_answer[name] = value;
        let error = begin(&Script::default(), &authorization_answer)
            .await
            .unwrap_err();
        assert!(
            matches!(error, DeviceAuthorizationError::Unreadable { .. }),
            "{authorization_answer}: {error:?}"
        );
        assert!(!shown(&error).contains(CODE));
    }
    let mut odd = authorization_answer();
    odd["verification_uri_complete"] = json!("javascript:alert(1)");
    let authorization = begin(&Script::default(), &odd).await.unwrap();
    assert_eq!(authorization.verification_uri_complete(), None);
    let mut google = authorization_answer();
    google["verification_uri"] = json!(null);
    google["verification_url"] = json!("https://www.google.com/device");
    let authorization = begin(&Script::default(), &google).await.unwrap();
    assert_eq!(
        authorization.verification_uri(),
        "https://www.google.com/device"
    );
}

#[tokio::test]
async fn a_refused_device_code_request_returns_the_reason() {
    for (response, kind) in [
        (error("invalid_client"), FailureKind::Misconfigured),
        (
            answer(200, r#"{"error":"unauthorized_client"}"#),
            FailureKind::Misconfigured,
        ),
        (answer(404, ""), FailureKind::Misconfigured),
        (answer(503, ""), FailureKind::Transient),
    ] {
        let script = Script::default().then(Ok(response));
        let error = grant(&script).begin().await.unwrap_err();
        let DeviceAuthorizationError::Refused(refused) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(refused.kind(), kind, "{error}");
    }
    let script = Script::answering(200, "<html>");
    let error = grant(&script).begin().await.unwrap_err();
    assert!(
        matches!(error, DeviceAuthorizationError::Unreadable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_id_token_of_another_client_is_refused() {
    let script = Script::default();
    let mut authorization = begin(&script, &authorization_answer()).await.unwrap();
    // The token's payload: {"aud":"other","iss":"https://issuer.example"}
    let id_token = "e30.eyJhdWQiOiJvdGhlciIsImlzcyI6Imh0dHBzOi8vaXNzdWVyLmV4YW1wbGUifQ.c2ln";
    let body = json!({"access_token": "a1", "id_token": id_token}).to_string();
    let _ = script.then(Ok(answer(200, &body)));
    let error = authorization.poll().await.unwrap_err();
    assert!(
        matches!(error, DeviceError::IdToken(IdTokenError::Audience)),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_device_code_is_never_shown() {
    let script = Script::default();
    let mut authorization = begin(&script, &authorization_answer()).await.unwrap();
    let mut shown_texts = vec![format!("{authorization:?} {:?}", grant(&script))];
    let echo = json!({"error": "invalid_grant", "error_description": format!("bad {CODE}")});
    let _ = script.then(Ok(answer(400, &echo.to_string())));
    shown_texts.push(shown(&authorization.poll().await.unwrap_err()));
    for text in shown_texts {
        assert!(!text.contains(&CODE[..8]), "{text}");
    }
}

#[test]
fn an_issuer_without_device_endpoint_is_a_build_error() {
    let issuer = IssuerMetadata::new();
    let built = device(&issuer, "client")
        .transport(Script::default())
        .build();
    let error = built.unwrap_err();
    assert!(
        matches!(
            error,
            BuildError::Endpoint {
                which: "device authorization endpoint"
            }
        ),
        "{error}"
    );
}
