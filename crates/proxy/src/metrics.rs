//! Counters of the proxy, in the text format that Prometheus reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use token_rotator::{Event, FailureKind, RefreshError};

use crate::admin::Timeline;
use crate::worker::SharedState;

type Label = Vec<(&'static str, String)>;

/// Upper bounds of the histogram of answer times, in seconds.
const BOUNDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// Counts the refreshes in the events of sessions, and records them for the page.
///
/// Give one to the proxy's [`Config`](crate::Config), and clones of it to
/// [`on_event`](token_rotator::RotatorBuilder::on_event).
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    refreshes: Family<Label, Counter>,
    timeline: Arc<Timeline>,
    session: Option<Arc<str>>,
    /// Until when a failure of another process holds, in seconds since 1970.
    shared_failures: Family<FailureLabels, Gauge<i64, AtomicI64>>,
    /// The label of each session in `shared_failures`.
    shown: Arc<Mutex<BTreeMap<String, FailureLabels>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    session: String,
    kind: &'static str,
    host: String,
}

/// Returns the name of a kind of failure, for labels and JSON.
pub(crate) fn failure_kind(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::NotSent => "not_sent",
        FailureKind::Transient => "transient",
        FailureKind::Uncertain => "uncertain",
        FailureKind::Terminal => "terminal",
        FailureKind::Misconfigured => "misconfigured",
        _ => "other",
    }
}

impl Recorder {
    /// Returns a clone of the recorder for the events of one session. The name must be the one that
    /// the session's [`Route`](crate::Route) gives; the page shows the session under it.
    pub fn named(&self, session: impl Into<Arc<str>>) -> Self {
        Self {
            session: Some(session.into()),
            ..self.clone()
        }
    }

    /// Shows until when a failure of another process holds for this session, or that none holds.
    fn record_shared_failure(&self, session: &str, event: &Event) {
        let failure = match event {
            Event::RefreshFailed {
                error: RefreshError::Shared { failure, left },
                ..
            } => Some((failure, *left)),
            Event::Refreshed { .. }
            | Event::Adopted { .. }
            | Event::SignedIn { .. }
            | Event::SignedOut
            | Event::RefreshFailed { .. } => None,
            _ => return,
        };
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = shown.remove(session) {
            self.shared_failures.remove(&before);
        }
        if let Some((failure, left)) = failure {
            let label = FailureLabels {
                session: session.to_owned(),
                kind: failure_kind(failure.kind),
                host: failure.host.clone(),
            };
            let until = SystemTime::now().checked_add(left);
            let until = until.and_then(|until| until.duration_since(UNIX_EPOCH).ok());
            let until = until.map_or(0, |until| until.as_secs());
            self.shared_failures
                .get_or_create(&label)
                .set(i64::try_from(until).unwrap_or(i64::MAX));
            shown.insert(session.to_owned(), label);
        }
    }

    /// Counts one event. A recorder with a session name also records the event for the page.
    pub fn record(&self, event: &Event) {
        if let Some(session) = &self.session {
            self.timeline.record(session, event);
            self.record_shared_failure(session, event);
        }
        let outcome = match event {
            Event::Refreshed { .. } => "refreshed",
            Event::Adopted { .. } => "adopted",
            Event::RefreshFailed {
                error: RefreshError::Shared { .. },
                ..
            } => "held back",
            Event::RefreshFailed { .. } => "failed",
            Event::RefusedWithoutReason { .. } => "refused without a reason",
            Event::RefreshOverdue { .. } => "overdue",
            Event::Ended { .. } => "ended",
            _ => return,
        };
        let label = vec![("outcome", outcome.to_owned())];
        self.refreshes.get_or_create(&label).inc();
    }

    pub(crate) fn timeline(&self) -> Arc<Timeline> {
        Arc::clone(&self.timeline)
    }
}

/// All counters of the proxy.
pub(crate) struct Metrics {
    registry: Registry,
    routes: Mutex<BTreeMap<String, Arc<RouteStats>>>,
    requests: Family<RequestLabels, Counter>,
    replays: Family<Label, Counter>,
    handed_back: Family<Label, Counter>,
    waiting: Family<Label, Gauge<i64, AtomicI64>>,
    durations: Family<Label, Histogram, fn() -> Histogram>,
    rejected: Family<Label, Counter>,
    connections: Gauge<i64, AtomicI64>,
    copies: Gauge<i64, AtomicI64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: &'static str,
}

