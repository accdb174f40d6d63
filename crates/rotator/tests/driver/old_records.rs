//! Tests a store that comes back with an older record: a restored backup, a failover, a flushed store,
//! and a sign-in elsewhere.

use std::time::Duration;

use token_rotator::store::{Epoch, Record};
use token_rotator::{Event, RefreshError, Rotator, TokenError};

use crate::common::store::next_record;
use crate::common::{Fixture, ScriptedStore, secret};

/// A process whose record has been refreshed twice, and a backup of its first record.
async fn restored(fixture: &Fixture) -> (Rotator, ScriptedStore) {
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    let backup = store.record().await.expect("a record");
    for _ in 0..2 {
        rotator.refresh_now().await.expect("a token");
    }
    store.put(backup).await;
    (rotator, store)
}

fn older(event: &Event) -> bool {
    matches!(event, Event::OlderRecord { .. })
}

fn last_resort(event: &Event) -> bool {
    matches!(
        event,
        Event::PresentedAgain {
            last_resort: true,
            ..
        }
    )
}

/// The access token is served while it lasts, the newer tokens are written back, and the refresh token
/// is presented only as the last resort, which is announced.
#[tokio::test(start_paused = true)]
async fn a_restored_backup_fails_no_call_while_the_token_is_good() {
    let fixture = Fixture::new();
    let (rotator, store) = restored(&fixture).await;
    fixture.almost_expire().await;
    for _ in 0..10 {
        assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    crate::common::run_ready_tasks().await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
    assert_eq!(fixture.events.count(older), 1);
    assert_eq!(fixture.issuer.refresh_calls(), 2);
    // A process that starts now gets the newer token too.
    let other = fixture.builder().store(store.clone()).build();
    let token = other.expect("a rotator").token().await;
    assert_eq!(secret(&token.expect("a token")), "access-3");
    fixture.expire().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-4");
    assert_eq!(fixture.events.count(last_resort), 1);
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// A process with tokens that are older than those of another process writes its own back, takes the
/// newer ones as soon as they are there, and trips no reuse alarm.
#[tokio::test(start_paused = true)]
async fn the_newest_tokens_win_after_a_restore() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let build = || {
        let builder = fixture.builder().store(store.clone());
        builder.build().expect("a rotator")
    };
    let (first, second) = (build(), build());
    let login = first.sign_in(fixture.issuer.login()).expect("usable");
    login.await.expect("stored");
    let backup = store.record().await.expect("a record");
    first.refresh_now().await.expect("access-2");
    // This process read the record before the last refresh.
    assert_eq!(secret(&second.token().await.expect("adopted")), "access-2");
    first.refresh_now().await.expect("access-3");
    store.put(backup).await;
    fixture.almost_expire().await;
    for rotator in [&second, &first, &second] {
        rotator.token().await.expect("a token");
        crate::common::run_ready_tasks().await;
    }
    assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
    fixture.expire().await;
    assert_eq!(secret(&second.token().await.expect("a token")), "access-4");
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// A forced refresh resolves the doubt while the access token is good.
#[tokio::test(start_paused = true)]
async fn force_resolves_the_doubt_of_an_older_record() {
    let fixture = Fixture::new();
    let (rotator, store) = restored(&fixture).await;
    let token = rotator.refresh_now().await.expect("a token");
    assert_eq!(secret(&token), "access-4");
    assert_eq!(fixture.events.count(last_resort), 1);
    let record = store.record().await.expect("a record");
    assert_eq!(record.intent(), None);
}

/// A flushed store and a sign-in elsewhere fail no call while the access token is good. A new epoch is
/// accepted.
#[tokio::test(start_paused = true)]
async fn a_flushed_store_and_a_sign_in_elsewhere_fail_no_call() {
    for signs_in in [false, true] {
        let fixture = Fixture::new();
        let (rotator, store) = restored(&fixture).await;
        let found = store.record().await;
        store.clear();
        if signs_in {
            let login = Some(fixture.issuer.login());
            let epoch = Some(Epoch::random());
            // A lost store starts its revisions again.
            let login: Record = next_record(None, epoch, login);
            assert!(
                found.is_some_and(|found| found.version().revision >= login.version().revision)
            );
            store.put(login).await;
        }
        fixture.almost_expire().await;
        for _ in 0..10 {
            let outcome = rotator.token().await;
            assert!(outcome.is_ok(), "{outcome:?}");
            crate::common::run_ready_tasks().await;
        }
        fixture.expire().await;
        let outcome = rotator.token().await;
        assert!(outcome.is_ok(), "{outcome:?}");
        assert_eq!(fixture.events.count(older), 0);
        assert_eq!(fixture.issuer.reuse_alarms(), 0);
    }
}

/// The error of the early refresh names the older record.
#[tokio::test(start_paused = true)]
async fn the_error_asks_for_a_backup() {
    let fixture = Fixture::new();
    let (rotator, _store) = restored(&fixture).await;
    fixture.almost_expire().await;
    rotator.token().await.expect("a token");
    crate::common::run_ready_tasks().await;
    let named = |event: &Event| {
        matches!(
            event,
            Event::RefreshFailed {
                error: RefreshError::OlderRecord,
                ..
            }
        )
    };
    assert_eq!(fixture.events.count(named), 1);
    let error = TokenError::Refresh(RefreshError::OlderRecord);
    assert!(error.hint().is_some_and(|hint| hint.contains("backup")));
}
