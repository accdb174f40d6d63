//! The recent activity of sessions and requests, kept for the page.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use serde_json::Value;
use token_rotator::Event;
use tokio::sync::watch;

use super::sessions::SessionActivity;
use super::storm::{Millis, RequestStep, Storm};
use crate::observe::Observed;

/// Number of viewers at one time.
const MAX_VIEWERS: usize = 8;

/// The last storm and the activity of each session. Requests are recorded only while the page has
/// viewers.
pub(crate) struct Timeline {
    viewers: AtomicUsize,
    epoch: Instant,
    state: Mutex<TimelineState>,
    /// Sends the version of the state after each change.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct TimelineState {
    version: u64,
    storms: u64,
    sessions: BTreeMap<Arc<str>, SessionTimeline>,
}

#[derive(Default)]
struct SessionTimeline {
    activity: SessionActivity,
    storm: Option<Storm>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            viewers: AtomicUsize::new(0),
            epoch: Instant::now(),
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Timeline").finish_non_exhaustive()
    }
}

impl Timeline {
    /// Whether the page has viewers.
    pub(crate) fn has_viewers(&self) -> bool {
        self.viewers.load(Ordering::Relaxed) > 0
    }

    /// Counts a viewer until the guard is dropped. Returns `None` if there are too many viewers.
    pub(crate) fn add_viewer(self: &Arc<Self>) -> Option<ViewerGuard> {
        let one_more = |viewers| (viewers < MAX_VIEWERS).then_some(viewers + 1);
        let order = Ordering::Relaxed;
        let counted = self.viewers.fetch_update(order, order, one_more);
        counted.ok().map(|_| ViewerGuard(Arc::clone(self)))
    }

    /// Returns a receiver that is notified of every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn now(&self) -> Millis {
        self.millis(Instant::now())
    }

    fn millis(&self, at: Instant) -> Millis {
        let since = at.saturating_duration_since(self.epoch).as_micros();
        since as f64 / 1000.0
    }

    /// Records an event of a session.
    pub(crate) fn record(&self, session: &Arc<str>, event: &Event) {
        let at = self.now();
        let mut state = self.lock();
        let version = state.next_version();
        let session_timeline = state.sessions.entry(Arc::clone(session)).or_default();
        session_timeline.record(event, at, version);
        self.publish(state);
    }

    /// Reads the activity of a session. `read` runs under the lock and must not wait.
    pub(crate) fn read<T>(&self, session: &str, read: impl FnOnce(&SessionActivity) -> T) -> T {
        let state = self.lock();
        match state.sessions.get(session) {
            Some(session) => read(&session.activity),
            None => read(&SessionActivity::default()),
        }
    }

    /// Returns the changes of the newest storm since `sent`, and its position. Returns `None` if
    /// nothing changed.
    pub(crate) fn storm(&self, sent: StormPosition) -> Option<(Value, StormPosition)> {
        let state = self.lock();
        let storms = state.sessions.values();
        let storm = storms
            .filter_map(|session| session.storm.as_ref())
            .max_by_key(|storm| storm.number)?;
        let now = StormPosition {
            storm: storm.number,
            version: storm.version,
        };
        if now == sent {
            return None;
        }
        let since = if sent.storm == now.storm {
            sent.version
        } else {
            0
        };
        Some((storm.json(since), now))
    }

    fn step(&self, request: &TimelineRequest, at: Instant, step: RequestStep) {
        let mut state = self.lock();
        let version = state.next_version();
        let (session, number) = (&request.session, state.storms + 1);
        let session_timeline = state.sessions.entry(Arc::clone(session)).or_default();
        let sent = request.sent.get();
        let (joined, lane) = *request.lane.get_or_init(|| {
            let storm = session_timeline.storm_for(request, number, self.millis(at), version);
            let lane = storm.join(&request.route, &request.method);
            let arrived = self.millis(request.arrived);
            storm.step(lane, RequestStep::Arrived, arrived, version);
            if let Some((sent, _)) = sent.filter(|_| step != RequestStep::Sent) {
                storm.step(lane, RequestStep::Sent, self.millis(*sent), version);
            }
            (storm.number, lane)
        });
        if let Some(storm) = session_timeline
            .storm
            .as_mut()
            .filter(|storm| storm.number == joined)
        {
            storm.step(lane, step, self.millis(at), version);
        }
        state.storms = state.storms.max(joined);
        self.publish(state);
    }

    fn lock(&self) -> MutexGuard<'_, TimelineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: MutexGuard<'_, TimelineState>) {
        let version = state.version;
        drop(state);
        self.changed.send_replace(version);
    }
}

