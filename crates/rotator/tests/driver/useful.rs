//! Tests that a refresh must prove useful (rule 17), and that a JWT states its own expiry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, Uri};
use token_rotator::middleware::challenge::Verdict;
use token_rotator::middleware::{Exchange, Next, endpoint, endpoint_of};
use token_rotator::{Event, Expiry, NotReplayed, Rotator, TokenError, TokenSet};

use crate::common::{Fixture, secret};

/// 50 callers use opaque tokens of unknown expiry that live 1, 2 and 3 s, over 20 expiries. No
/// caller ends with a refusal, and each expiry causes one refresh.
#[tokio::test(start_paused = true)]
async fn short_opaque_tokens_serve_every_caller() {
    for life in 1..=3 {
        let life = Duration::from_secs(life);
        let fixture = Fixture::new();
        fixture.issuer.expiry(Expiry::Unknown);
        let rotator = fixture.signed_in().await;
        // The oldest generation that the upstream accepts.
        let oldest = Arc::new(AtomicU64::new(0));
        for expiry in 1..=20 {
            for caller in serve(&rotator, &oldest) {
                caller.await.expect("a caller that does not panic");
            }
            tokio::time::advance(life).await;
            let newest = rotator.token().await.expect("a token").generation();
            oldest.store(newest + 1, Ordering::SeqCst);
            for caller in serve(&rotator, &oldest) {
                caller.await.expect("a caller that does not panic");
            }
            assert_eq!(fixture.issuer.refresh_calls(), expiry, "life {life:?}");
        }
    }
}

fn serve(rotator: &Rotator, oldest: &Arc<AtomicU64>) -> Vec<tokio::task::JoinHandle<()>> {
    let caller = |_| {
        let (rotator, oldest) = (rotator.clone(), Arc::clone(oldest));
        tokio::spawn(async move {
            let accepts = |generation: u64| generation >= oldest.load(Ordering::SeqCst);
            let token = rotator.token().await.expect("a token");
            tokio::task::yield_now().await;
            if accepts(token.generation()) {
                rotator.accepted(&token);
                return;
            }
            let newer = rotator.refused(&token).await.expect("a newer token");
            assert!(accepts(newer.generation()), "the replay is accepted");
            rotator.accepted(&newer);
        })
    };
    (0..50).map(caller).collect()
}

/// An endpoint that refuses the replay starts no refresh for 2 s, and an event reports it. Other
/// endpoints are not affected.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_refuses_the_replay_is_paused() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    let (broken, healthy) = (
        endpoint(&["https://api"], "/broken"),
        endpoint(&[], "/healthy"),
    );

    let mut first = sent(&rotator);
    assert!(renewed(&mut first, &rotator, broken).await, "a newer token");
    assert_eq!(refused(&first, &rotator), Next::Report(None));
    accepted(&sent(&rotator), &rotator);
    tokio::time::advance(Duration::from_millis(1_999)).await;
    let mut extensions = Extensions::new();
    let mut second = sent(&rotator);
    assert!(!second.renew(&rotator, broken, &mut extensions).await);
    let error = extensions.get::<TokenError>();
    assert!(
        matches!(error, Some(TokenError::FreshTokenRefused)),
        "{error:?}"
    );
    let reason = NotReplayed::RefusedAgain;
    let paused =
        |event: &Event| matches!(event, Event::NotReplayed { reason: why } if *why == reason);
    assert_eq!(fixture.events.count(paused), 1);
    assert_eq!(fixture.issuer.refresh_calls(), 1);

    let mut third = sent(&rotator);
    assert!(
        renewed(&mut third, &rotator, healthy).await,
        "a newer token"
    );
    accepted(&third, &rotator);
    assert_eq!(secret(third.pass().token().expect("a token")), "access-3");
    tokio::time::advance(Duration::from_millis(1)).await;
    let mut fourth = sent(&rotator);
    assert!(
        renewed(&mut fourth, &rotator, broken).await,
        "a newer token"
    );
    assert_eq!(secret(fourth.pass().token().expect("a token")), "access-4");
}

