//! Tests that two in-memory rotators with one single-use refresh token are reported before anything is spent.

use token_rotator::{Event, MemoryStore, Profile, Rotator, RotatorBuilder, TokenSet};

use crate::common::{Fixture, secret};

fn reports(fixture: &Fixture) -> usize {
    let is_report = |event: &Event| matches!(event, Event::SharedRefreshToken);
    fixture.events.count(is_report)
}

async fn signed_in(
    fixture: &Fixture,
    tokens: &TokenSet,
    set: fn(RotatorBuilder) -> RotatorBuilder,
) -> Rotator {
    let rotator = set(fixture.builder()).build().expect("a rotator");
    let stored = rotator.sign_in(tokens.clone()).expect("usable tokens");
    stored.await.expect("a store that works");
    rotator
}

/// Row 6 of the Rust cases. The second rotator is reported at its sign-in, before a refresh, and is refused nothing.
#[tokio::test(start_paused = true)]
async fn two_rotators_with_one_refresh_token_are_reported() {
    let fixture = Fixture::new();
    let tokens = fixture.issuer.login();
    let first = signed_in(&fixture, &tokens, |builder| builder).await;
    assert_eq!(reports(&fixture), 0);
    let second = signed_in(&fixture, &tokens, |builder| builder).await;
    assert_eq!(reports(&fixture), 1);
    assert_eq!(fixture.issuer.refresh_calls(), 0);
    for rotator in [&first, &second] {
        assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
    }
}

/// A rotator that signs in again with its own refresh token, and one that follows a rotator that is gone or has signed
/// out, share nothing.
#[tokio::test(start_paused = true)]
async fn one_rotator_after_another_is_not_reported() {
    let fixture = Fixture::new();
    let tokens = fixture.issuer.login();
    let first = signed_in(&fixture, &tokens, |builder| builder).await;
    let again = first.sign_in(tokens.clone()).expect("usable tokens");
    again.await.expect("no store");
    drop(first);
    let second = signed_in(&fixture, &tokens, |builder| builder).await;
    second.sign_out().await.expect("no store");
    let _third = signed_in(&fixture, &tokens, |builder| builder).await;
    assert_eq!(reports(&fixture), 0);
}

/// Rotators with a store, and at an issuer that counts no uses, may share a refresh token.
#[tokio::test(start_paused = true)]
async fn shared_stores_and_multi_use_issuers_are_not_reported() {
    let kinds: [fn(RotatorBuilder) -> RotatorBuilder; 2] = [
        |builder| builder.store(MemoryStore::new()),
        |builder| builder.profile(Profile::multi_use()),
    ];
    for kind in kinds {
        let fixture = Fixture::new();
        let tokens = fixture.issuer.login();
        let _first = signed_in(&fixture, &tokens, kind).await;
        let _second = signed_in(&fixture, &tokens, kind).await;
        assert_eq!(reports(&fixture), 0);
    }
}
