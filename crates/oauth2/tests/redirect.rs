//! Which redirects a sign-in with a browser believes.

mod support;

use serde_json::json;
use support::Script;
use support::browser::{CALLBACK, ISSUER, begun, metadata, state};
use token_rotator_oauth2::{IssuerMetadata, RedirectError, authorization_code};

#[test]
fn a_redirect_is_read_from_its_query_or_its_address() {
    let request = begun(&Script::default());
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
fn a_redirect_of_another_sign_in_is_foreign_whatever_else_it_says() {
    let request = begun(&Script::default());
    let own = state(&request);
    let other = state(&begun(&Script::default()));
    for redirect in [
        String::new(),
        "code=c1".to_owned(),
        "code=c1&state=".to_owned(),
        format!("code=c1&state={other}"),
        format!("code=c1&state={own}x"),
        format!("code=c1&state={}", &own[1..]),
        format!("code=c1&state={}", own.to_uppercase()),
        format!("code=c1&state={own}&state={own}"),
        format!("code=c1&state={own}&state={other}"),
        format!("error=access_denied&state={other}"),
        "error=access_denied".to_owned(),
    ] {
        let error = request.redirected(&redirect).unwrap_err();
        assert_eq!(error, RedirectError::Foreign, "{redirect}");
        assert!(error.is_foreign());
    }
    // It can still come.
    assert!(request.redirected(&format!("code=c1&state={own}")).is_ok());
}

#[test]
fn a_redirect_that_says_something_twice_is_refused() {
    let request = begun(&Script::default());
    let own = state(&request);
    for (twice, name) in [
        ("code=c1&code=c1", "code"),
        (
            "code=c1&iss=https://issuer.example&iss=https://evil.example",
            "iss",
        ),
        ("code=c1&x=1&x=2", "x"),
    ] {
        let error = request
            .redirected(&format!("{twice}&state={own}"))
            .unwrap_err();
        let name = name.to_owned();
        assert_eq!(error, RedirectError::Repeated { name });
        assert!(!error.is_foreign());
    }
}

#[tokio::test]
async fn the_issuer_is_compared_letter_by_letter_and_must_be_there_if_promised() {
    let promising = json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://issuer.example/authorize",
        "token_endpoint": "https://issuer.example/token",
        "authorization_response_iss_parameter_supported": true,
    });
    let script = Script::answering(200, &promising.to_string());
    let promising = IssuerMetadata::discover(ISSUER, &script).await.unwrap();
    for (metadata, promised) in [(promising, true), (metadata(), false)] {
        let grant = authorization_code(&metadata, "client", CALLBACK);
        let grant = grant.transport(Script::default()).build().unwrap();
        let request = grant.begin().unwrap();
        let own = state(&request);
        for other in [
            "https://issuer.example/",
            "https://evil.example",
            "",
            "HTTPS://issuer.example",
        ] {
            for rest in ["code=c1", "error=access_denied"] {
                let redirect = format!("{rest}&state={own}&iss={other}");
                let error = request.redirected(&redirect).unwrap_err();
                let issuer = ISSUER.to_owned();
                assert_eq!(error, RedirectError::OtherIssuer { issuer }, "{redirect}");
            }
        }
        let without = request.redirected(&format!("code=c1&state={own}"));
        let issuer = ISSUER.to_owned();
        if promised {
            assert_eq!(without.unwrap_err(), RedirectError::NoIssuer { issuer });
        } else {
            assert!(without.is_ok());
        }
        let with = format!("code=c1&state={own}&iss=https://issuer.example");
        assert!(request.redirected(&with).is_ok());
    }
}

#[test]
fn what_the_issuer_refuses_comes_with_advice() {
    let request = begun(&Script::default());
    let own = state(&request);
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
    for (said, code, advice) in cases {
        let error = request
            .redirected(&format!("{said}&state={own}"))
            .unwrap_err();
        assert_eq!(error.code(), code, "{said}");
        let shown = format!("{error}; {}", error.hint().unwrap());
        assert!(shown.contains(advice), "{shown}");
        assert!(!error.is_foreign(), "{said}");
    }
}
