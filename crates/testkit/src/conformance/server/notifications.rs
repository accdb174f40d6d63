//! A notification ends a wait at once.

use std::time::{Duration, Instant};

use token_rotator::store::{Coordinator as _, SessionStore as _};
use token_rotator::{ExposeSecret as _, Rotator, Token};

use super::{
    ServerGround, Source, eventually, key, rotator, save_over, save_successor, soon, tokens,
    version,
};

/// A task that has waited this long polls next at 2.75 s. If its wait ends sooner, a notification
/// ended it.
pub const BETWEEN_POLLS: Duration = Duration::from_millis(1_900);
/// Less than the time from [`BETWEEN_POLLS`] to the next poll.
pub const BEFORE_THE_NEXT_POLL: Duration = Duration::from_millis(600);

fn secret(token: &Token) -> String {
    token.secret().expose_secret().to_owned()
}

fn access(number: usize) -> String {
    tokens(number).access_token().expose_secret().to_owned()
}

/// Two processes that refresh at once refresh once.
pub async fn one_refresh_serves_two_processes<G: ServerGround>(ground: &mut G) {
    let source = Source::default();
    let here = rotator(&source, ground.open());
    let there = rotator(&source, ground.open());
    let stored = here.sign_in(tokens(0)).expect("tokens that can be sent");
    stored.await.expect("a store that works");
    let token = there.token().await.expect("what the other signed in with");
    assert_eq!(secret(&token), access(0));

    source.hold();
    let refresh = |rotator: &Rotator| {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    let first = refresh(&here);
    source.arrived(1).await;
    let second = refresh(&there);
    tokio::time::sleep(Duration::from_millis(100)).await;
    source.let_go();
    for refresh in [first, second] {
        let token = soon("a refresh", refresh).await.expect("no panic");
        assert_eq!(secret(&token.expect("a token")), access(1));
    }
    assert_eq!((source.calls(), source.reused()), (1, 0));
}

/// A rotator that waits for the lease goes on as soon as another process has saved, even if the
/// lease is still held.
pub async fn a_save_ends_the_wait_for_the_lease<G: ServerGround>(ground: &mut G) {
    let source = Source::default();
    let waiter = rotator(&source, ground.open());
    let stored = waiter.sign_in(tokens(0)).expect("tokens that can be sent");
    stored.await.expect("a store that works");

    let other = ground.open();
    let lease = other.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let waiting = tokio::spawn({
        let waiter = waiter.clone();
        async move { waiter.refresh_now().await }
    });
    tokio::time::sleep(BETWEEN_POLLS).await;
    assert!(!waiting.is_finished());
    let (saved, waiting) = (Instant::now(), soon("the wait", waiting));
    save_successor(&other).await;
    let token = waiting.await.expect("no panic").expect("a token");
    assert_eq!(secret(&token), access(7));
    assert!(saved.elapsed() < BEFORE_THE_NEXT_POLL, "found by polling");
    assert_eq!(source.calls(), 0);
    lease.release().await;
}

/// The release of a lease wakes the task that waits for it.
pub async fn a_release_wakes_the_next<G: ServerGround>(ground: &mut G) {
    let (here, there) = (ground.open(), ground.open());
    let lease = here.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let waiting = tokio::spawn(async move {
        let lease = there.acquire(&key(), Duration::from_secs(10)).await;
        lease.expect("the lease").fence()
    });
    tokio::time::sleep(BETWEEN_POLLS).await;
    let (fence, released) = (lease.fence(), Instant::now());
    lease.release().await;
    assert!(soon("the next", waiting).await.expect("no panic") > fence);
    let elapsed = released.elapsed();
    assert!(elapsed < BEFORE_THE_NEXT_POLL, "found by polling");
}

/// The release of a lease does not end the wait for a save.
pub async fn a_release_is_not_taken_for_a_save<G: ServerGround>(ground: &mut G) {
    let (here, there) = (ground.open(), ground.open());
    save_over(&here, None, 1).await;
    // It ends when the connection for notifications stands.
    soon("listening", there.changed(&key(), Some(version(1)))).await;
    let lease = here.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let waiting = tokio::spawn(async move { there.changed(&key(), Some(version(1))).await });
    tokio::time::sleep(BETWEEN_POLLS).await;
    lease.release().await;
    // Longer than any notification takes.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "a release was taken for a save");
    save_over(&here, Some(1), 2).await;
    soon("a notification", waiting).await.expect("no panic");
}

/// A store listens from its first wait on, on one connection, and replaces it if it is cut off.
pub async fn a_listening_connection_that_is_cut_off_is_made_again<G: ServerGround>(ground: &mut G) {
    let waiter = ground.open();
    save_over(&waiter, None, 1).await;
    assert_eq!(ground.listening_connections(), 0, "no task has waited yet");
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let waiter = waiter.clone();
        waiting.push(tokio::spawn(async move {
            waiter.changed(&key(), Some(version(1))).await;
        }));
    }
    let listening = async |count| {
        let what = format!("{count} listening connections");
        eventually(&what, async || ground.listening_connections() == count).await;
    };
    listening(1).await;
    ground.cut_listening_connections();
    listening(1).await;
    // Polls were at 0, 0.25, 0.75 and 1.75 s, and when the connection came back.
    tokio::time::sleep(BETWEEN_POLLS).await;
    save_over(&ground.open(), Some(1), 2).await;
    for waiting in waiting {
        soon("a notification", waiting).await.expect("no panic");
    }
    drop(waiter);
    listening(0).await;
}

/// A wait for a change that has already happened ends at once.
pub async fn an_old_change_ends_the_wait_at_once<G: ServerGround>(ground: &mut G) {
    let store = ground.open();
    save_over(&store, None, 1).await;
    for seen in [None, Some(version(2))] {
        soon("an answer", store.changed(&key(), seen)).await;
    }
}
