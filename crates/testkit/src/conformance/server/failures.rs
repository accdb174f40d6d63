//! A server that fails is reported as what it is, in time, and no refresh goes without a lease.

use std::time::{Duration, Instant};

use token_rotator::store::server::Timing;
use token_rotator::store::{Coordinator as _, SessionStore as _, StoreErrorKind};
use token_rotator::{ExposeSecret as _, RefreshError, TokenError};

use super::{
    ServerGround, Source, acquire, assert_fails, assert_works, codec, eventually, key, rotator,
    save, save_successor, soon, tokens,
};

/// A store that waits 300 ms for an answer.
fn hasty<G: ServerGround>(ground: &G) -> G::Store {
    let timing = Timing::new(Duration::from_millis(300));
    ground.open_with(Some(timing), codec())
}

/// Calls to a paused server end in time, and succeed after the pause.
pub async fn a_paused_server_is_given_up_in_time<G: ServerGround>(ground: &mut G) {
    let store = hasty(ground);
    G::ping(&store).await.expect("a server");
    ground.pause();
    let begun = Instant::now();
    let words = "did not answer within 300ms";
    assert_fails(&store, StoreErrorKind::Unavailable, words).await;
    // A store without a connection waits no longer.
    assert_fails(&hasty(ground), StoreErrorKind::Unavailable, "300ms").await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    ground.resume();
    // The server may carry out the earlier calls now.
    eventually("it works again", async || {
        G::ping(&store).await.is_ok() && store.acquire(&key(), Duration::ZERO).await.is_ok()
    })
    .await;
}

/// A killed server is reported as unreachable, and used again after its restart.
pub async fn a_killed_server_cannot_be_reached<G: ServerGround>(ground: &mut G) {
    let store = ground.open();
    G::ping(&store).await.expect("a server");
    ground.kill();
    assert_fails(&store, StoreErrorKind::Unavailable, "nothing listens there").await;
    ground.restart().await;
    assert_works(&store).await;
}

/// A record with another version than its body, and one with a damaged body, are corrupt.
pub async fn a_record_that_was_tampered_with_is_corrupt<G: ServerGround>(ground: &mut G) {
    let store = ground.open();
    save(&store).await.expect("a store that works");
    ground.change_revision();
    let error = store.load(&key()).await.expect_err("not its version");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    let error = save(&store).await.expect_err("not its version");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    ground.damage_body();
    let error = store.load(&key()).await.expect_err("no record");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
}

/// No call fails because an idle connection was closed.
pub async fn a_closed_connection_is_made_again<G: ServerGround>(ground: &mut G) {
    let store = ground.open();
    for _ in 0..3 {
        G::ping(&store).await.expect("a server");
        ground.cut_connections();
    }
    assert_works(&store).await;
    ground.cut_connections();
    assert!(store.acquire(&key(), Duration::ZERO).await.is_ok());
}

/// A store whose connection's runtime has ended works on another runtime.
pub fn a_store_outlives_its_runtime<G: ServerGround>() {
    if let Some(reason) = G::missing() {
        eprintln!("{reason}");
        return;
    }
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    };
    let first = runtime();
    let ground = first.block_on(G::new());
    let store = ground.open();
    first.block_on(assert_works(&store));
    drop(first);
    let second = runtime();
    let lease = second.block_on(store.acquire(&key(), Duration::from_secs(1)));
    assert!(lease.is_ok());
}

/// Rule 7: without a lease, nothing is sent. An empty server after a failover is a lost store and
/// no sign-out.
pub async fn a_rotator_sends_nothing_without_a_lease_and_survives_an_empty_server<
    G: ServerGround,
>(
    ground: &mut G,
) {
    let source = Source::default();
    let store = hasty(ground);
    let rotator = rotator(&source, store.clone());
    let stored = rotator.sign_in(tokens(0)).expect("tokens");
    stored.await.expect("a store that works");

    ground.pause();
    let refused = soon("a refresh", rotator.refresh_now()).await;
    let failed = |error| {
        matches!(
            error,
            TokenError::Refresh(RefreshError::Store(_) | RefreshError::Lease(_))
        )
    };
    assert!(failed(refused.expect_err("no store")));
    assert_eq!(source.calls(), 0, "sent without a lease");
    ground.resume();

    ground.restart_empty().await;
    assert!(store.load(&key()).await.expect("a store").is_none());
    soon("a refresh", rotator.refresh_now())
        .await
        .expect("a token");
    assert_eq!((source.calls(), source.reused()), (1, 0));
    let kept = store.load(&key()).await.expect("a store");
    assert!(kept.is_some(), "the new token set is stored");
}

/// A holder was paused until its lease ran out, and its successor has saved: the store refuses the
/// holder's save, and the holder serves its successor's token.
pub async fn a_paused_holder_adopts_what_its_successor_saved<G: ServerGround>(ground: &mut G) {
    let source = Source::default();
    let rotator = rotator(&source, ground.open());
    let stored = rotator.sign_in(tokens(0)).expect("tokens");
    stored.await.expect("a store that works");
    source.hold();
    let flight = tokio::spawn({
        let rotator = rotator.clone();
        async move { rotator.refresh_now().await }
    });
    source.arrived(1).await;

    ground.expire_lease();
    let successor = ground.open();
    let lease = acquire(&successor).await.expect("a free lease");
    let next = save_successor(&successor).await;
    lease.release().await;

    source.let_go();
    let token = soon("the flight", flight).await.expect("no panic");
    let token = token.expect("a token");
    let theirs = next.tokens().expect("tokens");
    let header = format!("Bearer {}", theirs.access_token().expose_secret());
    assert_eq!(token.header().as_bytes(), header.as_bytes());
    let kept = successor.load(&key()).await.expect("a store");
    assert_eq!(kept.expect("a record").version(), next.version());
}
