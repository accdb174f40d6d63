//! Tests the requests that a token endpoint sends, and the options that it refuses.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, Method, Response};
use support::{Script, answer};
use token_rotator::{FailureKind, TokenSet, TokenSource};
use token_rotator_oauth2::{
    ANSWER_BYTES_MAX, AuthError, BuildError, Builder, Credentials, CredentialsRequest,
    TransportError, TransportMissing, client_credentials, refresh_token,
};

const URL: &str = "https://issuer.example/token?tenant=a";
const GOOD: &str = r#"{"access_token":"next","token_type":"Bearer"}"#;

fn last() -> Arc<TokenSet> {
    Arc::new(TokenSet::bearer("a1").with_refresh_token("r1 +&"))
}

async fn form(builder: Builder<TransportMissing>) -> Vec<(String, String)> {
    let script = Script::answering(200, GOOD);
    let source = builder.transport(script.clone()).build().unwrap();
    source.refresh(Some(last())).await.unwrap();
    script.form()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

#[tokio::test]
async fn a_refresh_is_one_form_post() {
    let script = Script::answering(200, GOOD);
    let builder = refresh_token(URL, "client");
    let source = builder.transport(script.clone()).build().unwrap();
    source.refresh(Some(last())).await.unwrap();

    let request = script.requests().pop().unwrap();
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.uri(), URL);
    assert_eq!(
        request.headers()[CONTENT_TYPE],
        "application/x-www-form-urlencoded"
    );
    assert_eq!(request.headers()[ACCEPT], "application/json");
    let body = b"grant_type=refresh_token&refresh_token=r1+%2B%26&client_id=client";
    assert_eq!(request.body().expose(), body);
    assert!(!format!("{request:?}").contains("r1"));
}

#[tokio::test]
async fn options_become_parameters() {
    let builder = refresh_token(URL, "client")
        .scope("read write")
        .resource("https://a.example")
        .resource("urn:b")
        .audience("api")
        .param("tenant", "t");
    let expected = pairs(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", "r1 +&"),
        ("scope", "read write"),
        ("resource", "https://a.example"),
        ("resource", "urn:b"),
        ("audience", "api"),
        ("tenant", "t"),
        ("client_id", "client"),
    ]);
    assert_eq!(form(builder).await, expected);
    // An empty parameter counts as missing (RFC 6749 section 3.1).
    let empty = refresh_token(URL, "client").scope("").audience("");
    assert_eq!(form(empty).await.len(), 3);
}

#[tokio::test]
async fn client_credentials_ignore_the_last_token_set() {
    let builder = client_credentials(URL, "client").client_secret_post("s3cret");
    let expected = pairs(&[
        ("grant_type", "client_credentials"),
        ("client_id", "client"),
        ("client_secret", "s3cret"),
    ]);
    assert_eq!(form(builder).await, expected);
}

#[tokio::test]
async fn a_basic_secret_is_sent_in_a_sensitive_header() {
    let script = Script::answering(200, GOOD);
    let source = refresh_token(URL, "client")
        .client_secret_basic("s3cret")
        .transport(script.clone())
        .build()
        .unwrap();
    source.refresh(Some(last())).await.unwrap();
    let request = script.requests().pop().unwrap();
    // The value decodes to `client:s3cret`.
    let value = &request.headers()[AUTHORIZATION];
    assert_eq!(value, "Basic Y2xpZW50OnMzY3JldA==");
    assert!(value.is_sensitive());
    let body = String::from_utf8(request.body().expose().to_vec()).unwrap();
    assert!(!body.contains("client_id") && !body.contains("s3cret"));
}

#[tokio::test]
async fn every_request_gets_new_credentials() {
    let credential_calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&credential_calls);
    let auth = move |request: CredentialsRequest| {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            assert_eq!(request.client_id(), "client");
            assert_eq!(request.url().host(), Some("issuer.example"));
            let name = HeaderName::from_static("x-proof");
            Ok::<_, AuthError>(
                Credentials::none()
                    .header(name, format!("proof {call}").parse()?)
                    .secret_param("client_assertion", format!("signed {call}")),
            )
        }
    };
    let script = Script::answering(200, GOOD).then(Ok(answer(200, GOOD)));
    let source = refresh_token(URL, "client")
        .client_auth(auth)
        .transport(script.clone())
        .build()
        .unwrap();
    for call in 0..2 {
        source.refresh(Some(last())).await.unwrap();
        let request = script.requests().pop().unwrap();
        let value = &request.headers()["x-proof"];
        assert_eq!(value, format!("proof {call}").as_str());
        assert!(value.is_sensitive());
        let body = format!("client_assertion=signed+{call}");
        assert!(request.body().expose().ends_with(body.as_bytes()));
    }
}

#[tokio::test]
async fn a_client_that_cannot_authenticate_sends_nothing() {
    let script = Script::default();
    let auth = |_| async { Err::<Credentials, AuthError>("the key is locked".into()) };
    let source = refresh_token(URL, "client")
        .client_auth(auth)
        .transport(script.clone())
        .build()
        .unwrap();
    let error = source.refresh(Some(last())).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NotSent);
    assert!(support::shown(&error).contains("the key is locked"));
    assert!(script.requests().is_empty());
}

