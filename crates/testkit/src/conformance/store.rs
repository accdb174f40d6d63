//! What a rotator relies on in a session store.

use std::sync::Arc;
use std::time::Duration;

use token_rotator::ExposeSecret as _;
use token_rotator::store::{Record, Saved, SessionStore, Version};
use tokio::task::JoinSet;

use super::{Ground, intent, record, session, soon, tokens, version};

fn assert_same(one: Option<&Record>, other: &Record) {
    let one = one.expect("a record");
    assert_eq!(one.version(), other.version());
    assert_eq!(one.intent(), other.intent());
    let words = |record: &Record| {
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
    assert_eq!(words(one), words(other));
}

async fn save(
    store: &impl SessionStore,
    name: &str,
    expected: Option<Version>,
    record: Record,
) -> Saved {
    let key = session(name);
    let saved = soon("a save", store.save(&key, expected, record)).await;
    saved.expect("a store that works")
}

async fn load(store: &impl SessionStore, name: &str) -> Option<Record> {
    let key = session(name);
    let loaded = soon("a load", store.load(&key)).await;
    loaded.expect("a store that works")
}

fn assert_stored(saved: &Saved) {
    assert!(matches!(saved, Saved::Stored), "{saved:?}");
}

/// A session that nobody saved is not there, and that is no error.
pub async fn nothing_is_nothing(ground: &impl Ground) {
    assert!(load(&ground.store().await, "nobody").await.is_none());
}

/// What one process saves another loads, every field of it.
pub async fn what_is_saved_is_loaded(ground: &impl Ground) {
    let (here, there) = (ground.store().await, ground.store().await);
    let first = record(version(u128::MAX, 1), 1);
    assert_stored(&save(&here, "work", None, first.clone()).await);
    assert_same(load(&there, "work").await.as_ref(), &first);
    let next = record(version(u128::MAX, u64::MAX >> 1), 2);
    assert_stored(&save(&there, "work", Some(first.version()), next.clone()).await);
    assert_same(load(&here, "work").await.as_ref(), &next);
}

/// A save that expects another version than the one stored changes nothing and says what is there.
pub async fn a_lost_swap_changes_nothing(ground: &impl Ground) {
    let store = ground.store().await;
    let missing = save(
        &store,
        "work",
        Some(version(1, 1)),
        record(version(1, 2), 2),
    )
    .await;
    assert!(matches!(missing, Saved::Conflict(None)), "{missing:?}");
    assert!(load(&store, "work").await.is_none());
    let first = record(version(1, 5), 1);
    assert_stored(&save(&store, "work", None, first.clone()).await);
    let wrong = [
        None,
        Some(version(1, 4)),
        Some(version(1, 6)),
        Some(version(2, 5)),
    ];
    for expected in wrong {
        let lost = save(&store, "work", expected, record(version(1, 6), 2)).await;
        let Saved::Conflict(theirs) = lost else {
            panic!("a save that expects {expected:?} was stored");
        };
        assert_same(theirs.as_ref(), &first);
        assert_same(load(&store, "work").await.as_ref(), &first);
    }
}

/// Of many that expect the same version, one wins, and everybody else is told what it wrote.
pub async fn one_of_many_wins(ground: &impl Ground) {
    let first = record(version(1, 1), 0);
    assert_stored(&save(&ground.store().await, "work", None, first.clone()).await);
    let mut racers = JoinSet::new();
    for number in 1..=16 {
        let store = ground.store().await;
        racers.spawn(async move {
            let next = record(version(1, 2), number);
            let saved = save(&store, "work", Some(version(1, 1)), next).await;
            (number, saved)
        });
    }
    let outcomes = soon("a race", racers.join_all()).await;
    let mut winners = outcomes
        .iter()
        .filter(|(_, saved)| matches!(saved, Saved::Stored));
    let (winner, _) = winners.next().expect("a winner");
    assert!(winners.next().is_none(), "two have won");
    let expected = record(version(1, 2), *winner);
    for (_, saved) in &outcomes {
        if let Saved::Conflict(theirs) = saved {
            assert_same(theirs.as_ref(), &expected);
        }
    }
    assert_same(
        load(&ground.store().await, "work").await.as_ref(),
        &expected,
    );
}

/// A sign-out is a record too, and stays until somebody signs in over it.
pub async fn a_tombstone_stays(ground: &impl Ground) {
    let store = ground.store().await;
    let tombstone = Record::signed_out(version(2, 2));
    // Where there was nothing before, and over a session.
    assert_stored(&save(&store, "never", None, tombstone.clone()).await);
    assert_same(load(&store, "never").await.as_ref(), &tombstone);
    assert_stored(&save(&store, "work", None, record(version(1, 1), 1)).await);
    assert_stored(&save(&store, "work", Some(version(1, 1)), tombstone.clone()).await);
    let other = ground.store().await;
    assert_same(load(&other, "work").await.as_ref(), &tombstone);
    let login = record(version(3, 3), 2);
    assert_stored(&save(&other, "work", Some(version(2, 2)), login.clone()).await);
    assert_same(load(&store, "work").await.as_ref(), &login);
}

/// Sessions whose names are alike do not touch each other.
pub async fn sessions_do_not_mix(ground: &impl Ground) {
    let store = ground.store().await;
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

/// An intent is kept with its record, and gone when a record without one is saved.
pub async fn intents_are_kept(ground: &impl Ground) {
    let (here, there) = (ground.store().await, ground.store().await);
    let with_intent = record(version(1, 1), 1).with_intent(intent(1));
    assert_stored(&save(&here, "work", None, with_intent.clone()).await);
    assert_same(load(&there, "work").await.as_ref(), &with_intent);
    let without = record(version(1, 2), 2);
    assert_stored(&save(&there, "work", Some(version(1, 1)), without.clone()).await);
    assert_same(load(&here, "work").await.as_ref(), &without);
}

/// Long tokens and many extra fields are kept whole.
pub async fn the_largest_record_fits(ground: &impl Ground) {
    let store = ground.store().await;
    let long = "t".repeat(64 * 1024);
    let mut large = tokens(1).with_refresh_token(long.clone());
    for number in 0..31 {
        large = large.with_extra(format!("field-{number}"), "v".repeat(8 * 1024));
    }
    let record = Record::signed_in(version(1, 1), Arc::new(large));
    assert_stored(&save(&store, "work", None, record.clone()).await);
    let loaded = load(&ground.store().await, "work").await;
    assert_same(loaded.as_ref(), &record);
    let tokens = loaded.and_then(Record::into_tokens).expect("tokens");
    let field = tokens.extra("field-30").expect("the last field");
    assert_eq!(field.expose_secret().len(), 8 * 1024);
}

/// Whoever waits for a change is told when another process saves, and at once where that has
/// happened before.
pub async fn a_change_is_told(ground: &impl Ground) {
    let (here, there) = (ground.store().await, ground.store().await);
    let key = session("work");
    assert_stored(&save(&here, "work", None, record(version(1, 1), 1)).await);
    if !ground.tells() {
        let told = here.changed(&key, None);
        let told = tokio::time::timeout(Duration::from_millis(50), told).await;
        assert!(told.is_err(), "it tells after all");
        return;
    }
    // It may have happened between a look and the wait.
    soon("an old change", here.changed(&key, None)).await;
    let waiter = async {
        let mut seen = Some(version(1, 1));
        // It may end too soon: what counts is that it does not sleep over a change.
        while seen == Some(version(1, 1)) {
            here.changed(&key, seen).await;
            seen = load(&here, "work").await.map(|record| record.version());
        }
        seen
    };
    let saver = async {
        tokio::task::yield_now().await;
        save(
            &there,
            "work",
            Some(version(1, 1)),
            record(version(1, 2), 2),
        )
        .await
    };
    let (told, outcome) = soon("a change", async { tokio::join!(waiter, saver) }).await;
    assert_stored(&outcome);
    assert_eq!(told, Some(version(1, 2)));
}

/// A save whose caller goes away is done or not, whole in either case, and the store goes on.
pub async fn a_dropped_save_is_done_or_not(ground: &impl Ground) {
    let store = ground.store().await;
    let key = session("work");
    assert_stored(&save(&store, "work", None, record(version(1, 1), 1)).await);
    for turns in 0..12 {
        let found = load(&store, "work").await.expect("a record").version();
        let next = version(1, found.revision + 1);
        {
            let save = store.save(&key, Some(found), record(next, turns));
            let mut save = std::pin::pin!(save);
            for _ in 0..turns {
                let polled = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(save.as_mut().poll(context).is_ready())
                });
                if polled.await {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // Whatever became of it, one more save gets through.
        let done = soon("a save after a dropped one", async {
            loop {
                let found = load(&store, "work").await.expect("a record").version();
                let next = version(1, found.revision + 1);
                if let Saved::Stored = save(&store, "work", Some(found), record(next, 99)).await {
                    return next;
                }
            }
        })
        .await;
        assert_same(load(&store, "work").await.as_ref(), &record(done, 99));
    }
}
