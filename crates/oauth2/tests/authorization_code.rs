//! Tests the requests of a sign-in with a browser and the check of its tokens.

mod support;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::browser::{CALLBACK, ISSUER, begin, builder, metadata, query, state};
use support::{Script, answer, shown};
use token_rotator::{ExposeSecret, FailureKind, TokenSet};
use token_rotator_oauth2::{
    AuthorizationCodeGrant, BuildError, CodeError, IdTokenError, IssuerMetadata, TransportError,
    authorization_code,
};

const GOOD: &str = r#"{"access_token":"a1","token_type":"Bearer","refresh_token":"r1"}"#;

fn id_token(claims: &Value) -> String {
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    format!("e30.{claims}.c2ln")
}

#[test]
fn the_request_has_every_required_parameter() {
    let request = begin(&Script::default());
    assert!(
        request
            .url()
            .starts_with("https://issuer.example/authorize?tenant=a&")
    );
    let mut query = query(&request);
    for name in ["state", "nonce", "code_challenge"] {
        assert_eq!(query.remove(name).unwrap().len(), 43, "{name}");
    }
    let expected = [
        ("client_id", "client"),
        ("code_challenge_method", "S256"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid read"),
        ("tenant", "a"),
    ];
    let query: Vec<_> = query
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(query, expected);
    assert_eq!(request.redirect_uri(), CALLBACK);
}

#[test]
fn options_become_parameters() {
    let builder = authorization_code(&metadata(), "client", CALLBACK);
    let grant = builder
        .resource("https://api.example.com")
        .audience("api")
        .param("prompt", "login")
        .transport(Script::default())
        .build()
        .unwrap();
    let query = query(&grant.begin().unwrap());
    assert_eq!(query["resource"], "https://api.example.com");
    assert_eq!(query["audience"], "api");
    assert_eq!(query["prompt"], "login");
    // Without `openid` the answer has no id_token, so no nonce is needed.
    assert!(!query.contains_key("nonce") && !query.contains_key("scope"));
}

#[test]
fn every_request_has_new_random_values() {
    let grant = builder().transport(Script::default()).build().unwrap();
    let (first, second) = (
        query(&grant.begin().unwrap()),
        query(&grant.begin().unwrap()),
    );
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(first[name], second[name], "{name}");
    }
}

#[tokio::test]
async fn the_code_is_exchanged_once_with_the_verifier_of_the_request() {
    let script = Script::answering(200, GOOD);
    let grant = builder()
        .client_secret_post("s3cret")
        .resource("https://api.example.com")
        .audience("api")
        .transport(script.clone())
        .build()
        .unwrap();
    let request = grant.begin().unwrap();
    let redirect = format!(
        "code=c1&state={}&iss=https%3A%2F%2Fissuer.example",
        state(&request)
    );
    let code = request.redirected(&redirect).unwrap();
    assert!(script.requests().is_empty());
    let tokens = code.exchange().await.unwrap();
    assert_eq!(tokens.access_token().expose_secret(), "a1");
    assert_eq!(tokens.refresh_token().unwrap().expose_secret(), "r1");
    // If the answer omits the scope, the scope is the requested scope (RFC 6749 section 5.1).
    assert_eq!(tokens.scope(), Some("openid read"));

    let mut form = script.form();
    let at = form.iter().position(|(name, _)| name == "code_verifier");
    let (_, verifier) = form.remove(at.unwrap());
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    assert_eq!(query(&request)["code_challenge"], challenge);
    let form: Vec<_> = form
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let expected = [
        ("grant_type", "authorization_code"),
        ("code", "c1"),
        ("redirect_uri", CALLBACK),
        ("resource", "https://api.example.com"),
        ("client_id", "client"),
        ("client_secret", "s3cret"),
    ];
    assert_eq!(form, expected);
}

async fn exchanged(script: Script) -> Result<TokenSet, CodeError> {
    let request = begin(&script);
    let redirect = format!("code=c1&state={}", state(&request));
    request.redirected(&redirect).unwrap().exchange().await
}

