//! Failures of the server: each has its own error kind, ends within a time limit, and lets no refresh run without a
//! lease.

use std::time::{Duration, Instant};

use token_rotator::store::server::Timing;
use token_rotator::store::{Coordinator as _, SessionStore as _, StoreErrorKind};
use token_rotator::{ExposeSecret as _, RefreshError, TokenError};

use super::{
    ServerFixture, TestTokenSource, acquire, assert_fails, assert_works, codec, eventually, key,
    rotator, save, save_successor, tokens, within_ten_seconds,
};

/// Opens a store that waits 300 ms for a response.
fn store_with_short_timeout<G: ServerFixture>(fixture: &G) -> G::Store {
    let timing = Timing::new(Duration::from_millis(300));
    fixture.open_with(Some(timing), codec())
}

/// A call to a paused server times out, and later calls succeed.
pub async fn a_call_to_a_paused_server_times_out<G: ServerFixture>(fixture: &mut G) {
    let store = store_with_short_timeout(fixture);
    G::ping(&store).await.expect("a server");
    fixture.pause();
    let start = Instant::now();
    let message = "did not answer within 300ms";
    assert_fails(&store, StoreErrorKind::Unavailable, message).await;
    // A store without a connection times out too.
    assert_fails(
        &store_with_short_timeout(fixture),
        StoreErrorKind::Unavailable,
        "300ms",
    )
    .await;
    assert!(start.elapsed() < Duration::from_secs(5));
    fixture.resume();
    // The server may carry out the earlier calls now.
    eventually("the store works again", async || {
        G::ping(&store).await.is_ok() && store.acquire(&key(), Duration::ZERO).await.is_ok()
    })
    .await;
}

/// A killed server is reported as unreachable. The store works again after its restart.
pub async fn a_killed_server_cannot_be_reached<G: ServerFixture>(fixture: &mut G) {
    let store = fixture.open();
    G::ping(&store).await.expect("a server");
    fixture.kill();
    assert_fails(&store, StoreErrorKind::Unavailable, "nothing listens there").await;
    fixture.restart().await;
    assert_works(&store).await;
}

/// A record with a changed revision and a record with a damaged body are reported as corrupt.
pub async fn a_record_that_was_tampered_with_is_corrupt<G: ServerFixture>(fixture: &mut G) {
    let store = fixture.open();
    save(&store).await.expect("a store that works");
    fixture.change_revision();
    let error = store
        .load(&key())
        .await
        .expect_err("the revision does not fit the body");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    let error = save(&store)
        .await
        .expect_err("the revision does not fit the body");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    fixture.damage_body();
    let error = store.load(&key()).await.expect_err("no record");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
}

/// A store reopens a connection that was closed while idle. No call fails.
pub async fn a_closed_connection_is_reopened<G: ServerFixture>(fixture: &mut G) {
    let store = fixture.open();
    for _ in 0..3 {
        G::ping(&store).await.expect("a server");
        fixture.close_connections();
    }
    assert_works(&store).await;
    fixture.close_connections();
    assert!(store.acquire(&key(), Duration::ZERO).await.is_ok());
}

/// A store works on a second runtime after the first runtime has ended.
pub fn a_store_outlives_its_runtime<G: ServerFixture>() {
    if let Some(reason) = G::skip_reason() {
        eprintln!("{reason}");
        return;
    }
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    };
    let first = runtime();
    let fixture = first.block_on(G::new());
    let store = fixture.open();
    first.block_on(assert_works(&store));
    drop(first);
    let second = runtime();
    let lease = second.block_on(store.acquire(&key(), Duration::from_secs(1)));
    assert!(lease.is_ok());
}

/// Rule 7: a rotator sends nothing without a lease. An empty server after a failover is a lost record and not a
/// sign-out.
pub async fn a_rotator_sends_nothing_without_a_lease_and_survives_an_empty_server<
    G: ServerFixture,
>(
    fixture: &mut G,
) {
    let source = TestTokenSource::default();
    let store = store_with_short_timeout(fixture);
    let rotator = rotator(&source, store.clone());
    let stored = rotator.sign_in(tokens(0)).expect("tokens");
    stored.await.expect("a store that works");

    fixture.pause();
    let refreshed = within_ten_seconds("a refresh", rotator.refresh_now()).await;
    let failed = |error| {
        matches!(
            error,
            TokenError::Refresh(RefreshError::Store(_) | RefreshError::Lease(_))
        )
    };
    assert!(failed(refreshed.expect_err("no store")));
    assert_eq!(source.refresh_count(), 0, "sent without a lease");
    fixture.resume();

    fixture.restart_empty().await;
    assert!(store.load(&key()).await.expect("a store").is_none());
    within_ten_seconds("a refresh", rotator.refresh_now())
        .await
        .expect("a token");
    assert_eq!((source.refresh_count(), source.reuse_count()), (1, 0));
    let stored_record = store.load(&key()).await.expect("a store");
    assert!(stored_record.is_some(), "the new token set is stored");
}

/// A holder is paused until its lease expires, and its successor saves. The store refuses the holder's save, and the
/// holder serves the successor's token.
pub async fn a_paused_holder_adopts_what_its_successor_saved<G: ServerFixture>(fixture: &mut G) {
    let source = TestTokenSource::default();
    let rotator = rotator(&source, fixture.open());
    let stored = rotator.sign_in(tokens(0)).expect("tokens");
    stored.await.expect("a store that works");
    source.hold();
    let flight = tokio::spawn({
        let rotator = rotator.clone();
        async move { rotator.refresh_now().await }
    });
    source.wait_for_refreshes(1).await;

    fixture.expire_lease();
    let successor = fixture.open();
    let lease = acquire(&successor).await.expect("a free lease");
    let next = save_successor(&successor).await;
    lease.release().await;

    source.release();
    let token = within_ten_seconds("the flight", flight)
        .await
        .expect("no panic");
    let token = token.expect("a token");
    let stored_tokens = next.tokens().expect("tokens");
    let header = format!("Bearer {}", stored_tokens.access_token().expose_secret());
    assert_eq!(token.header().as_bytes(), header.as_bytes());
    let stored_record = successor.load(&key()).await.expect("a store");
    assert_eq!(stored_record.expect("a record").version(), next.version());
}
