//! The connection that reads a record after a notification, and waits without notifications.

mod support;

use std::time::Duration;

use support::{builder, notification_connections, store};
use token_rotator::store::{Coordinator as _, SessionStore as _};
use token_rotator_testkit::PostgresServer;
use token_rotator_testkit::conformance::server::{
    eventually, key, save_over, version, within_ten_seconds,
};

/// A record is read over the connection that received its notification, or over another connection if that one is
/// closed.
#[tokio::test]
async fn a_record_is_read_over_the_connection_of_its_notification() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let (first_handle, second_handle) = (store(&server).await, store(&server).await);
    save_over(&first_handle, None, 1).await;
    // Returns once the connection receives notifications.
    within_ten_seconds(
        "the notification connection",
        second_handle.changed(&key(), Some(version(1))),
    )
    .await;
    let listener = server.sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
    let last_query = format!(
        "SELECT query FROM pg_stat_activity WHERE pid = {}",
        listener.trim()
    );
    let revision = async || {
        let record = second_handle
            .load(&key())
            .await
            .expect("a store that works");
        record.expect("a record").version().revision
    };
    assert_eq!(revision().await, 1);
    assert!(
        server.sql(&last_query).starts_with("LISTEN"),
        "a load without a notification used the notification connection"
    );

    save_over(&first_handle, Some(1), 2).await;
    eventually(
        "the record is read over the notification connection",
        async || {
            assert_eq!(revision().await, 2);
            server.sql(&last_query).contains("body")
        },
    )
    .await;

    let waiting = tokio::spawn({
        let second_handle = second_handle.clone();
        async move { second_handle.changed(&key(), Some(version(2))).await }
    });
    save_over(&first_handle, Some(2), 3).await;
    within_ten_seconds("a notification", waiting)
        .await
        .expect("no panic");
    let kill = format!("SELECT pg_terminate_backend({}, 5000)", listener.trim());
    assert_eq!(server.sql(&kill).trim(), "t");
    assert_eq!(revision().await, 3);
}

/// A store without a connection for notifications finds changes by polling.
#[tokio::test]
async fn without_notifications_a_change_is_found_by_polling() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let saver = store(&server).await;
    save_over(&saver, None, 1).await;
    let polling_store = builder(&server).without_listening();
    let polling_store = polling_store.build().expect("settings that fit");
    let waiting = tokio::spawn({
        let polling_store = polling_store.clone();
        async move { polling_store.changed(&key(), Some(version(1))).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    save_over(&saver, Some(1), 2).await;
    within_ten_seconds("a poll", waiting)
        .await
        .expect("no panic");

    let lease = saver.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let waiting = tokio::spawn(async move {
        polling_store
            .acquire(&key(), Duration::from_secs(10))
            .await
            .is_ok()
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(notification_connections(&server), 0);
    lease.release().await;
    assert!(
        within_ten_seconds("a poll", waiting)
            .await
            .expect("no panic")
    );
}