#[tokio::test]
async fn a_refused_or_lost_code_is_not_sent_again() {
    use FailureKind::{Misconfigured, NotSent, Terminal, Transient, Uncertain};
    let cases = [
        (Ok(answer(400, r#"{"error":"invalid_grant"}"#)), Terminal),
        (
            Ok(answer(
                400,
                r#"{"error":"invalid_grant","error_description":"the code was already used"}"#,
            )),
            Terminal,
        ),
        (
            Ok(answer(200, r#"{"error":"bad_verification_code"}"#)),
            Terminal,
        ),
        (
            Ok(answer(401, r#"{"error":"invalid_client"}"#)),
            Misconfigured,
        ),
        (Ok(answer(302, "")), Transient),
        (Ok(answer(500, "")), Uncertain),
        (Ok(answer(200, "<html>")), Uncertain),
        (Err(TransportError::not_sent("refused")), NotSent),
        (Err(TransportError::maybe_sent("reset")), Uncertain),
    ];
    for (redirect, kind) in cases {
        let context = format!("{redirect:?}");
        let script = Script::default().then(redirect);
        let error = exchanged(script.clone()).await.unwrap_err();
        let CodeError::Refused(refused) = &error else {
            panic!("{context}: {error:?}");
        };
        assert_eq!(refused.kind(), kind, "{context}");
        assert!(!refused.is_reuse_detected());
        let hint = error.hint().unwrap();
        assert!(hint.ends_with("sign in again"), "{error}: {hint}");
        assert_eq!(script.requests().len(), 1, "{context}");
    }
}

type Change = fn(&mut Value);

#[tokio::test]
async fn an_id_token_must_belong_to_this_sign_in() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let soon = now.unwrap().as_secs() + 60;
    let cases: [(Change, Option<IdTokenError>); 6] = [
        (|_| (), None),
        (
            |claims| claims["nonce"] = json!("n"),
            Some(IdTokenError::Nonce),
        ),
        (
            |claims| claims["iss"] = json!("https://evil.example"),
            Some(IdTokenError::Issuer),
        ),
        (
            |claims| claims["aud"] = json!("other"),
            Some(IdTokenError::Audience),
        ),
        (
            |claims| claims["exp"] = json!(1),
            Some(IdTokenError::Expired),
        ),
        (
            |claims| *claims = json!("no object"),
            Some(IdTokenError::Unreadable),
        ),
    ];
    for (change, expected) in cases {
        let script = Script::default();
        let request = begin(&script);
        let mut claims = json!({
            "iss": ISSUER, "aud": "client", "exp": soon, "nonce": query(&request)["nonce"],
        });
        change(&mut claims);
        let body = json!({"access_token": "a1", "id_token": id_token(&claims)}).to_string();
        let script = script.then(Ok(answer(200, &body)));
        let redirect = format!("code=c1&state={}", state(&request));
        let outcome = request.redirected(&redirect).unwrap().exchange().await;
        match (outcome, expected) {
            (Ok(tokens), None) => assert!(tokens.id_token().is_some()),
            (Err(CodeError::IdToken(error)), Some(expected)) => assert_eq!(error, expected),
            (outcome, expected) => panic!("{expected:?}: {outcome:?}"),
        }
        drop(script);
    }
}

#[test]
fn unusable_options_are_build_errors() {
    type Built = Result<AuthorizationCodeGrant, BuildError>;
    let build = |issuer: &IssuerMetadata, uri: &str| -> Built {
        authorization_code(issuer, "client", uri)
            .transport(Script::default())
            .build()
    };
    for uri in [
        "",
        "callback",
        "http://app.example/callback",
        "https://app.example/#x",
        "javascript:alert(1)",
        "urn:ietf:wg:oauth:2.0:oob",
        "com.example.app:/call back",
    ] {
        assert_eq!(
            build(&metadata(), uri).unwrap_err(),
            BuildError::RedirectUri,
            "{uri}"
        );
    }
    for uri in [
        "http://127.0.0.1/callback",
        "http://[::1]:8080/",
        "http://localhost:1",
        "https://app.example/callback?x=1",
        "com.example.app:/callback",
    ] {
        assert!(build(&metadata(), uri).is_ok(), "{uri}");
    }
    let empty = IssuerMetadata::new();
    assert!(matches!(
        build(&empty, CALLBACK).unwrap_err(),
        BuildError::Endpoint {
            which: "authorization endpoint"
        }
    ));
    let half = empty
        .with_authorization_endpoint("https://issuer.example/a")
        .unwrap();
    assert!(matches!(
        build(&half, CALLBACK).unwrap_err(),
        BuildError::Endpoint {
            which: "token endpoint"
        }
    ));
    for name in [
        "state",
        "nonce",
        "code_challenge",
        "redirect_uri",
        "response_mode",
        "scope",
    ] {
        let error = builder()
            .param(name, "x")
            .transport(Script::default())
            .build();
        assert!(
            matches!(error.unwrap_err(), BuildError::ReservedParam { .. }),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_issuer_without_s256_is_a_build_error() {
    for (methods, expected) in [
        (json!(["plain"]), Err(BuildError::CodeChallenge)),
        (json!(["plain", "S256"]), Ok(())),
        (json!([]), Ok(())),
        (json!(null), Ok(())),
    ] {
        let document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://issuer.example/a",
            "token_endpoint": "https://issuer.example/t",
            "code_challenge_methods_supported": methods,
        });
        let script = Script::answering(200, &document.to_string());
        let issuer = IssuerMetadata::discover(ISSUER, &script).await.unwrap();
        let grant = authorization_code(&issuer, "client", CALLBACK);
        let built = grant.transport(script).build().map(drop);
        assert_eq!(built, expected, "{methods}");
    }
}

/// A program may begin a sign-in on one thread and finish it on another.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_can_move_between_threads() {
    let request = begin(&Script::answering(200, GOOD));
    let redirect = format!("code=c1&state={}", state(&request));
    let task = tokio::spawn(async move { request.redirected(&redirect).unwrap().exchange().await });
    assert!(task.await.unwrap().is_ok());
}

#[tokio::test]
async fn errors_and_debug_of_a_sign_in_show_no_secret() {
    let script = Script::default();
    let grant = builder()
        .client_secret_basic("cs2-p4ssw0rd")
        .param("login_hint", "alice@example.com")
        .transport(script.clone());
    let shown_builder = format!("{grant:?}");
    let grant = grant.build().unwrap();
    let request = grant.begin().unwrap();
    let (own, nonce) = (state(&request), query(&request)["nonce"].clone());
    let code = "c0de-Xy7Zw9-secret";
    // `scrub` redacts whole secrets because of their length alone, so the test uses parts of them.
    let (state_part, nonce_part) = (&own[..12], &nonce[..12]);
    let mut shown_texts = vec![shown_builder, format!("{grant:?} {request:?}")];

    // An error does not repeat the text of the redirect.
    for redirect in [
        format!("error={code}&code={code}"),
        format!(
            "error=invalid_scope&error_description=bad+{code}+{state_part}+{nonce_part}&code={code}"
        ),
        format!("{code}=1&{code}=2&code={code}"),
    ] {
        let error = request
            .redirected(&format!("{redirect}&state={own}"))
            .unwrap_err();
        shown_texts.push(shown(&error));
    }
    let redirect = format!("code={code}&state={own}");
    let echo =
        format!(r#"{{"error":"invalid_grant","error_description":"{code} of {nonce_part}"}}"#);
    let script = script.then(Ok(answer(400, &echo)));
    let authorized = request.redirected(&redirect).unwrap();
    shown_texts.push(format!("{authorized:?}"));
    shown_texts.push(shown(&authorized.exchange().await.unwrap_err()));

    let sent = script.requests().pop().unwrap();
    let form: BTreeMap<String, String> = form_urlencoded::parse(sent.body().expose())
        .into_owned()
        .collect();
    let verifier = form["code_verifier"].clone();
    let leaking_error = TransportError::maybe_sent(format!("posting {verifier} failed"));
    let script = script.then(Err(leaking_error));
    // The code of this second sign-in equals the first sign-in's verifier, which the transport's
    // error contains.
    let request = grant.begin().unwrap();
    let redirect = format!("code={verifier}&state={}", state(&request));
    let code_again = request.redirected(&redirect).unwrap();
    let error = code_again.exchange().await.unwrap_err();
    assert!(shown(&error).contains("withheld"), "{error:?}");
    shown_texts.push(shown(&error));
    drop(script);

    for secret in [
        code,
        &own,
        &nonce,
        &verifier,
        "cs2-p4ssw0rd",
        "alice@example.com",
    ] {
        for text in &shown_texts {
            assert!(!text.contains(&secret[..8]), "{secret} in {text}");
        }
    }
}
