//! Tests the requests of a revocation, and what follows from their answers.

mod support;

use std::sync::Arc;

use support::{Script, answer};
use token_rotator::{FailureKind, TokenSet, TokenSource};
use token_rotator_oauth2::refresh_token;

const URL: &str = "https://issuer.example/token?tenant=a";

fn last() -> Arc<TokenSet> {
    Arc::new(TokenSet::bearer("a1").with_refresh_token("r1 +&"))
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

#[tokio::test]
async fn revocation_names_the_refresh_token_or_else_the_access_token() {
    let cases = [
        (last(), "r1 +&", "refresh_token"),
        (Arc::new(TokenSet::bearer("a1")), "a1", "access_token"),
        (
            Arc::new(TokenSet::bearer("a1").with_refresh_token("")),
            "a1",
            "access_token",
        ),
    ];
    for (tokens, token, hint) in cases {
        let script = Script::answering(200, "");
        let source = refresh_token(URL, "client")
            .client_secret_post("s3cret")
            .scope("not at a revocation")
            .param("neither", "this")
            .revocation_url("https://issuer.example/revoke")
            .transport(script.clone())
            .build()
            .unwrap();
        source.revoke(tokens).await.unwrap();
        let expected = pairs(&[
            ("token", token),
            ("token_type_hint", hint),
            ("client_id", "client"),
            ("client_secret", "s3cret"),
        ]);
        assert_eq!(script.form(), expected);
    }
}

#[tokio::test]
async fn a_failed_revocation_is_sorted() {
    let cases = [
        (503, "", FailureKind::Transient),
        (
            401,
            r#"{"error":"invalid_client"}"#,
            FailureKind::Misconfigured,
        ),
        (404, "", FailureKind::Misconfigured),
        (500, "", FailureKind::Transient),
    ];
    for (status, body, kind) in cases {
        let source = refresh_token(URL, "client")
            .revocation_url(URL)
            .transport(Script::answering(status, body))
            .build()
            .unwrap();
        let error = source.revoke(last()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
    }
}

#[tokio::test]
async fn if_the_refresh_token_cannot_be_revoked_the_access_token_is_and_the_error_reports_it() {
    let unsupported = || Ok(answer(400, r#"{"error":"unsupported_token_type"}"#));
    for second in [Ok(answer(200, "")), unsupported()] {
        let script = Script::default().then(unsupported()).then(second);
        let source = refresh_token(URL, "client")
            .revocation_url(URL)
            .transport(script.clone())
            .build()
            .unwrap();
        let error = source.revoke(last()).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Misconfigured);
        assert_eq!(error.code(), Some("unsupported_token_type"));
        assert!(
            error.to_string().contains("they live until they expire"),
            "{error}"
        );
        let bodies = script.requests();
        let bodies = bodies.iter().map(|request| request.body().expose());
        let expected: [&[u8]; 2] = [
            b"token=r1+%2B%26&token_type_hint=refresh_token&client_id=client",
            b"token=a1&token_type_hint=access_token&client_id=client",
        ];
        assert!(bodies.eq(expected));
    }
}

#[tokio::test]
async fn without_a_revocation_url_no_request_is_sent() {
    let script = Script::default();
    let builder = refresh_token(URL, "client");
    let source = builder.transport(script.clone()).build().unwrap();
    source.revoke(last()).await.unwrap();
    assert!(script.requests().is_empty());
}
