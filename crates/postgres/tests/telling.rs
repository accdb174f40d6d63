//! Who waits is told: at once by a message, a little later where the message is lost.

mod support;

use std::time::{Duration, Instant};

use support::{Source, eventually, key, record, soon, store, tokens, version};
use token_rotator::{Coordinator as _, ExposeSecret as _, Rotator, SessionStore as _, Token};
use token_rotator_postgres::PostgresStore;
use token_rotator_testkit::PostgresServer;

/// Whoever has waited this long looks again at 2.75 s and not before: what they know sooner they
/// were told.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1_900);
const BEFORE_THE_NEXT_LOOK: Duration = Duration::from_millis(600);

fn rotator(source: &Source, store: PostgresStore) -> Rotator {
    let builder = Rotator::builder(source.clone()).session(key()).store(store);
    builder.build().expect("settings that fit")
}

fn secret(token: &Token) -> String {
    token.secret().expose_secret().to_owned()
}

fn access(number: usize) -> String {
    tokens(number).access_token().expose_secret().to_owned()
}

async fn save(store: &PostgresStore, expected: Option<u64>, revision: u64) {
    let saved = store
        .save(&key(), expected.map(version), record(revision))
        .await;
    let saved = saved.expect("a store that works");
    assert!(matches!(saved, token_rotator::Saved::Stored), "{saved:?}");
}

/// Two processes that refresh at once refresh once.
#[tokio::test]
async fn one_refresh_serves_two_processes() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let source = Source::default();
    let (here, there) = (
        rotator(&source, store(&server).await),
        rotator(&source, store(&server).await),
    );
    let stored = here.sign_in(tokens(0)).expect("tokens that can be sent");
    stored.await.expect("a store that works");
    let token = there.token().await.expect("what the other signed in with");
    assert_eq!(secret(&token), access(0));

    source.hold();
    let refresh = |rotator: &Rotator| {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    let first = refresh(&here);
    source.arrived(1).await;
    let second = refresh(&there);
    tokio::time::sleep(Duration::from_millis(100)).await;
    source.let_go();
    for refresh in [first, second] {
        let token = soon("a refresh", refresh).await.expect("no panic");
        assert_eq!(secret(&token.expect("a token")), access(1));
    }
    assert_eq!((source.calls(), source.reused()), (1, 0));
}

/// A rotator that waits for the lease goes on as soon as somebody has saved, though the lease is
/// still held.
#[tokio::test]
async fn a_save_ends_the_wait_for_the_lease() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let source = Source::default();
    let waiter = rotator(&source, store(&server).await);
    let stored = waiter.sign_in(tokens(0)).expect("tokens that can be sent");
    stored.await.expect("a store that works");

    let other = store(&server).await;
    let lease = other.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let waiting = tokio::spawn({
        let waiter = waiter.clone();
        async move { waiter.refresh_now().await }
    });
    tokio::time::sleep(BETWEEN_LOOKS).await;
    assert!(!waiting.is_finished());
    let found = other.load(&key()).await.expect("a store that works");
    let found = found.expect("the sign-in").version;
    let mut next = record(7);
    next.version.epoch = found.epoch;
    next.version.revision = found.revision + 1;
    let (saved, told) = (Instant::now(), soon("the wait", waiting));
    let stored = other.save(&key(), Some(found), next).await;
    stored.expect("a store that works");
    let token = told.await.expect("no panic").expect("a token");
    assert_eq!(secret(&token), access(7));
    assert!(saved.elapsed() < BEFORE_THE_NEXT_LOOK, "found by looking");
    assert_eq!(source.calls(), 0);
    lease.release().await;
}

/// A lease that is given back wakes whoever waits for it.
#[tokio::test]
async fn a_release_wakes_the_next() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let (here, there) = (store(&server).await, store(&server).await);
    let lease = here.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let waiting = tokio::spawn(async move {
        let lease = there.acquire(&key(), Duration::from_secs(10)).await;
        lease.expect("the lease").fence()
    });
    tokio::time::sleep(BETWEEN_LOOKS).await;
    let (fence, released) = (lease.fence(), Instant::now());
    lease.release().await;
    assert!(soon("the next", waiting).await.expect("no panic") > fence);
    assert!(
        released.elapsed() < BEFORE_THE_NEXT_LOOK,
        "found by looking"
    );
}

/// A release says nothing of the record: it does not wake those who wait for a save.
#[tokio::test]
async fn a_release_is_not_taken_for_a_save() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let (here, there) = (store(&server).await, store(&server).await);
    save(&here, None, 1).await;
    // It ends when the listening begins.
    soon("listening", there.changed(&key(), Some(version(1)))).await;
    let lease = here.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let waiting = tokio::spawn(async move { there.changed(&key(), Some(version(1))).await });
    tokio::time::sleep(BETWEEN_LOOKS).await;
    lease.release().await;
    // Longer than any message takes.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "a release was taken for a save");
    save(&here, Some(1), 2).await;
    soon("a message", waiting).await.expect("no panic");
}

