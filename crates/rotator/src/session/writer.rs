//! The writer: the one task that writes sign-ins, sign-outs, updates and unsaved tokens to the
//! store. The task runs only while a write is pending.

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
use super::state::PreparedToken;
use crate::error::{StoreError, StoreErrorKind};
use crate::event::Event;
use crate::runtime;
use crate::store::coordinator::Lease;
use crate::store::{Record, Saved, Version};
use crate::token::token_set::TokenSet;

/// The most lost compare-and-swaps in a row before the attempt counts as failed.
const CONFLICTS_MAX: u32 = 16;
/// The first wait after a failed attempt. The wait doubles with each further failure.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// The longest wait after a failed attempt.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

pub(crate) type Report = oneshot::Sender<Result<(), StoreError>>;

/// The pending write of the session, kept under the session's lock.
pub(crate) struct PendingWrite {
    pub(crate) write: Write,
    /// Keeps other processes from spending the refresh token that the store still holds.
    pub(crate) lease: Option<Box<dyn Lease>>,
    pub(crate) attempts: u32,
    /// Number of replacements, so that an attempt at an older write does not end a newer write.
    number: u64,
    /// Callers that wait for the next attempt, each with the number of the write it waits for.
    reports: Vec<(u64, Report)>,
    /// Ends the current attempt: a sign-in, a sign-out or a flight has taken the write.
    attempt_cancel: CancellationToken,
    /// Ends the wait before the next attempt.
    wake: Arc<Notify>,
    /// The next attempt starts without a wait.
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
            attempt_cancel: CancellationToken::new(),
            wake: Arc::default(),
            due: true,
        }
    }

    /// A write that a flight could not save: its first attempt has failed.
    pub(crate) fn failed_once(write: Write) -> Self {
        Self {
            attempts: 1,
            due: false,
            ..Self::new(write)
        }
    }

    /// Replaces `before`, a write of the same epoch, and takes over its lease and its callers.
    pub(crate) fn replace(mut self, before: Self) -> Self {
        self.write.replace(&before.write);
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

    /// Ends the attempt at this write, because its epoch has ended. Its callers get `Ok`: no write
    /// is left for them. Returns the lease.
    pub(crate) fn cancel(self) -> Option<Box<dyn Lease>> {
        self.attempt_cancel.cancel();
        send_reports(self.reports, &Ok(()));
        self.lease
    }
}

/// The pending write, and whether a task works on it.
#[derive(Default)]
pub(crate) struct Writes {
    pending: Option<PendingWrite>,
    running: bool,
    interrupted: bool,
}

impl Writes {
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_none()
    }

    /// Whether a write is pending after the writer's runtime has ended.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Marks the writer as running. Returns whether the caller must start its task.
    fn start(&mut self) -> bool {
        let starts = self.pending.is_some() && !self.running;
        self.running |= starts;
        self.interrupted &= !starts;
        starts
    }

    /// Marks the writer as interrupted by the end of its runtime. Returns the failed attempts and
    /// the callers to answer, if a write is pending.
    pub(crate) fn interrupt(&mut self) -> Option<(u32, Vec<(u64, Report)>)> {
        self.running = false;
        let pending = self.pending.as_mut()?;
        pending.due = true;
        self.interrupted = true;
        Some((pending.attempts, std::mem::take(&mut pending.reports)))
    }

    /// Keeps a newer write of this epoch.
    pub(crate) fn put(&mut self, mut write: PendingWrite) {
        if let Some(before) = self.pending.take() {
            write.attempt_cancel = before.attempt_cancel.clone();
            write.wake = Arc::clone(&before.wake);
            write = write.replace(before);
        }
        self.keep(write);
    }

    /// Keeps a write that a flight took and could not replace. A write that was queued meanwhile is
    /// newer.
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

    /// Takes out the pending write if it belongs to another epoch.
    pub(crate) fn take_other(&mut self, epoch: u64) -> Option<PendingWrite> {
        let other = self
            .pending
            .take_if(|pending| pending.write.epoch != epoch)?;
        self.interrupted = false;
        Some(other)
    }

    /// Takes the pending write of this epoch away from the writer.
    pub(crate) fn take(&mut self, epoch: u64) -> Option<PendingWrite> {
        let mut taken = self
            .pending
            .take_if(|pending| pending.write.epoch == epoch)?;
        taken.attempt_cancel.cancel();
        taken.attempt_cancel = CancellationToken::new();
        Some(taken)
    }

    /// Requests an attempt without a wait. The receiver gets its outcome. The receiver exists
    /// before the attempt starts, because a running writer may finish the attempt first.
    fn request(&mut self, epoch: u64) -> Option<oneshot::Receiver<Result<(), StoreError>>> {
        let pending = self.pending_in(epoch)?;
        pending.due = true;
        pending.wake.notify_one();
        Some(pending.report())
    }

    fn pending_in(&mut self, epoch: u64) -> Option<&mut PendingWrite> {
        self.pending
            .as_mut()
            .filter(|pending| pending.write.epoch == epoch)
    }
}

