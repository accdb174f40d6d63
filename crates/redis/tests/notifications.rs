//! What Redis does with messages: which script sends which, and what happens without them.

mod support;

use std::time::Duration;

use support::store;
use token_rotator::store::{Coordinator as _, SessionStore as _};
use token_rotator_testkit::RedisServer;
use token_rotator_testkit::conformance::server::notifications::BETWEEN_POLLS;
use token_rotator_testkit::conformance::server::{key, save_over, soon, version};

/// A save does not wake the task that waits for the lease.
#[tokio::test]
async fn a_save_is_not_taken_for_a_release() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let (here, there) = (store(&server), store(&server));
    save_over(&here, None, 1).await;
    // It ends when the subscription stands.
    soon("listening", there.changed(&key(), Some(version(1)))).await;

    let lease = here.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let taking = tokio::spawn(async move { there.acquire(&key(), Duration::from_secs(10)).await });
    tokio::time::sleep(BETWEEN_POLLS).await;
    let before = scripts(&server);
    save_over(&here, Some(1), 2).await;
    // Longer than any message takes.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let since = scripts(&server) - before;
    assert_eq!(since, 1, "the save, and no attempt to take the lease");
    lease.release().await;
    let lease = soon("the lease", taking).await.expect("no panic");
    lease.expect("the lease").release().await;
}

/// How many scripts the server has run.
fn scripts(server: &RedisServer) -> usize {
    let counts = server.command(&["INFO", "commandstats"]);
    let (_, count) = counts
        .split_once("cmdstat_evalsha:calls=")
        .expect("there were some");
    let (count, _) = count.split_once(',').expect("more is counted");
    count.parse().expect("a number")
}

/// A change without a message is found by polling.
#[tokio::test]
async fn a_lost_message_is_made_up_for() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let waiter = store(&server);
    save_over(&waiter, None, 1).await;
    // May write, and publish nothing.
    server.command(&[
        "ACL",
        "SETUSER",
        "mute",
        "on",
        "nopass",
        "~*",
        "+@all",
        "resetchannels",
    ]);
    let url = format!("redis://mute:any@127.0.0.1:{}", server.port());
    let mute = support::builder(&server).url(url).build().expect("a store");
    let waiting = tokio::spawn(async move {
        // It may end too soon, as when the listening begins.
        let mut seen = Some(version(1));
        while seen == Some(version(1)) {
            waiter.changed(&key(), seen).await;
            let found = waiter.load(&key()).await.expect("a server");
            seen = found.map(|record| record.version());
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    save_over(&mute, Some(1), 2).await;
    soon("a poll", waiting).await.expect("no panic");

    let lease = mute.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let other = store(&server);
    let waiting =
        tokio::spawn(async move { other.acquire(&key(), Duration::from_secs(10)).await.is_ok() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    lease.release().await;
    assert!(soon("a poll", waiting).await.expect("no panic"));
}
