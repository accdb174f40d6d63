//! The writer: the one task through which sign-ins, sign-outs, updates, and tokens that a flight
//! could not save reach the store. It runs only while something is to be written.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::Session;
use super::decide::{self, Comparison, KnownRecord, Write};
use super::state::Arrival;
use crate::error::{StoreError, StoreErrorKind};
use crate::event::Event;
use crate::runtime;
use crate::store::coordinator::Lease;
use crate::store::{Record, Saved, Version};
use crate::token::token_set::TokenSet;

/// How often compare-and-swap may lose in a row before the attempt counts as failed.
const CONFLICTS_MAX: u32 = 16;
/// The first wait after a failed attempt; it doubles.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// The longest wait after a failed attempt.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

pub(crate) type Report = oneshot::Sender<Result<(), StoreError>>;

/// What is to be written for the session, kept under the session's lock.
pub(crate) struct PendingWrite {
    pub(crate) write: Write,
    /// Keeps other processes from spending the refresh token that the store still holds.
    pub(crate) lease: Option<Box<dyn Lease>>,
    pub(crate) attempts: u32,
    /// Counts replacements, so that an attempt of an older write ends no newer one.
    number: u64,
    /// Callers that wait for the outcome of the next attempt, with the number they wait for.
    reports: Vec<(u64, Report)>,
    /// Ends the attempt in progress: a sign-in, a sign-out or a flight has taken the write away.
    taken: CancellationToken,
    /// Ends the wait before the next attempt.
    wake: Arc<Notify>,
    /// The next attempt need not wait.
    due: bool,
}

impl PendingWrite {
    pub(crate) fn new(write: Write) -> Self {
        Self {
            write,
            lease: None,
            attempts: 0,
            number: 0,
            reports: Vec::new(),
            taken: CancellationToken::new(),
            wake: Arc::default(),
            due: true,
        }
    }

    /// What a flight could not save: the first attempt has failed.
    pub(crate) fn failed_once(write: Write) -> Self {
        Self {
            attempts: 1,
            due: false,
            ..Self::new(write)
        }
    }

    /// This write replaces `before`, of the same epoch, and takes its lease and its callers over.
    pub(crate) fn replace(mut self, before: Self) -> Self {
        self.write.replaces(&before.write);
        self.lease = self.lease.or(before.lease);
        self.attempts = self.attempts.max(before.attempts);
        self.number = self.number.max(before.number) + 1;
        self.reports.extend(before.reports);
        self.due |= before.due;
        self
    }

    fn retry_after(&self, longest: Duration) -> Duration {
        if self.due || self.attempts == 0 {
            return Duration::ZERO;
        }
        let doubled = 1_u32 << (self.attempts - 1).min(10);
        RETRY_AFTER.saturating_mul(doubled).min(longest)
    }

    fn report(&mut self) -> oneshot::Receiver<Result<(), StoreError>> {
        let (report, outcome) = oneshot::channel();
        self.reports.push((self.number, report));
        outcome
    }

    /// The epoch of this write is over: its attempt ends, and for its callers nothing is left to
    /// store. Returns its lease.
    pub(crate) fn cancel(self) -> Option<Box<dyn Lease>> {
        self.taken.cancel();
        answer(self.reports, &Ok(()));
        self.lease
    }
}

/// The pending write and whether a task works on it. Part of the session's state.
#[derive(Default)]
pub(crate) struct Writes {
    pending: Option<PendingWrite>,
    running: bool,
    stranded: bool,
}

