//! One suite for every session store on a database server.
//!
//! It starts, pauses, cuts off and kills real servers. A crate for one server implements
//! [`ServerGround`], and [`server_conformance!`](crate::server_conformance!) writes the tests:
//!
//! - `failures.rs`: a server that is paused, killed, emptied or damaged
//! - `leases.rs`: who holds a lease, dropped leases, fences
//! - `notifications.rs`: what ends a wait, and when
//! - `secrecy.rs`: no token in the server, in a log or in an error
//! - `source.rs`: a token source that the tests hold and release

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

pub use self::source::Source;
use super::Ground;
pub use super::soon;

/// A server that one test has for itself, with everything made that a store needs there.
pub trait ServerGround: Ground<Store: Coordinator + Clone> {
    /// A store as another process would open it, with [`codec`] and the defaults.
    fn open(&self) -> Self::Store {
        self.open_with(None, codec())
    }

    /// A store with this timing (`None`: the defaults) and codec.
    fn open_with(&self, timing: Option<Timing>, codec: RecordCodec) -> Self::Store;

    /// Whether the server answers this store.
    fn ping(store: &Self::Store) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Who holds the lease.
    fn holder(
        store: &Self::Store,
        key: &SessionKey,
    ) -> impl Future<Output = Result<Option<HeldLease>, LeaseError>> + Send;

    /// Stops the server: connections stay open, and nothing is answered.
    fn pause(&self);

    /// Ends [`pause`](Self::pause).
    fn resume(&self);

    /// Ends the server as a crash would.
    fn kill(&mut self);

    /// Starts the server again, with or without what it held.
    fn restart(&mut self) -> impl Future<Output = ()> + Send;

    /// Puts an empty server in its place, with everything made that a store needs there.
    fn restart_empty(&mut self) -> impl Future<Output = ()> + Send;

    /// Loses leases and fences, as a failover may.
    fn lose_fences(&mut self) -> impl Future<Output = ()> + Send;

    /// Ends the only lease, as if its life were over.
    fn expire_lease(&self);

    /// Changes the revision beside the only record's body to 9.
    fn change_revision(&self);

    /// Puts the revision back to 1, and damages the only record's body.
    fn damage_body(&self);

    /// Closes every connection of stores from the server's side.
    fn cut_connections(&self);

    /// How many connections for notifications the server has.
    fn listening_connections(&self) -> usize;

    /// Closes the connections for notifications from the server's side, and returns when they are
    /// closed. It blocks, so that no task of the test reconnects meanwhile.
    fn cut_listening_connections(&self);

    /// Everything that the server holds, as its tools print it.
    fn dump(&self) -> String;

    /// How [`dump`](Self::dump) shows this text in a plaintext record.
    fn dumped(text: &str) -> String {
        text.to_owned()
    }

    /// Deletes every record.
    fn clear(&self);
}

/// The beginning of every secret of these tests. It stands in two pieces, so that a search of the
/// output does not find it here.
pub const CANARY: [&str; 2] = ["CANARY", "-7f3a-"];

/// [`CANARY`] in one piece.
pub fn canary() -> String {
    CANARY.concat()
}

/// Seals with a key that every store of a test shares.
pub fn codec() -> RecordCodec {
    RecordCodec::sealed(DataKey::new(KeySource::Program, [7; 32]))
}

/// The session of these tests.
pub fn key() -> SessionKey {
    SessionKey::new("work")
}

/// This revision, in the one epoch of these tests.
pub fn version(revision: u64) -> Version {
    super::version(1, revision)
}

/// The record of this revision, with `tokens(revision)`.
pub fn record(revision: u64) -> Record {
    let tokens = tokens(usize::try_from(revision).expect("small"));
    Record::signed_in(version(revision), Arc::new(tokens))
}

/// Tokens with this number. Each secret begins with the canary.
pub fn tokens(number: usize) -> TokenSet {
    let canary = canary();
    TokenSet::bearer(format!("{canary}access-{number}"))
        .with_refresh_token(format!("{canary}refresh-{number}"))
        .with_id_token(format!("{canary}id-{number}"))
        .with_extra("tenant", format!("{canary}extra-{number}"))
        .expires_in(Duration::from_secs(300))
}

/// Asks again until the answer is yes, for ten seconds.
pub async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within ten seconds: {what}");
}

/// Saves the first record.
pub async fn save(store: &impl SessionStore) -> Result<Saved, StoreError> {
    soon("a save", store.save(&key(), None, record(1))).await
}

