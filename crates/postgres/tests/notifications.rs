//! Which connection reads a record after a notification, and what happens without notifications.

mod support;

use std::time::Duration;

use support::{builder, listening_connections, store};
use token_rotator::store::{Coordinator as _, SessionStore as _};
use token_rotator_testkit::PostgresServer;
use token_rotator_testkit::conformance::server::{eventually, key, save_over, soon, version};

/// A record is read over the connection that its notification arrived on, or over another one if
/// that is closed.
#[tokio::test]
async fn a_record_is_read_where_its_notification_arrived() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let (here, there) = (store(&server).await, store(&server).await);
    save_over(&here, None, 1).await;
    // It ends when the listening begins.
    soon("listening", there.changed(&key(), Some(version(1)))).await;
    let listener = server.sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
    let last = format!(
        "SELECT query FROM pg_stat_activity WHERE pid = {}",
        listener.trim()
    );
    let revision = async || {
        let found = there.load(&key()).await.expect("a store that works");
        found.expect("a record").version().revision
    };
    assert_eq!(revision().await, 1);
    assert!(
        server.sql(&last).starts_with("LISTEN"),
        "nothing changed yet"
    );

    save_over(&here, Some(1), 2).await;
    eventually("it is read there", async || {
        assert_eq!(revision().await, 2);
        server.sql(&last).contains("body")
    })
    .await;

    let waiting = tokio::spawn({
        let there = there.clone();
        async move { there.changed(&key(), Some(version(2))).await }
    });
    save_over(&here, Some(2), 3).await;
    soon("a notification", waiting).await.expect("no panic");
    let kill = format!("SELECT pg_terminate_backend({}, 5000)", listener.trim());
    assert_eq!(server.sql(&kill).trim(), "t");
    assert_eq!(revision().await, 3);
}

/// A store without a listening connection finds changes by polling.
#[tokio::test]
async fn without_listening_a_change_is_found_by_polling() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let saver = store(&server).await;
    save_over(&saver, None, 1).await;
    let deaf = builder(&server).without_listening();
    let deaf = deaf.build().expect("settings that fit");
    let waiting = tokio::spawn({
        let deaf = deaf.clone();
        async move { deaf.changed(&key(), Some(version(1))).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    save_over(&saver, Some(1), 2).await;
    soon("a poll", waiting).await.expect("no panic");

    let lease = saver.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let waiting =
        tokio::spawn(async move { deaf.acquire(&key(), Duration::from_secs(10)).await.is_ok() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(listening_connections(&server), 0);
    lease.release().await;
    assert!(soon("a poll", waiting).await.expect("no panic"));
}