impl Writes {
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_none()
    }

    /// A runtime that ended has left something unwritten.
    pub(crate) fn stranded(&self) -> bool {
        self.stranded
    }

    /// Returns whether a task is to be started.
    fn start(&mut self) -> bool {
        let starts = self.pending.is_some() && !self.running;
        self.running |= starts;
        self.stranded &= !starts;
        starts
    }

    /// The task has ended with its runtime. Returns the attempts so far, and the callers to answer,
    /// if something is left to write.
    pub(crate) fn strand(&mut self) -> Option<(u32, Vec<(u64, Report)>)> {
        self.running = false;
        let pending = self.pending.as_mut()?;
        pending.due = true;
        self.stranded = true;
        Some((pending.attempts, std::mem::take(&mut pending.reports)))
    }

    /// Keeps a newer write of this epoch.
    pub(crate) fn put(&mut self, mut write: PendingWrite) {
        if let Some(before) = self.pending.take() {
            write.taken = before.taken.clone();
            write.wake = Arc::clone(&before.wake);
            write = write.replace(before);
        }
        self.keep(write);
    }

    /// Keeps a write that a flight took and could not replace. A write that came meanwhile is newer.
    pub(crate) fn put_back(&mut self, write: PendingWrite) {
        let write = match self.pending.take() {
            Some(newer) => newer.replace(write),
            None => write,
        };
        self.keep(write);
    }

    fn keep(&mut self, write: PendingWrite) {
        if write.due {
            write.wake.notify_one();
        }
        self.pending = Some(write);
    }

    /// Takes out what belongs to another epoch than this one.
    pub(crate) fn take_other(&mut self, epoch: u64) -> Option<PendingWrite> {
        let other = self
            .pending
            .take_if(|pending| pending.write.epoch != epoch)?;
        self.stranded = false;
        Some(other)
    }

    /// Takes the pending write of this epoch away from the writer.
    pub(crate) fn take(&mut self, epoch: u64) -> Option<PendingWrite> {
        let mut taken = self
            .pending
            .take_if(|pending| pending.write.epoch == epoch)?;
        taken.taken.cancel();
        taken.taken = CancellationToken::new();
        Some(taken)
    }

    /// Asks for an attempt without a wait. The receiver gets its outcome: a writer that runs already
    /// may have begun, or failed, before the caller comes here.
    fn request(&mut self, epoch: u64) -> Option<oneshot::Receiver<Result<(), StoreError>>> {
        let pending = self.of(epoch)?;
        pending.due = true;
        pending.wake.notify_one();
        Some(pending.report())
    }

    fn of(&mut self, epoch: u64) -> Option<&mut PendingWrite> {
        self.pending
            .as_mut()
            .filter(|pending| pending.write.epoch == epoch)
    }
}

/// What became of a write.
pub(crate) enum Written {
    /// The store holds it in this version. `replaced` is what a first write of an epoch overwrote.
    Stored {
        version: Version,
        replaced: Option<Arc<TokenSet>>,
    },
    /// The session has moved to another epoch.
    Superseded,
    /// Another process has saved newer tokens.
    Newer(Arrival, KnownRecord),
}

/// One turn of the writer.
enum Turn {
    Done,
    Wait(Duration, Arc<Notify>, CancellationToken),
    Attempt(Write, u64, CancellationToken),
}

impl Session {
    /// Starts the writer. The future ends with the outcome of the next attempt at what is pending
    /// in this epoch.
    pub(crate) fn stored(self: &Arc<Self>, epoch: u64) -> Stored {
        let outcome = self.state.writes(|writes| writes.request(epoch));
        self.start_writer();
        Stored(outcome)
    }

    /// Keeps what a flight could not save, or took and did not replace (`back`), and goes on trying
    /// to write it.
    pub(crate) fn keep_write(self: &Arc<Self>, write: PendingWrite, back: bool) {
        match self.state.put_write(write, back) {
            Ok(()) => self.start_writer(),
            Err(over) => self.give_back(over.cancel()),
        }
    }

    /// Starts the writer, if something is to be written and no task is at work on it.
    fn start_writer(self: &Arc<Self>) {
        if self.state.writes(Writes::start) {
            let writer = Writer {
                session: Arc::clone(self),
                done: false,
            };
            self.spawn(writer.run());
        }
    }

    /// Resumes what a runtime that ended has left unwritten.
    pub(crate) fn resume_writer(self: &Arc<Self>) {
        if self.state.writes(|writes| writes.stranded) {
            self.start_writer();
        }
    }

    /// Whether the store has everything that it is to have.
    pub(crate) fn all_written(&self) -> bool {
        self.state.writes(|writes| writes.is_empty())
    }

    /// Asks the writer for one attempt at what is unwritten of this epoch and waits for its
    /// outcome. `Ok` if nothing was to be written.
    pub(crate) async fn write_now(self: &Arc<Self>, epoch: u64) -> Result<(), StoreError> {
        self.stored(epoch).await
    }