impl TimelineState {
    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }
}

impl SessionTimeline {
    /// Returns the storm of a request that was refused or waits: the open storm, the storm that
    /// replaced the request's token, or a new storm.
    fn storm_for(
        &mut self,
        request: &TimelineRequest,
        number: u64,
        at: Millis,
        version: u64,
    ) -> &mut Storm {
        let generation = request.sent.get().and_then(|(_, generation)| *generation);
        let includes_request = |storm: &Storm| storm.is_open() || storm.has_replaced(generation);
        let flight = self.activity.flight();
        let storm = self.storm.take().filter(includes_request);
        self.storm.insert(storm.unwrap_or_else(|| {
            let mut storm = Storm::new(number, &request.session, at);
            if let Some((flight, began)) = flight {
                storm.refresh_began(flight, began, version);
            }
            storm
        }))
    }

    fn record(&mut self, event: &Event, at: Millis, version: u64) {
        let before = self.activity.flight();
        self.activity.record(event, at, SystemTime::now());
        let started = self.activity.flight().filter(|now| Some(*now) != before);
        let Some(storm) = self.storm.as_mut().filter(|storm| storm.is_open()) else {
            return;
        };
        match event {
            Event::RefreshStarted { .. } => {
                if let Some((flight, _)) = started {
                    storm.refresh_began(flight, at, version);
                }
            }
            Event::Refreshed {
                flight, generation, ..
            } => storm.refresh_ended(Some(*flight), "refreshed", Some(*generation), at, version),
            Event::Adopted { flight, generation } => {
                storm.refresh_ended(Some(*flight), "adopted", Some(*generation), at, version);
            }
            Event::RefreshFailed { flight, .. } => {
                storm.refresh_ended(Some(*flight), "failed", None, at, version);
            }
            Event::Ended { .. } => storm.refresh_ended(None, "ended", None, at, version),
            Event::SignedIn { generation } => {
                storm.refresh_ended(None, "overtaken", Some(*generation), at, version);
            }
            Event::SignedOut => storm.refresh_ended(None, "overtaken", None, at, version),
            _ => {}
        }
    }
}

/// The storm that a viewer has received, and its version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StormPosition {
    storm: u64,
    version: u64,
}

/// Counts one viewer until it is dropped.
pub(crate) struct ViewerGuard(Arc<Timeline>);

impl Drop for ViewerGuard {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that arrived while the page had viewers. The request joins a storm when it is refused
/// or waits.
pub(crate) struct TimelineRequest {
    timeline: Arc<Timeline>,
    session: Arc<str>,
    route: String,
    method: String,
    arrived: Instant,
    /// Time when the request was first sent, and the generation of its token.
    sent: OnceLock<(Instant, Option<u64>)>,
    /// Number of the request's storm, and the request's lane in it.
    lane: OnceLock<(u64, Option<usize>)>,
    answered: OnceLock<()>,
}

impl TimelineRequest {
    pub(crate) fn new(
        timeline: &Arc<Timeline>,
        session: &Arc<str>,
        route: &str,
        method: &str,
    ) -> Self {
        // The length of a method is limited only by the size of the head.
        let method = method.chars().take(16).collect();
        Self {
            timeline: Arc::clone(timeline),
            session: Arc::clone(session),
            route: route.to_owned(),
            method,
            arrived: Instant::now(),
            sent: OnceLock::new(),
            lane: OnceLock::new(),
            answered: OnceLock::new(),
        }
    }

    pub(crate) fn record(&self, at: Instant, observed: Observed<'_>) {
        let joined = self.lane.get().is_some();
        let step = match observed {
            // A replay reports `Replayed` and `Sent`; the second `Sent` is ignored.
            Observed::Sent { generation } => match self.sent.set((at, generation)) {
                Ok(()) if joined => RequestStep::Sent,
                _ => return,
            },
            Observed::Waiting => RequestStep::Waiting,
            Observed::Refused => RequestStep::Refused,
            Observed::Replayed => RequestStep::Replayed,
            Observed::Answered { status } if joined => {
                let _ = self.answered.set(());
                RequestStep::Answered(status.as_u16())
            }
            Observed::Arrived { .. } | Observed::Answered { .. } => return,
        };
        self.timeline.step(self, at, step);
    }
}

impl Drop for TimelineRequest {
    fn drop(&mut self) {
        if self.lane.get().is_some() && self.answered.get().is_none() {
            self.timeline.step(self, Instant::now(), RequestStep::Left);
        }
    }
}