/// What was told of is read over the connection that told it, and over another one where that is
/// gone by then.
#[tokio::test]
async fn what_was_told_is_read_where_it_was_told() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let (here, there) = (store(&server).await, store(&server).await);
    save(&here, None, 1).await;
    // It ends when the listening begins.
    soon("listening", there.changed(&key(), Some(version(1)))).await;
    let listener = server.sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
    let last = format!(
        "SELECT query FROM pg_stat_activity WHERE pid = {}",
        listener.trim()
    );
    let revision = async || {
        let found = there.load(&key()).await.expect("a store that works");
        found.expect("a record").version.revision
    };
    assert_eq!(revision().await, 1);
    assert!(server.sql(&last).starts_with("LISTEN"), "nothing was told");

    save(&here, Some(1), 2).await;
    eventually("it is read there", async || {
        assert_eq!(revision().await, 2);
        server.sql(&last).contains("body")
    })
    .await;

    let told = tokio::spawn({
        let there = there.clone();
        async move { there.changed(&key(), Some(version(2))).await }
    });
    save(&here, Some(2), 3).await;
    soon("a message", told).await.expect("no panic");
    let kill = format!("SELECT pg_terminate_backend({}, 5000)", listener.trim());
    assert_eq!(server.sql(&kill).trim(), "t");
    assert_eq!(revision().await, 3);
}

/// Where nobody listens, what has changed is found by looking.
#[tokio::test]
async fn without_listening_it_is_found_by_looking() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let saver = store(&server).await;
    save(&saver, None, 1).await;
    let deaf = support::builder(&server).without_listening();
    let deaf = deaf.build().expect("settings that fit");
    let waiting = tokio::spawn({
        let deaf = deaf.clone();
        async move { deaf.changed(&key(), Some(version(1))).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    save(&saver, Some(1), 2).await;
    soon("a look", waiting).await.expect("no panic");

    let lease = saver.acquire(&key(), Duration::ZERO).await;
    let lease = lease.expect("a free lease");
    let waiting =
        tokio::spawn(async move { deaf.acquire(&key(), Duration::from_secs(10)).await.is_ok() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(listeners(&server), 0);
    lease.release().await;
    assert!(soon("a look", waiting).await.expect("no panic"));
}

fn listeners(server: &PostgresServer) -> usize {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    server.sql(count).trim().parse().expect("a number")
}

/// A listening connection that is cut off is made again, by a store that has one at all, and one
/// only.
#[tokio::test]
async fn a_listening_connection_that_is_cut_off_is_made_again() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let waiter = store(&server).await;
    save(&waiter, None, 1).await;
    assert_eq!(listeners(&server), 0, "nobody has waited yet");
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let waiter = waiter.clone();
        waiting.push(tokio::spawn(async move {
            waiter.changed(&key(), Some(version(1))).await;
        }));
    }
    eventually("one listens", async || listeners(&server) == 1).await;
    let kill = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                WHERE query LIKE 'LISTEN%'";
    assert_eq!(server.sql(kill).trim(), "t");
    eventually("it is back", async || listeners(&server) == 1).await;
    // Looks were at 0, 0.25, 0.75 and 1.75 s, and when the connection came back.
    tokio::time::sleep(BETWEEN_LOOKS).await;
    save(&store(&server).await, Some(1), 2).await;
    for waiting in waiting {
        soon("a message", waiting).await.expect("no panic");
    }
    drop(waiter);
    eventually("none is left", async || listeners(&server) == 0).await;
}

/// A lease that is dropped is given back in the background, long before it would run out; so is one
/// that was taken for somebody who had stopped waiting for it.
#[tokio::test]
async fn a_dropped_lease_is_given_back() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let (here, there) = (store(&server).await, store(&server).await);
    for turns in 0..8 {
        drop(here.acquire(&key(), Duration::ZERO).await.expect("free"));
        let other = there.acquire(&key(), Duration::from_secs(5)).await;
        other.expect("given back").release().await;
        // Dropped somewhere on its way.
        let key = key();
        let mut taking = Box::pin(here.acquire(&key, Duration::ZERO));
        for _ in 0..turns {
            let turn = tokio::time::sleep(Duration::from_micros(200));
            tokio::select! {
                biased;
                _ = &mut taking => break,
                () = turn => {}
            }
        }
        drop(taking);
        let other = there.acquire(&key, Duration::from_secs(5)).await;
        other.expect("given back").release().await;
    }
}

/// Somebody who asks for what has changed already is answered at once.
#[tokio::test]
async fn an_old_change_is_told_at_once() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let store = store(&server).await;
    save(&store, None, 1).await;
    for seen in [None, Some(version(2))] {
        soon("an answer", store.changed(&key(), seen)).await;
    }
}
