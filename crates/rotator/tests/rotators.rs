//! Tests many sessions in one process: their separation, their loading on first use, and the
//! removal of idle sessions.
#![cfg(feature = "file")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{EventLog, Fixture, Issuer, LIFETIME, ScriptedStore, TestClock, lock, secret};
use token_rotator::keys::KeyFile;
use token_rotator::store::SessionStore as _;
use token_rotator::{
    Event, FileStore, Rotator, Rotators, SessionKey, SourceError, TokenError, TokenSet,
};

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the naming function takes a key of any type by reference"
)]
fn session_key(user: &u32) -> SessionKey {
    SessionKey::new(format!("user-{user}"))
}

fn users(fixture: &Fixture) -> Rotators<u32> {
    fixture.builder().build_many(session_key).expect("rotators")
}

/// Each session has its own token, its own flight and its own failure.
#[tokio::test(start_paused = true)]
async fn sessions_do_not_mix() {
    let fixture = Fixture::new();
    let users = users(&fixture);
    for user in 0..100 {
        users
            .sign_in(&user, fixture.issuer.login())
            .expect("usable");
    }
    assert_eq!(users.len(), 100);
    let mut before = Vec::new();
    for user in 0..100 {
        before.push(secret(&users.token(&user).await.expect("a token")));
    }
    fixture.expire().await;
    fixture.issuer.hold();
    let tasks: Vec<_> = (0..100)
        .flat_map(|user| [user, user])
        .map(|user| {
            let users = users.clone();
            tokio::spawn(async move { (user, users.token(&user).await) })
        })
        .collect();
    // 100 flights run at once, one for each session, and do not wait for each other.
    fixture.issuer.wait_for_calls(100).await;
    users.sign_out(&7).await.expect("no store");
    fixture.issuer.release();
    let mut after = std::collections::HashMap::new();
    for call in tasks {
        let (user, outcome) = call.await.expect("no panic");
        if user == 7 {
            assert!(matches!(outcome, Err(TokenError::SignedOut)), "{outcome:?}");
            continue;
        }
        let token = secret(&outcome.expect("a token"));
        assert_ne!(token, before[user as usize]);
        assert_eq!(after.entry(user).or_insert(token.clone()), &token);
    }
    let different: std::collections::HashSet<_> = after.values().collect();
    assert_eq!((after.len(), different.len()), (99, 99));
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// A session that is not in memory is read from the store at its first use, without a request to
/// the issuer.
#[tokio::test]
async fn sessions_are_loaded_on_first_use() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let open = || {
        let builder = FileStore::builder(root.path().join("state"));
        let key = KeyFile::new(root.path().join("key").join("key"));
        builder.vault(key).open().expect("a store")
    };
    let issuer = Issuer::new();
    let build = || {
        Rotator::builder(issuer.clone())
            .store(open())
            .origin("https://api.example.com")
            .build_many(session_key)
            .expect("rotators")
    };
    let first = build();
    for user in 0..5 {
        let stored = first.sign_in(&user, issuer.login()).expect("usable");
        stored.await.expect("stored");
    }
    let token = secret(&first.token(&3).await.expect("a token"));
    let second = build();
    assert!(second.is_empty());
    assert_eq!(secret(&second.token(&3).await.expect("loaded")), token);
    assert_eq!((second.len(), issuer.refresh_calls()), (1, 0));
    // A sign-out of a session that this process never used takes effect.
    second.sign_out(&4).await.expect("a tombstone");
    let record = open().load(&session_key(&4)).await.expect("a store");
    assert!(record.expect("a record").tokens().is_none());
    assert!(second.shutdown(Duration::from_secs(5)).await);
}

/// An unused session is removed from memory and comes back from the store. A session that is in
/// use, waited for or unsaved stays.
#[tokio::test(start_paused = true)]
async fn idle_sessions_are_removed() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let users = fixture
        .builder()
        .store(store.clone())
        .idle_after(Duration::from_secs(60))
        // The scripted store keeps one session under one key.
        .build_many(|_: &u32| SessionKey::default())
        .expect("rotators");
    let stored = users.sign_in(&1, fixture.issuer.login()).expect("usable");
    stored.await.expect("stored");
    let token = secret(&users.token(&1).await.expect("a token"));
    assert_eq!(users.remove_idle(), 0, "the session was just used");
    let handle = users.get(&1);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(users.remove_idle(), 0, "a handle uses the session");
    drop(handle);
    assert_eq!(users.remove_idle(), 1);
    assert!(users.is_empty());
    assert_eq!(secret(&users.token(&1).await.expect("a token")), token);
    assert_eq!(fixture.issuer.refresh_calls(), 0);

    // A running flight counts as a user of its session.
    tokio::time::advance(LIFETIME).await;
    fixture.issuer.hold();
    let waiting = {
        let users = users.clone();
        tokio::spawn(async move { users.token(&1).await })
    };
    fixture.issuer.wait_for_calls(1).await;
    waiting.abort();
    common::run_ready_tasks().await;
    assert_eq!(users.remove_idle(), 0, "a flight uses the session");
    fixture.issuer.release();
    common::run_ready_tasks().await;
    assert_eq!(fixture.issuer.refresh_calls(), 1);

    // New sessions remove idle sessions of their shard, so no timer is needed.
    tokio::time::advance(Duration::from_secs(120)).await;
    for user in 2..2_000 {
        drop(users.get(&user));
    }
    assert_eq!(users.len(), 1_998, "the first session was removed");
}

