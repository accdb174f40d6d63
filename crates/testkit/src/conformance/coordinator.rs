//! What a rotator relies on in a coordinator.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use token_rotator::store::{Coordinator, Lease, LeaseError};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Ground, PATIENCE, session, soon};

type Acquired = Result<Box<dyn Lease>, LeaseError>;

async fn now(coordinator: &impl Coordinator) -> Acquired {
    let key = session("work");
    soon("a lease", coordinator.acquire(&key, Duration::ZERO)).await
}

async fn wait(coordinator: &impl Coordinator) -> Acquired {
    let key = session("work");
    soon("a lease", coordinator.acquire(&key, PATIENCE)).await
}

fn taken(acquired: Acquired) -> Box<dyn Lease> {
    match acquired {
        Ok(lease) => lease,
        Err(error) => panic!("no lease: {error}"),
    }
}

fn assert_busy(acquired: Acquired) {
    match acquired {
        Err(LeaseError::Busy { .. }) => {}
        Err(error) => panic!("not busy but: {error}"),
        Ok(_) => panic!("two hold the lease"),
    }
}

/// While one holds the lease nobody else gets it; once it is given back the next does. Many at
/// once are in turn and never two together.
pub async fn one_holder_at_a_time(ground: &impl Ground) {
    let (here, there) = (ground.coordinator().await, ground.coordinator().await);
    let lease = taken(now(&here).await);
    assert_busy(now(&there).await);
    assert_busy(now(&here).await);
    soon("a release", lease.release()).await;
    soon("a release", taken(wait(&there).await).release()).await;

    let holders = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (coordinator, holders) = (ground.coordinator().await, Arc::clone(&holders));
        tasks.spawn(async move {
            for _ in 0..3 {
                let lease = taken(wait(&coordinator).await);
                let before = holders.fetch_add(1, Ordering::SeqCst);
                assert_eq!(before, 0, "two hold the lease");
                tokio::task::yield_now().await;
                holders.fetch_sub(1, Ordering::SeqCst);
                lease.release().await;
            }
        });
    }
    tasks.join_all().await;
}

/// A lease that is dropped is free again, at the latest when it would have run out.
pub async fn a_dropped_lease_is_free(ground: &impl Ground) {
    let (here, there) = (ground.coordinator().await, ground.coordinator().await);
    drop(taken(now(&here).await));
    drop(taken(wait(&there).await));
}

/// Whoever waits gets the lease when it is given back, long before the wait is over.
pub async fn whoever_waits_is_next(ground: &impl Ground) {
    let (here, there) = (ground.coordinator().await, ground.coordinator().await);
    let mut lease = taken(now(&here).await);
    let waiting = tokio::spawn(async move {
        let lease = taken(wait(&there).await);
        lease.release().await;
    });
    // Held until the other one is sure to wait, however that is done.
    let until = Instant::now() + Duration::from_millis(100);
    while Instant::now() < until {
        taken_still(lease.renew().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished(), "two hold the lease");
    }
    lease.release().await;
    let waited = tokio::time::timeout(PATIENCE / 2, waiting).await;
    waited.expect("the next in time").expect("no panic");
}

fn taken_still(renewed: Result<(), LeaseError>) {
    if let Err(error) = renewed {
        panic!("a lease that is held cannot be renewed: {error}");
    }
}

/// A wait that is over says that the lease is busy, not before its time and not long after.
pub async fn busy_says_how_long(ground: &impl Ground) {
    let (here, there) = (ground.coordinator().await, ground.coordinator().await);
    let lease = taken(now(&here).await);
    let (begun, limit) = (Instant::now(), Duration::from_millis(150));
    let outcome = there.acquire(&session("work"), limit).await;
    let waited = begun.elapsed();
    assert!(matches!(outcome, Err(LeaseError::Busy { .. })));
    assert!(waited >= limit, "only {waited:?}");
    lease.release().await;
}

/// The numbers of a session's leases grow, whoever takes them.
pub async fn fences_grow(ground: &impl Ground) {
    let mut last = None;
    for _ in 0..5 {
        let coordinator = ground.coordinator().await;
        let lease = taken(wait(&coordinator).await);
        let fence = lease.fence();
        if let Some(last) = last {
            assert!(fence > last, "{fence:?} after {last:?}");
        }
        last = fence.map(Some);
        lease.release().await;
    }
}