/// Outcomes of a write.
pub(crate) enum WriteOutcome {
    /// The store holds the write in this version. `replaced` is the token set that the first write
    /// of an epoch overwrote.
    Stored {
        version: Version,
        replaced: Option<Arc<TokenSet>>,
    },
    /// The session has moved to another epoch.
    Superseded,
    /// Another process has saved newer tokens.
    Newer(PreparedToken, KnownRecord),
}

/// The next action of the writer.
enum WriterAction {
    Done,
    Wait(Duration, Arc<Notify>, CancellationToken),
    Attempt(Write, u64, CancellationToken),
}

impl Session {
    /// Starts the writer for the pending write of this epoch. The future returns the outcome of the
    /// next attempt, or `Ok` if no write is pending.
    pub(crate) fn start_write(self: &Arc<Self>, epoch: u64) -> Stored {
        let outcome = self.state.writes(|writes| writes.request(epoch));
        self.start_writer();
        Stored(outcome)
    }

    /// Keeps a write that a flight could not save, or took and did not replace (`is_older`). The writer
    /// retries it.
    pub(crate) fn keep_write(self: &Arc<Self>, write: PendingWrite, is_older: bool) {
        match self.state.put_write(write, is_older) {
            Ok(()) => self.start_writer(),
            Err(ended) => self.release_lease(ended.cancel()),
        }
    }

    /// Starts the writer if a write is pending and no task works on it.
    fn start_writer(self: &Arc<Self>) {
        if self.state.writes(Writes::start) {
            let writer = Writer {
                session: Arc::clone(self),
                done: false,
            };
            self.spawn(writer.run());
        }
    }

    /// Resumes the writer if its runtime ended with a write pending.
    pub(crate) fn resume_writer(self: &Arc<Self>) {
        if self.state.writes(|writes| writes.interrupted) {
            self.start_writer();
        }
    }

    /// Returns whether no write is pending.
    pub(crate) fn all_written(&self) -> bool {
        self.state.writes(|writes| writes.is_empty())
    }

