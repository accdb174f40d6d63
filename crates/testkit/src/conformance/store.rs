//! Tests of a session store.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use token_rotator::store::{
    Age, Binding, Fingerprint, Record, RefusedContent, Saved, SessionStore, SharedFailure,
    StoreTime, UnexplainedRefusals, Version,
};
use token_rotator::{ExposeSecret as _, FailureKind};
use tokio::task::JoinSet;

use super::{StoreFixture, intent, record, session, tokens, version, within_ten_seconds};

fn assert_same(one: Option<&Record>, other: &Record) {
    let one = one.expect("a record");
    assert_eq!(one.version(), other.version());
    assert_eq!(one.intent(), other.intent());
    assert_eq!(one.received(), other.received());
    assert_eq!(one.failures(), other.failures());
    assert_eq!(one.unexplained_refusals(), other.unexplained_refusals());
    assert_eq!(one.binding(), other.binding());
    assert_eq!(one.refused_content(), other.refused_content());
    let previous = |record: &Record| {
        let token = record.previous_refresh_token();
        token.map(|token| token.expose_secret().to_owned())
    };
    assert_eq!(previous(one), previous(other));
    let fields = |record: &Record| {
        record.tokens().map(|tokens| {
            let secret = |text: Option<&token_rotator::SecretString>| {
                text.map(|text| text.expose_secret().to_owned())
            };
            (
                secret(Some(tokens.access_token())),
                secret(tokens.refresh_token()),
                secret(tokens.id_token()),
                secret(tokens.extra("tenant")),
                tokens.scope().map(str::to_owned),
                tokens.token_type().to_owned(),
                tokens.expiry(),
            )
        })
    };
    assert_eq!(fields(one), fields(other));
}

async fn save(
    store: &impl SessionStore,
    name: &str,
    expected: Option<Version>,
    record: Record,
) -> Saved {
    let key = session(name);
    let saved = within_ten_seconds("a save", store.save(&key, expected, record)).await;
    saved.expect("a store that works")
}

async fn load(store: &impl SessionStore, name: &str) -> Option<Record> {
    let key = session(name);
    let loaded = within_ten_seconds("a load", store.load(&key)).await;
    loaded.expect("a store that works")
}

fn assert_stored(saved: &Saved) {
    assert!(matches!(saved, Saved::Stored), "{saved:?}");
}

/// Loading a session that was never saved returns `None` without an error.
pub async fn an_unsaved_session_is_absent(fixture: &impl StoreFixture) {
    assert!(load(&fixture.store().await, "never-saved").await.is_none());
}

/// A record that one process saves is loaded completely by another process.
pub async fn a_saved_record_is_loaded(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.store().await, fixture.store().await);
    let first = record(version(u128::MAX, 1), 1);
    assert_stored(&save(&first_handle, "work", None, first.clone()).await);
    assert_same(load(&second_handle, "work").await.as_ref(), &first);
    let next = record(version(u128::MAX, u64::MAX >> 1), 2);
    assert_stored(&save(&second_handle, "work", Some(first.version()), next.clone()).await);
    assert_same(load(&first_handle, "work").await.as_ref(), &next);
}

/// A save that expects another version than the stored one changes nothing, and returns the stored record.
pub async fn a_conflicting_save_changes_nothing(fixture: &impl StoreFixture) {
    let store = fixture.store().await;
    let unsaved = save(
        &store,
        "work",
        Some(version(1, 1)),
        record(version(1, 2), 2),
    )
    .await;
    assert!(matches!(unsaved, Saved::Conflict(None)), "{unsaved:?}");
    assert!(load(&store, "work").await.is_none());
    let first = record(version(1, 5), 1);
    assert_stored(&save(&store, "work", None, first.clone()).await);
    let wrong_versions = [
        None,
        Some(version(1, 4)),
        Some(version(1, 6)),
        Some(version(2, 5)),
    ];
    for expected in wrong_versions {
        let outcome = save(&store, "work", expected, record(version(1, 6), 2)).await;
        let Saved::Conflict(stored) = outcome else {
            panic!("a save that expects {expected:?} was stored");
        };
        assert_same(stored.as_ref(), &first);
        assert_same(load(&store, "work").await.as_ref(), &first);
    }
}

