//! Tests how a token set is read: an unreadable field does not spoil the others.

use std::time::Duration;

use http::{Response, StatusCode};
use token_rotator::{Expiry, ExposeSecret, SourceError, TokenSet};
use token_rotator_oauth2::{RequestKind, SecretBytes, Secrets};

fn answer(status: u16, body: &str) -> Response<SecretBytes> {
    let mut answer = Response::new(body.to_owned().into());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

fn tokens(status: u16, body: &str) -> Result<TokenSet, SourceError> {
    RequestKind::RefreshToken.tokens(&answer(status, body), &Secrets::new())
}

#[test]
fn a_token_set_is_read_unchanged() {
    let body = r#"{
        "access_token": "a\u0062c", "token_type": "bearer", "expires_in": 300,
        "refresh_token": "next", "id_token": "i", "scope": "read write",
        "wsToken": "w", "instance_url": "https://eu.example", "session": {"deep": [1]}, "count": 3
    }"#;
    let set = tokens(200, body).unwrap();
    let shown = |secret: Option<&token_rotator::SecretString>| {
        secret.map(|secret| secret.expose_secret().to_owned())
    };
    assert_eq!(set.access_token().expose_secret(), "abc");
    assert!(set.is_bearer());
    assert_eq!(set.expiry(), Expiry::In(Duration::from_secs(300)));
    assert_eq!(shown(set.refresh_token()).as_deref(), Some("next"));
    assert_eq!(shown(set.id_token()).as_deref(), Some("i"));
    assert_eq!(set.scope(), Some("read write"));
    assert_eq!(shown(set.extra("wsToken")).as_deref(), Some("w"));
    assert_eq!(
        shown(set.extra("instance_url")).as_deref(),
        Some("https://eu.example")
    );
    for name in ["session", "count", "access_token", "scope"] {
        assert!(set.extra(name).is_none(), "{name}");
    }
}

#[test]
fn an_unreadable_field_spoils_no_other_field() {
    let cases = [
        r#"{"access_token":"a"}"#,
        "\u{feff}{\"access_token\":\"a\"}",
        r#"  {"access_token":"a"}  "#,
        r#"{"access_token":"old","access_token":"a"}"#,
        r#"{"access_token":"a","error":null}"#,
        r#"{"access_token":"a","error":""}"#,
        // The answer has a token beside its error, and the next refresh needs the refresh token.
        r#"{"access_token":"a","error":"server_error"}"#,
        r#"{"access_token":"a","expires_in":1e9999,"x":-1e9999}"#,
        r#"{"access_token":"a","x":"\ud800","scope":{},"id_token":7}"#,
        r#"{"access_token":"a","refresh_token":""}"#,
        r#"{"access_token":"a","refresh_token":null,"token_type":null}"#,
        r#"{"access_token":"a","refresh_token":{"value":"x"},"token_type":""}"#,
    ];
    for body in cases {
        let set = tokens(200, body).unwrap();
        assert_eq!(set.access_token().expose_secret(), "a", "{body}");
        assert!(set.is_bearer(), "{body}");
        assert!(set.refresh_token().is_none(), "{body}");
    }
    // Deep nesting does not matter in a field that is not read.
    let deep = format!(
        r#"{{"access_token":"a","x":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(
        tokens(200, &deep).unwrap().access_token().expose_secret(),
        "a"
    );
}

#[test]
fn a_2xx_with_tokens_is_a_token_set() {
    for status in [200, 201, 203, 206] {
        assert!(tokens(status, r#"{"access_token":"a"}"#).is_ok());
    }
    assert!(tokens(500, r#"{"access_token":"a"}"#).is_err());
}

#[test]
fn a_foreign_token_type_is_refused_by_its_name() {
    let cases = [
        (r#""DPoP""#, "DPoP"),
        (
            r#""urn:ietf:params:oauth:token-type:saml2""#,
            "urn:ietf:params:oauth:token-type:saml2",
        ),
        ("7", "unreadable"),
        (r#""two words""#, "two words"),
        (r#""a\nb""#, "unreadable"),
    ];
    for (json, name) in cases {
        let body = format!(r#"{{"access_token":"a","token_type":{json}}}"#);
        let error = tokens(200, &body).unwrap_err();
        assert!(error.is_content_refused(), "{error}");
        assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
    }
}

#[test]
fn client_credentials_keep_no_refresh_token() {
    let answer = answer(200, r#"{"access_token":"a","refresh_token":"r"}"#);
    let set = RequestKind::ClientCredentials.tokens(&answer, &Secrets::new());
    assert!(set.unwrap().refresh_token().is_none());
}
