//! Tests answers that bring a refresh token although their rest is refused, and answers for another
//! user (rule 16).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use token_rotator::store::Fingerprint;
use token_rotator::{
    Event, ExposeSecret as _, FailureKind, RefreshError, Refreshed, Rotator, SessionKey,
    SourceError, TokenError, TokenSet, TokenSource,
};

use crate::common::{Fixture, Issuer, IssuerAction, ScriptedStore, lock, secret};

/// An issuer with a configuration that a test can change.
#[derive(Clone)]
struct Configured {
    issuer: Issuer,
    setting: Arc<Mutex<&'static str>>,
}

impl TokenSource for Configured {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        self.issuer.refresh(last).await
    }

    fn fingerprint(&self, _session: &SessionKey) -> Option<Fingerprint> {
        Some(Fingerprint::of([*lock(&self.setting)], None))
    }
}

/// Rotates, and answers with a token type that the source refuses.
fn refuse_content(fixture: &Fixture, last: &TokenSet) {
    let next = fixture.issuer.spend(last);
    let token = next
        .refresh_token()
        .expect("one")
        .expose_secret()
        .to_owned();
    let refused = SourceError::content_refused("its token type is `mac`").with_refresh_token(token);
    fixture.issuer.push_action(IssuerAction::Fail(refused));
}

fn content_refused<T: std::fmt::Debug>(outcome: Result<T, TokenError>) {
    let Err(TokenError::Refresh(error @ RefreshError::ContentRefused { .. })) = outcome else {
        panic!("refused content, not {outcome:?}");
    };
    assert_eq!(error.kind(), FailureKind::Misconfigured);
    assert!(error.to_string().contains("`mac`"), "{error}");
}

/// The received refresh token is saved, the answer is not asked for again, and a change of the
/// configuration ends that in every process.
#[tokio::test(start_paused = true)]
async fn a_refused_answer_is_not_asked_for_until_the_configuration_changes() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let source = Configured {
        issuer: fixture.issuer.clone(),
        setting: Arc::new(Mutex::new("token_type unset")),
    };
    let build = || {
        let builder = Rotator::builder(source.clone()).clock(fixture.clock.clone());
        let builder = builder
            .on_event(fixture.events.listener())
            .store(store.clone());
        builder.build().expect("a rotator")
    };
    let rotator = build();
    let login = rotator.sign_in(fixture.issuer.login()).expect("usable");
    login.await.expect("stored");
    let token = rotator.token().await.expect("a token");
    fixture.expire().await;
    refuse_content(&fixture, token.token_set());
    content_refused(rotator.token().await);
    let record = store.record().await.expect("a record");
    let newest = record
        .tokens()
        .expect("tokens")
        .refresh_token()
        .expect("one");
    assert_eq!(newest.expose_secret(), "refresh-2");
    let previous = record.previous_refresh_token().expect("the previous one");
    assert_eq!(previous.expose_secret(), "refresh-1");
    for _ in 0..5 {
        tokio::time::advance(Duration::from_secs(100)).await;
        content_refused(rotator.token().await);
        content_refused(build().token().await);
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    *lock(&source.setting) = "token_type = bearer";
    tokio::time::advance(Duration::from_secs(100)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
    let record = store.record().await.expect("a record");
    assert_eq!(record.refused_content(), None);
    for event in fixture.events.all() {
        assert!(!format!("{event:?}").contains("refresh-2"), "{event:?}");
    }
}

/// The access token that still works is served, and a forced refresh asks again with the newest
/// refresh token, in memory and with a store.
#[tokio::test(start_paused = true)]
async fn force_asks_again_with_the_newest_refresh_token() {
    for stored in [false, true] {
        let fixture = Fixture::new();
        let store = ScriptedStore::new();
        let rotator = fixture
            .signed_in_with(|builder| {
                if stored {
                    builder.store(store.clone())
                } else {
                    builder
                }
            })
            .await;
        let token = rotator.token().await.expect("a token");
        refuse_content(&fixture, token.token_set());
        content_refused(rotator.refresh_now().await);
        assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
        let newest = rotator.refresh_now().await.expect("a token");
        assert_eq!(secret(&newest), "access-3");
        assert_eq!(fixture.issuer.reuse_alarms(), 0);
    }
}

/// A refused refresh token that came with a refused answer was believed too early: the previous one is
/// the last resort, and an event.
#[tokio::test(start_paused = true)]
async fn the_previous_refresh_token_is_the_last_resort() {
    let fixture = Fixture::new();
    fixture.issuer.parent_always();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    fixture.expire().await;
    let bogus = SourceError::content_refused("it has no access token").with_refresh_token("bogus");
    fixture.issuer.push_action(IssuerAction::Fail(bogus));
    rotator.token().await.expect_err("refused content");
    let refused = SourceError::terminal("invalid_grant").with_code("invalid_grant");
    fixture.issuer.push_action(IssuerAction::Fail(refused));
    assert_eq!(
        secret(&rotator.refresh_now().await.expect("a token")),
        "access-2"
    );
    let last_resort = |event: &Event| {
        matches!(
            event,
            Event::PresentedAgain {
                last_resort: true,
                ..
            }
        )
    };
    assert_eq!(fixture.events.count(last_resort), 1);
    assert!(!rotator.has_ended());
}

/// The tokens of another user are neither installed nor saved nor revoked, and are a security event.
#[tokio::test(start_paused = true)]
async fn an_answer_for_another_user_is_dropped() {
    // {"sub":"alice"} and {"sub":"bob"}
    let alice = "e30.eyJzdWIiOiJhbGljZSJ9.";
    let bob = "e30.eyJzdWIiOiJib2IifQ.";
    for usable in [true, false] {
        let fixture = Fixture::new();
        let store = ScriptedStore::new();
        let builder = fixture.builder().store(store.clone());
        let rotator = builder.build().expect("a rotator");
        let login = fixture.issuer.login().with_id_token(alice);
        rotator
            .sign_in(login)
            .expect("usable")
            .await
            .expect("stored");
        let token = rotator.token().await.expect("a token");
        if !usable {
            fixture.expire().await;
        }
        let next = fixture.issuer.spend(token.token_set()).with_id_token(bob);
        fixture.issuer.push_action(IssuerAction::Answer(next));
        let outcome = rotator.refresh_now().await;
        let Err(TokenError::Refresh(error @ RefreshError::AnotherSubject)) = outcome else {
            panic!("another user, not {outcome:?}");
        };
        assert_eq!(error.hint(), Some("sign in"));
        let is_alarm = |event: &Event| matches!(event, Event::AnotherSubject { .. });
        assert_eq!(fixture.events.count(is_alarm), 1);
        assert_eq!(store.access_token().await.as_deref(), Some("access-1"));
        assert_eq!(fixture.issuer.revoked(), Vec::<String>::new());
        assert_eq!(rotator.token().await.is_ok(), usable);
        // Another process does not present the spent refresh token either.
        if !usable {
            let other = fixture.builder().store(store.clone()).build();
            other.expect("a rotator").token().await.expect_err("ended");
        }
        assert_eq!(fixture.issuer.refresh_calls(), 1);
    }
}

/// The record holds the previous refresh token until the newer one has worked.
#[tokio::test(start_paused = true)]
async fn the_record_holds_the_previous_refresh_token() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    for expected in ["refresh-1", "refresh-2"] {
        rotator.refresh_now().await.expect("a token");
        let record = store.record().await.expect("a record");
        let previous = record.previous_refresh_token().expect("one");
        assert_eq!(previous.expose_secret(), expected);
    }
}