#[tokio::test]
async fn without_a_refresh_token_nothing_is_sent() {
    let script = Script::default();
    let builder = refresh_token(URL, "client");
    let source = builder.transport(script.clone()).build().unwrap();
    let bare = TokenSet::bearer("a1");
    let empty = TokenSet::bearer("a1").with_refresh_token("");
    for last in [None, Some(bare), Some(empty)] {
        let error = source.refresh(last.map(Arc::new)).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Terminal);
    }
    assert!(script.requests().is_empty());
}

#[tokio::test]
async fn a_failed_request_is_not_repeated() {
    let failures = [
        (TransportError::not_sent("refused"), FailureKind::NotSent),
        (TransportError::maybe_sent("reset"), FailureKind::Uncertain),
    ];
    for (failure, kind) in failures {
        let script = Script::default().then(Err(failure));
        let builder = refresh_token(URL, "client");
        let source = builder.transport(script.clone()).build().unwrap();
        assert_eq!(source.refresh(Some(last())).await.unwrap_err().kind(), kind);
        assert_eq!(script.requests().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_above_the_size_limit_is_refused() {
    let body = format!("{GOOD}{}", " ".repeat(ANSWER_BYTES_MAX));
    let script = Script::default().then(Ok(Response::new(body.into())));
    let source = refresh_token(URL, "client")
        .transport(script)
        .build()
        .unwrap();
    let error = source.refresh(Some(last())).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Uncertain);
    assert!(error.to_string().contains("longer than 1048576 bytes"));
}

#[test]
fn an_address_is_https_or_loopback() {
    let built = |url: &str| {
        let token = refresh_token(url, "c").transport(Script::default()).build();
        let revocation = refresh_token(URL, "c").revocation_url(url);
        let revocation = revocation.transport(Script::default()).build();
        assert_eq!(token.is_ok(), revocation.is_ok(), "{url}");
        token.map(drop)
    };
    let good = [
        "https://issuer.example",
        "https://issuer.example/token",
        "https://issuer.example:8443/a/b?c=d",
        "https://issuer.example?c=d",
        "HTTPS://Issuer.Example/token",
        "http://localhost:8080/token",
        "http://127.0.0.1/token",
        "http://[::1]:1/token",
    ];
    for url in good {
        assert_eq!(built(url), Ok(()), "{url}");
    }
    let bad = [
        "",
        "issuer.example/token",
        "/token",
        "ftp://issuer.example/token",
        "http://issuer.example/token",
        "http://localhost.example/token",
        "https://user:CANARY@issuer.example/token",
        "https://issuer.example\\@evil.example/token",
        "https:///token",
        "https://issuer.example:0/token",
        "https://issuer.example/token#CANARY",
        "https://issuer.example/to ken",
        "https://issuer.example/töken",
        "https://issuer.example/token\n",
    ];
    for url in bad {
        let error = built(url).unwrap_err();
        assert!(!support::shown(&error).contains("CANARY"), "{url}");
    }
}

#[test]
fn a_build_error_names_the_remedy() {
    let error = |builder: Builder<TransportMissing>| {
        let built = builder.transport(Script::default()).build();
        built.map(drop).unwrap_err()
    };
    let cases = [
        (
            refresh_token("http://issuer.example/token", "c"),
            "the token URL cannot be used: `http://` would send the token to `issuer.example` in \
             the clear; use `https://`, or for a server on this machine `http://localhost`, \
             `http://127.0.0.1` or `http://[::1]`",
        ),
        (
            refresh_token(URL, "c").revocation_url("https://issuer.example/revoke#now"),
            "the revocation URL has a fragment; remove the `#` and the text after it",
        ),
        (
            refresh_token(URL, ""),
            "the client id is empty; give the client id that the issuer registered",
        ),
        (
            refresh_token(URL, "c").param("client_secret", "CANARY"),
            "`client_secret` cannot be set with `param`; call `client_secret_basic` or \
             `client_secret_post`",
        ),
        (
            refresh_token(URL, "c").param("", "CANARY"),
            "a parameter has no name; give `param` a name",
        ),
        (
            refresh_token(URL, "c").resource("api.example.com"),
            "a resource is not an absolute URI without a fragment; write the resource like \
             `https://api.example.com`, or set `audience` for other names",
        ),
    ];
    for (builder, expected) in cases {
        let error = error(builder);
        let shown = format!("{error}; {}", error.hint().unwrap());
        assert_eq!(shown, expected);
    }
    for name in [
        "grant_type",
        "refresh_token",
        "client_id",
        "scope",
        "resource",
        "audience",
    ] {
        let error = error(refresh_token(URL, "c").param(name, "x"));
        assert!(matches!(error, BuildError::ReservedParam { .. }), "{name}");
    }
    for uri in ["https://api.example/#x", "two words:x", "1:x", ""] {
        assert_eq!(
            error(refresh_token(URL, "c").resource(uri)),
            BuildError::Resource
        );
    }
}

#[test]
fn debug_shows_neither_secrets_nor_queries() {
    let builder = refresh_token("https://issuer.example/token?key=CANARY", "client")
        .client_secret_basic("CANARY")
        .param("password", "CANARY");
    let shown = format!("{builder:?}");
    let source = builder.transport(Script::default()).build().unwrap();
    let shown = format!("{shown} {source:?}");
    assert!(!shown.contains("CANARY"), "{shown}");
    assert!(shown.contains("https://issuer.example/token"), "{shown}");
}
