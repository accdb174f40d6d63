//! Tests the token endpoint against a real issuer over real sockets.

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use support::sockets;
use token_rotator::{
    Event, Expiry, ExposeSecret, FailureKind, Refreshed, Rotator, SourceError, TokenError,
    TokenSet, TokenSource,
};
use token_rotator_oauth2::{
    Builder, TokenEndpoint, TransportMissing, client_credentials, refresh_token,
};
use token_rotator_testkit::{Fault, Grant, Issuer, RefreshPolicy};

fn build(builder: Builder<TransportMissing>, issuer: &Issuer) -> TokenEndpoint {
    let builder = builder.revocation_url(issuer.revoke_url());
    builder.transport(sockets()).build().unwrap()
}

fn source(issuer: &Issuer) -> TokenEndpoint {
    build(refresh_token(issuer.token_url(), "demo"), issuer)
}

fn tokens(grant: &Grant) -> TokenSet {
    TokenSet::bearer(grant.access_token.as_str()).with_refresh_token(grant.refresh_token.as_str())
}

async fn refresh(source: &TokenEndpoint, last: &TokenSet) -> Result<TokenSet, SourceError> {
    let refreshed = source.refresh(Some(Arc::new(last.clone()))).await;
    refreshed.map(|Refreshed { tokens, .. }| tokens)
}

#[tokio::test]
async fn refresh_tokens_rotate_and_a_second_use_is_reported_as_reuse() {
    let issuer = Issuer::builder()
        .refresh_policy(RefreshPolicy::SingleUse)
        .start()
        .await
        .unwrap();
    let (source, grant) = (source(&issuer), issuer.sign_in("alice"));
    let first = tokens(&grant);

    let second = refresh(&source, &first).await.unwrap();
    let third = refresh(&source, &second).await.unwrap();
    assert!(issuer.accepts(third.access_token().expose_secret()));
    assert_eq!(third.expiry(), Expiry::In(Duration::from_secs(3600)));
    assert_eq!(issuer.counters().refreshes, 2);

    let error = refresh(&source, &first).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Terminal);
    assert_eq!(error.code(), Some("invalid_grant"));
    assert!(error.is_reuse_detected(), "{error}");
    assert!(!issuer.session_alive(&grant));
    // The issuer has revoked the newest token with its family, which is not reuse.
    let error = refresh(&source, &third).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Terminal);
    assert!(!error.is_reuse_detected(), "{error}");
}

#[tokio::test]
async fn every_fault_is_sorted_and_no_fault_causes_a_second_request() {
    use FailureKind::{Misconfigured, Terminal, Transient, Uncertain};
    let status = |status, retry_after: Option<&str>| Fault::Status {
        status,
        retry_after: retry_after.map(str::to_owned),
    };
    let oauth = |status, error: &str| Fault::OAuthError {
        status,
        error: error.to_owned(),
    };
    let cases = [
        (status(429, Some("7")), Transient),
        (
            status(503, Some("Fri, 31 Dec 1999 23:59:59 GMT")),
            Transient,
        ),
        (status(500, None), Uncertain),
        (status(400, None), Transient),
        (status(404, None), Misconfigured),
        (Fault::ResetBefore, Uncertain),
        (Fault::ResetAfter, Uncertain),
        (Fault::AnswerLost, Uncertain),
        (Fault::MalformedJson, Uncertain),
        (Fault::EmptyBody, Uncertain),
        (Fault::ErrorInside200, Terminal),
        (
            Fault::Redirect("http://127.0.0.1:1/stolen".to_owned()),
            Transient,
        ),
        (Fault::HtmlForbidden, Transient),
        (oauth(400, "invalid_grant"), Terminal),
        (oauth(401, "invalid_client"), Misconfigured),
        (oauth(400, "temporarily_unavailable"), Transient),
    ];
    let issuer = Issuer::builder().start().await.unwrap();
    let source = source(&issuer);
    for (fault, kind) in cases {
        issuer.reset_counters();
        issuer.faults().push(fault.clone());
        let grant = issuer.sign_in("alice");
        let error = refresh(&source, &tokens(&grant)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        assert_eq!(issuer.counters().token_requests, 1, "{fault:?}");
        if let Fault::Status { status: 429, .. } = fault {
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        }
    }
}

#[tokio::test]
async fn a_refused_connection_is_not_sent() {
    let issuer = Issuer::builder().start().await.unwrap();
    let (source, grant) = (source(&issuer), issuer.sign_in("alice"));
    issuer.shutdown().await;
    let error = refresh(&source, &tokens(&grant)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NotSent);
}

#[tokio::test]
async fn an_unreadable_expiry_is_unknown() {
    let issuer = Issuer::builder().start().await.unwrap();
    let source = source(&issuer);
    let hour = Expiry::In(Duration::from_secs(3600));
    let cases = [
        (json!(null), Expiry::Unknown),
        (json!(0), Expiry::Unknown),
        (json!(-5), Expiry::Unknown),
        (json!("soon"), Expiry::Unknown),
        (json!("3600"), hour),
        (json!(3600.0), hour),
    ];
    for (expiry, expected) in cases {
        issuer.faults().push(Fault::WrongExpiry(expiry.clone()));
        let grant = issuer.sign_in("alice");
        let set = refresh(&source, &tokens(&grant)).await.unwrap();
        assert_eq!(set.expiry(), expected, "{expiry}");
    }
}

#[tokio::test]
async fn a_client_authenticates_in_the_header_or_in_the_form() {
    let secret = "s3cr:t %+\u{e9}&";
    let issuer = Issuer::builder()
        .client("robot one", Some(secret))
        .start()
        .await
        .unwrap();
    let begin = || client_credentials(issuer.token_url(), "robot one").scope("read");
    for builder in [
        begin().client_secret_basic(secret),
        begin().client_secret_post(secret),
    ] {
        let refreshed = build(builder, &issuer).refresh(None).await.unwrap();
        let tokens = refreshed.tokens;
        assert!(issuer.accepts(tokens.access_token().expose_secret()));
        assert!(tokens.refresh_token().is_none());
    }
    for builder in [
        begin(),
        begin().client_secret_basic("wrong"),
        begin().client_secret_post(""),
    ] {
        let error = build(builder, &issuer).refresh(None).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Misconfigured);
        assert_eq!(error.code(), Some("invalid_client"));
    }
}

