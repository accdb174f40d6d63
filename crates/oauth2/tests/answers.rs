//! Tests how every answer of a token endpoint is sorted into a failure kind.

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Response, StatusCode};
use token_rotator::FailureKind::{self, Misconfigured, NotSent, Terminal, Transient, Uncertain};
use token_rotator::{SourceError, TokenSet};
use token_rotator_oauth2::{RequestKind, SecretBytes, Secrets, TransportError};

const HTML: &str = "<!doctype html><title>Error</title>";

fn answer(status: u16, body: &str) -> Response<SecretBytes> {
    let mut answer = Response::new(body.to_owned().into());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

fn tokens(status: u16, body: &str) -> Result<TokenSet, SourceError> {
    RequestKind::RefreshToken.tokens(&answer(status, body), &Secrets::new())
}

fn kind(request: RequestKind, status: u16, body: &str) -> FailureKind {
    let outcome = request.tokens(&answer(status, body), &Secrets::new());
    outcome.unwrap_err().kind()
}

#[test]
fn a_refused_refresh_is_sorted() {
    let cases = [
        // The status decides, whatever the body.
        (408, "", Transient),
        (409, r#"{"error":"conflict"}"#, Transient),
        (425, "", Transient),
        (429, r#"{"error":"invalid_grant"}"#, Transient),
        (503, r#"{"error":"invalid_client"}"#, Transient),
        (301, HTML, Transient),
        (302, "", Transient),
        (307, "", Transient),
        (308, r#"{"error":"invalid_grant"}"#, Transient),
        (500, "", Uncertain),
        (500, r#"{"error":"server_error"}"#, Uncertain),
        (500, r#"{"error":"invalid_grant"}"#, Uncertain),
        (501, "", Uncertain),
        (502, HTML, Uncertain),
        (504, HTML, Uncertain),
        (599, "", Uncertain),
        (101, "", Uncertain),
        (700, "", Uncertain),
        (404, "", Misconfigured),
        (404, HTML, Misconfigured),
        (404, r#"{"error":"Not Found"}"#, Misconfigured),
        (405, "", Misconfigured),
        (402, "", Transient),
        (407, "", Transient),
        (410, "", Transient),
        (415, "", Transient),
        (422, "{}", Transient),
        // The code decides.
        (400, r#"{"error":"invalid_grant"}"#, Terminal),
        (401, r#"{"error":"invalid_grant"}"#, Terminal),
        (403, r#"{"error":"invalid_grant"}"#, Terminal),
        (400, r#"{"error":"invalid_client"}"#, Misconfigured),
        (401, r#"{"error":"invalid_client"}"#, Misconfigured),
        (400, r#"{"error":"unauthorized_client"}"#, Misconfigured),
        (403, r#"{"error":"unauthorized_client"}"#, Misconfigured),
        (400, r#"{"error":"invalid_scope"}"#, Misconfigured),
        (400, r#"{"error":"unsupported_grant_type"}"#, Misconfigured),
        (400, r#"{"error":"invalid_request"}"#, Misconfigured),
        (400, r#"{"error":"invalid_target"}"#, Misconfigured),
        (400, r#"{"error":"temporarily_unavailable"}"#, Transient),
        (500, r#"{"error":"temporarily_unavailable"}"#, Transient),
        (400, r#"{"error":"slow_down"}"#, Transient),
        (401, r#"{"error":"rate_limit_exceeded"}"#, Transient),
        (400, r#"{"error":"Rate limit exceeded"}"#, Transient),
        (200, r#"{"ok":false,"error":"ratelimited"}"#, Transient),
        (
            400,
            r#"{"error_code":"over_request_rate_limit"}"#,
            Transient,
        ),
        (400, r#"{"error":"too_many_attempts"}"#, Transient),
        (400, r#"{"error":"refresh_token_rate_limited"}"#, Transient),
        (400, r#"{"error":"server_error"}"#, Transient),
        (401, r#"{"error":"server_error"}"#, Transient),
        (504, r#"{"error":"server_error"}"#, Uncertain),
        (400, r#"{"error":"interaction_required"}"#, Terminal),
        // Non-standard codes of several issuers.
        (200, r#"{"error":"bad_refresh_token"}"#, Terminal),
        (
            200,
            r#"{"error":"incorrect_client_credentials"}"#,
            Misconfigured,
        ),
        (
            200,
            r#"{"ok":false,"error":"invalid_refresh_token"}"#,
            Terminal,
        ),
        (
            403,
            r#"{"error":{"code":"refresh_token_expired"}}"#,
            Terminal,
        ),
        // An unknown code, and codes that a gateway may send.
        (401, r#"{"error":"invalid_token"}"#, Transient),
        (401, r#"{"error":"token_expired"}"#, Transient),
        (401, r#"{"error":"token_inactive"}"#, Transient),
        (400, r#"{"error":"something_new"}"#, Transient),
        (401, r#"{"error":"something_new"}"#, Transient),
        (
            400,
            r#"{"error":"something_new","error_description":"no such tenant"}"#,
            Transient,
        ),
        (400, r#"{"error":"Bad Request","code":"E4001"}"#, Transient),
        (401, r#"{"error":"Unauthorized","code":"E4001"}"#, Transient),
        (401, r#"{"error":"unauthorized"}"#, Transient),
        (403, r#"{"error":"something_new"}"#, Transient),
        (404, r#"{"error":"something_new"}"#, Misconfigured),
        (500, r#"{"error":"something_new"}"#, Uncertain),
        // An unknown code with a description of reuse: the session ends, because a retry would be
        // reuse too.
        (
            400,
            r#"{"error":"something_new","error_description":"refresh token reuse detected"}"#,
            Terminal,
        ),
        // No code.
        (400, "", Transient),
        (400, HTML, Transient),
        (400, "{}", Transient),
        (400, r#"{"error":"Bad Request"}"#, Transient),
        (400, r#"{"error":7}"#, Transient),
        (400, r#"{"error":""}"#, Transient),
        (401, "", Transient),
        (401, r#"{"error":"Unauthorized"}"#, Transient),
        (401, r#"{"message":"Unauthorized"}"#, Transient),
        (403, HTML, Transient),
        (403, "", Transient),
        (403, r#"{"message":"Forbidden"}"#, Transient),
        (403, r#"{"error":"Forbidden"}"#, Transient),
        // A 2xx without tokens.
        (200, "", Uncertain),
        (204, "", Uncertain),
        (200, HTML, Uncertain),
        (200, "status=ok", Uncertain),
        (200, r#"{"access_token":"a","#, Uncertain),
        (200, r#"{"access_token":"a"} trailing"#, Uncertain),
        (200, r#"["access_token"]"#, Uncertain),
        (200, "null", Uncertain),
        (200, "{}", Uncertain),
        (200, r#"{"access_token":""}"#, Uncertain),
        (200, r#"{"access_token":null}"#, Uncertain),
        (200, r#"{"access_token":7}"#, Uncertain),
        (200, r#"{"access_token":"\ud800"}"#, Uncertain),
        (200, r#"{"token_type":"Bearer"}"#, Uncertain),
        (200, r#"{"error":"invalid_grant"}"#, Terminal),
        (200, r#"{"error":"invalid_client"}"#, Misconfigured),
        (200, r#"{"error":"temporarily_unavailable"}"#, Transient),
        (200, r#"{"error":"server_error"}"#, Uncertain),
        (200, r#"{"error":"something_new"}"#, Uncertain),
    ];
    for (status, body, expected) in cases {
        let sorted = kind(RequestKind::RefreshToken, status, body);
        assert_eq!(sorted, expected, "{status} {body}");
    }
}

#[test]
fn a_body_that_is_not_utf8_or_too_deeply_nested_is_uncertain() {
    let deep = format!("{{\"access_token\":{}", "[".repeat(100_000));
    let bodies: [Vec<u8>; 3] = [
        b"\xff\xfe{}".to_vec(),
        b"{\"a\":\"\xff\"}".to_vec(),
        deep.into(),
    ];
    for body in bodies {
        let answer = Response::new(body.into());
        let error = RequestKind::RefreshToken.tokens(&answer, &Secrets::new());
        assert_eq!(error.unwrap_err().kind(), Uncertain);
    }
}

#[test]
fn a_failure_of_client_credentials_or_revocation_is_never_terminal_or_uncertain() {
    let cases = [
        (400, "", Transient),
        (401, "", Transient),
        (400, r#"{"error":"invalid_grant"}"#, Misconfigured),
        (401, r#"{"error":"invalid_client"}"#, Misconfigured),
        (400, r#"{"error":"something_new"}"#, Transient),
        (400, r#"{"error":"rate_limited"}"#, Transient),
        (400, r#"{"error":"server_error"}"#, Transient),
        (403, HTML, Transient),
        (429, "", Transient),
        (500, "", Transient),
        (502, HTML, Transient),
        (200, "", Transient),
    ];
    for request in [RequestKind::ClientCredentials, RequestKind::Revocation] {
        for (status, body, expected) in cases {
            assert_eq!(
                kind(request, status, body),
                expected,
                "{request:?} {status} {body}"
            );
        }
        let lost = request.unanswered(TransportError::maybe_sent("lost"), &Secrets::new());
        assert_eq!(lost.kind(), Transient);
    }
}

#[test]
fn only_the_status_decides_for_a_cookie_endpoint() {
    let cases = [
        (400, "", Terminal),
        (401, r#"{"error":"invalid_client"}"#, Terminal),
        (400, r#"{"error":"something_new"}"#, Terminal),
        (403, r#"{"message":"Forbidden"}"#, Terminal),
        (403, "", Terminal),
        (400, HTML, Transient),
        (401, HTML, Transient),
        (403, HTML, Transient),
        (419, "", Transient),
        (422, "", Transient),
        (404, "", Misconfigured),
        (302, "", Transient),
        (429, "", Transient),
        (500, r#"{"error":"invalid_grant"}"#, Uncertain),
        (503, "", Transient),
    ];
    for (status, body, expected) in cases {
        assert_eq!(
            kind(RequestKind::Cookie, status, body),
            expected,
            "{status} {body}"
        );
    }
}

#[test]
fn a_failure_without_an_answer_depends_on_whether_the_request_was_sent() {
    let cases = [
        (TransportError::not_sent("refused"), NotSent),
        (TransportError::maybe_sent("reset"), Uncertain),
        (TransportError::answer_too_long(), Uncertain),
    ];
    for (error, expected) in cases {
        for request in [RequestKind::RefreshToken, RequestKind::Cookie] {
            let sorted = request.unanswered(error.clone(), &Secrets::new());
            assert_eq!(sorted.kind(), expected, "{error:?}");
        }
    }
}

#[test]
fn the_error_text_names_cause_status_and_code() {
    let cases = [
        (
            400,
            r#"{"error":"invalid_grant","error_description":"Token is not active"}"#,
            "the issuer refused the request (HTTP 400, invalid_grant): Token is not active",
        ),
        (
            400,
            "",
            "the issuer refused the request without a reason (HTTP 400)",
        ),
        (
            401,
            r#"{"error":"E4001"}"#,
            "the issuer refused the request with an unknown code (HTTP 401, E4001)",
        ),
        (
            407,
            HTML,
            "a proxy before the issuer asks for credentials (HTTP 407)",
        ),
        (429, "", "the issuer cannot answer now (HTTP 429)"),
        (502, HTML, "the issuer gave no clear answer (HTTP 502)"),
        (200, "", "the issuer's answer is empty (HTTP 200)"),
        (200, HTML, "the issuer answered with a web page (HTTP 200)"),
        (
            200,
            "{}",
            "the issuer's answer is no JSON object with an access token (HTTP 200)",
        ),
        (404, HTML, "there is no such endpoint (HTTP 404)"),
        (
            403,
            HTML,
            "a firewall or gateway in front of the issuer refused the request with a web page (HTTP 403)",
        ),
        (
            302,
            "",
            "redirect refused: a token endpoint has none, and the tokens would travel along \
             (HTTP 302)",
        ),
    ];
    for (status, body, expected) in cases {
        assert_eq!(tokens(status, body).unwrap_err().to_string(), expected);
    }
}

/// Property: each refusal has the hint for its own cause, and no hint if the answer does not name its cause.
#[test]
fn each_refusal_has_its_hint() {
    let json_error = |code: &str| format!(r#"{{"error":"{code}"}}"#);
    let cases = [
        (400, json_error("invalid_grant"), Some("sign in again")),
        (401, json_error("invalid_client"), Some("client's secret")),
        (
            400,
            json_error("unauthorized_client"),
            Some("allow this client"),
        ),
        (
            400,
            json_error("unsupported_grant_type"),
            Some("allow this client"),
        ),
        (400, json_error("invalid_scope"), Some("another scope")),
        (
            400,
            json_error("invalid_target"),
            Some("resource or audience"),
        ),
        (
            400,
            json_error("temporarily_unavailable"),
            Some("in a moment"),
        ),
        (404, String::new(), Some("endpoint's address")),
        (405, HTML.to_owned(), Some("endpoint's address")),
        (302, String::new(), Some("the redirect leads to")),
        (403, HTML.to_owned(), Some("a firewall or a proxy")),
        (429, String::new(), Some("limits how often")),
        (503, HTML.to_owned(), Some("in a moment")),
        (400, String::new(), Some("signing in again may help")),
        (401, HTML.to_owned(), Some("signing in again may help")),
        (401, json_error("E4001"), Some("signing in again may help")),
        (500, String::new(), None),
        (200, HTML.to_owned(), None),
        (400, json_error("invalid_request"), None),
    ];
    for (status, body, expected) in cases {
        let answer = answer(status, &body);
        let error = RequestKind::RefreshToken.refusal(&answer, &Secrets::new());
        let hint = error.hint();
        assert_eq!(hint.is_some(), expected.is_some(), "{error}: {hint:?}");
        let hint = hint.unwrap_or_default();
        assert!(
            hint.contains(expected.unwrap_or_default()),
            "{error}: {hint}"
        );
        assert!(
            hint.is_empty() || !error.to_string().contains(hint),
            "{error}"
        );
    }
}

#[test]
fn a_web_page_is_recognised_by_content_type_or_first_character() {
    let mut typed = answer(403, "Forbidden");
    let html = "Text/HTML; charset=utf-8".parse().unwrap();
    typed.headers_mut().insert(CONTENT_TYPE, html);
    let xhtml = answer(403, "\r\n  <html>");
    for page in [typed, xhtml] {
        let error = RequestKind::Cookie.refusal(&page, &Secrets::new());
        assert_eq!(error.kind(), Transient);
    }
}

#[test]
fn a_valid_error_code_is_kept() {
    let cases = [
        (r#"{"error":"invalid_grant"}"#, Some("invalid_grant")),
        (r#"{"error":"something_new"}"#, Some("something_new")),
        (r#"{"error":"","code":"x"}"#, Some("x")),
        (
            r#"{"error":"Bad Request","error_code":"bad_jwt"}"#,
            Some("bad_jwt"),
        ),
        (r#"{"error":"Bad Request"}"#, None),
        (
            r#"{"error":"rate_limit_exceeded"}"#,
            Some("rate_limit_exceeded"),
        ),
        (r#"{"error":"Rate limit exceeded"}"#, None),
        (r#"{"error":"line\nbreak"}"#, None),
        (
            r#"{"error":"ab7fabababababababababababababababababababab"}"#,
            None,
        ),
        ("", None),
    ];
    for (body, code) in cases {
        assert_eq!(tokens(400, body).unwrap_err().code(), code, "{body}");
    }
}

#[test]
fn reuse_is_recognised_in_every_known_wording() {
    let grant = |text: &str| format!(r#"{{"error":"invalid_grant","error_description":"{text}"}}"#);
    let reuse_reports = [
        grant("Unsuccessful Refresh Token exchange, reused refresh token detected"),
        grant("Maximum allowed refresh token reuse exceeded"),
        grant("The refresh token was already used"),
        grant("the refresh token was used before"),
        grant("Token has already been used."),
        r#"{"code":400,"error_code":"refresh_token_already_used","msg":"Invalid Refresh Token: Already Used"}"#.to_owned(),
        r#"{"error":{"code":"refresh_token_reused","message":"..."}}"#.to_owned(),
    ];
    for body in reuse_reports {
        let error = tokens(400, &body).unwrap_err();
        assert_eq!(error.kind(), Terminal, "{body}");
        assert!(error.is_reuse_detected(), "{body}");
    }
    let other_reports = [
        grant("Token is not active"),
        grant("Unknown or invalid refresh token."),
        String::new(),
    ];
    for body in other_reports {
        assert!(
            !tokens(400, &body).unwrap_err().is_reuse_detected(),
            "{body}"
        );
    }
    // Reuse ends the session whatever the code.
    let unknown = r#"{"error":"token_replay","error_description":"reuse detected"}"#;
    let error = tokens(401, unknown).unwrap_err();
    assert!(error.is_reuse_detected() && error.kind() == Terminal);
    // Reuse is reported only with an answer that ends the session.
    let error = tokens(503, &grant("reuse detected")).unwrap_err();
    assert!(!error.is_reuse_detected());
}

#[test]
fn the_error_carries_retry_after() {
    let mut answer = answer(429, "");
    answer
        .headers_mut()
        .insert(RETRY_AFTER, "120".parse().unwrap());
    let error = RequestKind::RefreshToken.refusal(&answer, &Secrets::new());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(120)));
}

/// The columns of the table at `RequestKind::refusal` that a sign-in shares with refresh token and
/// client credentials.
#[test]
fn a_refused_sign_in_is_sorted_by_its_column() {
    let bodies = [
        "",
        HTML,
        "{}",
        r#"{"error":"invalid_grant"}"#,
        r#"{"error":"expired_token"}"#,
        r#"{"error":"invalid_client"}"#,
        r#"{"error":"unknown_here"}"#,
        r#"{"error":"server_error"}"#,
        r#"{"error":"temporarily_unavailable"}"#,
    ];
    for status in [101, 200, 302, 400, 401, 403, 404, 408, 422, 429, 500, 503] {
        for body in bodies {
            let of = |request| kind(request, status, body);
            let refresh = of(RequestKind::RefreshToken);
            let client = of(RequestKind::ClientCredentials);
            assert_eq!(
                of(RequestKind::AuthorizationCode),
                refresh,
                "{status} {body}"
            );
            assert_eq!(
                of(RequestKind::DeviceAuthorization),
                client,
                "{status} {body}"
            );
            let device = if refresh == Terminal {
                Terminal
            } else {
                client
            };
            assert_eq!(of(RequestKind::DeviceCode), device, "{status} {body}");
        }
    }
}