    /// Tries to write by compare-and-swap over everything that is known to be older.
    pub(crate) async fn try_write(
        self: &Arc<Self>,
        write: &mut Write,
    ) -> Result<Written, StoreError> {
        let mut replaced = None;
        // The first write of an epoch replaces whatever the store holds.
        let mut saved = if write.known.unwritten {
            Saved::Conflict(self.load().await?)
        } else {
            self.put(write.known.version, write.record()).await?
        };
        for _ in 0..CONFLICTS_MAX {
            let theirs = match saved {
                Saved::Stored => {
                    let version = write.version;
                    return Ok(Written::Stored { version, replaced });
                }
                Saved::Conflict(theirs) => theirs,
            };
            let usable = |tokens: &Arc<TokenSet>| self.arrival(Arc::clone(tokens)).ok();
            match decide::compare(theirs.as_ref(), write, usable) {
                Comparison::Overwrite => {
                    replaced = theirs.as_ref().and_then(|record| record.tokens.clone());
                    write.rebase(theirs);
                }
                Comparison::Stored(version) => {
                    return Ok(Written::Stored {
                        version,
                        replaced: None,
                    });
                }
                Comparison::OtherEpoch(record) => {
                    self.follow(write.epoch, &record);
                    return Ok(Written::Superseded);
                }
                Comparison::Newer(arrival, known) => return Ok(Written::Newer(arrival, known)),
            }
            saved = self.put(write.known.version, write.record()).await?;
        }
        Err(conflicts())
    }

    /// Reads the record.
    pub(crate) async fn load(&self) -> Result<Option<Record>, StoreError> {
        match &self.store {
            Some(store) => self.store_call(store.load(&self.key)).await,
            None => Ok(None),
        }
    }

    /// Writes the record by compare-and-swap.
    pub(crate) async fn put(
        &self,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Saved, StoreError> {
        match &self.store {
            Some(store) => {
                self.store_call(async { store.save(&self.key, expected, record).await })
                    .await
            }
            None => Ok(Saved::Stored),
        }
    }

    /// One call to the store. A panic or a missing answer is a failure like any other.
    async fn store_call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = self.limits.source_timeout;
        let (kind, message) = match super::guarded(limit, call).await {
            Ok(answer) => return answer,
            Err(super::CutOff::Panicked) => (
                StoreErrorKind::Panicked,
                "the session store panicked".to_owned(),
            ),
            Err(super::CutOff::TimedOut) => (
                StoreErrorKind::Unavailable,
                format!("the session store did not answer within {limit:?}"),
            ),
        };
        Err(StoreError::new(kind, message))
    }
}

fn answer(reports: Vec<(u64, Report)>, outcome: &Result<(), StoreError>) {
    for (_, report) in reports {
        // The caller may have dropped its future.
        let _ = report.send(outcome.clone());
    }
}

pub(crate) fn conflicts() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "other processes keep writing the session; nothing was changed",
    )
}

/// The writer's task. If its runtime ends, the write stays pending for the next call.
struct Writer {
    session: Arc<Session>,
    done: bool,
}

impl Writer {
    async fn run(mut self) {
        // The lease is renewed after each attempt and must not run out in between.
        let life = self.session.lease_life();
        let longest = life.map_or(RETRY_AFTER_MAX, |life| RETRY_AFTER_MAX.min(life / 3));
        loop {
            match self.turn(longest) {
                Turn::Done => break,
                Turn::Wait(wait, wake, taken) => {
                    let (woken, taken) = (pin!(wake.notified()), pin!(taken.cancelled()));
                    let sleep = pin!(runtime::sleep(wait));
                    if let Either::Left(_) = select(sleep, select(woken, taken)).await {
                        self.session.state.writes(|writes| {
                            if let Some(pending) = &mut writes.pending {
                                pending.due = true;
                            }
                        });
                    }
                }
                Turn::Attempt(mut write, number, taken) => {
                    let attempt = Box::pin(self.session.try_write(&mut write));
                    let outcome = match select(attempt, pin!(taken.cancelled())).await {
                        Either::Left((outcome, _)) => outcome,
                        Either::Right(_) => continue,
                    };
                    self.settle(write, number, outcome, &taken).await;
                }
            }
        }
        self.done = true;
    }