/// Of many concurrent saves that expect the same version, one succeeds. The others return its record.
pub async fn one_of_many_concurrent_saves_wins(fixture: &impl StoreFixture) {
    let first = record(version(1, 1), 0);
    assert_stored(&save(&fixture.store().await, "work", None, first.clone()).await);
    let mut save_tasks = JoinSet::new();
    for number in 1..=16 {
        let store = fixture.store().await;
        save_tasks.spawn(async move {
            let next = record(version(1, 2), number);
            let saved = save(&store, "work", Some(version(1, 1)), next).await;
            (number, saved)
        });
    }
    let outcomes = within_ten_seconds("concurrent saves", save_tasks.join_all()).await;
    let mut winners = outcomes
        .iter()
        .filter(|(_, saved)| matches!(saved, Saved::Stored));
    let (winner, _) = winners.next().expect("a winner");
    assert!(winners.next().is_none(), "two saves have succeeded");
    let expected = record(version(1, 2), *winner);
    for (_, saved) in &outcomes {
        if let Saved::Conflict(stored) = saved {
            assert_same(stored.as_ref(), &expected);
        }
    }
    assert_same(
        load(&fixture.store().await, "work").await.as_ref(),
        &expected,
    );
}

/// A sign-out is stored as a record and stays until the next sign-in.
pub async fn a_tombstone_stays_until_the_next_sign_in(fixture: &impl StoreFixture) {
    let store = fixture.store().await;
    let tombstone = Record::signed_out(version(2, 2));
    // The tombstone is saved over no record, and over a session.
    assert_stored(&save(&store, "never", None, tombstone.clone()).await);
    assert_same(load(&store, "never").await.as_ref(), &tombstone);
    assert_stored(&save(&store, "work", None, record(version(1, 1), 1)).await);
    assert_stored(&save(&store, "work", Some(version(1, 1)), tombstone.clone()).await);
    let other = fixture.store().await;
    assert_same(load(&other, "work").await.as_ref(), &tombstone);
    let login = record(version(3, 3), 2);
    assert_stored(&save(&other, "work", Some(version(2, 2)), login.clone()).await);
    assert_same(load(&store, "work").await.as_ref(), &login);
}

/// Sessions with similar names are independent.
pub async fn sessions_are_independent(fixture: &impl StoreFixture) {
    let store = fixture.store().await;
    let long = "x".repeat(600);
    let names = [
        "work",
        "Work",
        "work ",
        "work/..",
        "wörk",
        "work\n",
        "",
        ":",
        long.as_str(),
    ];
    for (number, name) in names.iter().enumerate() {
        let saved = save(&store, name, None, record(version(1, 1), number)).await;
        assert_stored(&saved);
    }
    for (number, name) in names.iter().enumerate() {
        let expected = record(version(1, 1), number);
        assert_same(load(&store, name).await.as_ref(), &expected);
    }
}

/// An intent is stored with its record. Saving a record without an intent removes it.
pub async fn intents_are_stored(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.store().await, fixture.store().await);
    let with_intent = record(version(1, 1), 1).with_intent(intent(1));
    assert_stored(&save(&first_handle, "work", None, with_intent.clone()).await);
    assert_same(load(&second_handle, "work").await.as_ref(), &with_intent);
    let without = record(version(1, 2), 2);
    assert_stored(&save(&second_handle, "work", Some(version(1, 1)), without.clone()).await);
    assert_same(load(&first_handle, "work").await.as_ref(), &without);
}

/// The details of a record are stored with it: failures, refusals, binding, previous refresh token.
pub async fn details_are_stored(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.store().await, fixture.store().await);
    let at = StoreTime::by_wall(SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_321))
        .with_start(7, Duration::from_millis(5));
    let mut failure = SharedFailure::new(
        FailureKind::Transient,
        "the issuer answered 503",
        "host",
        at,
    );
    failure.wait = Duration::from_secs(120);
    failure.asked_by_issuer = true;
    let fingerprint = Fingerprint::of(["https://issuer.example/token"], None);
    let detailed = record(version(1, 1), 1)
        .with_received(at)
        .with_failure(failure)
        .with_unexplained_refusals(UnexplainedRefusals::new(2, at, "401"))
        .with_binding(Binding::new("https://issuer.example/token"))
        .with_previous_refresh_token("previous")
        .with_refused_content(RefusedContent::new("token type mac", Some(fingerprint)));
    assert_stored(&save(&first_handle, "work", None, detailed.clone()).await);
    assert_same(load(&second_handle, "work").await.as_ref(), &detailed);
    let without = record(version(1, 2), 2);
    assert_stored(&save(&second_handle, "work", Some(version(1, 1)), without.clone()).await);
    assert_same(load(&first_handle, "work").await.as_ref(), &without);
}

