//! Tests of a coordinator.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use token_rotator::store::{Coordinator, Lease, LeaseError};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{StoreFixture, TIME_LIMIT, session, within_ten_seconds};

type AcquireResult = Result<Box<dyn Lease>, LeaseError>;

async fn try_acquire(coordinator: &impl Coordinator) -> AcquireResult {
    let key = session("work");
    within_ten_seconds("a lease", coordinator.acquire(&key, Duration::ZERO)).await
}

async fn acquire_waiting(coordinator: &impl Coordinator) -> AcquireResult {
    let key = session("work");
    within_ten_seconds("a lease", coordinator.acquire(&key, TIME_LIMIT)).await
}

fn expect_lease(acquired: AcquireResult) -> Box<dyn Lease> {
    match acquired {
        Ok(lease) => lease,
        Err(error) => panic!("no lease: {error}"),
    }
}

fn assert_busy(acquired: AcquireResult) {
    match acquired {
        Err(LeaseError::Busy { .. }) => {}
        Err(error) => panic!("not busy but: {error}"),
        Ok(_) => panic!("two tasks hold the lease"),
    }
}

/// At most one task holds the lease. After a release the next task gets it. Many waiting tasks get it one after the
/// other.
pub async fn one_holder_at_a_time(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.coordinator().await, fixture.coordinator().await);
    let lease = expect_lease(try_acquire(&first_handle).await);
    assert_busy(try_acquire(&second_handle).await);
    assert_busy(try_acquire(&first_handle).await);
    within_ten_seconds("a release", lease.release()).await;
    within_ten_seconds(
        "a release",
        expect_lease(acquire_waiting(&second_handle).await).release(),
    )
    .await;

    let holders = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (coordinator, holders) = (fixture.coordinator().await, Arc::clone(&holders));
        tasks.spawn(async move {
            for _ in 0..3 {
                let lease = expect_lease(acquire_waiting(&coordinator).await);
                let before = holders.fetch_add(1, Ordering::SeqCst);
                assert_eq!(before, 0, "two tasks hold the lease");
                tokio::task::yield_now().await;
                holders.fetch_sub(1, Ordering::SeqCst);
                lease.release().await;
            }
        });
    }
    tasks.join_all().await;
}

/// A dropped lease becomes free, at the latest when its life ends.
pub async fn a_dropped_lease_becomes_free(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.coordinator().await, fixture.coordinator().await);
    drop(expect_lease(try_acquire(&first_handle).await));
    drop(expect_lease(acquire_waiting(&second_handle).await));
}

/// A waiting task gets the lease when it is released, long before its wait limit.
pub async fn a_waiting_task_gets_the_released_lease(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.coordinator().await, fixture.coordinator().await);
    let mut lease = expect_lease(try_acquire(&first_handle).await);
    let waiting = tokio::spawn(async move {
        let lease = expect_lease(acquire_waiting(&second_handle).await);
        lease.release().await;
    });
    // Holds the lease until the other task waits, by whatever mechanism.
    let until = Instant::now() + Duration::from_millis(100);
    while Instant::now() < until {
        expect_renewed(lease.renew().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished(), "two tasks hold the lease");
    }
    lease.release().await;
    let waited = tokio::time::timeout(TIME_LIMIT / 2, waiting).await;
    waited
        .expect("the waiting task gets the lease in time")
        .expect("no panic");
}

fn expect_renewed(renewed: Result<(), LeaseError>) {
    if let Err(error) = renewed {
        panic!("a lease that is held cannot be renewed: {error}");
    }
}

/// A wait whose limit has passed fails with `Busy`, and not before the limit.
pub async fn a_wait_fails_busy_after_its_limit(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.coordinator().await, fixture.coordinator().await);
    let lease = expect_lease(try_acquire(&first_handle).await);
    let (start, limit) = (Instant::now(), Duration::from_millis(150));
    let outcome = second_handle.acquire(&session("work"), limit).await;
    let waited = start.elapsed();
    assert!(matches!(outcome, Err(LeaseError::Busy { .. })));
    assert!(waited >= limit, "only {waited:?}");
    lease.release().await;
}

/// The fences of a session's leases grow, whichever process takes the lease.
pub async fn fences_grow(fixture: &impl StoreFixture) {
    let mut last = None;
    for _ in 0..5 {
        let coordinator = fixture.coordinator().await;
        let lease = expect_lease(acquire_waiting(&coordinator).await);
        let fence = lease.fence();
        if let Some(last) = last {
            assert!(fence > last, "{fence:?} after {last:?}");
        }
        last = fence.map(Some);
        lease.release().await;
    }
}

