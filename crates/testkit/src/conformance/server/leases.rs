//! Leases on a server: their holder, their fences, and their end without a release.

use std::time::Duration;

use token_rotator::SessionKey;
use token_rotator::store::Coordinator as _;
use token_rotator::store::server::Timing;

use super::{ServerFixture, acquire, codec, eventually, key};

/// `holder` reports a held lease with its fence and its remaining life.
pub async fn holder_reports_a_held_lease<G: ServerFixture>(fixture: &mut G) {
    let (store, observer) = (fixture.open(), fixture.open());
    let key = key();
    let holder = async || G::holder(&observer, &key).await.expect("an answer");
    assert_eq!(holder().await, None);
    let lease = store.acquire(&key, Duration::ZERO).await.expect("free");
    let held = holder().await.expect("held");
    assert_eq!(Some(held.fence), lease.fence());
    let life = store.lease_life().expect("the lease expires");
    assert!(held.left <= life && life < held.left * 2, "{held:?}");
    // The lease of another session stays free.
    let other = SessionKey::new("other");
    let other = G::holder(&observer, &other).await.expect("an answer");
    assert_eq!(other, None);
    lease.release().await;
    assert_eq!(holder().await, None);
    let second_lease = store.acquire(&key, Duration::ZERO).await.expect("free");
    let next = holder().await.expect("held");
    assert!(next.fence > held.fence, "{next:?}");
    drop(second_lease);
}

/// An expired lease has no holder.
pub async fn an_expired_lease_has_no_holder<G: ServerFixture>(fixture: &mut G) {
    let timing = Timing {
        lease_life: Duration::from_millis(600),
        operation_timeout: Duration::from_millis(500),
    };
    let store = fixture.open_with(Some(timing), codec());
    let key = key();
    let lease = store.acquire(&key, Duration::ZERO).await.expect("free");
    eventually("the lease has expired", async || {
        G::holder(&store, &key).await.expect("an answer").is_none()
    })
    .await;
    drop(lease);
}

/// Fences grow even if the server loses the last fence.
pub async fn fences_grow_after_the_server_loses_them<G: ServerFixture>(fixture: &mut G) {
    let store = fixture.open();
    let mut last = None;
    for round in 0..12 {
        if round % 4 == 3 {
            fixture.lose_fences().await;
        }
        let lease = acquire(&store).await.expect("a free lease");
        assert!(lease.fence() > last, "{:?} after {last:?}", lease.fence());
        last = lease.fence();
        lease.release().await;
    }
}

/// A dropped lease is released in the background, long before it would expire. The same holds for an acquisition that
/// is cancelled before the server responds.
pub async fn a_dropped_lease_is_released<G: ServerFixture>(fixture: &mut G) {
    let (first_handle, second_handle) = (fixture.open(), fixture.open());
    let key = key();
    for pauses in 0..8 {
        drop(
            first_handle
                .acquire(&key, Duration::ZERO)
                .await
                .expect("free"),
        );
        let other = second_handle.acquire(&key, Duration::from_secs(5)).await;
        other.expect("a released lease").release().await;
        // Cancels the acquisition at a different point in each round.
        let mut acquisition = Box::pin(first_handle.acquire(&key, Duration::ZERO));
        for _ in 0..pauses {
            let pause = tokio::time::sleep(Duration::from_micros(200));
            tokio::select! {
                biased;
                _ = &mut acquisition => break,
                () = pause => {}
            }
        }
        drop(acquisition);
        let other = second_handle.acquire(&key, Duration::from_secs(5)).await;
        other.expect("a released lease").release().await;
    }
}
