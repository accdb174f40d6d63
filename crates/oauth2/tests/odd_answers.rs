//! Tests that no answer to a sign-in shows a secret of the request or causes a panic.

mod support;

use futures_util::FutureExt as _;
use http::{Response, StatusCode};
use proptest::prelude::*;
use support::odd::{SENT, assert_clean_of, json, text};
use support::{Script, answer, shown};
use token_rotator_oauth2::{DevicePoll, IssuerMetadata, SecretBytes, authorization_code, device};

const ISSUER: &str = "https://issuer.example";

fn metadata() -> IssuerMetadata {
    let issuer = IssuerMetadata::new().with_issuer(ISSUER);
    let issuer = issuer.with_authorization_endpoint("https://issuer.example/authorize");
    let issuer = issuer
        .unwrap()
        .with_token_endpoint("https://issuer.example/token");
    let issuer = issuer
        .unwrap()
        .with_device_authorization_endpoint("https://issuer.example/d");
    issuer.unwrap()
}

/// Exchanges a code for this answer.
fn exchange(answered: &Response<SecretBytes>, context: &str) {
    let grant = authorization_code(&metadata(), "client", "http://127.0.0.1/callback")
        .scope("openid")
        .client_secret_post(SENT[1])
        .transport(Script::default().then(Ok(answered.clone())))
        .build()
        .unwrap();
    let request = grant.begin().unwrap();
    let state = request.url().split("state=").nth(1).unwrap();
    let state = state.split('&').next().unwrap();
    let code: String = form_urlencoded::byte_serialize(SENT[0].as_bytes()).collect();
    let code = request
        .redirected(&format!("code={code}&state={state}"))
        .unwrap();
    let outcome = code.exchange().now_or_never().unwrap();
    if let Err(error) = outcome {
        assert_clean_of(&SENT[..2], &shown(&error), context);
    }
}

/// Starts a device sign-in with this answer, then polls once and gets the same answer.
fn ask(answered: &Response<SecretBytes>, context: &str) {
    let given = answer(
        200,
        &serde_json::json!({
            "device_code": SENT[0], "user_code": "A-B", "verification_uri": ISSUER,
        })
        .to_string(),
    );
    for (first, begins) in [(given, true), (answered.clone(), false)] {
        let script = Script::default().then(Ok(first)).then(Ok(answered.clone()));
        let grant = device(&metadata(), "client")
            .client_secret_post(SENT[1])
            .param("tenant", SENT[2])
            .transport(script)
            .build()
            .unwrap();
        let mut authorization = match grant.begin().now_or_never().unwrap() {
            Ok(authorization) => authorization,
            Err(error) => {
                assert!(!begins, "{error:?}");
                assert_clean_of(&SENT[1..3], &shown(&error), context);
                continue;
            }
        };
        assert!(!authorization.user_code().contains(char::is_control));
        match authorization.poll().now_or_never().unwrap() {
            Ok(DevicePoll::Pending(wait)) => assert!(wait.as_secs() >= 1),
            Ok(DevicePoll::Tokens(_)) => {}
            Err(error) if begins => assert_clean_of(&SENT[..2], &shown(&error), context),
            Err(error) => assert_clean_of(&SENT[1..2], &shown(&error), context),
        }
    }
}

/// Discovers an issuer that sends this answer to both requests.
fn discover(answered: &Response<SecretBytes>) {
    let script = Script::default()
        .then(Ok(answered.clone()))
        .then(Ok(answered.clone()));
    let found = IssuerMetadata::discover(ISSUER, &script);
    match found.now_or_never().unwrap() {
        Ok(metadata) => assert_eq!(metadata.issuer(), Some(ISSUER)),
        Err(error) => assert!(!shown(&error).contains('\u{1b}'), "{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // Integration tests have no directory for saved failures.
        failure_persistence: None,
        ..ProptestConfig::with_cases(1_000)
    })]

    #[test]
    fn any_json(status in prop::sample::select(&[200_u16, 302, 400, 401, 429, 500][..]), body in json()) {
        let body = body.to_string();
        let answered = answer(status, &body);
        exchange(&answered, &body);
        ask(&answered, &body);
        discover(&answered);
    }

    #[test]
    fn any_bytes(status in 100..1000_u16, mut body in any::<Vec<u8>>(), tail in text()) {
        body.extend_from_slice(tail.as_bytes());
        let context = String::from_utf8_lossy(&body).into_owned();
        let mut answered = Response::new(SecretBytes::from(body));
        *answered.status_mut() = StatusCode::from_u16(status).unwrap();
        exchange(&answered, &context);
        ask(&answered, &context);
        discover(&answered);
    }

    /// Property: a redirect without the state is foreign, whatever its other parameters.
    #[test]
    fn any_redirect(query in "\\PC{0,80}", tail in text()) {
        let grant = authorization_code(&metadata(), "client", "http://127.0.0.1/callback");
        let grant = grant.transport(Script::default()).build().unwrap();
        let request = grant.begin().unwrap();
        let state = request.url().split("state=").nth(1).unwrap();
        let state = state.split('&').next().unwrap();
        let error = request.redirected(&format!("{query}{tail}")).unwrap_err();
        prop_assert!(error.is_foreign());
        // With the state, the redirect is read completely, and every error may be shown.
        if let Err(error) = request.redirected(&format!("state={state}&{query}{tail}")) {
            let shown = error.to_string();
            prop_assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", shown);
            prop_assert!(!shown.contains(state));
        }
    }
}
