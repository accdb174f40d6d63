//! Tests refusals without a reason: three of them tell the user to sign in, and end no session.

use std::time::Duration;

use token_rotator::{
    Event, ExposeSecret as _, RefreshError, RefusingEndpoint, Rotator, SourceError, Token,
    TokenError,
};

use crate::common::{Fixture, IssuerAction, ScriptedStore, secret};

fn page(endpoint: RefusingEndpoint) -> SourceError {
    SourceError::transient("the issuer answered 401 with a web page").with_no_reason(endpoint)
}

fn is_refused(outcome: &Result<Token, TokenError>) -> bool {
    matches!(
        outcome,
        Err(TokenError::Refresh(
            RefreshError::RefusedWithoutReason { .. }
        ))
    )
}

fn reported(fixture: &Fixture) -> usize {
    let is_report = |event: &Event| matches!(event, Event::RefusedWithoutReason { .. });
    fixture.events.count(is_report)
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

async fn signed_in(fixture: &Fixture, store: Option<&ScriptedStore>) -> Rotator {
    let rotator = fixture
        .signed_in_with(|builder| match store {
            Some(store) => builder.store(store.clone()),
            None => builder,
        })
        .await;
    fixture.expire().await;
    rotator
}

/// Within three attempts after the expiry the error asks the user to sign in, with a store and without. The
/// refresh token is kept, a refresh is tried every 5 minutes, and the first token clears the state.
#[tokio::test(start_paused = true)]
async fn three_refusals_tell_the_user_to_sign_in() {
    for stored in [false, true] {
        let fixture = Fixture::new();
        let store = ScriptedStore::new();
        let rotator = signed_in(&fixture, stored.then_some(&store)).await;
        for _ in 0..5 {
            let refused = page(RefusingEndpoint::Token);
            fixture.issuer.push_action(IssuerAction::Fail(refused));
        }
        for attempt in 1..=3 {
            let outcome = rotator.token().await;
            assert_eq!(fixture.issuer.refresh_calls(), attempt);
            assert_eq!(is_refused(&outcome), attempt == 3, "{attempt}: {outcome:?}");
            pass(11).await;
        }
        assert!(!rotator.has_ended());
        // Every caller gets the error at once, without a request, for 5 minutes.
        let outcome = rotator.token().await;
        assert!(is_refused(&outcome), "{outcome:?}");
        let Err(TokenError::Refresh(error)) = outcome else {
            panic!("an error");
        };
        assert!(error.needs_sign_in() && error.hint() == Some("sign in"));
        assert!(error.to_string().contains("401 with a web page"), "{error}");
        assert_eq!(fixture.issuer.refresh_calls(), 3);
        if stored {
            let other = fixture.builder().store(store.clone()).build();
            let outcome = other.expect("a rotator").token().await;
            assert!(is_refused(&outcome), "{outcome:?}");
            assert_eq!(fixture.issuer.refresh_calls(), 3);
            let record = store.record().await.expect("a record");
            let tokens = record.tokens().expect("tokens");
            let kept = tokens.refresh_token().expect("the refresh token");
            assert_eq!(kept.expose_secret(), "refresh-1");
        }
        for calls in [4, 5] {
            pass(301).await;
            let outcome = rotator.token().await;
            assert!(is_refused(&outcome), "{outcome:?}");
            assert_eq!(fixture.issuer.refresh_calls(), calls);
        }
        // The other process has reported it too.
        assert_eq!(reported(&fixture), 1 + usize::from(stored));
        pass(301).await;
        assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
        if stored {
            let record = store.record().await.expect("a record");
            assert_eq!(record.unexplained_refusals(), None);
        }
    }
}

/// A cookie endpoint tells the user after two refusals.
#[tokio::test(start_paused = true)]
async fn two_refusals_of_a_cookie_endpoint_are_enough() {
    let fixture = Fixture::new();
    let rotator = signed_in(&fixture, None).await;
    for attempt in 1..=2 {
        let refused = page(RefusingEndpoint::Cookie);
        fixture.issuer.push_action(IssuerAction::Fail(refused));
        assert_eq!(is_refused(&rotator.token().await), attempt == 2);
        pass(11).await;
    }
}

/// A gateway that recovers signs no user out: refusals before the expiry do not count, and another
/// answer ends the row.
#[tokio::test(start_paused = true)]
async fn a_recovering_gateway_signs_no_user_out() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    for _ in 0..6 {
        let refused = page(RefusingEndpoint::Token);
        fixture.issuer.push_action(IssuerAction::Fail(refused));
        rotator.refresh_now().await.expect_err("refused");
        assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
        pass(15).await;
    }
    fixture.expire().await;
    let busy = || SourceError::transient("503");
    for error in [
        page(RefusingEndpoint::Token),
        page(RefusingEndpoint::Token),
        busy(),
        page(RefusingEndpoint::Token),
        page(RefusingEndpoint::Token),
    ] {
        fixture.issuer.push_action(IssuerAction::Fail(error));
        let outcome = rotator.token().await;
        assert!(outcome.is_err() && !is_refused(&outcome), "{outcome:?}");
        pass(80).await;
    }
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(reported(&fixture), 0);
}

/// A forced refresh is tried at once and heals the session. So does a sign-in.
#[tokio::test(start_paused = true)]
async fn force_and_sign_in_heal_a_refused_session() {
    for sign_in in [false, true] {
        let fixture = Fixture::new();
        let store = ScriptedStore::new();
        let rotator = signed_in(&fixture, Some(&store)).await;
        for _ in 0..3 {
            let refused = page(RefusingEndpoint::Token);
            fixture.issuer.push_action(IssuerAction::Fail(refused));
            rotator.token().await.expect_err("refused");
            pass(11).await;
        }
        assert!(is_refused(&rotator.token().await));
        if sign_in {
            let login = rotator.sign_in(fixture.issuer.login()).expect("usable");
            login.await.expect("stored");
        } else {
            rotator.refresh_now().await.expect("a token");
        }
        rotator.token().await.expect("a token");
        let record = store.record().await.expect("a record");
        assert_eq!(record.unexplained_refusals(), None);
    }
}