    /// Writes by compare-and-swap over every record that is known to be older.
    pub(crate) async fn try_write(
        self: &Arc<Self>,
        write: &mut Write,
    ) -> Result<WriteOutcome, StoreError> {
        let mut replaced = None;
        // The first write of an epoch replaces any record in the store.
        let mut saved = if write.known.unwritten {
            let found = self.load().await?;
            if let Some(tokens) = &write.tokens {
                write.details.received = Some(self.receipt_of(tokens));
            }
            Saved::Conflict(found)
        } else {
            self.put(write.known.version, write.record()).await?
        };
        for _ in 0..CONFLICTS_MAX {
            let found = match saved {
                Saved::Stored => {
                    let version = write.version;
                    return Ok(WriteOutcome::Stored { version, replaced });
                }
                Saved::Conflict(found) => found,
            };
            let received = found.as_ref().and_then(|record| record.details.received);
            let usable =
                |tokens: &Arc<TokenSet>| self.prepare_stored(Arc::clone(tokens), received).ok();
            match decide::compare(found.as_ref(), write, usable) {
                Comparison::Overwrite => {
                    replaced = found.as_ref().and_then(|record| record.tokens.clone());
                    write.rebase(found);
                }
                Comparison::Stored(version) => {
                    return Ok(WriteOutcome::Stored {
                        version,
                        replaced: None,
                    });
                }
                Comparison::OtherEpoch(record) => {
                    self.follow(write.epoch, &record);
                    return Ok(WriteOutcome::Superseded);
                }
                Comparison::Newer(prepared, known) => {
                    return Ok(WriteOutcome::Newer(prepared, known));
                }
            }
            saved = self.put(write.known.version, write.record()).await?;
        }
        Err(conflicts())
    }

    /// Reads the record.
    pub(crate) async fn load(&self) -> Result<Option<Record>, StoreError> {
        let Some(store) = &self.store else {
            return Ok(None);
        };
        let record = self.store_call(store.load(&self.key)).await?;
        let time = match &record {
            Some(record) => record.now(),
            None => self.store_call(store.now()).await?,
        };
        self.note_record_binding(record.as_ref());
        if let Some(time) = time {
            self.state.note_store_time(time, self.clock.steady());
        }
        Ok(record)
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

    /// Calls the store. A panic or a missing answer counts as a store failure.
    async fn store_call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = self.limits.source_timeout;
        let (kind, message) = match super::guarded(limit, call).await {
            Ok(answer) => return answer,
            Err(super::CallFailure::Panicked) => (
                StoreErrorKind::Panicked,
                "the session store panicked".to_owned(),
            ),
            Err(super::CallFailure::TimedOut) => (
                StoreErrorKind::Unavailable,
                format!("the session store did not answer within {limit:?}"),
            ),
        };
        Err(StoreError::new(kind, message))
    }
}

fn send_reports(reports: Vec<(u64, Report)>, outcome: &Result<(), StoreError>) {
    for (_, report) in reports {
        // A caller that dropped its future gets no report.
        let _ = report.send(outcome.clone());
    }
}

pub(crate) fn conflicts() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "other processes changed the session's record again and again; nothing was written",
    )
}

/// The writer's task. If its runtime ends, the write stays pending until the next call.
struct Writer {
    session: Arc<Session>,
    done: bool,
}

impl Writer {
    async fn run(mut self) {
        // The lease is renewed after each attempt, so a wait must be shorter than the lease's life.
        let life = self.session.lease_life();
        let longest = life.map_or(RETRY_AFTER_MAX, |life| RETRY_AFTER_MAX.min(life / 3));
        loop {
            match self.next_action(longest) {
                WriterAction::Done => break,
                WriterAction::Wait(wait, wake, cancel) => {
                    let (woken, cancel) = (pin!(wake.notified()), pin!(cancel.cancelled()));
                    let sleep = pin!(runtime::sleep(wait));
                    if let Either::Left(_) = select(sleep, select(woken, cancel)).await {
                        self.session.state.writes(|writes| {
                            if let Some(pending) = &mut writes.pending {
                                pending.due = true;
                            }
                        });
                    }
                }
                WriterAction::Attempt(mut write, number, cancel) => {
                    let attempt = Box::pin(self.session.try_write(&mut write));
                    let outcome = match select(attempt, pin!(cancel.cancelled())).await {
                        Either::Left((outcome, _)) => outcome,
                        Either::Right(_) => continue,
                    };
                    self.settle(write, number, outcome, &cancel).await;
                }
            }
        }
        self.done = true;
    }

