//! Notifications that end a wait at once.

use std::time::{Duration, Instant};

use token_rotator::store::{Coordinator as _, SessionStore as _};
use token_rotator::{ExposeSecret as _, Rotator, Token};

use super::{
    ServerFixture, TestTokenSource, eventually, key, rotator, save_over, save_successor, tokens,
    version, within_ten_seconds,
};

/// A task that has waited this long polls next at 2.75 s. If its wait ends sooner, a notification ended it.
pub const BETWEEN_POLLS: Duration = Duration::from_millis(1_900);
/// Less than the time from [`BETWEEN_POLLS`] to the next poll.
pub const BEFORE_THE_NEXT_POLL: Duration = Duration::from_millis(600);

fn secret(token: &Token) -> String {
    token.secret().expose_secret().to_owned()
}

fn access(number: usize) -> String {
    tokens(number).access_token().expose_secret().to_owned()
}

/// Two processes that refresh at the same time send one refresh.
pub async fn one_refresh_serves_two_processes<G: ServerFixture>(fixture: &mut G) {
    let source = TestTokenSource::default();
    let first_handle = rotator(&source, fixture.open());
    let second_handle = rotator(&source, fixture.open());
    let stored = first_handle
        .sign_in(tokens(0))
        .expect("tokens that can be sent");
    stored.await.expect("a store that works");
    let token = second_handle
        .token()
        .await
        .expect("the token of the other rotator's sign-in");
    assert_eq!(secret(&token), access(0));

    source.hold();
    let refresh = |rotator: &Rotator| {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    let first = refresh(&first_handle);
    source.wait_for_refreshes(1).await;
    let second = refresh(&second_handle);
    tokio::time::sleep(Duration::from_millis(100)).await;
    source.release();
    for refresh in [first, second] {
        let token = within_ten_seconds("a refresh", refresh)
            .await
            .expect("no panic");
        assert_eq!(secret(&token.expect("a token")), access(1));
    }
    assert_eq!((source.refresh_count(), source.reuse_count()), (1, 0));
}

/// A rotator that waits for the lease continues as soon as another process has saved, even if that process still holds
/// the lease.
pub async fn a_save_ends_the_wait_for_the_lease<G: ServerFixture>(fixture: &mut G) {
    let source = TestTokenSource::default();
    let waiter = rotator(&source, fixture.open());
    let stored = waiter.sign_in(tokens(0)).expect("tokens that can be sent");
    stored.await.expect("a store that works");

    let other = fixture.open();
    let lease = other.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let waiting = tokio::spawn({
        let waiter = waiter.clone();
        async move { waiter.refresh_now().await }
    });
    tokio::time::sleep(BETWEEN_POLLS).await;
    assert!(!waiting.is_finished());
    let (saved, waiting) = (Instant::now(), within_ten_seconds("the wait", waiting));
    save_successor(&other).await;
    let token = waiting.await.expect("no panic").expect("a token");
    assert_eq!(secret(&token), access(7));
    assert!(saved.elapsed() < BEFORE_THE_NEXT_POLL, "found by polling");
    assert_eq!(source.refresh_count(), 0);
    lease.release().await;
}

/// The release of a lease wakes a task that waits for the lease.
pub async fn a_release_wakes_a_waiting_task<G: ServerFixture>(fixture: &mut G) {
    let (first_handle, second_handle) = (fixture.open(), fixture.open());
    let lease = first_handle.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let waiting = tokio::spawn(async move {
        let lease = second_handle.acquire(&key(), Duration::from_secs(10)).await;
        lease.expect("the lease").fence()
    });
    tokio::time::sleep(BETWEEN_POLLS).await;
    let (fence, released) = (lease.fence(), Instant::now());
    lease.release().await;
    assert!(
        within_ten_seconds("the waiting task", waiting)
            .await
            .expect("no panic")
            > fence
    );
    let elapsed = released.elapsed();
    assert!(elapsed < BEFORE_THE_NEXT_POLL, "found by polling");
}

/// The release of a lease does not end the wait for a save.
pub async fn a_release_does_not_end_the_wait_for_a_save<G: ServerFixture>(fixture: &mut G) {
    let (first_handle, second_handle) = (fixture.open(), fixture.open());
    save_over(&first_handle, None, 1).await;
    // Returns once the connection that receives notifications is open.
    within_ten_seconds(
        "opening the connection",
        second_handle.changed(&key(), Some(version(1))),
    )
    .await;
    let lease = first_handle.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let waiting =
        tokio::spawn(async move { second_handle.changed(&key(), Some(version(1))).await });
    tokio::time::sleep(BETWEEN_POLLS).await;
    lease.release().await;
    // Longer than a notification takes.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "a release was taken for a save");
    save_over(&first_handle, Some(1), 2).await;
    within_ten_seconds("a notification", waiting)
        .await
        .expect("no panic");
}

/// A store receives notifications from its first wait on, over one connection, and reopens the connection if it is
/// closed.
pub async fn a_closed_notification_connection_is_reopened<G: ServerFixture>(fixture: &mut G) {
    let waiter = fixture.open();
    save_over(&waiter, None, 1).await;
    assert_eq!(
        fixture.notification_connections(),
        0,
        "no task has waited yet"
    );
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let waiter = waiter.clone();
        waiting.push(tokio::spawn(async move {
            waiter.changed(&key(), Some(version(1))).await;
        }));
    }
    let assert_connections = async |count| {
        let what = format!("{count} notification connections");
        eventually(&what, async || fixture.notification_connections() == count).await;
    };
    assert_connections(1).await;
    fixture.close_notification_connections();
    assert_connections(1).await;
    // The task has polled at 0, 0.25, 0.75 and 1.75 s, and when the connection was reopened.
    tokio::time::sleep(BETWEEN_POLLS).await;
    save_over(&fixture.open(), Some(1), 2).await;
    for waiting in waiting {
        within_ten_seconds("a notification", waiting)
            .await
            .expect("no panic");
    }
    drop(waiter);
    assert_connections(0).await;
}

/// A wait for a change that has already happened ends at once.
pub async fn a_past_change_ends_the_wait_at_once<G: ServerFixture>(fixture: &mut G) {
    let store = fixture.open();
    save_over(&store, None, 1).await;
    for seen_version in [None, Some(version(2))] {
        within_ten_seconds("an answer", store.changed(&key(), seen_version)).await;
    }
}