fn sent(rotator: &Rotator) -> Exchange {
    Exchange::ready(rotator, Ok(())).expect("a usable token")
}

fn refused(exchange: &Exchange, rotator: &Rotator) -> Next {
    exchange.settle(rotator, Verdict::RefreshToken, &mut Extensions::new())
}

fn accepted(exchange: &Exchange, rotator: &Rotator) {
    exchange.accepted(rotator, StatusCode::OK, &HeaderMap::new());
}

async fn renewed(exchange: &mut Exchange, rotator: &Rotator, endpoint: u32) -> bool {
    assert_eq!(refused(exchange, rotator), Next::Replay);
    exchange
        .renew(rotator, endpoint, &mut Extensions::new())
        .await
}

/// 403, 404, 408, 429, 5xx and a gRPC answer without a status yet are no evidence. A token with
/// only such answers counts as new.
#[tokio::test(start_paused = true)]
async fn only_evidence_counts_as_acceptance() {
    let grpc = |status: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        if let Some(status) = status {
            headers.insert("grpc-status", HeaderValue::from_static(status));
        }
        headers
    };
    let plain = HeaderMap::new;
    for (status, headers, evidence) in [
        (200, plain(), true),
        (204, plain(), true),
        (304, plain(), true),
        (101, plain(), true),
        (403, plain(), false),
        (404, plain(), false),
        (408, plain(), false),
        (429, plain(), false),
        (503, plain(), false),
        (302, plain(), false),
        (200, grpc(None), false),
        (200, grpc(Some("0")), true),
        (200, grpc(Some("14")), false),
    ] {
        let fixture = Fixture::new();
        let rotator = fixture.signed_in().await;
        // A token of a flight counts as new for 2 s, unless it was accepted.
        rotator.refresh_now().await.expect("a token");
        let exchange = sent(&rotator);
        let code = StatusCode::from_u16(status).expect("a status");
        exchange.accepted(&rotator, code, &headers);
        let newer = rotator.refused(exchange.pass()).await;
        assert_eq!(newer.is_ok(), evidence, "{status} {headers:?}");
    }
}

/// The hash of an endpoint covers origin and path, not the query.
#[test]
fn an_endpoint_is_origin_and_path() {
    let endpoint = |uri| endpoint_of(&Uri::from_static(uri));
    let one = endpoint("https://api.example.com/a");
    assert_eq!(endpoint("https://api.example.com/a?b=c"), one);
    for other in [
        "https://api.example.com/b",
        "https://api.example.com:8443/a",
        "http://api.example.com/a",
        "https://other.example.com/a",
    ] {
        assert_ne!(endpoint(other), one, "{other}");
    }
}

/// A JWT of unknown expiry is refreshed at its `exp`. A JWT that had expired at its receipt is
/// served until it is refused.
#[tokio::test(start_paused = true)]
async fn a_jwt_of_unknown_expiry_states_it_itself() {
    // The payloads are {"exp":1800000100} and {"exp":1799999999}; the clock starts at 1800000000.
    for (payload, expected_calls) in [
        ("eyJleHAiOjE4MDAwMDAxMDB9", 1),
        ("eyJleHAiOjE3OTk5OTk5OTl9", 0),
    ] {
        let fixture = Fixture::new();
        let rotator = fixture.builder().build().expect("a rotator");
        let login = fixture.issuer.login();
        let refresh_token = login.refresh_token().expect("a refresh token").clone();
        let tokens = TokenSet::bearer(format!("e30.{payload}.c2ln"))
            .with_refresh_token(refresh_token)
            .with_expiry(Expiry::Unknown);
        let stored = rotator.sign_in(tokens).expect("usable tokens");
        stored.await.expect("no store");
        rotator.token().await.expect("a token");
        assert_eq!(fixture.issuer.refresh_calls(), 0);
        tokio::time::advance(Duration::from_secs(101)).await;
        rotator.token().await.expect("a token");
        assert_eq!(fixture.issuer.refresh_calls(), expected_calls, "{payload}");
    }
}