/// Saves this revision over `expected`, which must work.
pub async fn save_over(store: &impl SessionStore, expected: Option<u64>, revision: u64) {
    let expected = expected.map(version);
    let saved = soon("a save", store.save(&key(), expected, record(revision))).await;
    let saved = saved.expect("a store that works");
    assert!(matches!(saved, Saved::Stored), "{saved:?}");
}

/// Takes the lease, waiting for it if need be.
pub async fn acquire(store: &impl Coordinator) -> Result<Box<dyn Lease>, LeaseError> {
    soon("a lease", store.acquire(&key(), Duration::from_secs(5))).await
}

/// Neither a save nor a lease succeeds. The errors have this kind, and this in their text or
/// hint.
pub async fn assert_fails(
    store: &(impl SessionStore + Coordinator),
    kind: StoreErrorKind,
    text: &str,
) {
    let error = save(store).await.expect_err("a save that fails");
    assert_eq!(error.kind(), kind, "{error}");
    let said = format!("{error}; {}", error.hint().unwrap_or_default());
    assert!(said.contains(text), "{said}");
    assert_no_lease(store, text).await;
}

/// No lease can be taken. The error has this in its text or hint.
pub async fn assert_no_lease(store: &impl Coordinator, text: &str) {
    match acquire(store).await {
        Err(error @ LeaseError::Unavailable { .. }) => {
            let said = format!("{error}; {}", error.hint().unwrap_or_default());
            assert!(said.contains(text), "{said}");
        }
        Err(error) => panic!("not unavailable but: {error}"),
        Ok(_) => panic!("a lease without a server"),
    }
}

/// An empty store saves, loads, and grants a lease.
pub async fn assert_works(store: &(impl SessionStore + Coordinator)) {
    assert!(matches!(save(store).await, Ok(Saved::Stored)));
    let loaded = store.load(&key()).await.expect("a store that works");
    assert_eq!(loaded.expect("a record").version(), version(1));
    let lease = acquire(store).await.expect("a free lease");
    lease.release().await;
}

/// A rotator on this store.
pub fn rotator(source: &Source, store: impl SessionStore) -> Rotator {
    let builder = Rotator::builder(source.clone()).session(key()).store(store);
    builder.build().expect("settings that fit")
}

/// Saves `tokens(7)` as the next revision of the record, as another process would.
async fn save_successor(store: &impl SessionStore) -> Record {
    let found = store.load(&key()).await.expect("a store that works");
    let found = found.expect("a record").version();
    let next = record(7).with_version(Version::new(found.epoch, found.revision + 1));
    let stored = store.save(&key(), Some(found), next.clone()).await;
    assert!(matches!(stored, Ok(Saved::Stored)), "{stored:?}");
    next
}

/// Writes the suite for a [`ServerGround`](crate::conformance::server::ServerGround), a test for
/// each property. Its tests run on tokio with real time.
#[macro_export]
macro_rules! server_conformance {
    ($ground:ty) => {
        $crate::server_conformance!(@ $ground, failures {
            a_paused_server_is_given_up_in_time
            a_killed_server_cannot_be_reached
            a_record_that_was_tampered_with_is_corrupt
            a_closed_connection_is_made_again
            a_rotator_sends_nothing_without_a_lease_and_survives_an_empty_server
            a_paused_holder_adopts_what_its_successor_saved
        });
        $crate::server_conformance!(@ $ground, leases {
            a_lease_is_seen_while_it_is_held
            a_lease_that_ran_out_has_no_holder
            fences_grow_over_lost_ones
            a_dropped_lease_is_given_back
        });
        $crate::server_conformance!(@ $ground, notifications {
            one_refresh_serves_two_processes
            a_save_ends_the_wait_for_the_lease
            a_release_wakes_the_next
            a_release_is_not_taken_for_a_save
            a_listening_connection_that_is_cut_off_is_made_again
            an_old_change_ends_the_wait_at_once
        });

        #[test]
        fn a_store_outlives_its_runtime() {
            $crate::conformance::server::failures::a_store_outlives_its_runtime::<$ground>();
        }
    };
    (@ $ground:ty, $part:ident { $($test:ident)* }) => {
        mod $part {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[tokio::test]
                async fn $test() {
                    if let Some(reason) = <$ground as $crate::conformance::Ground>::missing() {
                        eprintln!("{reason}");
                        return;
                    }
                    let mut ground = <$ground as $crate::conformance::Ground>::new().await;
                    $crate::conformance::server::$part::$test(&mut ground).await;
                }
            )*
        }
    };
}
