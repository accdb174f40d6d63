//! Many sessions in one process, for example one for each tenant, user or audience.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher as _, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::error::TokenError;
use crate::rotator::{Rotator, UnusableTokens};
use crate::runtime::clock::millis;
use crate::session::{Engine, Session, Stored};
use crate::store::SessionKey;
use crate::token::Token;
use crate::token::token_set::TokenSet;

/// Enough shards that callers of different sessions rarely share a lock. A power of two.
const SHARDS: usize = 64;

type NameFn<K> = Box<dyn Fn(&K) -> SessionKey + Send + Sync>;

/// One rotator for each key, created on first use. Its session is read from the store.
///
/// Sessions are independent: each has its own flight, cool-down and epoch. They share source,
/// store, coordinator, listeners and runtime. No session has a timer of its own.
///
/// A session that was unused for [`idle_after`](crate::RotatorBuilder::idle_after) leaves memory,
/// and is read from the store on its next use. Without a durable store it stays, because only
/// memory holds it.
///
/// Clones are cheap, and all clones share the sessions.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use token_rotator::{Rotator, SessionKey, SourceError, TokenSet};
///
/// # let source = |_: Option<Arc<TokenSet>>| async { Ok::<_, SourceError>(TokenSet::bearer("fresh")) };
/// let users = Rotator::builder(source)
///     .origin("https://api.example.com")
///     .build_many(|user: &u64| SessionKey::new(format!("issuer/client/{user}/api")))?;
///
/// let token = users.token(&7).await?;
/// assert_eq!(token.header(), "Bearer fresh");
/// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Rotators<K>(Arc<Inner<K>>);

struct Inner<K> {
    engine: Arc<Engine>,
    name: NameFn<K>,
    idle_after: u64,
    hasher: RandomState,
    shards: Vec<Shard<K>>,
}

struct Shard<K> {
    sessions: RwLock<HashMap<K, SessionEntry>>,
    /// When the shard was last swept, in milliseconds of the steady clock.
    swept: AtomicU64,
}

struct SessionEntry {
    session: Arc<Session>,
    /// When the session was last used, in milliseconds of the steady clock.
    used: AtomicU64,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Rotators<K> {
    pub(crate) fn new(engine: Arc<Engine>, idle_after: Duration, name: NameFn<K>) -> Self {
        let now = millis(engine.clock.steady());
        let shard = || Shard {
            sessions: RwLock::default(),
            swept: AtomicU64::new(now),
        };
        Self(Arc::new(Inner {
            engine,
            name,
            idle_after: millis(idle_after),
            hasher: RandomState::new(),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
        }))
    }

    /// Returns the rotator of this key. Neither waits nor reads the store. Allocates only if the
    /// session is not in memory.
    pub fn get(&self, key: &K) -> Rotator {
        let inner = &*self.0;
        let now = millis(inner.engine.clock.steady());
        let shard = inner.shard(key);
        if let Some(entry) = shard.read().get(key) {
            return entry.touch(now);
        }
        let mut sessions = shard.write();
        inner.sweep(shard, &mut sessions, now);
        match sessions.entry(key.clone()) {
            Entry::Occupied(entry) => entry.get().touch(now),
            Entry::Vacant(entry) => {
                let session = Session::new(Arc::clone(&inner.engine), (inner.name)(key));
                let used = AtomicU64::new(now);
                entry.insert(SessionEntry { session, used }).touch(now)
            }
        }
    }

    /// Returns a token of this key's session that is usable now, like [`Rotator::token`]. While the
    /// token is usable, this method neither waits nor allocates.
    pub async fn token(&self, key: &K) -> Result<Token, TokenError> {
        // A separate statement, so that no lock is held across the wait.
        let rotator = self.get(key);
        rotator.token().await
    }

    /// Begins a new session for this key, like [`Rotator::sign_in`].
    pub fn sign_in(&self, key: &K, tokens: TokenSet) -> Result<Stored, UnusableTokens> {
        self.get(key).sign_in(tokens)
    }

    /// Signs out of this key's session, in memory or not, like [`Rotator::sign_out`].
    pub fn sign_out(&self, key: &K) -> Stored {
        self.get(key).sign_out()
    }

    /// Returns the number of sessions in memory.
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Returns whether no session is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all idle sessions from memory and returns their number. New sessions also trigger
    /// this removal, one shard at a time.
    pub fn remove_idle(&self) -> usize {
        let inner = &*self.0;
        let now = millis(inner.engine.clock.steady());
        let removed = inner.shards.iter().map(|shard| {
            let mut sessions = shard.write();
            let before = sessions.len();
            inner.remove_idle_from(&mut sessions, now);
            before - sessions.len()
        });
        removed.sum()
    }

    /// Refuses new refreshes in all sessions and waits for running work, like
    /// [`Rotator::shutdown`]. A shutdown of one of these rotators shuts down all of them too.
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        let sessions: Vec<Arc<Session>> = self
            .0
            .shards
            .iter()
            .flat_map(|shard| {
                let sessions = shard.read();
                let all: Vec<_> = sessions.values().map(SessionEntry::session).collect();
                all
            })
            .collect();
        self.0.engine.tasks.close();
        let Some(first) = sessions.first() else {
            return true;
        };
        for session in &sessions {
            session.resume_writer();
        }
        first.shutdown(timeout).await && sessions.iter().all(|session| session.all_written())
    }
}

