//! Tests that tokens are saved before they are served (rule 6).

use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator::store::StoreErrorKind;
use token_rotator::{Event, RefreshError, TokenError};

use crate::common::{
    Fixture, Requests as _, ScriptedCoordinator, ScriptedStore, collect_outcomes, run_ready_tasks,
    secret, spawn_callers, timed,
};

/// No caller gets the new token before the store has it.
#[tokio::test(start_paused = true)]
async fn a_token_is_saved_before_it_is_served() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    fixture.expire().await;
    store.hold_saves(true);
    let saves = store.saves();
    let tasks = spawn_callers(&rotator, 50);
    store.wait_for_saves(saves + 1).await;
    run_ready_tasks().await;
    assert!(rotator.ready().is_none());
    assert!(rotator.access_token().is_none());
    assert!(tasks.iter().all(|call| !call.is_finished()));
    assert_eq!(fixture.issuer.refreshes(), 1);
    store.hold_saves(false);
    for token in collect_outcomes(tasks).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
}

/// If a save fails, the token is served from memory. An event reports the failure, the save is
/// repeated under the lease, and a second event reports success.
#[tokio::test(start_paused = true)]
async fn a_failed_save_is_tried_again_under_the_lease() {
    let fixture = Fixture::new();
    let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()).coordinator(leases.clone()))
        .await;
    fixture.expire().await;
    store.fail_saves(4);
    for token in collect_outcomes(spawn_callers(&rotator, 50)).await {
        assert_eq!(secret(&token.expect("served from memory")), "access-2");
    }
    assert_eq!(store.access_token().await.as_deref(), Some("access-1"));
    assert!(
        !leases.is_free().await,
        "no other process may spend the old refresh token"
    );
    // Retries after 0.5, 1, 2 and 4 s.
    tokio::time::sleep(Duration::from_millis(3_600)).await;
    assert!(!leases.is_free().await);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
    assert!(leases.is_free().await);
    let failed = |event: &Event| matches!(event, Event::SaveFailed { .. });
    let recovered = |event: &Event| matches!(event, Event::SaveRecovered { attempts: 4 });
    assert_eq!(fixture.events.count(failed), 4);
    assert_eq!(fixture.events.count(recovered), 1);
    fixture.expire().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// A store that panics at load fails the flight with a typed error, and the flight sends nothing.
#[tokio::test(start_paused = true)]
async fn a_store_that_panics_at_load_fails_the_flight() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    fixture.expire().await;
    store.panic_loads(1);
    for error in collect_outcomes(spawn_callers(&rotator, 50)).await {
        let Err(TokenError::Refresh(RefreshError::Store(error))) = error else {
            panic!("the store's panic, typed, not {error:?}");
        };
        assert_eq!(error.kind(), StoreErrorKind::Panicked);
    }
    assert_eq!(fixture.issuer.refresh_calls(), 0);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
}

/// A store that panics at save counts as a failed save: the token is served from memory.
#[tokio::test(start_paused = true)]
async fn a_store_that_panics_at_save_is_tried_again() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    fixture.expire().await;
    store.panic_saves(2);
    for token in collect_outcomes(spawn_callers(&rotator, 50)).await {
        assert_eq!(secret(&token.expect("served from memory")), "access-2");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
}

/// A panic of the store during the write of a sign-in is retried like any other failure.
#[tokio::test(start_paused = true)]
async fn a_store_that_panics_at_sign_in_is_tried_again() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    store.panic_loads(1);
    store.panic_saves(1);
    let rotator = fixture
        .builder()
        .store(store.clone())
        .build()
        .expect("a rotator");
    let stored = rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    let error = stored.await.expect_err("the store panicked");
    assert_eq!(error.kind(), StoreErrorKind::Panicked);
    assert_eq!(secret(&rotator.token().await.expect("served")), "access-1");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-1"));
}

/// A sign-in while the store is down is served at once, reported as unsaved, and saved later.
#[tokio::test(start_paused = true)]
async fn a_sign_in_while_the_store_is_down_is_saved_later() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    store.fail_saves(2);
    let rotator = fixture
        .builder()
        .store(store.clone())
        .build()
        .expect("a rotator");
    let stored = rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    assert_eq!(secret(&rotator.token().await.expect("served")), "access-1");
    stored.await.expect_err("the store is down");
    assert!(store.record().await.is_none());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-1"));
    let recovered = |event: &Event| matches!(event, Event::SaveRecovered { attempts: 2 });
    assert_eq!(fixture.events.count(recovered), 1);
}

