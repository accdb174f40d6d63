//! Who looks on sees a lease that is held, its number, and when it runs out.

mod support;

use std::time::Duration;

use token_rotator::Coordinator as _;
use token_rotator_testkit::PostgresServer;

#[tokio::test]
async fn a_lease_is_seen_while_it_is_held() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let (store, onlooker) = (support::store(&server).await, support::store(&server).await);
    let key = support::key();
    let look = async || onlooker.holder(&key).await.expect("the server answers");
    assert_eq!(look().await, None);
    let lease = store.acquire(&key, Duration::ZERO).await.expect("free");
    let held = look().await.expect("held");
    assert_eq!(Some(held.fence), lease.fence());
    let life = store.lease_life().expect("it runs out");
    assert!(held.left <= life && life < held.left * 2, "{held:?}");
    // Nobody looks into another's.
    let other = token_rotator::SessionKey::new("other");
    assert_eq!(onlooker.holder(&other).await.expect("an answer"), None);
    lease.release().await;
    assert_eq!(look().await, None);
    let again = store.acquire(&key, Duration::ZERO).await.expect("free");
    let next = look().await.expect("held");
    assert!(next.fence > held.fence, "{next:?}");
    drop(again);
}

#[tokio::test]
async fn a_lease_that_ran_out_is_held_by_nobody() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let store = support::builder(&server)
        .lease_life(Duration::from_millis(600))
        .operation_timeout(Duration::from_millis(500))
        .build()
        .expect("settings that fit");
    store.migrate().await.expect("a table");
    let key = support::key();
    let lease = store.acquire(&key, Duration::ZERO).await.expect("free");
    support::eventually("it has run out", async || {
        store.holder(&key).await.expect("an answer").is_none()
    })
    .await;
    drop(lease);
}
