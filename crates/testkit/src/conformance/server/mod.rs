//! The test suite for session stores on a database server.
//!
//! The suite starts, pauses, disconnects and kills real servers. The tests of a store implement [`ServerFixture`]. The
//! macro [`server_conformance!`](crate::server_conformance!) writes the test functions:
//!
//! - `failures.rs`: a server that is paused, killed, emptied or damaged
//! - `leases.rs`: holders, dropped leases, fences
//! - `notifications.rs`: which events end a wait, and when
//! - `secrecy.rs`: no token in a sealed store or in a log
//! - `source.rs`: a token source that tests hold and release

pub mod failures;
pub mod leases;
pub mod notifications;
pub mod secrecy;
mod source;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use token_rotator::keys::{DataKey, KeySource};
use token_rotator::store::server::Timing;
use token_rotator::store::{
    Coordinator, HeldLease, Lease, LeaseError, Record, RecordCodec, Saved, SessionStore,
    StoreError, StoreErrorKind, Version,
};
use token_rotator::{Rotator, SessionKey, TokenSet};

pub use self::source::TestTokenSource;
use super::StoreFixture;
pub use super::within_ten_seconds;

/// A server for one test, prepared for the store.
pub trait ServerFixture: StoreFixture<Store: Coordinator + Clone> {
    /// A store as another process would open it, with [`codec`] and the defaults.
    fn open(&self) -> Self::Store {
        self.open_with(None, codec())
    }

    /// Opens a store whose leases expire after a second, which the suites for all stores expect.
    fn open_with_one_second_leases(&self) -> Self::Store {
        let timing = Timing {
            lease_life: Duration::from_secs(1),
            operation_timeout: Duration::from_millis(900),
        };
        self.open_with(Some(timing), codec())
    }

    /// Opens a store with this timing and codec. `None` selects the default timing.
    fn open_with(&self, timing: Option<Timing>, codec: RecordCodec) -> Self::Store;

    /// Sends a request that the server answers if it works.
    fn ping(store: &Self::Store) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the lease and its holder, if a process holds the lease.
    fn holder(
        store: &Self::Store,
        key: &SessionKey,
    ) -> impl Future<Output = Result<Option<HeldLease>, LeaseError>> + Send;

    /// Suspends the server: connections stay open, and the server does not respond.
    fn pause(&self);

    /// Resumes the server after [`pause`](Self::pause).
    fn resume(&self);

    /// Kills the server without a shutdown, like a crash.
    fn kill(&mut self);

    /// Starts the server again, with or without its data.
    fn restart(&mut self) -> impl Future<Output = ()> + Send;

    /// Replaces the server by an empty server that is prepared for the store.
    fn restart_empty(&mut self) -> impl Future<Output = ()> + Send;

    /// Removes leases and fences, as a failover may do.
    fn lose_fences(&mut self) -> impl Future<Output = ()> + Send;

    /// Expires the only lease.
    fn expire_lease(&self);

    /// Sets the revision beside the only record's body to 9.
    fn change_revision(&self);

    /// Sets the revision back to 1, and damages the only record's body.
    fn damage_body(&self);

    /// Closes every connection of the stores, from the server's side.
    fn close_connections(&self);

    /// Returns the number of connections that receive notifications.
    fn notification_connections(&self) -> usize;

    /// Closes the connections that receive notifications, from the server's side, and waits until they are closed. The
    /// call blocks, so that no task of the test reconnects meanwhile.
    fn close_notification_connections(&self);

    /// Returns everything that the server stores, as its tools print it.
    fn dump(&self) -> String;

    /// Returns how [`dump`](Self::dump) shows this text of a plaintext record.
    fn as_dumped(text: &str) -> String {
        text.to_owned()
    }

    /// Deletes every record.
    fn clear(&self);
}

/// The prefix of every secret of these tests. It is split so that a search of the output does not find this constant.
pub const CANARY: [&str; 2] = ["CANARY", "-7f3a-"];

/// Returns [`CANARY`] in one piece.
pub fn canary() -> String {
    CANARY.concat()
}

/// Returns a codec that seals with the same key for every store.
pub fn codec() -> RecordCodec {
    RecordCodec::sealed(DataKey::new(KeySource::Program, [7; 32]))
}

/// Returns the session key of these tests.
pub fn key() -> SessionKey {
    SessionKey::new("work")
}

/// Returns this revision in the only epoch of these tests.
pub fn version(revision: u64) -> Version {
    super::version(1, revision)
}

/// Returns the record of this revision, with `tokens(revision)`.
pub fn record(revision: u64) -> Record {
    let tokens = tokens(usize::try_from(revision).expect("small"));
    Record::signed_in(version(revision), Arc::new(tokens))
}

/// Returns tokens with this number. Each secret begins with the canary.
pub fn tokens(number: usize) -> TokenSet {
    let canary = canary();
    TokenSet::bearer(format!("{canary}access-{number}"))
        .with_refresh_token(format!("{canary}refresh-{number}"))
        .with_id_token(format!("{canary}id-{number}"))
        .with_extra("tenant", format!("{canary}extra-{number}"))
        .expires_in(Duration::from_secs(300))
}

