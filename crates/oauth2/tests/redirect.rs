//! Tests which redirects a sign-in with a browser accepts.

mod support;

use serde_json::json;
use support::Script;
use support::browser::{CALLBACK, ISSUER, begin, metadata, state};
use token_rotator_oauth2::{IssuerMetadata, RedirectError, authorization_code};

#[test]
fn a_redirect_is_read_from_its_query_or_its_address() {
    let request = begin(&Script::default());
    let query = format!("code=c%3F1&state={}", state(&request));
    for redirect in [
        query.clone(),
        format!("?{query}"),
        format!("/callback?{query}"),
        format!("{CALLBACK}?{query}"),
        format!(" {CALLBACK}?{query}#_=_\n"),
        format!("{query}&unknown=x"),
    ] {
        assert!(request.redirected(&redirect).is_ok(), "{redirect}");
    }
}

#[test]
fn a_redirect_with_another_state_is_foreign_whatever_its_other_parameters() {
    let request = begin(&Script::default());
    let own_state = state(&request);
    let other = state(&begin(&Script::default()));
    for redirect in [
        String::new(),
        "code=c1".to_owned(),
        "code=c1&state=".to_owned(),
        format!("code=c1&state={other}"),
        format!("code=c1&state={own_state}x"),
        format!("code=c1&state={}", &own_state[1..]),
        format!("code=c1&state={}", own_state.to_uppercase()),
        format!("code=c1&state={own_state}&state={own_state}"),
        format!("code=c1&state={own_state}&state={other}"),
        format!("error=access_denied&state={other}"),
        "error=access_denied".to_owned(),
    ] {
        let error = request.redirected(&redirect).unwrap_err();
        assert_eq!(error, RedirectError::Foreign, "{redirect}");
        assert!(error.is_foreign());
    }
    // The redirect of this sign-in can still come.
    assert!(
        request
            .redirected(&format!("code=c1&state={own_state}"))
            .is_ok()
    );
}

#[test]
fn a_redirect_with_a_repeated_parameter_is_refused() {
    let request = begin(&Script::default());
    let own_state = state(&request);
    for (twice, name) in [
        ("code=c1&code=c1", "code"),
        (
            "code=c1&iss=https://issuer.example&iss=https://evil.example",
            "iss",
        ),
        ("code=c1&x=1&x=2", "x"),
    ] {
        let error = request
            .redirected(&format!("{twice}&state={own_state}"))
            .unwrap_err();
        let name = name.to_owned();
        assert_eq!(error, RedirectError::Repeated { name });
        assert!(!error.is_foreign());
    }
}

#[tokio::test]
async fn iss_must_match_exactly_and_is_required_if_promised() {
    let promising = json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://issuer.example/authorize",
        "token_endpoint": "https://issuer.example/token",
        "authorization_response_iss_parameter_supported": true,
    });
    let script = Script::answering(200, &promising.to_string());
    let promising = IssuerMetadata::discover(ISSUER, &script).await.unwrap();
    for (metadata, required) in [(promising, true), (metadata(), false)] {
        let grant = authorization_code(&metadata, "client", CALLBACK);
        let grant = grant.transport(Script::default()).build().unwrap();
        let request = grant.begin().unwrap();
        let own_state = state(&request);
        for other in [
            "https://issuer.example/",
            "https://evil.example",
            "",
            "HTTPS://issuer.example",
        ] {
            for rest in ["code=c1", "error=access_denied"] {
                let redirect = format!("{rest}&state={own_state}&iss={other}");
                let error = request.redirected(&redirect).unwrap_err();
                let issuer = ISSUER.to_owned();
                assert_eq!(error, RedirectError::OtherIssuer { issuer }, "{redirect}");
            }
        }
        let without = request.redirected(&format!("code=c1&state={own_state}"));
        let issuer = ISSUER.to_owned();
        if required {
            assert_eq!(without.unwrap_err(), RedirectError::NoIssuer { issuer });
        } else {
            assert!(without.is_ok());
        }
        let with = format!("code=c1&state={own_state}&iss=https://issuer.example");
        assert!(request.redirected(&with).is_ok());
    }
}

#[test]
fn a_refusal_names_the_remedy() {
    let request = begin(&Script::default());
    let own_state = state(&request);
    let cases = [
        ("error=access_denied", Some("access_denied"), "allow it"),
        (
            "error=invalid_scope&error_description=no+such+scope",
            Some("invalid_scope"),
            "no such scope; ask for another scope",
        ),
        (
            "error=login_required",
            Some("login_required"),
            "without `prompt=none`",
        ),
        (
            "error=temporarily_unavailable",
            Some("temporarily_unavailable"),
            "later",
        ),
        ("error=x_new", Some("x_new"), "is registered"),
        ("error=%1b%5b2J", Some("unreadable"), "is registered"),
        (
            "error=invalid_scope&code=c1",
            Some("invalid_scope"),
            "scope",
        ),
        ("code=", None, "neither a code nor an error"),
        ("", None, "neither a code nor an error"),
    ];
    for (parameters, code, advice) in cases {
        let error = request
            .redirected(&format!("{parameters}&state={own_state}"))
            .unwrap_err();
        assert_eq!(error.code(), code, "{parameters}");
        let shown = format!("{error}; {}", error.hint().unwrap());
        assert!(shown.contains(advice), "{shown}");
        assert!(!error.is_foreign(), "{parameters}");
    }
}
