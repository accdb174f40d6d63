//! Leases and write locks as the kernel keeps them.

use std::fs::File;
use std::time::Duration;

use token_rotator::store::{Coordinator as _, LeaseError, Saved, SessionStore as _};

use super::{Place, login, save, session};

/// Who holds the lease can be seen by others, and that nobody does.
#[tokio::test]
async fn the_holder_is_shown() {
    let place = Place::empty();
    let (here, there) = (place.open().locks(), place.open().locks());
    assert_eq!(there.holder(&session()).expect("a look"), None);
    let lease = here.acquire(&session(), Duration::ZERO).await;
    let lease = lease.expect("a lease");
    let holder = there.holder(&session()).expect("a look").expect("a holder");
    assert_eq!(holder.process, std::process::id());
    assert_eq!(Some(holder.fence), lease.fence());
    // A look takes nothing.
    drop(lease);
    assert_eq!(there.holder(&session()).expect("a look"), None);
    assert!(there.acquire(&session(), Duration::ZERO).await.is_ok());
}

/// A lease file that somebody has scribbled in still grants leases.
#[tokio::test]
async fn a_scribbled_lease_file_works() {
    let place = Place::empty();
    let locks = place.open().locks();
    drop(locks.acquire(&session(), Duration::ZERO).await);
    let file = place.files(".lease").remove(0);
    std::fs::write(file, "no numbers at all\u{0}").expect("writable");
    let lease = locks.acquire(&session(), Duration::ZERO).await;
    assert_eq!(lease.expect("a lease").fence(), Some(1));
}

/// A sign-out is written while a flight holds the lease: the two have nothing to do with each
/// other.
#[tokio::test]
async fn a_lease_does_not_hold_up_writes() {
    let place = Place::empty();
    let store = place.open();
    let lease = store.locks().acquire(&session(), Duration::ZERO).await;
    save(&place.open(), None, login(1)).await;
    drop(lease);
}

/// A writer that is stopped in the middle holds up the others of its session until they give up
/// with an error that says so, and those of no other session; nothing is written past it.
#[tokio::test(start_paused = true)]
async fn a_stopped_writer_is_an_error() {
    let place = Place::empty();
    place.signed_in().await;
    let data = place.data().to_string_lossy().into_owned();
    let stopped = File::open(data.replace(".session", ".lock")).expect("the lock file");
    stopped.lock().expect("a lock");
    let store = place.open();
    let saved = store
        .save(&session(), Some(login(1).version()), login(2))
        .await;
    let error = saved.expect_err("the other one writes");
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.starts_with("is one stopped")),
        "{error}"
    );
    let other = token_rotator::SessionKey::new("other");
    let saved = store.save(&other, None, login(1)).await;
    assert!(matches!(saved, Ok(Saved::Stored)), "{saved:?}");
    drop(stopped);
    save(&store, Some(login(1).version()), login(2)).await;
}

/// Behind a holder that is stopped a wait ends as busy, at its limit.
#[tokio::test(start_paused = true)]
async fn a_wait_behind_a_stopped_holder_ends() {
    let place = Place::empty();
    let (here, there) = (place.open().locks(), place.open().locks());
    let lease = here.acquire(&session(), Duration::ZERO).await;
    let begun = tokio::time::Instant::now();
    let limit = Duration::from_secs(10);
    let outcome = there.acquire(&session(), limit).await;
    assert!(matches!(outcome, Err(LeaseError::Busy { waited }) if waited == limit));
    assert!(begun.elapsed() < limit + Duration::from_millis(50));
    drop(lease);
}
