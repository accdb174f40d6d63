//! One suite for every session store and coordinator: what a rotator relies on, and nothing else.
//!
//! A store's tests say where it lives, and [`conformance!`](crate::conformance!) writes the tests:
//!
//! ```no_run
//! use token_rotator::store::LocalCoordinator;
//! use token_rotator::MemoryStore;
//! use token_rotator_testkit::conformance::Ground;
//!
//! struct Memory { store: MemoryStore, coordinator: LocalCoordinator }
//!
//! impl Ground for Memory {
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

/// Where a store and its coordinator live: one server or directory, made for one test.
pub trait Ground: Sized + Send + Sync + 'static {
    /// The store.
    type Store: SessionStore;
    /// The coordinator.
    type Coordinator: Coordinator;

    /// Why its tests are to be skipped on this machine; `None`: they are not.
    fn missing() -> Option<String> {
        None
    }

    /// A new, empty one.
    fn new() -> impl Future<Output = Self> + Send;

    /// A handle, as another process would open it.
    fn store(&self) -> impl Future<Output = Self::Store> + Send;

    /// A handle, as another process would open it. Its leases last one second unless renewed,
    /// where they end by themselves at all.
    fn coordinator(&self) -> impl Future<Output = Self::Coordinator> + Send;

    /// Whether [`SessionStore::changed`] tells of what others save.
    fn tells(&self) -> bool {
        true
    }
}

/// How long anything may take that ought to happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Fails the test if this takes longer than ten seconds.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let output = tokio::time::timeout(PATIENCE, future).await;
    output.unwrap_or_else(|_late| panic!("{what} took longer than {PATIENCE:?}"))
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

/// Writes the whole suite for a [`Ground`](crate::conformance::Ground), a test for each property.
/// Its tests run on tokio with real time.
#[macro_export]
macro_rules! conformance {
    ($ground:ty) => {
        $crate::conformance!(@ $ground, store {
            nothing_is_nothing
            what_is_saved_is_loaded
            a_lost_swap_changes_nothing
            one_of_many_wins
            a_tombstone_stays
            sessions_do_not_mix
            intents_are_kept
            the_largest_record_fits
            a_change_is_told
            a_dropped_save_is_done_or_not
        });
        $crate::conformance!(@ $ground, coordinator {
            one_holder_at_a_time
            a_dropped_lease_is_free
            whoever_waits_is_next
            busy_says_how_long
            fences_grow
            leases_do_not_mix
            a_dropped_wait_takes_nothing
            a_wait_dropped_half_way_takes_nothing
            what_was_taken_for_nobody_is_given_back
            an_expired_lease_is_lost
            a_renewed_lease_holds
        });
        $crate::conformance!(@ $ground, flights {
            many_replicas_refresh_once
            a_sign_out_elsewhere_wins
            a_sign_in_elsewhere_wins
            a_lease_lost_before_the_request_sends_nothing
            a_lease_lost_after_the_request_saves_all_the_same
            a_successor_is_adopted
            a_save_that_fails_is_tried_until_it_works
            a_journal_that_fails_sends_nothing
            a_conflict_before_the_request_is_decided_anew
            a_clock_that_jumps_refreshes_nothing_twice
            a_death_at_each_step_of_a_strict_issuer
            a_death_at_each_step_of_a_forgiving_issuer
            a_death_at_each_step_where_uses_do_not_count
        });
    };
    (@ $ground:ty, $part:ident { $($test:ident)* }) => {
        mod $part {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    if let Some(reason) = <$ground as $crate::conformance::Ground>::missing() {
                        eprintln!("{reason}");
                        return;
                    }
                    let ground = <$ground as $crate::conformance::Ground>::new().await;
                    $crate::conformance::$part::$test(&ground).await;
                }
            )*
        }
    };
}
