//! Tests what real issuers, and gateways before them, answer. Each test has the name of its case.

use std::time::{Duration, SystemTime};

use http::{Response, StatusCode};
use token_rotator::FailureKind::{Misconfigured, Terminal, Transient, Uncertain};
use token_rotator::{Expiry, ExposeSecret, Profile, RefusingEndpoint, SourceError, TokenSet};
use token_rotator_oauth2::{self as oauth2, AnswerRules, RequestKind, SecretBytes, Secrets};

const HTML: &str = "<!doctype html><title>401 Authorization Required</title>";

fn answer(status: u16, body: impl Into<Vec<u8>>) -> Response<SecretBytes> {
    let mut answer = Response::new(body.into().into());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

fn refresh(rules: &AnswerRules, status: u16, body: &str) -> Result<TokenSet, SourceError> {
    RequestKind::RefreshToken.tokens_by(rules, &answer(status, body), &Secrets::new())
}

fn refused(status: u16, body: &str) -> SourceError {
    refresh(&AnswerRules::new(), status, body).unwrap_err()
}

fn received(body: impl Into<Vec<u8>>) -> TokenSet {
    let answer = answer(200, body);
    let tokens = RequestKind::RefreshToken.tokens(&answer, &Secrets::new());
    tokens.unwrap()
}

fn refresh_token(tokens: &TokenSet) -> Option<&str> {
    tokens.refresh_token().map(ExposeSecret::expose_secret)
}

/// Returns whether the error carries a refresh token for the rotator, and does not show it.
fn has_refresh_token(error: &SourceError) -> bool {
    let shown = format!("{error:?}");
    assert!(!shown.contains("r2"), "{shown}");
    shown.contains("refresh_token: Some(")
}

/// Property: an answer that is no OAuth error ends no session, and its message says that signing in
/// may help.
#[test]
fn something_before_the_issuer_answers() {
    for status in [400, 401, 403] {
        for body in [HTML, "", "{}", "Unauthorized", r#"{"message":"Forbidden"}"#] {
            let error = refused(status, body);
            assert_eq!(error.kind(), Transient, "{status} {body}");
            assert!(error.refused_without_reason().is_some(), "{status} {body}");
            let hint = error.hint().unwrap_or_default();
            assert!(
                hint.contains("signing in again may help"),
                "{status} {body}: {hint}"
            );
        }
    }
    for status in [
        402, 406, 407, 408, 410, 411, 413, 415, 421, 422, 425, 429, 431, 451,
    ] {
        let error = refused(status, HTML);
        assert_eq!(error.kind(), Transient, "{status}");
        assert!(error.refused_without_reason().is_none(), "{status}");
    }
    for status in [
        500, 501, 502, 504, 507, 520, 521, 522, 523, 524, 525, 530, 599,
    ] {
        assert_eq!(refused(status, HTML).kind(), Uncertain, "{status}");
    }
    for body in [HTML, "", "OK", "{}", "null", r#"{"status":"ok"}"#] {
        assert_eq!(refused(200, body).kind(), Uncertain, "{body}");
    }
}

/// Property: Twitch, Reddit, Firebase, Laravel, IIS and Esri refuse without a code of RFC 6749.
#[test]
fn codes_without_a_name() {
    for (status, body) in [
        (
            400,
            r#"{"error":"Bad Request","status":400,"message":"Invalid refresh token"}"#,
        ),
        (400, r#"{"message":"Bad Request","error":400}"#),
        (
            400,
            r#"{"error":{"code":400,"message":"TOKEN_EXPIRED","status":"INVALID_ARGUMENT"}}"#,
        ),
        (419, HTML),
        (419, r#"{"message":"CSRF token mismatch."}"#),
        (440, ""),
        (498, r#"{"error":{"code":498,"message":"Invalid token."}}"#),
        (401, HTML),
        (401, r#"{"error":"token_inactive"}"#),
        (400, r#"{"error":"E4001"}"#),
        (403, r#"{"error":"E4001"}"#),
    ] {
        let error = refused(status, body);
        assert_eq!(error.kind(), Transient, "{status} {body}");
        assert!(error.refused_without_reason().is_some(), "{status} {body}");
    }
    assert_eq!(refused(401, r#"{"error":"E4001"}"#).code(), Some("E4001"));
    assert!(
        refused(401, r#"{"error":"E4001"}"#)
            .to_string()
            .contains("E4001")
    );
    // No user can sign in for these requests.
    for request in [RequestKind::ClientCredentials, RequestKind::Revocation] {
        let error = request.refusal(&answer(401, ""), &Secrets::new());
        assert!(error.refused_without_reason().is_none(), "{request:?}");
    }
    // A cookie endpoint: a web page is a gateway's, every other body is the endpoint's own.
    let cookie = |status, body| RequestKind::Cookie.refusal(&answer(status, body), &Secrets::new());
    for status in [400, 401, 403] {
        assert_eq!(cookie(status, "no").kind(), Terminal, "{status}");
        assert_eq!(cookie(status, HTML).kind(), Transient, "{status}");
        assert!(
            cookie(status, HTML).refused_without_reason() == Some(RefusingEndpoint::Cookie),
            "{status}"
        );
    }
}

/// Property: a code of one vendor ends the session only by that vendor's profile.
#[test]
fn error_codes_of_one_vendor() {
    let cases = [
        (
            Profile::hydra(Duration::ZERO),
            401,
            r#"{"error":"token_inactive"}"#,
        ),
        (
            Profile::supabase(),
            403,
            r#"{"error_code":"session_not_found","code":403}"#,
        ),
        (
            Profile::supabase(),
            403,
            r#"{"error":"Forbidden","code":"session_expired"}"#,
        ),
        (
            Profile::slack(),
            200,
            r#"{"ok":false,"error":"token_revoked"}"#,
        ),
        (
            Profile::firebase(),
            400,
            r#"{"error":{"code":400,"message":"TOKEN_EXPIRED","status":"INVALID_ARGUMENT"}}"#,
        ),
        (Profile::glewlwyd(), 400, ""),
    ];
    for (profile, status, body) in cases {
        let rules = AnswerRules::new().profile(profile);
        let error = refresh(&rules, status, body).unwrap_err();
        assert_eq!(error.kind(), Terminal, "{body}");
        assert_eq!(error.hint(), Some("sign in again"), "{body}");
        assert_ne!(refused(status, body).kind(), Terminal, "{body}");
    }
    let glewlwyd = AnswerRules::new().profile(Profile::glewlwyd());
    for (status, body) in [(400, HTML), (401, ""), (400, " ")] {
        let error = refresh(&glewlwyd, status, body).unwrap_err();
        assert_eq!(error.kind(), Transient, "{status} {body}");
    }
}

/// Property: a client that was registered dynamically loses its session with its registration.
#[test]
fn an_unknown_dynamic_client_ends_the_session() {
    let body = r#"{"error":"invalid_client"}"#;
    assert_eq!(refused(401, body).kind(), Misconfigured);
    let rules = AnswerRules::new().dynamic_client();
    assert_eq!(refresh(&rules, 401, body).unwrap_err().kind(), Terminal);
    let scope = refresh(&rules, 400, r#"{"error":"invalid_scope"}"#);
    assert_eq!(scope.unwrap_err().kind(), Misconfigured);
}

/// Property: `token_type` by another name is Bearer, a type with a proof of possession is not, and
/// the refresh token of either answer is received.
#[test]
fn token_type_by_another_name() {
    let body = |token_type: &str| {
        format!(r#"{{"access_token":"a","refresh_token":"r2","token_type":{token_type}}}"#)
    };
    for token_type in [
        r#""User Access Token""#,
        r#""Application Access Token""#,
        r#""bot""#,
        r#""user""#,
        r#""BearerToken""#,
        r#""BEARER""#,
        r#"" Bearer ""#,
        r#""JWT""#,
        r#""access_token""#,
        r#""urn:ietf:params:oauth:token-type:access_token""#,
        r#""""#,
        "null",
    ] {
        let tokens = received(body(token_type));
        assert!(tokens.is_bearer(), "{token_type}");
        assert_eq!(refresh_token(&tokens), Some("r2"), "{token_type}");
    }
    assert!(received(r#"{"access_token":"a"}"#).is_bearer());
    for token_type in [
        r#""MAC""#,
        r#""DPoP""#,
        r#""PoP""#,
        r#""N_A""#,
        r#""Basic""#,
        "7",
        r#"["Bearer"]"#,
        r#""Bearer\r\nX: y""#,
    ] {
        let error = refused(200, &body(token_type));
        assert!(error.is_content_refused(), "{token_type}: {error}");
        assert!(has_refresh_token(&error), "{token_type}");
        let hint = error.hint().unwrap_or_default();
        assert!(
            hint.contains(r#"token_type = "bearer""#),
            "{token_type}: {hint}"
        );
        let rules = AnswerRules::new().assume_bearer();
        let tokens = refresh(&rules, 200, &body(token_type)).unwrap();
        assert!(tokens.is_bearer(), "{token_type}");
    }
}

/// Property: an answer in the form encoding is read, tokens and errors.
#[test]
fn form_encoded_answers() {
    let tokens = received(
        "access_token=ghu_a%2Bb&expires_in=28800&refresh_token=ghr_c\
         &refresh_token_expires_in=15897600&scope=&token_type=bearer",
    );
    assert_eq!(tokens.access_token().expose_secret(), "ghu_a+b");
    assert_eq!(refresh_token(&tokens), Some("ghr_c"));
    assert_eq!(tokens.expiry(), Expiry::In(Duration::from_secs(28_800)));
    assert_eq!(tokens.scope(), None);
    let body = "error=bad_refresh_token&error_description=The+refresh+token+is+incorrect";
    let error = refused(200, body);
    assert_eq!(error.kind(), Terminal);
    assert_eq!(error.code(), Some("bad_refresh_token"));
    assert!(
        error
            .to_string()
            .ends_with(": The refresh token is incorrect"),
        "{error}"
    );
}

/// Property: numbers in strings, with a fraction or with an exponent are read.
#[test]
fn numbers_as_strings() {
    for number in [
        "3600",
        "3600.0",
        "\"3600\"",
        "\"3600.0\"",
        "36e2",
        "\" 3600 \"",
    ] {
        let tokens = received(format!(
            r#"{{"access_token":"a","expires_in":{number},"refresh_token":"r","refresh_expires_in":{number}}}"#
        ));
        let hour = Duration::from_secs(3600);
        assert_eq!(tokens.expiry(), Expiry::In(hour), "{number}");
        let shown = format!("{tokens:?}");
        assert!(
            shown.contains("refresh_expiry: In(3600s)"),
            "{number}: {shown}"
        );
    }
}

/// Property: settings name the fields of an answer with other shapes.
#[test]
fn nested_objects() {
    let rules = AnswerRules::new()
        .field("access_token", "authed_user.access_token")
        .field("refresh_token", "authed_user.refresh_token")
        .field("expires_in", "authed_user.expires_in")
        .field("token_type", "authed_user.token_type");
    let body = r#"{"ok":true,"access_token":"xoxb","token_type":"bot","authed_user":{"access_token":"xoxp",
        "refresh_token":"xoxe","expires_in":43200,"token_type":"user"}}"#;
    let tokens = refresh(&rules, 200, body).unwrap();
    assert_eq!(tokens.access_token().expose_secret(), "xoxp");
    assert_eq!(refresh_token(&tokens), Some("xoxe"));
    assert_eq!(tokens.expiry(), Expiry::In(Duration::from_secs(43_200)));
    assert!(tokens.is_bearer());
    let error = refresh(&rules, 200, r#"{"access_token":"a"}"#).unwrap_err();
    assert_eq!(error.kind(), Uncertain);
    // A field that cannot be read is refused before any request.
    for (name, path) in [
        ("acces_token", "a.b"),
        ("access_token", ""),
        ("scope", "a..b"),
    ] {
        async fn never(
            _: http::Request<SecretBytes>,
        ) -> Result<Response<SecretBytes>, oauth2::TransportError> {
            panic!("a request was sent")
        }
        let source = oauth2::refresh_token("https://issuer.example/token", "client")
            .answer_rules(AnswerRules::new().field(name, path))
            .transport(never);
        let error = source.build().unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("authed_user.access_token"))
        );
    }
}

/// Property: the refresh token of a 2xx is received although the access token beside it is odd.
#[test]
fn a_2xx_with_an_odd_access_token() {
    for access_token in [
        "",
        r#""access_token":null,"#,
        r#""access_token":"","#,
        r#""access_token":7,"#,
        r#""access_token":{"value":"a"},"#,
        r#""access_token":"\ud800","#,
    ] {
        let error = refused(200, &format!(r#"{{{access_token}"refresh_token":"r2"}}"#));
        assert!(error.is_content_refused(), "{access_token}: {error}");
        assert_eq!(error.kind(), Misconfigured, "{access_token}");
        assert!(has_refresh_token(&error), "{access_token}");
    }
    // A refresh token that is empty or not visible ASCII is not taken.
    for odd in [
        r#""""#,
        "null",
        "7",
        r#""a b""#,
        r#""a\nb""#,
        r#""\u00e9""#,
        r#""a\u0000""#,
    ] {
        let tokens = received(format!(r#"{{"access_token":"a","refresh_token":{odd}}}"#));
        assert_eq!(refresh_token(&tokens), None, "{odd}");
        let error = refused(200, &format!(r#"{{"refresh_token":{odd}}}"#));
        assert_eq!(error.kind(), Uncertain, "{odd}");
    }
    // An error beside it is believed first, and no other status brings a refresh token.
    let error = refused(200, r#"{"error":"invalid_grant","refresh_token":"r2"}"#);
    assert_eq!(error.kind(), Terminal);
    for status in [302, 400, 401, 500, 502, 503] {
        let body = r#"{"access_token":"a","refresh_token":"r2"}"#;
        assert!(
            refresh(&AnswerRules::new(), status, body).is_err(),
            "{status}"
        );
    }
    // A sign-in as the client has no refresh token to save.
    let answer = answer(200, r#"{"refresh_token":"r2"}"#);
    let error = RequestKind::ClientCredentials.tokens(&answer, &Secrets::new());
    assert_eq!(error.unwrap_err().kind(), Transient);
}

/// Property: a byte order mark, UTF-16, a foreign charset, duplicate keys and a list as scope spoil
/// no token.
#[test]
fn encodings_and_shapes() {
    let text = r#"{"access_token":"a","refresh_token":"r2"}"#;
    let utf16: Vec<u8> = [0xfeff]
        .into_iter()
        .chain(text.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let latin1 = b"{\"access_token\":\"a\",\"name\":\"Ren\xe9\",\"refresh_token\":\"r2\"}";
    let twice =
        r#"{"access_token":"old","refresh_token":"r1","access_token":"a","refresh_token":"r2"}"#;
    for body in [
        format!("\u{feff}{text}").into_bytes(),
        utf16,
        latin1.to_vec(),
        twice.as_bytes().to_vec(),
        format!("\r\n {text}\n\n").into_bytes(),
    ] {
        let tokens = received(body);
        assert_eq!(tokens.access_token().expose_secret(), "a");
        assert_eq!(refresh_token(&tokens), Some("r2"));
    }
    for scope in [r#"["a","b"]"#, r#""a b""#, r#""a\nb""#, r#""  a\tb ""#] {
        let tokens = received(format!(r#"{{"access_token":"x","scope":{scope}}}"#));
        assert_eq!(tokens.scope(), Some("a b"), "{scope}");
    }
}

/// Property: the lifetime of a refresh token is read by every known name, and zero is no lifetime.
#[test]
fn lifetimes_of_refresh_tokens() {
    let end = |field: &str| {
        let body = format!(r#"{{"access_token":"a","refresh_token":"r",{field}}}"#);
        let shown = format!("{:?}", received(body));
        let (_, rest) = shown.split_once("refresh_expiry: ").unwrap();
        rest.split_once(", expiry").unwrap().0.to_owned()
    };
    for name in [
        "refresh_token_expires_in",
        "refresh_expires_in",
        "x_refresh_token_expires_in",
        "refresh_token_lifetime",
        "refreshTokenExpiresIn",
    ] {
        assert_eq!(
            end(&format!("\"{name}\":8726400")),
            "In(8726400s)",
            "{name}"
        );
        assert_eq!(
            end(&format!("\"{name}\":\"8726400\"")),
            "In(8726400s)",
            "{name}"
        );
        for none in ["0", "-1", "null", "\"\"", "\"never\""] {
            assert_eq!(
                end(&format!("\"{name}\":{none}")),
                "Unknown",
                "{name} {none}"
            );
        }
    }
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    for number in ["2000000000", "2000000000000", "\"2000000000\""] {
        let body = format!(
            r#"{{"access_token":"a","refresh_token":"r","refresh_token_expires_at":{number}}}"#
        );
        assert_eq!(
            received(body).refresh_token_expires_at(),
            Some(at),
            "{number}"
        );
    }
}
