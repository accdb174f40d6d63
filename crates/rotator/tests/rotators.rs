//! Many sessions in one process: no cross-talk, loaded on first use, let go of when idle.
#![cfg(feature = "file")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Heard, Issuer, LIFETIME, ScriptedStore, TestClock, World, lock, secret};
use token_rotator::keys::KeyFile;
use token_rotator::store::SessionStore as _;
use token_rotator::{
    Event, FileStore, Rotator, Rotators, SessionKey, SourceError, TokenError, TokenSet,
};

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "as a key of any type is given"
)]
fn name(user: &u32) -> SessionKey {
    SessionKey::new(format!("user-{user}"))
}

fn users(world: &World) -> Rotators<u32> {
    world.builder().build_many(name).expect("rotators")
}

/// Each session has its own token, its own flight and its own failure.
#[tokio::test(start_paused = true)]
async fn sessions_do_not_mix() {
    let world = World::new();
    let users = users(&world);
    for user in 0..100 {
        users.sign_in(&user, world.issuer.login()).expect("usable");
    }
    assert_eq!(users.len(), 100);
    let mut before = Vec::new();
    for user in 0..100 {
        before.push(secret(&users.token(&user).await.expect("a token")));
    }
    world.expire().await;
    world.issuer.hold();
    let calls: Vec<_> = (0..100)
        .flat_map(|user| [user, user])
        .map(|user| {
            let users = users.clone();
            tokio::spawn(async move { (user, users.token(&user).await) })
        })
        .collect();
    // A hundred flights at once, one for each: that they do not wait for each other.
    world.issuer.arrived(100).await;
    users.sign_out(&7).await.expect("no store");
    world.issuer.let_go();
    let mut after = std::collections::HashMap::new();
    for call in calls {
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
    assert_eq!(world.issuer.reuse_alarms(), 0);
}

/// A session that is not in memory is read from the store when it is first used, and nothing is
/// asked of the issuer for that.
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
            .build_many(name)
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
    assert_eq!((second.len(), issuer.calls()), (1, 0));
    // Signing out of one that was never used here is a sign-out all the same.
    second.sign_out(&4).await.expect("a tombstone");
    let record = open().load(&name(&4)).await.expect("a store");
    assert!(record.expect("a record").tokens().is_none());
    assert!(second.shutdown(Duration::from_secs(5)).await);
}

/// What nobody uses is let go of, and comes back from the store; what somebody holds, waits for or
/// has not saved stays.
#[tokio::test(start_paused = true)]
async fn idle_sessions_are_let_go() {
    let world = World::new();
    let store = ScriptedStore::new();
    let users = world
        .builder()
        .store(store.clone())
        .idle_after(Duration::from_secs(60))
        // The scripted store keeps one session under one name.
        .build_many(|_: &u32| SessionKey::default())
        .expect("rotators");
    let stored = users.sign_in(&1, world.issuer.login()).expect("usable");
    stored.await.expect("stored");
    let token = secret(&users.token(&1).await.expect("a token"));
    assert_eq!(users.remove_idle(), 0, "it was used a moment ago");
    let held = users.get(&1);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(users.remove_idle(), 0, "somebody has it");
    drop(held);
    assert_eq!(users.remove_idle(), 1);
    assert!(users.is_empty());
    assert_eq!(secret(&users.token(&1).await.expect("a token")), token);
    assert_eq!(world.issuer.calls(), 0);

    // A flight in the air is somebody.
    tokio::time::advance(LIFETIME).await;
    world.issuer.hold();
    let waiting = {
        let users = users.clone();
        tokio::spawn(async move { users.token(&1).await })
    };
    world.issuer.arrived(1).await;
    waiting.abort();
    common::let_run().await;
    assert_eq!(users.remove_idle(), 0, "a flight has it");
    world.issuer.let_go();
    common::let_run().await;
    assert_eq!(world.issuer.calls(), 1);

    // New sessions sweep the old ones out of their part, so that nothing needs a timer.
    tokio::time::advance(Duration::from_secs(120)).await;
    for user in 2..2_000 {
        drop(users.get(&user));
    }
    assert_eq!(users.len(), 1_998, "the first one has gone");
}

/// Without a store that outlives the process there is nowhere for a session to come back from.
#[tokio::test(start_paused = true)]
async fn what_is_only_in_memory_stays() {
    let world = World::new();
    let users = users(&world);
    users.sign_in(&1, world.issuer.login()).expect("usable");
    drop(users.get(&2));
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(users.remove_idle(), 1, "the one that was never signed in");
    let token = users.token(&1).await.expect("refreshed from memory");
    assert_eq!(secret(&token), "access-2");
}

/// Two sessions that are signed in with one refresh token would spend it under two leases: the
/// second sign-in is refused, until the first session has given it up.
#[tokio::test(start_paused = true)]
async fn one_refresh_token_is_one_session() {
    let world = World::new();
    let users = users(&world);
    let login = world.issuer.login();
    users.sign_in(&1, login.clone()).expect("usable");
    let refused = users.sign_in(&2, login.clone());
    let error = refused.map(drop).expect_err("another session's");
    assert!(error.to_string().contains("another session"), "{error}");
    // Again into the same one is nothing new.
    users.sign_in(&1, login.clone()).expect("the same session");
    users.sign_in(&1, world.issuer.login()).expect("usable");
    users.sign_in(&2, login).expect("given up by now");
}

/// Events say whose they are, and a source that has to can tell the sessions apart.
#[tokio::test(start_paused = true)]
async fn a_source_knows_the_session() {
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
    let heard = Heard::default();
    let clock = TestClock::new();
    let sessions = Arc::new(std::sync::Mutex::new(Vec::new()));
    let users = Rotator::builder(ByName)
        .clock(clock)
        .on_event(heard.listener())
        .on_session_event({
            let sessions = Arc::clone(&sessions);
            move |session, event| {
                if matches!(event, Event::Refreshed { .. }) {
                    lock(&sessions).push(session.to_string());
                }
            }
        })
        .build_many(name)
        .expect("rotators");
    for user in [1, 2] {
        let token = users.token(&user).await.expect("a token");
        assert_eq!(secret(&token), format!("for-user-{user}"));
    }
    assert_eq!(*lock(&sessions), ["user-1", "user-2"]);
}

/// A weak handle is upgraded while idle sessions are removed: the session is either kept or gone,
/// and never there twice.
#[test]
fn an_upgrade_meets_a_removal() {
    let world_source = |_last: Option<Arc<TokenSet>>| async {
        Err::<TokenSet, _>(SourceError::not_sent("no session needs a refresh"))
    };
    let users = Rotator::builder(world_source)
        .idle_after(Duration::ZERO)
        .build_many(name)
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