    fn next_action(&self, longest: Duration) -> WriterAction {
        self.session.state.writes(|writes| {
            let Some(pending) = &mut writes.pending else {
                writes.running = false;
                return WriterAction::Done;
            };
            let cancel = pending.attempt_cancel.clone();
            let wait = pending.retry_after(longest);
            if !wait.is_zero() {
                return WriterAction::Wait(wait, Arc::clone(&pending.wake), cancel);
            }
            pending.due = false;
            WriterAction::Attempt(pending.write.clone(), pending.number, cancel)
        })
    }

    /// Records the outcome of an attempt, unless a sign-in, a sign-out or a flight took the write
    /// meanwhile.
    async fn settle(
        &self,
        mut write: Write,
        number: u64,
        outcome: Result<WriteOutcome, StoreError>,
        cancel: &CancellationToken,
    ) {
        let session = &self.session;
        let outcome = outcome.map(|written| match written {
            WriteOutcome::Stored { version, replaced } => {
                session.state.note_version(write.epoch, version);
                write.known.replace(KnownRecord::at(version));
                replaced
            }
            WriteOutcome::Superseded | WriteOutcome::Newer(..) => None,
        });
        if let Ok(Some(replaced)) = &outcome
            && write.tokens.is_none()
        {
            session.revoke_overwritten(Arc::clone(replaced));
        }
        let outcome = outcome.map(|_| ());
        let epoch = write.epoch;
        let recorded = session.state.writes(|writes| {
            let pending = writes
                .pending_in(epoch)
                .filter(|_| !cancel.is_cancelled())?;
            let attempts = pending.attempts;
            let lease = pending.lease.take();
            let reports: Vec<_> = pending
                .reports
                .extract_if(.., |(of, _)| *of <= number)
                .collect();
            if pending.number != number {
                // A newer write was queued meanwhile. It continues from the record that this
                // attempt found.
                pending.write.replace(&write);
            } else if outcome.is_ok() {
                writes.pending = None;
            } else {
                pending.attempts += 1;
                pending.write = write;
            }
            Some((attempts, lease, reports, !writes.is_empty()))
        });
        let Some((attempts, lease, reports, is_pending)) = recorded else {
            return;
        };
        match &outcome {
            Ok(()) if attempts > 0 => session.emit(&Event::SaveRecovered { attempts }),
            Ok(()) => {}
            Err(error) => session.emit(&Event::SaveFailed {
                error: error.clone(),
                attempts: attempts + 1,
            }),
        }
        if is_pending {
            self.keep_lease(epoch, lease, cancel).await;
        } else {
            session.release_lease(lease);
        }
        send_reports(reports, &outcome);
    }

    /// Renews the lease after an attempt that leaves a write pending. If the lease is lost,
    /// compare-and-swap protects the record.
    async fn keep_lease(
        &self,
        epoch: u64,
        lease: Option<Box<dyn Lease>>,
        cancel: &CancellationToken,
    ) {
        let Some(mut lease) = lease else {
            return;
        };
        let renewed = {
            let renewal = pin!(self.session.renew(&mut lease));
            match select(renewal, pin!(cancel.cancelled())).await {
                Either::Left((renewed, _)) => renewed.is_ok(),
                // The lease is released below if the write's epoch has ended.
                Either::Right(_) => true,
            }
        };
        let mut lease = renewed.then_some(lease);
        self.session.state.writes(|writes| {
            if let Some(pending) = writes.pending_in(epoch)
                && pending.lease.is_none()
            {
                pending.lease = lease.take();
            }
        });
        self.session.release_lease(lease);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.session.runtime.forget_first_runtime();
        if let Some((attempts, reports)) = self.session.state.interrupt_writes() {
            let error = runtime_ended();
            send_reports(reports, &Err(error.clone()));
            self.session.emit(&Event::SaveFailed {
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

/// The write of a sign-in, a sign-out or an update to the store, as a future.
///
/// # Errors
///
/// The store has not accepted the write yet. The change has taken effect in this process all the
/// same, and the write is retried in the background.
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
