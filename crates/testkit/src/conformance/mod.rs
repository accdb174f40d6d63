//! The test suite for session stores and coordinators. It checks what a rotator relies on, and nothing else.
//!
//! - `store.rs`: one session store
//! - `coordinator.rs`: one coordinator
//! - `flights/`: whole flights of several replicas over both, with injected failures
//! - `server/`: additional tests for stores on a database server
//!
//! The tests of a store implement [`StoreFixture`]. The macro [`conformance!`](crate::conformance!) writes the test
//! functions:
//!
//! ```no_run
//! use token_rotator::MemoryStore;
//! use token_rotator::store::LocalCoordinator;
//! use token_rotator_testkit::conformance::StoreFixture;
//!
//! struct Memory { store: MemoryStore, coordinator: LocalCoordinator }
//!
//! impl StoreFixture for Memory {
//!     type Store = MemoryStore;
//!     type Coordinator = LocalCoordinator;
//!     async fn new() -> Self {
//!         Self { store: MemoryStore::new(), coordinator: LocalCoordinator::new() }
//!     }
//!     async fn store(&self) -> MemoryStore { self.store.clone() }
//!     async fn coordinator(&self) -> LocalCoordinator { self.coordinator.clone() }
//! }
//!
//! token_rotator_testkit::conformance!(Memory);
//! ```

#![expect(
    clippy::missing_panics_doc,
    reason = "every test panics where its property does not hold"
)]

pub mod coordinator;
pub mod flights;
#[cfg(feature = "server")]
pub mod server;
pub mod store;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use token_rotator::store::{
    Coordinator, Epoch, Intent, IntentId, IntentOutcome, Record, SessionStore, TokenHash, Version,
};
use token_rotator::{SessionKey, TokenSet};

/// A new store and coordinator for one test, such as one server or one directory.
pub trait StoreFixture: Sized + Send + Sync + 'static {
    /// The store.
    type Store: SessionStore;
    /// The coordinator.
    type Coordinator: Coordinator;

    /// Returns why the tests are skipped on this machine. Returns `None` if they can run.
    fn skip_reason() -> Option<String> {
        None
    }

    /// Creates a fixture with an empty store.
    fn new() -> impl Future<Output = Self> + Send;

    /// Opens the store as another process would.
    fn store(&self) -> impl Future<Output = Self::Store> + Send;

    /// Opens the coordinator as another process would. If its leases expire, they last one second unless renewed.
    fn coordinator(&self) -> impl Future<Output = Self::Coordinator> + Send;

    /// Whether [`SessionStore::changed`] reports saves by other processes.
    fn reports_changes(&self) -> bool {
        true
    }
}

/// Time limit of an operation that should complete at once.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Awaits `future`, and fails the test if it takes longer than ten seconds.
pub async fn within_ten_seconds<F: Future>(what: &str, future: F) -> F::Output {
    let output = tokio::time::timeout(TIME_LIMIT, future).await;
    output.unwrap_or_else(|_elapsed| panic!("{what} took longer than {TIME_LIMIT:?}"))
}

pub(crate) fn session(name: &str) -> SessionKey {
    SessionKey::new(name)
}

pub(crate) fn tokens(number: usize) -> TokenSet {
    TokenSet::bearer(format!("access-{number}"))
        .with_refresh_token(format!("refresh-{number}"))
        .expires_in(Duration::from_secs(300))
        .with_scope("read write")
        .with_id_token(format!("id-{number}"))
        .with_extra("tenant", "a \"tenant\" \u{1f980}")
}

pub(crate) fn version(epoch: u128, revision: u64) -> Version {
    Version::new(Epoch::from_bits(epoch), revision)
}

pub(crate) fn record(version: Version, number: usize) -> Record {
    Record::signed_in(version, Arc::new(tokens(number)))
}

pub(crate) fn intent(number: usize) -> Intent {
    let token = TokenHash::of(&tokens(number)).expect("a refresh token");
    let started = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
    Intent::new(token, started)
        .with_id(IntentId::from_bits(0xfeed))
        .with_attempts(3)
        .with_outcome(IntentOutcome::Uncertain)
}

/// Writes the test functions of the suite for a [`StoreFixture`](crate::conformance::StoreFixture). The tests run on
/// tokio with real time.
#[macro_export]
macro_rules! conformance {
    ($fixture:ty) => {
        $crate::conformance!(@ $fixture, store {
            an_unsaved_session_is_absent
            a_saved_record_is_loaded
            a_conflicting_save_changes_nothing
            one_of_many_concurrent_saves_wins
            a_tombstone_stays_until_the_next_sign_in
            sessions_are_independent
            intents_are_stored
            details_are_stored
            the_age_of_a_token_set_is_known
            the_largest_record_fits
            a_change_is_reported
            a_cancelled_save_is_complete_or_absent
        });
        $crate::conformance!(@ $fixture, coordinator {
            one_holder_at_a_time
            a_dropped_lease_becomes_free
            a_waiting_task_gets_the_released_lease
            a_wait_fails_busy_after_its_limit
            fences_grow
            leases_of_sessions_are_independent
            a_cancelled_wait_acquires_nothing
            a_wait_cancelled_during_an_attempt_acquires_nothing
            a_cancelled_acquisition_is_released
            an_expired_lease_is_lost
            a_renewed_lease_holds
        });
        $crate::conformance!(@ $fixture, flights {
            many_replicas_refresh_once
            a_sign_out_by_another_replica_wins
            a_sign_in_by_another_replica_wins
            a_lease_lost_before_the_request_sends_nothing
            a_lease_lost_after_the_request_still_saves
            a_successors_token_is_adopted
            a_failed_save_is_retried_until_it_succeeds
            a_failed_journal_write_sends_nothing
            a_conflict_before_the_request_adopts_the_newer_tokens
            a_wall_clock_jump_causes_no_second_refresh
            a_crash_at_each_step_with_a_strict_issuer
            a_crash_at_each_step_with_a_forgiving_issuer
            a_crash_at_each_step_with_a_multi_use_issuer
        });
    };
    (@ $fixture:ty, $part:ident { $($test:ident)* }) => {
        mod $part {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    if let Some(reason) = <$fixture as $crate::conformance::StoreFixture>::skip_reason() {
                        eprintln!("{reason}");
                        return;
                    }
                    let fixture = <$fixture as $crate::conformance::StoreFixture>::new().await;
                    $crate::conformance::$part::$test(&fixture).await;
                }
            )*
        }
    };
}