/// A store tells its time with each record, and the age of the token set follows from it.
pub async fn the_age_of_a_token_set_is_known(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.store().await, fixture.store().await);
    assert_stored(&save(&first_handle, "work", None, record(version(1, 1), 1)).await);
    let received = load(&first_handle, "work").await.expect("a record").now();
    let received = received.expect("the store has a clock");
    let next = record(version(1, 2), 2).with_received(received);
    assert_stored(&save(&first_handle, "work", Some(version(1, 1)), next).await);
    // Another process measures by the same clock.
    let loaded = load(&second_handle, "work").await.expect("a record");
    assert!(matches!(loaded.age(), Some(Age::Elapsed(_))), "{loaded:?}");
    // The record that a conflict returns has an age too.
    let conflict = save(&second_handle, "work", None, record(version(1, 3), 3)).await;
    let Saved::Conflict(Some(found)) = conflict else {
        panic!("a conflict");
    };
    assert!(matches!(found.age(), Some(Age::Elapsed(_))), "{found:?}");
}

/// Long tokens and many extra fields are stored completely.
pub async fn the_largest_record_fits(fixture: &impl StoreFixture) {
    let store = fixture.store().await;
    let long = "t".repeat(64 * 1024);
    let mut large = tokens(1).with_refresh_token(long.clone());
    for number in 0..31 {
        large = large.with_extra(format!("field-{number}"), "v".repeat(8 * 1024));
    }
    let record = Record::signed_in(version(1, 1), Arc::new(large));
    assert_stored(&save(&store, "work", None, record.clone()).await);
    let loaded = load(&fixture.store().await, "work").await;
    assert_same(loaded.as_ref(), &record);
    let tokens = loaded.and_then(Record::into_tokens).expect("tokens");
    let field = tokens.extra("field-30").expect("the last field");
    assert_eq!(field.expose_secret().len(), 8 * 1024);
}

/// A wait for a change ends when another process saves. It ends at once if the save came first.
pub async fn a_change_is_reported(fixture: &impl StoreFixture) {
    let (first_handle, second_handle) = (fixture.store().await, fixture.store().await);
    let key = session("work");
    assert_stored(&save(&first_handle, "work", None, record(version(1, 1), 1)).await);
    if !fixture.reports_changes() {
        let reported = first_handle.changed(&key, None);
        let reported = tokio::time::timeout(Duration::from_millis(50), reported).await;
        assert!(
            reported.is_err(),
            "the store reports changes although the fixture says that it does not"
        );
        return;
    }
    // The save may happen between a load and the wait.
    within_ten_seconds("a past change", first_handle.changed(&key, None)).await;
    let waiter = async {
        let mut seen_version = Some(version(1, 1));
        // The wait may end too early. It must not miss a change.
        while seen_version == Some(version(1, 1)) {
            first_handle.changed(&key, seen_version).await;
            seen_version = load(&first_handle, "work")
                .await
                .map(|record| record.version());
        }
        seen_version
    };
    let saver = async {
        tokio::task::yield_now().await;
        save(
            &second_handle,
            "work",
            Some(version(1, 1)),
            record(version(1, 2), 2),
        )
        .await
    };
    let (reported, outcome) =
        within_ten_seconds("a change", async { tokio::join!(waiter, saver) }).await;
    assert_stored(&outcome);
    assert_eq!(reported, Some(version(1, 2)));
}

/// A cancelled save is either complete or absent, and the store keeps working.
pub async fn a_cancelled_save_is_complete_or_absent(fixture: &impl StoreFixture) {
    let store = fixture.store().await;
    let key = session("work");
    assert_stored(&save(&store, "work", None, record(version(1, 1), 1)).await);
    for polls in 0..12 {
        let stored_version = load(&store, "work").await.expect("a record").version();
        let next = version(1, stored_version.revision + 1);
        {
            let save = store.save(&key, Some(stored_version), record(next, polls));
            let mut save = std::pin::pin!(save);
            for _ in 0..polls {
                let polled = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(save.as_mut().poll(context).is_ready())
                });
                if polled.await {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // Whether or not the cancelled save was stored, the next save succeeds.
        let done = within_ten_seconds("a save after a cancelled save", async {
            loop {
                let stored_version = load(&store, "work").await.expect("a record").version();
                let next = version(1, stored_version.revision + 1);
                if let Saved::Stored =
                    save(&store, "work", Some(stored_version), record(next, 99)).await
                {
                    return next;
                }
            }
        })
        .await;
        assert_same(load(&store, "work").await.as_ref(), &record(done, 99));
    }
}