/// The leases of two sessions are independent.
pub async fn leases_of_sessions_are_independent(fixture: &impl StoreFixture) {
    let coordinator = fixture.coordinator().await;
    let mut leases = Vec::new();
    for name in ["work", "Work", "play", ""] {
        let acquired = coordinator.acquire(&session(name), Duration::ZERO).await;
        leases.push(expect_lease(acquired));
    }
    for lease in leases {
        lease.release().await;
    }
}

/// A cancelled wait acquires no lease.
pub async fn a_cancelled_wait_acquires_nothing(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.coordinator().await, fixture.coordinator().await);
    let key = session("work");
    let lease = expect_lease(try_acquire(&first_handle).await);
    {
        let waiting = second_handle.acquire(&key, TIME_LIMIT);
        let cancelled = tokio::time::timeout(Duration::from_millis(60), waiting).await;
        assert!(cancelled.is_err(), "two tasks hold the lease");
    }
    within_ten_seconds("a release", lease.release()).await;
    let lease = expect_lease(acquire_waiting(&fixture.coordinator().await).await);
    lease.release().await;
}

/// A wait that is cancelled during an attempt acquires no lease. The next task does not have to wait for an expiry.
pub async fn a_wait_cancelled_during_an_attempt_acquires_nothing(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.coordinator().await, fixture.coordinator().await);
    let key = session("work");
    for polls in 0..40 {
        let mut waiting = Box::pin(second_handle.acquire(&key, TIME_LIMIT));
        for _ in 0..polls % 8 {
            let polled = std::future::poll_fn(|context| {
                std::task::Poll::Ready(waiting.as_mut().poll(context).is_ready())
            });
            if polled.await {
                break;
            }
            tokio::time::sleep(Duration::from_micros(60)).await;
        }
        drop(waiting);
        let start = Instant::now();
        let lease = expect_lease(acquire_waiting(&first_handle).await);
        let limit = first_handle
            .lease_life()
            .map_or(TIME_LIMIT, |life| life / 2);
        assert!(
            start.elapsed() < limit,
            "the lease expired, after {:?}",
            start.elapsed()
        );
        within_ten_seconds("a release", lease.release()).await;
    }
}

/// An acquisition that is cancelled during the attempt is released before `settled` returns, because the program may
/// end after that.
pub async fn a_cancelled_acquisition_is_released(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.coordinator().await, fixture.coordinator().await);
    let key = session("work");
    for _ in 0..50 {
        let attempt = second_handle.acquire(&key, Duration::ZERO);
        tokio::select! {
            biased;
            lease = attempt => drop(lease),
            () = std::future::ready(()) => {}
        }
        within_ten_seconds("settling", second_handle.settled()).await;
        within_ten_seconds(
            "a release",
            expect_lease(try_acquire(&first_handle).await).release(),
        )
        .await;
    }
}

/// If leases expire: another task gets an expired lease, the old holder's renewal fails with `Lost`, and its release
/// does not affect the new holder.
pub async fn an_expired_lease_is_lost(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.coordinator().await, fixture.coordinator().await);
    let Some(life) = first_handle.lease_life() else {
        let lease = expect_lease(try_acquire(&first_handle).await);
        assert_eq!(lease.remaining(), None, "the lease does not expire");
        return lease.release().await;
    };
    let mut expired = expect_lease(try_acquire(&first_handle).await);
    assert!(expired.remaining().is_some_and(|left| left <= life));
    let successor = expect_lease(acquire_waiting(&second_handle).await);
    assert_eq!(expired.remaining(), Some(Duration::ZERO));
    assert!(successor.fence() > expired.fence() || successor.fence().is_none());
    assert!(matches!(expired.renew().await, Err(LeaseError::Lost)));
    within_ten_seconds("a release", expired.release()).await;
    assert_busy(try_acquire(&fixture.coordinator().await).await);
    successor.release().await;
}

/// If leases expire: a lease that is renewed in time does not expire.
pub async fn a_renewed_lease_holds(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.coordinator().await, fixture.coordinator().await);
    let Some(life) = first_handle.lease_life() else {
        let mut lease = expect_lease(try_acquire(&first_handle).await);
        expect_renewed(lease.renew().await);
        return lease.release().await;
    };
    let mut lease = expect_lease(try_acquire(&first_handle).await);
    let waiting =
        tokio::spawn(async move { second_handle.acquire(&session("work"), life * 2).await });
    while !waiting.is_finished() {
        tokio::time::sleep(life / 3).await;
        expect_renewed(lease.renew().await);
        assert!(lease.remaining().is_some_and(|left| left > life / 3));
    }
    assert_busy(waiting.await.expect("no panic"));
    lease.release().await;
}