    fn turn(&self, longest: Duration) -> Turn {
        self.session.state.writes(|writes| {
            let Some(pending) = &mut writes.pending else {
                writes.running = false;
                return Turn::Done;
            };
            let taken = pending.taken.clone();
            let wait = pending.retry_after(longest);
            if !wait.is_zero() {
                return Turn::Wait(wait, Arc::clone(&pending.wake), taken);
            }
            pending.due = false;
            Turn::Attempt(pending.write.clone(), pending.number, taken)
        })
    }

    /// Notes the outcome of an attempt, unless the write was taken away meanwhile.
    async fn settle(
        &self,
        mut write: Write,
        number: u64,
        outcome: Result<Written, StoreError>,
        taken: &CancellationToken,
    ) {
        let session = &self.session;
        let outcome = outcome.map(|written| match written {
            Written::Stored { version, replaced } => {
                session.state.saw(write.epoch, version);
                write.known.replace(KnownRecord::at(version));
                replaced
            }
            Written::Superseded | Written::Newer(..) => None,
        });
        if let Ok(Some(replaced)) = &outcome
            && write.tokens.is_none()
        {
            session.revoke_unless_done(Arc::clone(replaced));
        }
        let outcome = outcome.map(|_| ());
        let noted = session.state.writes(|writes| {
            let pending = writes.of(write.epoch).filter(|_| !taken.is_cancelled())?;
            let attempts = pending.attempts;
            let reports: Vec<_> = pending
                .reports
                .extract_if(.., |(of, _)| *of <= number)
                .collect();
            if pending.number != number {
                // A newer write came meanwhile. It goes on from what this attempt found.
                pending.write.replaces(&write);
                return Some((attempts, pending.lease.take(), reports, true));
            }
            if outcome.is_ok() {
                let lease = pending.lease.take();
                writes.pending = None;
                return Some((attempts, lease, reports, false));
            }
            pending.attempts += 1;
            pending.write = write.clone();
            Some((attempts, pending.lease.take(), reports, true))
        });
        let Some((attempts, lease, reports, left)) = noted else {
            return;
        };
        match &outcome {
            Ok(()) if attempts > 0 => session.tell(&Event::SaveRecovered { attempts }),
            Ok(()) => {}
            Err(error) => session.tell(&Event::SaveFailed {
                error: error.clone(),
                attempts: attempts + 1,
            }),
        }
        if left {
            self.keep_lease(write.epoch, lease, taken).await;
        } else {
            session.give_back(lease);
        }
        answer(reports, &outcome);
    }

    /// Renews the lease after an attempt that leaves something to write. If it is lost,
    /// compare-and-swap protects the record from here on.
    async fn keep_lease(
        &self,
        epoch: u64,
        lease: Option<Box<dyn Lease>>,
        taken: &CancellationToken,
    ) {
        let Some(mut lease) = lease else {
            return;
        };
        let renewed = {
            let renewal = pin!(self.session.renew(&mut lease));
            match select(renewal, pin!(taken.cancelled())).await {
                Either::Left((renewed, _)) => renewed.is_ok(),
                // The lease is given back below if the write's epoch is over.
                Either::Right(_) => true,
            }
        };
        let mut lease = renewed.then_some(lease);
        self.session.state.writes(|writes| {
            if let Some(pending) = writes.of(epoch)
                && pending.lease.is_none()
            {
                pending.lease = lease.take();
            }
        });
        self.session.give_back(lease);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.session.runtime.forget_first();
        if let Some((attempts, reports)) = self.session.state.strand_writes() {
            let error = runtime_ended();
            answer(reports, &Err(error.clone()));
            self.session.tell(&Event::SaveFailed {
                error,
                attempts: attempts + 1,
            });
        }
    }
}

fn runtime_ended() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "the runtime ended before the session was written to its store",
    )
}

/// Ends when the store has taken a sign-in, a sign-out or an update.
///
/// # Errors
///
/// The store has not taken it yet. It takes effect in this process all the same, and writing it is
/// tried again in the background.
///
/// # Cancellation
///
/// Dropping the future leaves the write running.
pub struct Stored(Option<oneshot::Receiver<Result<(), StoreError>>>);

impl Stored {
    pub(crate) fn done() -> Self {
        Self(None)
    }
}

impl Future for Stored {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Some(outcome) => Pin::new(outcome)
                .poll(context)
                .map(|outcome| outcome.unwrap_or_else(|_| Err(runtime_ended()))),
            None => Poll::Ready(Ok(())),
        }
    }
}