/// The leases of two sessions have nothing to do with each other.
pub async fn leases_do_not_mix(ground: &impl Ground) {
    let coordinator = ground.coordinator().await;
    let mut leases = Vec::new();
    for name in ["work", "Work", "play", ""] {
        let acquired = coordinator.acquire(&session(name), Duration::ZERO).await;
        leases.push(taken(acquired));
    }
    for lease in leases {
        lease.release().await;
    }
}

/// Somebody who stops waiting has taken nothing.
pub async fn a_dropped_wait_takes_nothing(ground: &impl Ground) {
    let (here, there) = (ground.coordinator().await, ground.coordinator().await);
    let key = session("work");
    let lease = taken(now(&here).await);
    {
        let waiting = there.acquire(&key, PATIENCE);
        let gone = tokio::time::timeout(Duration::from_millis(60), waiting).await;
        assert!(gone.is_err(), "two hold the lease");
    }
    soon("a release", lease.release()).await;
    let lease = taken(wait(&ground.coordinator().await).await);
    lease.release().await;
}

/// Somebody who stops waiting in the very moment in which the lease is given back, when the attempt to
/// take it is under way, has taken nothing either: the next one need not wait for it to run out.
pub async fn a_wait_dropped_half_way_takes_nothing(ground: &impl Ground) {
    let (here, there) = (ground.coordinator().await, ground.coordinator().await);
    let key = session("work");
    for turns in 0..40 {
        let mut waiting = Box::pin(there.acquire(&key, PATIENCE));
        for _ in 0..turns % 8 {
            let polled = std::future::poll_fn(|context| {
                std::task::Poll::Ready(waiting.as_mut().poll(context).is_ready())
            });
            if polled.await {
                break;
            }
            tokio::time::sleep(Duration::from_micros(60)).await;
        }
        drop(waiting);
        let begun = Instant::now();
        let lease = taken(wait(&here).await);
        let limit = here.lease_life().map_or(PATIENCE, |life| life / 2);
        assert!(
            begun.elapsed() < limit,
            "it ran out, after {:?}",
            begun.elapsed()
        );
        soon("a release", lease.release()).await;
    }
}

/// Whoever gives up while the lease is being taken leaves none behind once the coordinator has
/// settled: a program may end then.
pub async fn what_was_taken_for_nobody_is_given_back(ground: &impl Ground) {
    let (here, there) = (ground.coordinator().await, ground.coordinator().await);
    let key = session("work");
    for _ in 0..50 {
        let attempt = there.acquire(&key, Duration::ZERO);
        tokio::select! {
            biased;
            lease = attempt => drop(lease),
            () = std::future::ready(()) => {}
        }
        soon("settling", there.settled()).await;
        soon("a release", taken(now(&here).await).release()).await;
    }
}

/// Where leases run out: one that was not renewed goes to the next, its holder is told that it is
/// lost, and giving it back does not take it from its new holder.
pub async fn an_expired_lease_is_lost(ground: &impl Ground) {
    let (here, there) = (ground.coordinator().await, ground.coordinator().await);
    let Some(life) = here.lease_life() else {
        let lease = taken(now(&here).await);
        assert_eq!(lease.remaining(), None, "it does not run out");
        return lease.release().await;
    };
    let mut old = taken(now(&here).await);
    assert!(old.remaining().is_some_and(|left| left <= life));
    let new = taken(wait(&there).await);
    assert_eq!(old.remaining(), Some(Duration::ZERO));
    assert!(new.fence() > old.fence() || new.fence().is_none());
    assert!(matches!(old.renew().await, Err(LeaseError::Lost)));
    soon("a release", old.release()).await;
    assert_busy(now(&ground.coordinator().await).await);
    new.release().await;
}

/// Where leases run out: one that is renewed in time does not.
pub async fn a_renewed_lease_holds(ground: &impl Ground) {
    let (here, there) = (ground.coordinator().await, ground.coordinator().await);
    let Some(life) = here.lease_life() else {
        let mut lease = taken(now(&here).await);
        taken_still(lease.renew().await);
        return lease.release().await;
    };
    let mut lease = taken(now(&here).await);
    let waiting = tokio::spawn(async move { there.acquire(&session("work"), life * 2).await });
    while !waiting.is_finished() {
        tokio::time::sleep(life / 3).await;
        taken_still(lease.renew().await);
        assert!(lease.remaining().is_some_and(|left| left > life / 3));
    }
    assert_busy(waiting.await.expect("no panic"));
    lease.release().await;
}