/// A flight that cannot read the store sends nothing. An unwritten sign-in is written before the
/// flight uses the stored record.
#[tokio::test(start_paused = true)]
async fn a_flight_writes_the_sign_in_first() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    store.fail_saves(1);
    let rotator = fixture
        .builder()
        .store(store.clone())
        .build()
        .expect("a rotator");
    let stored = rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    stored.await.expect_err("the store is down");
    let token = rotator.refresh_now().await.expect("a token");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(store.revisions(), [1, 3]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
    assert_eq!(
        store.revisions(),
        [1, 3],
        "the first write has nothing left to do"
    );
}

/// A store that hangs at load delays the flight until its deadline. The flight ends with a typed
/// error and sends nothing, and the next flight works.
#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_at_load_does_not_keep_the_slot() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    fixture.expire().await;
    store.hold_loads(true);
    let error = rotator.token().await;
    assert!(
        matches!(error, Err(TokenError::Refresh(RefreshError::Store(_)))),
        "{error:?}"
    );
    assert_eq!(fixture.issuer.refresh_calls(), 0);
    store.hold_loads(false);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
}

/// A store that hangs at save counts as a failed save: the token is served from memory.
#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_at_save_does_not_keep_the_token() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    fixture.expire().await;
    store.hold_saves(true);
    let token = rotator.token().await.expect("served from memory");
    assert_eq!(secret(&token), "access-2");
    store.hold_saves(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
}

/// `shutdown` waits for the flight, the save and the revocation. After it a good token is served,
/// also in the window of early refreshes; a call that needs a refresh gets an error.
#[tokio::test(start_paused = true)]
async fn shutdown_waits_and_then_serves_good_tokens() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    let old = rotator.token().await.expect("a token");
    fixture.expire().await;
    fixture.issuer.hold();
    let tasks = spawn_callers(&rotator, 3);
    fixture.issuer.wait_for_calls(1).await;
    assert!(
        !rotator.shutdown(Duration::from_secs(1)).await,
        "the flight is in the air"
    );
    store.fail_saves(1);
    fixture.issuer.release();
    assert!(rotator.shutdown(Duration::from_secs(5)).await);
    assert_eq!(
        store.access_token().await.as_deref(),
        Some("access-2"),
        "the save was waited for"
    );
    for token in collect_outcomes(tasks).await {
        token.expect("the flight completed");
    }
    assert_eq!(
        secret(&rotator.token().await.expect("a good token")),
        "access-2"
    );
    let newer = rotator.refused(&old).await.expect("no refresh is needed");
    assert_eq!(secret(&newer), "access-2");
    fixture.almost_expire().await;
    assert_eq!(
        secret(&rotator.token().await.expect("a good token")),
        "access-2"
    );
    assert!(rotator.pass_for_once().await.is_ok());
    rotator.report_refused(&newer);
    run_ready_tasks().await;
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    fixture.expire().await;
    assert!(matches!(rotator.token().await, Err(TokenError::ShutDown)));
    assert!(matches!(
        rotator.refresh_now().await,
        Err(TokenError::ShutDown)
    ));
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// A sign-in that the store does not take is refreshed from memory, under the lease. The store ends
/// with the newest token set.
#[tokio::test(start_paused = true)]
async fn a_flight_refreshes_an_unstored_sign_in() {
    let fixture = Fixture::new();
    let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
    store.fail_saves(1_000);
    let rotator = fixture
        .builder()
        .store(store.clone())
        .coordinator(leases.clone())
        .build()
        .expect("a rotator");
    let login = rotator.sign_in(fixture.issuer.login()).expect("usable");
    assert!(login.await.is_err());
    let token = rotator.refresh_now().await.expect("from memory");
    assert_eq!(secret(&token), "access-2");
    assert!(!leases.is_free().await);
    store.fail_saves(0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
    assert!(store.intents().iter().all(Option::is_none));
    assert!(leases.is_free().await);
    assert!(rotator.shutdown(Duration::from_secs(1)).await);
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// A sign-out does not wait for the hanging store call of the previous sign-in.
#[tokio::test(start_paused = true)]
async fn a_sign_out_overtakes_a_hanging_write() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    store.hang_saves(1);
    let rotator = fixture
        .builder()
        .store(store.clone())
        .build()
        .expect("a rotator");
    let saves = store.saves();
    let login = rotator.sign_in(fixture.issuer.login()).expect("usable");
    store.wait_for_saves(saves + 1).await;
    let (took, stored) = timed(rotator.sign_out()).await;
    stored.expect("a tombstone");
    assert!(took.is_zero(), "{took:?}");
    login.await.expect("nothing is left to store");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(store.record().await.expect("a record").tokens().is_none());
}
