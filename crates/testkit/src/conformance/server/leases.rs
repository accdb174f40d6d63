//! Leases on a server: their holder, their fences, and their end without a release.

use std::time::Duration;

use token_rotator::SessionKey;
use token_rotator::store::Coordinator as _;
use token_rotator::store::server::Timing;

use super::{ServerGround, acquire, codec, eventually, key};

/// An onlooker sees a lease while it is held, with its fence and its remaining life.
pub async fn a_lease_is_seen_while_it_is_held<G: ServerGround>(ground: &mut G) {
    let (store, onlooker) = (ground.open(), ground.open());
    let key = key();
    let look = async || G::holder(&onlooker, &key).await.expect("an answer");
    assert_eq!(look().await, None);
    let lease = store.acquire(&key, Duration::ZERO).await.expect("free");
    let held = look().await.expect("held");
    assert_eq!(Some(held.fence), lease.fence());
    let life = store.lease_life().expect("it runs out");
    assert!(held.left <= life && life < held.left * 2, "{held:?}");
    // The lease of another session stays free.
    let other = SessionKey::new("other");
    let other = G::holder(&onlooker, &other).await.expect("an answer");
    assert_eq!(other, None);
    lease.release().await;
    assert_eq!(look().await, None);
    let again = store.acquire(&key, Duration::ZERO).await.expect("free");
    let next = look().await.expect("held");
    assert!(next.fence > held.fence, "{next:?}");
    drop(again);
}

/// A lease that ran out has no holder.
pub async fn a_lease_that_ran_out_has_no_holder<G: ServerGround>(ground: &mut G) {
    let timing = Timing {
        lease_life: Duration::from_millis(600),
        operation_timeout: Duration::from_millis(500),
    };
    let store = ground.open_with(Some(timing), codec());
    let key = key();
    let lease = store.acquire(&key, Duration::ZERO).await.expect("free");
    eventually("it has run out", async || {
        G::holder(&store, &key).await.expect("an answer").is_none()
    })
    .await;
    drop(lease);
}

/// Fences grow even if the server lost the last one.
pub async fn fences_grow_over_lost_ones<G: ServerGround>(ground: &mut G) {
    let store = ground.open();
    let mut last = None;
    for turn in 0..12 {
        if turn % 4 == 3 {
            ground.lose_fences().await;
        }
        let lease = acquire(&store).await.expect("a free lease");
        assert!(lease.fence() > last, "{:?} after {last:?}", lease.fence());
        last = lease.fence();
        lease.release().await;
    }
}

/// A dropped lease is given back in the background, long before it would run out. So is a lease
/// whose caller stopped waiting before the server's answer.
pub async fn a_dropped_lease_is_given_back<G: ServerGround>(ground: &mut G) {
    let (here, there) = (ground.open(), ground.open());
    let key = key();
    for turns in 0..8 {
        drop(here.acquire(&key, Duration::ZERO).await.expect("free"));
        let other = there.acquire(&key, Duration::from_secs(5)).await;
        other.expect("given back").release().await;
        // Dropped at some point of the attempt.
        let mut taking = Box::pin(here.acquire(&key, Duration::ZERO));
        for _ in 0..turns {
            let turn = tokio::time::sleep(Duration::from_micros(200));
            tokio::select! {
                biased;
                _ = &mut taking => break,
                () = turn => {}
            }
        }
        drop(taking);
        let other = there.acquire(&key, Duration::from_secs(5)).await;
        other.expect("given back").release().await;
    }
}
