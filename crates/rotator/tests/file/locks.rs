//! Tests leases and write locks, which are kernel locks.

use std::fs::File;
use std::time::Duration;

use token_rotator::store::{Coordinator as _, LeaseError, Saved, SessionStore as _};

use super::{StoreDirectory, login, save, session};

/// Other processes can see which process holds the lease, or that the lease is free.
#[tokio::test]
async fn the_holder_is_shown() {
    let directory = StoreDirectory::empty();
    let (first_locks, second_locks) = (directory.open().locks(), directory.open().locks());
    assert_eq!(
        second_locks
            .holder(&session())
            .expect("a readable lease file"),
        None
    );
    let lease = first_locks.acquire(&session(), Duration::ZERO).await;
    let lease = lease.expect("a lease");
    let holder = second_locks
        .holder(&session())
        .expect("a readable lease file")
        .expect("a holder");
    assert_eq!(holder.process, std::process::id());
    assert_eq!(Some(holder.fence), lease.fence());
    // Reading the holder takes no lock.
    drop(lease);
    assert_eq!(
        second_locks
            .holder(&session())
            .expect("a readable lease file"),
        None
    );
    assert!(
        second_locks
            .acquire(&session(), Duration::ZERO)
            .await
            .is_ok()
    );
}

/// A lease file with unreadable content still grants leases.
#[tokio::test]
async fn an_unreadable_lease_file_works() {
    let directory = StoreDirectory::empty();
    let locks = directory.open().locks();
    drop(locks.acquire(&session(), Duration::ZERO).await);
    let file = directory.files(".lease").remove(0);
    std::fs::write(file, "no numbers at all\u{0}").expect("writable");
    let lease = locks.acquire(&session(), Duration::ZERO).await;
    assert_eq!(lease.expect("a lease").fence(), Some(1));
}

/// A sign-out is written while a flight holds the lease, because writes do not need the lease.
#[tokio::test]
async fn a_lease_does_not_block_writes() {
    let directory = StoreDirectory::empty();
    let store = directory.open();
    let lease = store.locks().acquire(&session(), Duration::ZERO).await;
    save(&directory.open(), None, login(1)).await;
    drop(lease);
}

/// A stopped writer blocks other writers of its session until they fail with an error that names
/// it. It does not block other sessions, and no write bypasses it.
#[tokio::test(start_paused = true)]
async fn a_stopped_writer_is_an_error() {
    let directory = StoreDirectory::empty();
    directory.signed_in().await;
    let data = directory.data().to_string_lossy().into_owned();
    let stopped = File::open(data.replace(".session", ".lock")).expect("the lock file");
    stopped.lock().expect("a lock");
    let store = directory.open();
    let saved = store
        .save(&session(), Some(login(1).version()), login(2))
        .await;
    let error = saved.expect_err("the other one writes");
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.starts_with("resume or end")),
        "{error}"
    );
    let other = token_rotator::SessionKey::new("other");
    let saved = store.save(&other, None, login(1)).await;
    assert!(matches!(saved, Ok(Saved::Stored)), "{saved:?}");
    drop(stopped);
    save(&store, Some(login(1).version()), login(2)).await;
}

/// A wait for a lease whose holder is stopped ends as busy at its limit.
#[tokio::test(start_paused = true)]
async fn a_wait_behind_a_stopped_holder_ends() {
    let directory = StoreDirectory::empty();
    let (first_locks, second_locks) = (directory.open().locks(), directory.open().locks());
    let lease = first_locks.acquire(&session(), Duration::ZERO).await;
    let begun = tokio::time::Instant::now();
    let limit = Duration::from_secs(10);
    let outcome = second_locks.acquire(&session(), limit).await;
    assert!(matches!(outcome, Err(LeaseError::Busy { waited }) if waited == limit));
    assert!(begun.elapsed() < limit + Duration::from_millis(50));
    drop(lease);
}