/// Polls `condition` until it returns true, and fails the test after ten seconds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within ten seconds: {what}");
}

/// Saves the first record.
pub async fn save(store: &impl SessionStore) -> Result<Saved, StoreError> {
    within_ten_seconds("a save", store.save(&key(), None, record(1))).await
}

/// Saves this revision over `expected`, and fails the test if that does not succeed.
pub async fn save_over(store: &impl SessionStore, expected: Option<u64>, revision: u64) {
    let expected = expected.map(version);
    let saved = within_ten_seconds("a save", store.save(&key(), expected, record(revision))).await;
    let saved = saved.expect("a store that works");
    assert!(matches!(saved, Saved::Stored), "{saved:?}");
}

/// Acquires the lease, and waits up to five seconds for it.
pub async fn acquire(store: &impl Coordinator) -> Result<Box<dyn Lease>, LeaseError> {
    within_ten_seconds("a lease", store.acquire(&key(), Duration::from_secs(5))).await
}

/// Asserts that a save and an acquisition fail with this kind, and with this text in their messages or
/// hints.
pub async fn assert_fails(
    store: &(impl SessionStore + Coordinator),
    kind: StoreErrorKind,
    text: &str,
) {
    let error = save(store).await.expect_err("a save that fails");
    assert_eq!(error.kind(), kind, "{error}");
    let shown = format!("{error}; {}", error.hint().unwrap_or_default());
    assert!(shown.contains(text), "{shown}");
    assert_no_lease(store, text).await;
}

/// Asserts that an acquisition fails with this text in its message or hint.
pub async fn assert_no_lease(store: &impl Coordinator, text: &str) {
    match acquire(store).await {
        Err(error @ LeaseError::Unavailable { .. }) => {
            let shown = format!("{error}; {}", error.hint().unwrap_or_default());
            assert!(shown.contains(text), "{shown}");
        }
        Err(error) => panic!("not unavailable but: {error}"),
        Ok(_) => panic!("a lease without a server"),
    }
}

/// Asserts that an empty store saves, loads, and grants a lease.
pub async fn assert_works(store: &(impl SessionStore + Coordinator)) {
    assert!(matches!(save(store).await, Ok(Saved::Stored)));
    let loaded = store.load(&key()).await.expect("a store that works");
    assert_eq!(loaded.expect("a record").version(), version(1));
    let lease = acquire(store).await.expect("a free lease");
    lease.release().await;
}

/// Builds a rotator on this store.
pub fn rotator(source: &TestTokenSource, store: impl SessionStore) -> Rotator {
    let builder = Rotator::builder(source.clone()).session(key()).store(store);
    builder.build().expect("settings that fit")
}

/// Saves `tokens(7)` as the record's next revision, as another process would.
async fn save_successor(store: &impl SessionStore) -> Record {
    let stored_version = store.load(&key()).await.expect("a store that works");
    let stored_version = stored_version.expect("a record").version();
    let next_version = Version::new(stored_version.epoch, stored_version.revision + 1);
    let next = record(7).with_version(next_version);
    let stored = store.save(&key(), Some(stored_version), next.clone()).await;
    assert!(matches!(stored, Ok(Saved::Stored)), "{stored:?}");
    next
}

/// Writes the test functions of the suite for a [`ServerFixture`](crate::conformance::server::ServerFixture). The tests
/// run on tokio with real time.
#[macro_export]
macro_rules! server_conformance {
    ($fixture:ty) => {
        $crate::server_conformance!(@ $fixture, failures {
            a_call_to_a_paused_server_times_out
            a_killed_server_cannot_be_reached
            a_record_that_was_tampered_with_is_corrupt
            a_closed_connection_is_reopened
            a_rotator_sends_nothing_without_a_lease_and_survives_an_empty_server
            a_paused_holder_adopts_what_its_successor_saved
        });
        $crate::server_conformance!(@ $fixture, leases {
            holder_reports_a_held_lease
            an_expired_lease_has_no_holder
            fences_grow_after_the_server_loses_them
            a_dropped_lease_is_released
        });
        $crate::server_conformance!(@ $fixture, notifications {
            one_refresh_serves_two_processes
            a_save_ends_the_wait_for_the_lease
            a_release_wakes_a_waiting_task
            a_release_does_not_end_the_wait_for_a_save
            a_closed_notification_connection_is_reopened
            a_past_change_ends_the_wait_at_once
        });

        #[test]
        fn a_store_outlives_its_runtime() {
            $crate::conformance::server::failures::a_store_outlives_its_runtime::<$fixture>();
        }
    };
    (@ $fixture:ty, $part:ident { $($test:ident)* }) => {
        mod $part {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[tokio::test]
                async fn $test() {
                    if let Some(reason) = <$fixture as $crate::conformance::StoreFixture>::skip_reason() {
                        eprintln!("{reason}");
                        return;
                    }
                    let mut fixture = <$fixture as $crate::conformance::StoreFixture>::new().await;
                    $crate::conformance::server::$part::$test(&mut fixture).await;
                }
            )*
        }
    };
}
