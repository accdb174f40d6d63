//! Tests that no error contains a secret of the request or a part of it, and that no answer of
//! the issuer causes a panic.

mod support;

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode};
use proptest::prelude::*;
use support::odd::{SENT, assert_clean, json, text};
use support::{Script, answer, shown};
use token_rotator::{ExposeSecret, SourceError, TokenSet, TokenSource};
use token_rotator_oauth2::{
    AuthError, Credentials, RequestKind, SecretBytes, Secrets, TransportError, refresh_token,
};

fn secrets() -> Secrets {
    SENT.iter()
        .fold(Secrets::new(), |secrets, secret| secrets.with(*secret))
}

async fn refresh(script: Script) -> Result<TokenSet, SourceError> {
    let last = TokenSet::bearer(SENT[3])
        .with_refresh_token(SENT[0])
        .with_id_token(SENT[4]);
    let source = refresh_token("https://issuer.example/token", "client")
        .client_secret_basic(SENT[1])
        .param("tenant", SENT[2])
        .revocation_url("https://issuer.example/revoke")
        .transport(script)
        .build()
        .unwrap();
    let refreshed = source.refresh(Some(Arc::new(last))).await;
    refreshed.map(|refreshed| refreshed.tokens)
}

#[tokio::test]
async fn errors_do_not_contain_the_secrets_that_an_issuer_repeats() {
    for secret in SENT {
        let text = secret.replace('"', "");
        let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let part = &text[..8];
        let bodies = [
            format!(r#"{{"error":"invalid_grant","error_description":"unknown token {text}"}}"#),
            format!(r#"{{"error":"invalid_grant","error_description":"unknown token {part}..."}}"#),
            format!(r#"{{"error":"invalid_grant","error_description":"body: x={encoded}&y=1"}}"#),
            format!(
                r#"{{"error":"invalid_grant","error_description":"{}{text}"}}"#,
                "x".repeat(195)
            ),
            format!(r#"{{"error":"{text}","error_description":"'{text}'"}}"#),
            format!(r#"{{"error":"refresh_token_{text}"}}"#),
            format!(r#"{{"error":"too_many_{text}"}}"#),
            format!(r#"{{"error":{{"code":"{text}","message":"{text}"}}}}"#),
            format!(r#"{{"msg":"({text})","code":"{part}"}}"#),
            format!(r#"{{"{text}":"{text}"}}"#),
            format!("<html>{text}</html>"),
            text.clone(),
        ];
        for body in bodies {
            for status in [200, 302, 400, 401, 403, 404, 429, 500] {
                let outcome = refresh(Script::answering(status, &body)).await;
                assert_clean(&shown(&outcome.unwrap_err()), &body);
            }
        }
    }
}

#[tokio::test]
async fn errors_do_not_contain_the_basic_credentials_that_an_issuer_repeats() {
    // The secret, form-urlencoded after the client id, in base64.
    let header = "Y2xpZW50OmNzMitwJTI1c3MrdyVDMyVCNnJk";
    let body = format!(r#"{{"error":"invalid_client","error_description":"bad {header}"}}"#);
    let script = Script::answering(401, &body);
    let error = refresh(script.clone()).await.unwrap_err();
    let request = script.requests().pop().unwrap();
    assert_eq!(
        request.headers()["authorization"],
        format!("Basic {header}").as_str()
    );
    assert!(error.to_string().contains("bad [redacted]"), "{error}");
    assert!(!shown(&error).contains(header));
}

#[tokio::test]
async fn errors_do_not_contain_tokens_of_the_answer() {
    let body = r#"{"error":"invalid_grant","refresh_token":"new-7f3e9b","error_description":"use new-7f3e9b"}"#;
    let error = refresh(Script::answering(400, body)).await.unwrap_err();
    assert!(error.to_string().ends_with("use [redacted]"), "{error}");
}

#[tokio::test]
async fn a_transport_error_with_a_secret_is_withheld() {
    for secret in SENT {
        let leaking_text = format!("could not post {secret}");
        for failure in [
            TransportError::not_sent(&*leaking_text),
            TransportError::maybe_sent(&*leaking_text),
        ] {
            let error = refresh(Script::default().then(Err(failure)))
                .await
                .unwrap_err();
            assert_clean(&shown(&error), "transport");
            assert!(shown(&error).contains("withheld"));
        }
    }
    let harmless_error = TransportError::maybe_sent("connection reset by peer");
    let error = refresh(Script::default().then(Err(harmless_error)))
        .await
        .unwrap_err();
    assert!(shown(&error).contains("connection reset by peer"));
}

#[tokio::test]
async fn an_authentication_error_with_a_secret_is_withheld() {
    let auth =
        |_| async { Err::<Credentials, AuthError>(format!("cannot sign for {}", SENT[0]).into()) };
    let source = refresh_token("https://issuer.example/token", "client")
        .client_auth(auth)
        .transport(Script::default())
        .build()
        .unwrap();
    let last = TokenSet::bearer("a").with_refresh_token(SENT[0]);
    let error = source.refresh(Some(Arc::new(last))).await.unwrap_err();
    assert_clean(&shown(&error), "authentication");
}

#[tokio::test]
async fn debug_of_a_token_set_shows_no_secret_of_the_request() {
    for secret in SENT {
        let body = serde_json::json!({
            "access_token": secret, "refresh_token": secret, "id_token": secret,
            "scope": secret, "token_type": secret, secret: secret, "extra": secret,
        });
        let error = refresh(Script::answering(200, &body.to_string())).await;
        assert_clean(&shown(&error.unwrap_err()), secret);
        let mut body = body;
        body["token_type"] = "Bearer".into();
        let set = refresh(Script::answering(200, &body.to_string()))
            .await
            .unwrap();
        assert_clean(&format!("{set:?} {set:#?}"), secret);
        assert_eq!(set.access_token().expose_secret(), secret);
    }
}

#[test]
fn bodies_show_their_length_only() {
    let body = SecretBytes::from(SENT[0]);
    assert_eq!(format!("{body:?}"), "SecretBytes(16 bytes)");
    assert_clean(&format!("{:?}", answer(200, SENT[0])), "response");
}

const REQUEST_KINDS: [RequestKind; 7] = [
    RequestKind::RefreshToken,
    RequestKind::ClientCredentials,
    RequestKind::AuthorizationCode,
    RequestKind::DeviceAuthorization,
    RequestKind::DeviceCode,
    RequestKind::Cookie,
    RequestKind::Revocation,
];

/// Reads the answer as the answer to every kind of request.
fn read_all(answer: &Response<SecretBytes>, context: &str) {
    for request_kind in REQUEST_KINDS {
        match request_kind.tokens(answer, &secrets()) {
            Ok(set) => {
                assert!(!set.access_token().expose_secret().is_empty());
                // A scope or a field name may share six characters with a secret by chance, so only
                // whole secrets count here.
                let shown = format!("{set:?}").to_lowercase();
                for secret in SENT {
                    assert!(
                        !shown.contains(&secret.to_lowercase()),
                        "{shown}, {context:?}"
                    );
                }
            }
            Err(error) => assert_clean(&shown(&error), context),
        }
        assert_clean(&shown(&request_kind.refusal(answer, &secrets())), context);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Property: any status, headers and bytes cause no panic and show no secret of the request.
    #[test]
    fn any_bytes(
        status in 100..1000_u16,
        kind in any::<Option<Vec<u8>>>(),
        retry in any::<Option<Vec<u8>>>(),
        mut body in any::<Vec<u8>>(),
        tail in text(),
    ) {
        body.extend_from_slice(tail.as_bytes());
        let context = String::from_utf8_lossy(&body).into_owned();
        let mut answer = Response::new(SecretBytes::from(body));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in [("content-type", kind), ("retry-after", retry)] {
            if let Some(Ok(value)) = value.map(|value| HeaderValue::from_bytes(&value)) {
                answer.headers_mut().insert(name, value);
            }
        }
        read_all(&answer, &context);
    }

    /// Property: any JSON with field names of issuers causes no panic and shows no secret of the
    /// request.
    #[test]
    fn any_json(status in prop::sample::select(&[200_u16, 400, 401, 403, 429, 500][..]), body in json()) {
        let body = body.to_string();
        read_all(&answer(status, &body), &body);
    }

    /// Property: a complete token set is read unchanged, and a truncated token set is not read.
    #[test]
    fn a_complete_answer_is_read_and_a_truncated_answer_is_not(
        access in "[!-~]{1,64}",
        refresh in "[!-~]{1,64}",
        cut in any::<prop::sample::Index>(),
    ) {
        let body = serde_json::json!({"access_token": access, "refresh_token": refresh});
        let body = body.to_string();
        let set = RequestKind::RefreshToken.tokens(&answer(200, &body), &Secrets::new()).unwrap();
        prop_assert_eq!(set.access_token().expose_secret(), &access);
        prop_assert_eq!(set.refresh_token().unwrap().expose_secret(), &refresh);
        let half = String::from_utf8_lossy(&body.as_bytes()[..cut.index(body.len())]).into_owned();
        let error = RequestKind::RefreshToken.tokens(&answer(200, &half), &Secrets::new());
        prop_assert_eq!(error.unwrap_err().kind(), token_rotator::FailureKind::Uncertain);
    }
}
