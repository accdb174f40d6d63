//! Tests several rotators that share one session: one refresh in total, and every rotator sees the
//! changes of the others.

use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator::store::{Epoch, LocalCoordinator};
use token_rotator::{Event, MemoryStore, Rotator, TokenError};

use crate::common::store::next_record;
use crate::common::{
    Fixture, ScriptedStore, collect_outcomes, run_ready_tasks, secret, spawn_callers,
};

/// Returns rotators that share store and coordinator and have the same sign-in.
async fn rotators_with_shared_store(
    fixture: &Fixture,
    count: usize,
) -> (Vec<Rotator>, MemoryStore) {
    let (store, leases) = (MemoryStore::new(), LocalCoordinator::new());
    let build = || {
        let builder = fixture
            .builder()
            .store(store.clone())
            .coordinator(leases.clone());
        builder.build().expect("a rotator")
    };
    let rotators: Vec<_> = (0..count).map(|_| build()).collect();
    let login = rotators[0].sign_in(fixture.issuer.login()).expect("usable");
    login.await.expect("stored");
    for rotator in &rotators {
        assert_eq!(secret(&rotator.token().await.expect("adopted")), "access-1");
    }
    (rotators, store)
}

/// Two or five rotators with 50 callers each and an expired token cause one refresh. Every caller
/// is served, and all rotators but one adopt the token.
#[tokio::test(start_paused = true)]
async fn rotators_share_one_refresh() {
    for count in [2, 5] {
        let fixture = Fixture::new();
        let (rotators, _store) = rotators_with_shared_store(&fixture, count).await;
        for round in 1..=3 {
            let adopted = |event: &Event| matches!(event, Event::Adopted { .. });
            let before = fixture.events.count(adopted);
            fixture.expire().await;
            let tasks = rotators
                .iter()
                .flat_map(|rotator| spawn_callers(rotator, 50))
                .collect();
            let expected = format!("access-{}", round + 1);
            for token in collect_outcomes(tasks).await {
                assert_eq!(secret(&token.expect("a token")), expected);
            }
            assert_eq!(fixture.issuer.refresh_calls(), round);
            assert_eq!(fixture.events.count(adopted) - before, count - 1);
        }
        assert_eq!(fixture.issuer.reuse_alarms(), 0);
        assert_eq!(fixture.issuer.max_concurrent(), 1);
    }
}

/// A refusal is answered with the token that another rotator has refreshed.
#[tokio::test(start_paused = true)]
async fn a_refusal_adopts_the_token_of_another_rotator() {
    let fixture = Fixture::new();
    let (rotators, _store) = rotators_with_shared_store(&fixture, 2).await;
    tokio::time::advance(Duration::from_secs(30)).await;
    let (mine, theirs) = (&rotators[0], &rotators[1]);
    let old = (
        mine.token().await.expect("a token"),
        theirs.token().await.expect("a token"),
    );
    let (a, b) = tokio::join!(mine.refused(&old.0), theirs.refused(&old.1));
    assert_eq!(secret(&a.expect("a token")), "access-2");
    assert_eq!(secret(&b.expect("a token")), "access-2");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// The next flight obeys another rotator's sign-out: it refreshes nothing and serves nothing.
#[tokio::test(start_paused = true)]
async fn a_sign_out_elsewhere_is_obeyed() {
    let fixture = Fixture::new();
    let (rotators, _store) = rotators_with_shared_store(&fixture, 2).await;
    rotators[0].sign_out().await.expect("a tombstone");
    fixture.expire().await;
    for error in collect_outcomes(spawn_callers(&rotators[1], 50)).await {
        assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    }
    assert_eq!(fixture.issuer.refresh_calls(), 0);
    assert!(rotators[1].access_token().is_none());
}

/// The next flight obeys another rotator's sign-in: waiters get `SessionChanged`, and later callers
/// get the new session. No request is sent as another user.
#[tokio::test(start_paused = true)]
async fn a_sign_in_elsewhere_is_obeyed() {
    let fixture = Fixture::new();
    let (rotators, _store) = rotators_with_shared_store(&fixture, 2).await;
    fixture.expire().await;
    let login = rotators[0].sign_in(fixture.issuer.login()).expect("usable");
    login.await.expect("stored");
    for error in collect_outcomes(spawn_callers(&rotators[1], 50)).await {
        assert!(
            matches!(error, Err(TokenError::SessionChanged)),
            "{error:?}"
        );
    }
    assert_eq!(
        secret(&rotators[1].token().await.expect("bob's")),
        "access-2"
    );
    assert_eq!(fixture.issuer.refresh_calls(), 0);
}

/// A write that loses against a successor adopts the successor, which stays in the store.
#[tokio::test(start_paused = true)]
async fn a_lost_write_adopts_the_successor() {
    let fixture = Fixture::new();
    fixture.issuer.parent_always();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    fixture.expire().await;
    let issuer = fixture.issuer.clone();
    store.before_next_save(move |found| {
        let newer = issuer.spend(
            found
                .as_ref()
                .and_then(|found| found.tokens())
                .expect("tokens"),
        );
        next_record(found.as_ref(), None, Some(newer))
    });
    let token = rotator.token().await.expect("a token");
    assert_eq!(Some(secret(&token)), store.access_token().await);
    assert_eq!(secret(&token), "access-3");
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::Adopted { .. })),
        1
    );
}