#[tokio::test]
async fn revocation_ends_the_grant() {
    let issuer = Issuer::builder().start().await.unwrap();
    let (source, grant) = (source(&issuer), issuer.sign_in("alice"));
    source.revoke(Arc::new(tokens(&grant))).await.unwrap();
    assert!(!issuer.session_alive(&grant));
    assert_eq!(issuer.counters().revoke_calls, 1);
    // RFC 7009 section 2.2: the issuer answers a revocation of an unknown token with success.
    let unknown = TokenSet::bearer("unknown");
    source.revoke(Arc::new(unknown)).await.unwrap();
}

#[tokio::test]
async fn a_rotator_shares_one_refresh_among_all_callers() {
    let issuer = Issuer::builder()
        .refresh_policy(RefreshPolicy::SingleUse)
        .start()
        .await
        .unwrap();
    let rotator = Rotator::builder(source(&issuer))
        .origin("http://127.0.0.1")
        .build()
        .unwrap();
    let grant = issuer.sign_in("alice");
    rotator.sign_in(tokens(&grant)).unwrap();
    issuer.expire_access_tokens();

    let old = rotator.token().await.unwrap();
    let waiters = (0..50).map(|_| {
        let (rotator, old) = (rotator.clone(), old.clone());
        tokio::spawn(async move { rotator.refused(&old).await })
    });
    for waiter in waiters.collect::<Vec<_>>() {
        let token = waiter.await.unwrap().unwrap();
        let header = token.header().to_str().unwrap();
        assert!(issuer.accepts(header.strip_prefix("Bearer ").unwrap()));
    }
    assert_eq!(issuer.counters().refreshes, 1);
    assert!(issuer.session_alive(&grant));
}

#[tokio::test]
async fn a_rotator_reports_a_foreign_token_type_as_error_and_reuse_as_event() {
    let issuer = Issuer::builder().start().await.unwrap();
    let (event_sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let rotator = Rotator::builder(source(&issuer))
        .origin("http://127.0.0.1")
        .on_event(move |event| {
            if let Event::ReuseDetected { error } = event {
                event_sender.send(error.clone()).unwrap();
            }
        })
        .build()
        .unwrap();
    let grant = issuer.sign_in("alice");
    rotator.sign_in(tokens(&grant)).unwrap();

    issuer.faults().push(Fault::TokenType("DPoP".to_owned()));
    let error = rotator.refresh_now().await.unwrap_err();
    assert!(matches!(error, TokenError::Refresh(_)), "{error}");
    // The session keeps the refresh token of the refused answer; the next refresh presents it
    // instead of the spent token.
    rotator.refresh_now().await.unwrap();
    assert_eq!(issuer.counters().reuses, 0);

    rotator.sign_in(tokens(&grant)).unwrap();
    let error = rotator.refresh_now().await.unwrap_err();
    assert!(matches!(error, TokenError::Refresh(_)), "{error}");
    assert!(events.recv().await.unwrap().is_reuse_detected());
}
