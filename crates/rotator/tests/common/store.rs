//! A session store that a test can make fail, panic, hang, or change like another process.

use std::sync::{Arc, Mutex};

use token_rotator::store::{
    Epoch, Intent, Record, Saved, SessionStore, StoreError, StoreErrorKind, Version,
};
use token_rotator::{MemoryStore, SessionKey, TokenSet};
use tokio::sync::watch;

use super::lock;

type ForeignWrite = Box<dyn FnOnce(Option<Record>) -> Record + Send>;

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
    /// Counts all writes, including those of another process.
    written: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    fail_loads: usize,
    fail_saves: usize,
    panic_loads: usize,
    panic_saves: usize,
    /// Number of saves that never answer and write nothing.
    hang_saves: usize,
    /// Number of saves that store the record but report a failure.
    lose_answers: usize,
    /// Number of intent writes that fail; saves do not count.
    fail_intents: usize,
    lose_intents: usize,
    intents: Vec<Option<Intent>>,
    /// Written as another process just before the next save.
    foreign: Option<ForeignWrite>,
    loads: usize,
    revisions: Vec<u64>,
    change_reports: ChangeReports,
    is_volatile: bool,
    spans_hosts: bool,
}

/// When `changed` reports a change.
#[derive(Clone, Copy, Default)]
enum ChangeReports {
    #[default]
    Never,
    AfterWrites,
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

    /// Reports every write to the flights that wait for a lease.
    pub(crate) fn report_writes(&self) {
        lock(&self.0.state).change_reports = ChangeReports::AfterWrites;
    }

    /// Reports a change at every request, even without a write.
    pub(crate) fn always_report_changes(&self) {
        lock(&self.0.state).change_reports = ChangeReports::Always;
    }

    /// Makes the store report that it is not durable.
    pub(crate) fn make_volatile(&self) {
        lock(&self.0.state).is_volatile = true;
    }

    /// Makes the store report that other hosts share it.
    pub(crate) fn span_hosts(&self) {
        lock(&self.0.state).spans_hosts = true;
    }

    pub(crate) fn hang_saves(&self, count: usize) {
        lock(&self.0.state).hang_saves = count;
    }

    pub(crate) fn hold_intents(&self, hold: bool) {
        self.0.hold_intents.send_replace(hold);
    }

    /// Waits until this many intent writes have begun in total.
    pub(crate) async fn wait_for_intents(&self, count: usize) {
        let mut writing = self.0.writing_intent.subscribe();
        let enough = writing.wait_for(|writing| *writing >= count).await;
        enough.expect("the store is here");
    }

    /// Waits until this many loads have begun in total.
    pub(crate) async fn wait_for_loads(&self, count: usize) {
        let mut loading = self.0.loading.subscribe();
        let enough = loading.wait_for(|loading| *loading >= count).await;
        enough.expect("the store is here");
    }

    /// Number of loads that have begun.
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

    /// Returns the written intents, in order; `None` is a withdrawal.
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

    /// Waits until this many saves have begun in total.
    pub(crate) async fn wait_for_saves(&self, count: usize) {
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

    /// Returns the stored revisions, in order.
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

    /// Writes the record as another process.
    pub(crate) async fn put(&self, record: Record) {
        let found = self.record().await.map(|record| record.version());
        let key = SessionKey::default();
        let saved = self.memory().save(&key, found, record).await;
        assert!(matches!(saved, Ok(Saved::Stored)), "no concurrent write");
        self.0.written.send_modify(|written| *written += 1);
    }

    /// Deletes all records, as a lost store does.
    pub(crate) fn clear(&self) {
        *lock(&self.0.memory) = MemoryStore::new();
    }

    fn memory(&self) -> MemoryStore {
        lock(&self.0.memory).clone()
    }
}

/// Returns the successor of the found record: the same sign-in, or a new sign-in if `epoch` is
/// given.
pub(crate) fn next_record(
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

/// Returns the record with another intent, as another process writes it.
pub(crate) fn with_intent(found: &Record, intent: Intent) -> Record {
    let next = next_record(Some(found), None, None).version();
    found.clone().with_version(next).with_intent(intent)
}

fn store_down() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the store is down")
}

fn take_one(count: &mut usize) -> bool {
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
                take_one(&mut state.fail_intents),
                take_one(&mut state.lose_intents),
            )
        };
        if fail {
            return Err(store_down());
        }
        let intent = record.intent();
        let saved = self.memory().save(key, expected, record).await?;
        if let Saved::Stored = saved {
            lock(&self.0.state).intents.push(intent);
            self.0.written.send_modify(|written| *written += 1);
        }
        if lose {
            return Err(store_down());
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
                take_one(&mut state.fail_loads),
                take_one(&mut state.panic_loads),
            )
        };
        assert!(!panic, "the store panics at load, as the test wants it");
        if fail {
            return Err(store_down());
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
                take_one(&mut state.fail_saves),
                take_one(&mut state.panic_saves),
                take_one(&mut state.lose_answers),
                state.foreign.take(),
            )
        };
        assert!(!panic, "the store panics at save, as the test wants it");
        let hang = take_one(&mut lock(&self.0.state).hang_saves);
        if hang {
            std::future::pending::<()>().await;
        }
        if fail {
            return Err(store_down());
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
            return Err(store_down());
        }
        Ok(saved)
    }

    async fn changed(&self, _key: &SessionKey, seen: Option<Version>) {
        let change_reports = lock(&self.0.state).change_reports;
        match change_reports {
            ChangeReports::Never => std::future::pending().await,
            ChangeReports::Always => {}
            ChangeReports::AfterWrites => {
                let mut written = self.0.written.subscribe();
                while self.record().await.map(|record| record.version()) == seen {
                    written.changed().await.expect("the store is here");
                }
            }
        }
    }

    fn is_durable(&self) -> bool {
        !lock(&self.0.state).is_volatile
    }

    fn spans_hosts(&self) -> bool {
        lock(&self.0.state).spans_hosts
    }
}
