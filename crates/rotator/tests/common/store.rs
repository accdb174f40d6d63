//! A session store that fails, panics, hangs and is written by others, as it is told.

use std::sync::{Arc, Mutex};

use token_rotator::store::{
    Epoch, Intent, Record, Saved, SessionStore, StoreError, StoreErrorKind, Version,
};
use token_rotator::{MemoryStore, SessionKey, TokenSet};
use tokio::sync::watch;

use super::lock;

type Foreign = Box<dyn FnOnce(Option<Record>) -> Record + Send>;

#[derive(Clone)]
pub(crate) struct ScriptedStore(Arc<Inner>);

struct Inner {
    memory: Mutex<MemoryStore>,
    state: Mutex<State>,
    hold_saves: watch::Sender<bool>,
    saving: watch::Sender<usize>,
    hold_loads: watch::Sender<bool>,
    hold_intents: watch::Sender<bool>,
    writing_intent: watch::Sender<usize>,
    loading: watch::Sender<usize>,
    /// Grows with every write, whoever makes it.
    written: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    fail_loads: usize,
    fail_saves: usize,
    panic_loads: usize,
    panic_saves: usize,
    /// Saves that never answer, and do nothing.
    hang_saves: usize,
    /// Stores the next record and says that it failed.
    lose_answers: usize,
    /// The same knobs for intents, which are no saves.
    fail_intents: usize,
    lose_intents: usize,
    intents: Vec<Option<Intent>>,
    /// Written by somebody else just before the next save.
    foreign: Option<Foreign>,
    loads: usize,
    revisions: Vec<u64>,
    tells: Tells,
    forgets_with_the_process: bool,
}

/// When the store says that there is news.
#[derive(Clone, Copy, Default)]
enum Tells {
    #[default]
    Never,
    OfWrites,
    Always,
}

impl ScriptedStore {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            memory: Mutex::default(),
            state: Mutex::default(),
            hold_saves: watch::Sender::new(false),
            saving: watch::Sender::new(0),
            hold_loads: watch::Sender::new(false),
            hold_intents: watch::Sender::new(false),
            writing_intent: watch::Sender::new(0),
            loading: watch::Sender::new(0),
            written: watch::Sender::new(0),
        }))
    }

    /// Tells flights that wait for a lease about every write.
    pub(crate) fn tell_of_writes(&self) {
        lock(&self.0.state).tells = Tells::OfWrites;
    }

    /// Tells them that there is news whenever they ask.
    pub(crate) fn cry_wolf(&self) {
        lock(&self.0.state).tells = Tells::Always;
    }

    /// Is as durable as memory.
    pub(crate) fn forget_with_the_process(&self) {
        lock(&self.0.state).forgets_with_the_process = true;
    }

    pub(crate) fn hang_saves(&self, count: usize) {
        lock(&self.0.state).hang_saves = count;
    }

    pub(crate) fn hold_intents(&self, hold: bool) {
        self.0.hold_intents.send_replace(hold);
    }

    /// Ends when so many writes of intents have begun in all.
    pub(crate) async fn writing_intent(&self, count: usize) {
        let mut writing = self.0.writing_intent.subscribe();
        let enough = writing.wait_for(|writing| *writing >= count).await;
        enough.expect("the store is here");
    }

    /// Ends when so many loads have begun in all.
    pub(crate) async fn loading(&self, count: usize) {
        let mut loading = self.0.loading.subscribe();
        let enough = loading.wait_for(|loading| *loading >= count).await;
        enough.expect("the store is here");
    }

    /// How many loads have begun in all.
    pub(crate) fn loads_begun(&self) -> usize {
        *self.0.loading.borrow()
    }

    pub(crate) fn fail_loads(&self, count: usize) {
        lock(&self.0.state).fail_loads = count;
    }

    pub(crate) fn fail_saves(&self, count: usize) {
        lock(&self.0.state).fail_saves = count;
    }

    pub(crate) fn panic_loads(&self, count: usize) {
        lock(&self.0.state).panic_loads = count;
    }

    pub(crate) fn panic_saves(&self, count: usize) {
        lock(&self.0.state).panic_saves = count;
    }

    pub(crate) fn lose_answers(&self, count: usize) {
        lock(&self.0.state).lose_answers = count;
    }

    pub(crate) fn fail_intents(&self, count: usize) {
        lock(&self.0.state).fail_intents = count;
    }

    pub(crate) fn lose_intents(&self, count: usize) {
        lock(&self.0.state).lose_intents = count;
    }

    /// The intents that were written, in order; `None`: one was withdrawn.
    pub(crate) fn intents(&self) -> Vec<Option<Intent>> {
        lock(&self.0.state).intents.clone()
    }

    pub(crate) fn before_next_save(
        &self,
        foreign: impl FnOnce(Option<Record>) -> Record + Send + 'static,
    ) {
        lock(&self.0.state).foreign = Some(Box::new(foreign));
    }

    pub(crate) fn hold_saves(&self, hold: bool) {
        self.0.hold_saves.send_replace(hold);
    }

    pub(crate) fn hold_loads(&self, hold: bool) {
        self.0.hold_loads.send_replace(hold);
    }

    /// Ends when so many saves have begun in all.
    pub(crate) async fn saving(&self, count: usize) {
        let mut saving = self.0.saving.subscribe();
        let enough = saving.wait_for(|saving| *saving >= count).await;
        enough.expect("the store is here");
    }

    pub(crate) fn saves(&self) -> usize {
        *self.0.saving.borrow()
    }

    pub(crate) fn loads(&self) -> usize {
        lock(&self.0.state).loads
    }

    /// The revisions that were stored, in order.
    pub(crate) fn revisions(&self) -> Vec<u64> {
        lock(&self.0.state).revisions.clone()
    }

    pub(crate) async fn record(&self) -> Option<Record> {
        let record = self.memory().load(&SessionKey::default()).await;
        record.expect("memory does not fail")
    }

    pub(crate) async fn access_token(&self) -> Option<String> {
        use token_rotator::ExposeSecret as _;
        let record = self.record().await?;
        let tokens = record.tokens()?;
        Some(tokens.access_token().expose_secret().to_owned())
    }

    /// What somebody else writes.
    pub(crate) async fn put(&self, record: Record) {
        let found = self.record().await.map(|record| record.version());
        let key = SessionKey::default();
        let saved = self.memory().save(&key, found, record).await;
        assert!(
            matches!(saved, Ok(Saved::Stored)),
            "a write nobody disturbs"
        );
        self.0.written.send_modify(|written| *written += 1);
    }

    /// Loses everything: what was stored has never been.
    pub(crate) fn lose(&self) {
        *lock(&self.0.memory) = MemoryStore::new();
    }

    fn memory(&self) -> MemoryStore {
        lock(&self.0.memory).clone()
    }
}