impl<K: Eq + Hash> Inner<K> {
    fn shard(&self, key: &K) -> &Shard<K> {
        // The upper bits of the hash, because the map inside a shard uses the lower bits of its own
        // hash.
        let hash = self.hasher.hash_one(key);
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    /// Removes the shard's idle sessions, at most once in a quarter of the idle time.
    fn sweep(&self, shard: &Shard<K>, sessions: &mut HashMap<K, SessionEntry>, now: u64) {
        let swept = shard.swept.load(Ordering::Relaxed);
        if now.saturating_sub(swept) >= self.idle_after / 4 {
            shard.swept.store(now, Ordering::Relaxed);
            self.remove_idle_from(sessions, now);
        }
    }

    fn remove_idle_from(&self, sessions: &mut HashMap<K, SessionEntry>, now: u64) {
        let idle = |entry: &SessionEntry| {
            let idle = now.saturating_sub(entry.used.load(Ordering::Relaxed)) >= self.idle_after;
            // No caller, flight or write holds the session.
            idle && Arc::strong_count(&entry.session) == 1 && !entry.session.is_only_in_memory()
        };
        let mut still_used = Vec::new();
        for (key, entry) in sessions.extract_if(|_, entry| idle(entry)) {
            let SessionEntry { session, used } = entry;
            // A weak handle may have been upgraded since the count was read. After `try_unwrap` has
            // taken the last strong handle, no upgrade succeeds.
            if let Err(session) = Arc::try_unwrap(session) {
                still_used.push((key, SessionEntry { session, used }));
            }
        }
        sessions.extend(still_used);
        if sessions.capacity() > sessions.len() * 4 {
            sessions.shrink_to_fit();
        }
    }
}

impl<K> Shard<K> {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<K, SessionEntry>> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<K, SessionEntry>> {
        self.sessions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionEntry {
    fn touch(&self, now: u64) -> Rotator {
        // Written at most once a second, because each write disturbs other readers.
        if now.saturating_sub(self.used.load(Ordering::Relaxed)) >= 1_000 {
            self.used.store(now, Ordering::Relaxed);
        }
        Rotator {
            session: self.session(),
        }
    }

    fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session)
    }
}

impl<K> Clone for Rotators<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> std::fmt::Debug for Rotators<K> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sessions: usize = self.0.shards.iter().map(|shard| shard.read().len()).sum();
        out.debug_struct("Rotators")
            .field("sessions", &sessions)
            .finish_non_exhaustive()
    }
}