/// If the store is not durable, a session stays in memory, because no store could return it.
#[tokio::test(start_paused = true)]
async fn a_session_without_durable_store_stays() {
    let fixture = Fixture::new();
    let users = users(&fixture);
    users.sign_in(&1, fixture.issuer.login()).expect("usable");
    drop(users.get(&2));
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(users.remove_idle(), 1, "the session without a sign-in");
    let token = users.token(&1).await.expect("refreshed from memory");
    assert_eq!(secret(&token), "access-2");
}

/// Two sessions with the same refresh token would spend it under two leases. The second sign-in is
/// refused until the first session has given up the refresh token.
#[tokio::test(start_paused = true)]
async fn one_refresh_token_belongs_to_one_session() {
    let fixture = Fixture::new();
    let users = users(&fixture);
    let login = fixture.issuer.login();
    users.sign_in(&1, login.clone()).expect("usable");
    let refused = users.sign_in(&2, login.clone());
    let error = refused.map(drop).expect_err("another session's");
    assert!(error.to_string().contains("another session"), "{error}");
    // A repeated sign-in of the same session is allowed.
    users.sign_in(&1, login.clone()).expect("the same session");
    users.sign_in(&1, fixture.issuer.login()).expect("usable");
    users
        .sign_in(&2, login)
        .expect("the first session gave up the refresh token");
}

/// Events name their session, and a source can tell the sessions apart.
#[tokio::test(start_paused = true)]
async fn a_source_receives_the_session() {
    struct ByName;
    impl token_rotator::TokenSource for ByName {
        async fn refresh(
            &self,
            _last: Option<Arc<TokenSet>>,
        ) -> Result<token_rotator::Refreshed, SourceError> {
            Err(SourceError::misconfigured("a session has a name"))
        }

        async fn refresh_session(
            &self,
            session: &SessionKey,
            _last: Option<Arc<TokenSet>>,
        ) -> Result<token_rotator::Refreshed, SourceError> {
            Ok(TokenSet::bearer(format!("for-{session}")).into())
        }
    }
    let events = EventLog::default();
    let clock = TestClock::new();
    let sessions = Arc::new(std::sync::Mutex::new(Vec::new()));
    let users = Rotator::builder(ByName)
        .clock(clock)
        .on_event(events.listener())
        .on_session_event({
            let sessions = Arc::clone(&sessions);
            move |session, event| {
                if matches!(event, Event::Refreshed { .. }) {
                    lock(&sessions).push(session.to_string());
                }
            }
        })
        .build_many(session_key)
        .expect("rotators");
    for user in [1, 2] {
        let token = users.token(&user).await.expect("a token");
        assert_eq!(secret(&token), format!("for-user-{user}"));
    }
    assert_eq!(*lock(&sessions), ["user-1", "user-2"]);
}

/// Property: while idle sessions are removed, a weak handle upgrades to the current session or
/// fails. One key never has two sessions.
#[test]
fn an_upgrade_during_a_removal_gives_one_session() {
    let failing_source = |_last: Option<Arc<TokenSet>>| async {
        Err::<TokenSet, _>(SourceError::not_sent("no session needs a refresh"))
    };
    let users = Rotator::builder(failing_source)
        .idle_after(Duration::ZERO)
        .build_many(session_key)
        .expect("rotators");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                users.remove_idle();
            }
        });
        for _ in 0..200_000 {
            let weak = users.get(&1).downgrade();
            if let Some(upgraded) = weak.upgrade() {
                let found = users.get(&1);
                if !upgraded.is_same(&found) {
                    done.store(true, std::sync::atomic::Ordering::Relaxed);
                    panic!("one key has two sessions");
                }
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