/// A write that loses against another rotator's sign-in adopts the sign-in, and its own result
/// counts as late.
#[tokio::test(start_paused = true)]
async fn a_lost_write_adopts_a_sign_in() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    fixture.expire().await;
    let bobs = fixture.issuer.login();
    store.before_next_save(move |found| {
        next_record(found.as_ref(), Some(Epoch::random()), Some(bobs))
    });
    let error = rotator.token().await;
    assert!(
        matches!(error, Err(TokenError::SessionChanged)),
        "{error:?}"
    );
    assert_eq!(secret(&rotator.token().await.expect("bob's")), "access-2");
    assert_eq!(store.access_token().await.as_deref(), Some("access-2"));
    assert_eq!(
        fixture
            .events
            .count(|event| matches!(event, Event::LateTokens { .. })),
        1
    );
}

/// Two rotators start together with an empty store and no coordinator. The second writer adopts the
/// first writer's tokens. No caller gets `SessionChanged`, because there was no session before.
#[tokio::test(start_paused = true)]
async fn two_rotators_that_start_together_agree() {
    let fixture = Fixture::new();
    fixture.issuer.without_grant();
    let store = ScriptedStore::new();
    let build = || {
        fixture
            .builder()
            .store(store.clone())
            .build()
            .expect("a rotator")
    };
    let (first, second) = (build(), build());
    fixture.issuer.hold();
    let mut tasks = spawn_callers(&first, 5);
    tasks.extend(spawn_callers(&second, 5));
    fixture.issuer.wait_for_calls(2).await;
    fixture.issuer.release();
    let stored = {
        let tokens = collect_outcomes(tasks).await;
        let stored = store.access_token().await.expect("a record");
        for token in tokens {
            assert_eq!(secret(&token.expect("a token")), stored);
        }
        stored
    };
    run_ready_tasks().await;
    assert_eq!(secret(&first.token().await.expect("a token")), stored);
    assert_eq!(secret(&second.token().await.expect("a token")), stored);
}

/// A missing record means a lost store. The rotator continues from memory and writes a new record,
/// which the other rotator adopts.
#[tokio::test(start_paused = true)]
async fn a_lost_store_gets_a_new_record() {
    let fixture = Fixture::new();
    let (store, leases) = (ScriptedStore::new(), LocalCoordinator::new());
    let build = || {
        let builder = fixture
            .builder()
            .store(store.clone())
            .coordinator(leases.clone());
        builder.build().expect("a rotator")
    };
    let (first, second) = (build(), build());
    first
        .sign_in(fixture.issuer.login())
        .expect("usable")
        .await
        .expect("stored");
    second.token().await.expect("adopted");
    fixture.expire().await;
    first.token().await.expect("a token");
    second.token().await.expect("adopted");
    store.clear();
    fixture.expire().await;
    assert_eq!(
        secret(&first.token().await.expect("memory goes on")),
        "access-3"
    );
    assert_eq!(secret(&second.token().await.expect("adopted")), "access-3");
    assert_eq!(fixture.issuer.refresh_calls(), 2);
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}