/// What follows the record found: of the same sign-in, or of another where `epoch` is given.
pub(crate) fn following(
    found: Option<&Record>,
    epoch: Option<Epoch>,
    tokens: Option<TokenSet>,
) -> Record {
    let version = found.map(Record::version);
    let epoch = epoch
        .or(version.map(|version| version.epoch))
        .unwrap_or_else(Epoch::random);
    let version = Version::new(epoch, version.map_or(0, |version| version.revision) + 1);
    match tokens {
        Some(tokens) => Record::signed_in(version, Arc::new(tokens)),
        None => Record::signed_out(version),
    }
}

/// The same record with another intent, as somebody else writes it.
pub(crate) fn with_intent(found: &Record, intent: Intent) -> Record {
    let next = following(Some(found), None, None).version();
    found.clone().with_version(next).with_intent(intent)
}

fn down() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the store is down")
}

fn counted_down(count: &mut usize) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

impl ScriptedStore {
    async fn write_intent(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        self.0.writing_intent.send_modify(|writing| *writing += 1);
        let mut held = self.0.hold_intents.subscribe();
        held.wait_for(|held| !held)
            .await
            .expect("the store is here");
        let (fail, lose) = {
            let mut state = lock(&self.0.state);
            (
                counted_down(&mut state.fail_intents),
                counted_down(&mut state.lose_intents),
            )
        };
        if fail {
            return Err(down());
        }
        let intent = record.intent();
        let saved = self.memory().save(key, expected, record).await?;
        if let Saved::Stored = saved {
            lock(&self.0.state).intents.push(intent);
            self.0.written.send_modify(|written| *written += 1);
        }
        if lose {
            return Err(down());
        }
        Ok(saved)
    }
}

impl SessionStore for ScriptedStore {
    async fn load(&self, key: &SessionKey) -> Result<Option<Record>, StoreError> {
        self.0.loading.send_modify(|loading| *loading += 1);
        let mut held = self.0.hold_loads.subscribe();
        held.wait_for(|held| !held)
            .await
            .expect("the store is here");
        let (fail, panic) = {
            let mut state = lock(&self.0.state);
            state.loads += 1;
            (
                counted_down(&mut state.fail_loads),
                counted_down(&mut state.panic_loads),
            )
        };
        assert!(!panic, "the store panics at load, as the test wants it");
        if fail {
            return Err(down());
        }
        self.memory().load(key).await
    }

    async fn save(
        &self,
        key: &SessionKey,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        let stored = self.record().await;
        let same = |stored: &Record| match (&stored.tokens(), &record.tokens()) {
            (Some(stored), Some(tokens)) => Arc::ptr_eq(stored, tokens),
            _ => false,
        };
        if record.intent().is_some() || stored.as_ref().is_some_and(same) {
            return self.write_intent(key, expected, record).await;
        }
        self.0.saving.send_modify(|saving| *saving += 1);
        let mut held = self.0.hold_saves.subscribe();
        held.wait_for(|held| !held)
            .await
            .expect("the store is here");
        let (fail, panic, lose, foreign) = {
            let mut state = lock(&self.0.state);
            (
                counted_down(&mut state.fail_saves),
                counted_down(&mut state.panic_saves),
                counted_down(&mut state.lose_answers),
                state.foreign.take(),
            )
        };
        assert!(!panic, "the store panics at save, as the test wants it");
        let hang = counted_down(&mut lock(&self.0.state).hang_saves);
        if hang {
            std::future::pending::<()>().await;
        }
        if fail {
            return Err(down());
        }
        if let Some(foreign) = foreign {
            let found = self.record().await;
            self.put(foreign(found)).await;
        }
        let revision = record.version().revision;
        let saved = self.memory().save(key, expected, record).await?;
        if let Saved::Stored = saved {
            lock(&self.0.state).revisions.push(revision);
            self.0.written.send_modify(|written| *written += 1);
        }
        if lose {
            return Err(down());
        }
        Ok(saved)
    }

    async fn changed(&self, _key: &SessionKey, seen: Option<Version>) {
        let tells = lock(&self.0.state).tells;
        match tells {
            Tells::Never => std::future::pending().await,
            Tells::Always => {}
            Tells::OfWrites => {
                let mut written = self.0.written.subscribe();
                while self.record().await.map(|record| record.version()) == seen {
                    written.changed().await.expect("the store is here");
                }
            }
        }
    }

    fn is_durable(&self) -> bool {
        !lock(&self.0.state).forgets_with_the_process
    }
}
