//! Tests answers whose access token cannot be sent: their refresh token is kept, and they are not
//! asked for again until a caller forces a refresh or the configuration changes.

use std::time::Duration;

use token_rotator::{Event, ExposeSecret as _, FailureKind, RefreshError, TokenError, TokenSet};

use crate::common::{
    Fixture, IssuerAction, Requests as _, ScriptedCoordinator, ScriptedStore, secret,
};

/// Rotates and answers with an unusable token set: another token type, or a control character.
fn unusable(fixture: &Fixture, last: &TokenSet, kind: &str) {
    let next = fixture.issuer.spend(last);
    let next = if kind == "type" {
        next.with_token_type("DPoP")
    } else {
        let refresh_token = next.refresh_token().expect("one").expose_secret();
        TokenSet::bearer("access\n2").with_refresh_token(refresh_token)
    };
    fixture.issuer.push_action(IssuerAction::Answer(next));
}

fn is_unusable<T: std::fmt::Debug>(outcome: Result<T, TokenError>) {
    let Err(TokenError::Refresh(error @ RefreshError::Unusable { .. })) = outcome else {
        panic!("an answer that cannot be used, not {outcome:?}");
    };
    assert_eq!(error.kind(), FailureKind::Misconfigured);
}

/// No flight asks again by itself. A forced flight uses the refresh token of the unusable answer, never
/// the replaced one: in memory, with a store, and in the next process.
#[tokio::test(start_paused = true)]
async fn the_next_flight_uses_the_refresh_token_of_an_unusable_answer() {
    for kind in ["type", "control character"] {
        for (stored, other_process) in [(false, false), (true, false), (true, true)] {
            let fixture = Fixture::new();
            let store = ScriptedStore::new();
            let build = || {
                let builder = fixture.builder();
                let builder = if stored {
                    builder.store(store.clone())
                } else {
                    builder
                };
                builder.build().expect("a rotator")
            };
            let rotator = build();
            let login = rotator.sign_in(fixture.issuer.login()).expect("usable");
            login.await.expect("stored");
            let token = rotator.token().await.expect("a token");
            fixture.expire().await;
            unusable(&fixture, token.token_set(), kind);
            is_unusable(rotator.token().await);
            assert!(rotator.ready().is_none());
            tokio::time::advance(Duration::from_secs(1)).await;
            let next = if other_process { build() } else { rotator };
            for _ in 0..3 {
                let error = next.token().await.expect_err("not asked for again");
                let TokenError::Refresh(error) = error else {
                    panic!("a refresh error, not {error:?}");
                };
                assert_eq!(error.kind(), FailureKind::Misconfigured, "{error}");
                tokio::time::advance(Duration::from_secs(60)).await;
            }
            assert_eq!(fixture.issuer.refresh_calls(), 1);
            let token = next.refresh_now().await.expect("a token");
            assert_eq!(secret(&token), "access-3");
            assert_eq!(fixture.issuer.refresh_calls(), 2);
            assert_eq!(fixture.issuer.reuse_alarms(), 0);
            if stored {
                assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
            }
        }
    }
}

/// A process that still serves the previous token uses the new refresh token too.
#[tokio::test(start_paused = true)]
async fn another_process_uses_the_refresh_token_of_an_unusable_answer() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let build = || {
        let builder = fixture.builder().store(store.clone());
        builder.build().expect("a rotator")
    };
    let (first, second) = (build(), build());
    let login = first.sign_in(fixture.issuer.login()).expect("usable");
    login.await.expect("stored");
    let token = second.token().await.expect("adopted");
    unusable(&fixture, token.token_set(), "type");
    is_unusable(first.refresh_now().await);
    assert_eq!(
        secret(&second.refresh_now().await.expect("a token")),
        "access-3"
    );
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// The previous access token is served until it expires.
#[tokio::test(start_paused = true)]
async fn the_previous_token_is_served_after_an_unusable_answer() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    let token = rotator.token().await.expect("a token");
    unusable(&fixture, token.token_set(), "type");
    is_unusable(rotator.refresh_now().await);
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
}

/// The store does not take the unusable answer. The next flight uses it from memory under the lease
/// that is still held, and the store gets it later. A flight that already works from memory behaves
/// alike.
#[tokio::test(start_paused = true)]
async fn an_unusable_answer_is_kept_in_memory_if_the_store_fails() {
    for from_memory in [false, true] {
        let fixture = Fixture::new();
        let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
        let rotator = fixture
            .signed_in_with(|builder| builder.store(store.clone()).coordinator(leases.clone()))
            .await;
        store.fail_saves(1_000);
        if from_memory {
            rotator.refresh_now().await.expect("from memory");
        }
        let token = rotator.token().await.expect("a token");
        unusable(&fixture, token.token_set(), "type");
        is_unusable(rotator.refresh_now().await);
        assert!(!leases.is_free().await);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(!leases.is_free().await);
        let token = rotator.refresh_now().await.expect("from memory");
        assert_eq!(fixture.issuer.reuse_alarms(), 0);
        unusable(&fixture, token.token_set(), "type");
        is_unusable(rotator.refresh_now().await);
        store.fail_saves(0);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(leases.is_free().await);
        let record = store.record().await.expect("a record");
        // The record keeps the access token that still works, with the newest refresh token.
        let tokens = record.tokens().expect("tokens");
        assert_eq!(tokens.token_type(), "Bearer");
        let newest = tokens.refresh_token().expect("one").expose_secret();
        let expected = if from_memory {
            "refresh-5"
        } else {
            "refresh-4"
        };
        assert_eq!(newest, expected);
        assert!(record.refused_content().is_some());
        rotator.refresh_now().await.expect("a token");
        assert_eq!(fixture.issuer.reuse_alarms(), 0);
    }
}

/// An unusable answer that arrives after a sign-out counts as late.
#[tokio::test(start_paused = true)]
async fn an_unusable_answer_after_a_sign_out_is_late() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    let token = rotator.token().await.expect("a token");
    unusable(&fixture, token.token_set(), "type");
    store.hold_saves(true);
    let saves = store.saves();
    let call = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    store.wait_for_saves(saves + 1).await;
    let stored = rotator.sign_out();
    store.hold_saves(false);
    stored.await.expect("a tombstone");
    let error = call.await.expect("no panic");
    assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    assert!(rotator.shutdown(Duration::from_secs(1)).await);
    assert!(
        fixture.issuer.revoked().contains(&"refresh-2".to_owned()),
        "{:?} {:?}",
        fixture.issuer.revoked(),
        fixture.events.names()
    );
    assert!(store.record().await.expect("a record").tokens().is_none());
    let ended = |event: &Event| matches!(event, Event::Ended { .. });
    assert_eq!(fixture.events.count(ended), 0);
}
