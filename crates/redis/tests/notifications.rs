//! Messages of the scripts, and waits without messages.

mod support;

use std::time::Duration;

use support::store;
use token_rotator::store::{Coordinator as _, SessionStore as _};
use token_rotator_testkit::RedisServer;
use token_rotator_testkit::conformance::server::notifications::BETWEEN_POLLS;
use token_rotator_testkit::conformance::server::{key, save_over, version, within_ten_seconds};

/// A save does not wake the task that waits for the lease.
#[tokio::test]
async fn a_save_does_not_end_the_wait_for_the_lease() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let (first_handle, second_handle) = (store(&server), store(&server));
    save_over(&first_handle, None, 1).await;
    // Returns once the subscription exists.
    within_ten_seconds(
        "the subscription",
        second_handle.changed(&key(), Some(version(1))),
    )
    .await;

    let lease = first_handle.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let acquisition =
        tokio::spawn(async move { second_handle.acquire(&key(), Duration::from_secs(10)).await });
    tokio::time::sleep(BETWEEN_POLLS).await;
    let before = scripts(&server);
    save_over(&first_handle, Some(1), 2).await;
    // Longer than a message takes.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let scripts_run = scripts(&server) - before;
    assert_eq!(
        scripts_run, 1,
        "only the save ran a script, and no attempt to acquire the lease"
    );
    lease.release().await;
    let lease = within_ten_seconds("the lease", acquisition)
        .await
        .expect("no panic");
    lease.expect("the lease").release().await;
}

/// Returns how many scripts the server has run.
fn scripts(server: &RedisServer) -> usize {
    let counts = server.command(&["INFO", "commandstats"]);
    let (_, count) = counts
        .split_once("cmdstat_evalsha:calls=")
        .expect("at least one script has run");
    let (count, _) = count.split_once(',').expect("a list of counters");
    count.parse().expect("a number")
}

/// A waiting task finds a change without a message by polling.
#[tokio::test]
async fn a_change_without_a_message_is_found_by_polling() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let waiter = store(&server);
    save_over(&waiter, None, 1).await;
    // This user may write, and may not publish.
    server.command(&[
        "ACL",
        "SETUSER",
        "silent",
        "on",
        "nopass",
        "~*",
        "+@all",
        "resetchannels",
    ]);
    let url = format!("redis://silent:any@127.0.0.1:{}", server.port());
    let silent = support::builder(&server).url(url).build().expect("a store");
    let waiting = tokio::spawn(async move {
        // The wait may end too early, for example when the subscription begins.
        let mut seen_version = Some(version(1));
        while seen_version == Some(version(1)) {
            waiter.changed(&key(), seen_version).await;
            let record = waiter.load(&key()).await.expect("a server");
            seen_version = record.map(|record| record.version());
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    save_over(&silent, Some(1), 2).await;
    within_ten_seconds("a poll", waiting)
        .await
        .expect("no panic");

    let lease = silent.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let other = store(&server);
    let waiting =
        tokio::spawn(async move { other.acquire(&key(), Duration::from_secs(10)).await.is_ok() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    lease.release().await;
    assert!(
        within_ten_seconds("a poll", waiting)
            .await
            .expect("no panic")
    );
}