/// Counters of one route, resolved once so that a request needs no lookup.
pub(crate) struct RouteStats {
    by_class: [Counter; 5],
    replays: Counter,
    handed_back: Counter,
    waiting: Gauge<i64, AtomicI64>,
    durations: Histogram,
}

impl Metrics {
    pub(crate) fn new(recorder: &Recorder) -> Self {
        let mut registry = Registry::with_prefix("token_rotator_proxy");
        let durations: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BOUNDS));
        let metrics = Self {
            routes: Mutex::default(),
            requests: Family::default(),
            replays: Family::default(),
            handed_back: Family::default(),
            waiting: Family::default(),
            durations,
            rejected: Family::default(),
            connections: Gauge::default(),
            copies: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests answered", metrics.requests.clone());
        registry.register(
            "replays",
            "Requests that were replayed",
            metrics.replays.clone(),
        );
        let text = "Refusals returned to the caller";
        registry.register("refusals_handed_back", text, metrics.handed_back.clone());
        registry.register(
            "waiting",
            "Requests that wait for a token",
            metrics.waiting.clone(),
        );
        let text = "Time from the head of a request to the head of its answer";
        registry.register_with_unit("duration", text, Unit::Seconds, metrics.durations.clone());
        let text = "Requests without a route, by problem";
        registry.register("rejected", text, metrics.rejected.clone());
        registry.register(
            "refreshes",
            "Refreshes by outcome",
            recorder.refreshes.clone(),
        );
        registry.register_with_unit(
            "shared_failure_until",
            "When a failure of a refresh in another process ends, since 1970",
            Unit::Seconds,
            recorder.shared_failures.clone(),
        );
        registry.register(
            "connections",
            "Connections of callers",
            metrics.connections.clone(),
        );
        let text = "Bytes of bodies kept for replays";
        registry.register_with_unit("copies", text, Unit::Bytes, metrics.copies.clone());
        Self {
            registry,
            ..metrics
        }
    }

    /// Returns the counters of the route with this name. A reload keeps them.
    pub(crate) fn route(&self, name: &str) -> Arc<RouteStats> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = routes.get(name) {
            return Arc::clone(stats);
        }
        let label: Label = vec![("route", name.to_owned())];
        let by_class = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|status| {
            let labels = RequestLabels {
                route: name.to_owned(),
                status,
            };
            self.requests.get_or_create_owned(&labels)
        });
        let stats = Arc::new(RouteStats {
            by_class,
            replays: self.replays.get_or_create_owned(&label),
            handed_back: self.handed_back.get_or_create_owned(&label),
            waiting: self.waiting.get_or_create_owned(&label),
            durations: self.durations.get_or_create_owned(&label),
        });
        routes.insert(name.to_owned(), Arc::clone(&stats));
        stats
    }

    pub(crate) fn rejected(&self, problem: &'static str) {
        let label = vec![("problem", problem.to_owned())];
        self.rejected.get_or_create(&label).inc();
    }

    pub(crate) fn text(&self, shared: &SharedState) -> Result<String, fmt::Error> {
        let open = shared.connections.load(Ordering::Relaxed);
        self.connections
            .set(i64::try_from(open).unwrap_or(i64::MAX));
        self.copies
            .set(i64::try_from(shared.budget.used()).unwrap_or(i64::MAX));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl RouteStats {
    pub(crate) fn answered(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.by_class[class].inc();
        self.durations.observe(took.as_secs_f64());
    }

    pub(crate) fn replayed(&self) {
        self.replays.inc();
    }

    pub(crate) fn handed_back(&self) {
        self.handed_back.inc();
    }

    /// Counts a waiting request until the returned guard is dropped.
    pub(crate) fn wait(&self) -> impl Drop + use<> {
        self.waiting.inc();
        WaitingGuard(self.waiting.clone())
    }
}

struct WaitingGuard(Gauge<i64, AtomicI64>);

impl Drop for WaitingGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
