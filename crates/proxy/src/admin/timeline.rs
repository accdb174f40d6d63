//! What happens, kept for whoever looks at the page.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use serde_json::Value;
use token_rotator::Event;
use tokio::sync::watch;

use super::sessions::Notes;
use super::storm::{Millis, Step, Storm};
use crate::observe::Observed;

/// So many can look at one time.
const WATCHERS: usize = 8;

/// The last storm of each session, and what its events said. Nothing is kept of requests while
/// nobody looks.
pub(crate) struct Timeline {
    watchers: AtomicUsize,
    epoch: Instant,
    state: Mutex<State>,
    /// The version of the state, told when it has changed.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    version: u64,
    storms: u64,
    sessions: BTreeMap<Arc<str>, Known>,
}

#[derive(Default)]
struct Known {
    notes: Notes,
    storm: Option<Storm>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            watchers: AtomicUsize::new(0),
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
    /// Whether anybody looks.
    pub(crate) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// Looks until the answer is dropped; `None`: too many do.
    pub(crate) fn watch(self: &Arc<Self>) -> Option<Watching> {
        let one_more = |watchers| (watchers < WATCHERS).then_some(watchers + 1);
        let order = Ordering::Relaxed;
        let counted = self.watchers.fetch_update(order, order, one_more);
        counted.ok().map(|_| Watching(Arc::clone(self)))
    }

    /// Told of every change.
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

    /// Notes what a session says of itself.
    pub(crate) fn note(&self, session: &Arc<str>, event: &Event) {
        let at = self.now();
        let mut state = self.lock();
        let version = state.next();
        let known = state.sessions.entry(Arc::clone(session)).or_default();
        known.note(event, at, version);
        self.tell(state);
    }

    /// What the events of this session said; `read` must not wait.
    pub(crate) fn read<T>(&self, session: &str, read: impl FnOnce(&Notes) -> T) -> T {
        let state = self.lock();
        match state.sessions.get(session) {
            Some(known) => read(&known.notes),
            None => read(&Notes::default()),
        }
    }

    /// The newest storm as far as it is newer than `seen`, and how new it is.
    pub(crate) fn storm(&self, seen: Seen) -> Option<(Value, Seen)> {
        let state = self.lock();
        let storms = state.sessions.values();
        let storm = storms
            .filter_map(|known| known.storm.as_ref())
            .max_by_key(|storm| storm.number)?;
        let now = Seen {
            storm: storm.number,
            version: storm.version,
        };
        if now == seen {
            return None;
        }
        let since = if seen.storm == now.storm {
            seen.version
        } else {
            0
        };
        Some((storm.json(since), now))
    }

    fn step(&self, request: &Watched, at: Instant, step: Step) {
        let mut state = self.lock();
        let version = state.next();
        let (session, number) = (&request.session, state.storms + 1);
        let known = state.sessions.entry(Arc::clone(session)).or_default();
        let sent = request.sent.get();
        let (joined, lane) = *request.place.get_or_init(|| {
            let storm = known.storm_for(request, number, self.millis(at), version);
            let lane = storm.join(&request.route, &request.method);
            let arrived = self.millis(request.arrived);
            storm.step(lane, Step::Arrived, arrived, version);
            if let Some((sent, _)) = sent.filter(|_| step != Step::Sent) {
                storm.step(lane, Step::Sent, self.millis(*sent), version);
            }
            (storm.number, lane)
        });
        if let Some(storm) = known.storm.as_mut().filter(|storm| storm.number == joined) {
            storm.step(lane, step, self.millis(at), version);
        }
        state.storms = state.storms.max(joined);
        self.tell(state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: MutexGuard<'_, State>) {
        let version = state.version;
        drop(state);
        self.changed.send_replace(version);
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.version += 1;
        self.version
    }
}

impl Known {
    /// The storm that a request belongs to which is about to wait: the one that goes on, the one
    /// that replaced its token, or a new one.
    fn storm_for(
        &mut self,
        request: &Watched,
        number: u64,
        at: Millis,
        version: u64,
    ) -> &mut Storm {
        let generation = request.sent.get().and_then(|(_, generation)| *generation);
        let goes_on = |storm: &Storm| storm.is_open() || storm.has_replaced(generation);
        let flight = self.notes.flight();
        let storm = self.storm.take().filter(goes_on);
        self.storm.insert(storm.unwrap_or_else(|| {
            let mut storm = Storm::new(number, &request.session, at);
            if let Some((flight, began)) = flight {
                storm.refresh_began(flight, began, version);
            }
            storm
        }))
    }

    fn note(&mut self, event: &Event, at: Millis, version: u64) {
        let before = self.notes.flight();
        self.notes.note(event, at, SystemTime::now());
        let begun = self.notes.flight().filter(|now| Some(*now) != before);
        let Some(storm) = self.storm.as_mut().filter(|storm| storm.is_open()) else {
            return;
        };
        match event {
            Event::RefreshStarted { .. } => {
                if let Some((flight, _)) = begun {
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

/// How much of which storm somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    storm: u64,
    version: u64,
}

/// Somebody who looks.
pub(crate) struct Watching(Arc<Timeline>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that arrived while somebody looked. It is of no storm until it is refused or waits.
pub(crate) struct Watched {
    timeline: Arc<Timeline>,
    session: Arc<str>,
    route: String,
    method: String,
    arrived: Instant,
    /// When it was sent first, and with the token of which generation.
    sent: OnceLock<(Instant, Option<u64>)>,
    /// Its storm, and its lane there.
    place: OnceLock<(u64, Option<usize>)>,
    answered: OnceLock<()>,
}

impl Watched {
    pub(crate) fn new(
        timeline: &Arc<Timeline>,
        session: &Arc<str>,
        route: &str,
        method: &str,
    ) -> Self {
        // A method can be as long as a head may be.
        let method = method.chars().take(16).collect();
        Self {
            timeline: Arc::clone(timeline),
            session: Arc::clone(session),
            route: route.to_owned(),
            method,
            arrived: Instant::now(),
            sent: OnceLock::new(),
            place: OnceLock::new(),
            answered: OnceLock::new(),
        }
    }

    pub(crate) fn tell(&self, at: Instant, observed: Observed<'_>) {
        let joined = self.place.get().is_some();
        let step = match observed {
            // A replay is told twice: that it is one, and that it is sent.
            Observed::Sent { generation } => match self.sent.set((at, generation)) {
                Ok(()) if joined => Step::Sent,
                _ => return,
            },
            Observed::Waiting => Step::Waiting,
            Observed::Refused => Step::Refused,
            Observed::Replayed => Step::Replayed,
            Observed::Answered { status } if joined => {
                let _ = self.answered.set(());
                Step::Answered(status.as_u16())
            }
            Observed::Arrived { .. } | Observed::Answered { .. } => return,
        };
        self.timeline.step(self, at, step);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.place.get().is_some() && self.answered.get().is_none() {
            self.timeline.step(self, Instant::now(), Step::Left);
        }
    }
}
