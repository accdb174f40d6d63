//! Reports the events of requests to an observer and to the page.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::{Method, StatusCode};

use crate::admin::TimelineRequest;
use crate::routes::RouteTarget;
use crate::worker::SharedState;

/// The number of a request in this process.
pub type RequestId = u64;

/// An event of a request. The event contains no token, no query and no path.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Observed<'a> {
    /// The request arrived and has this route.
    Arrived {
        /// The route's name.
        route: &'a str,
        /// The request's method.
        method: &'a Method,
    },
    /// The request was sent to the upstream.
    Sent {
        /// Generation of the request's token, or `None` if the request has no token.
        generation: Option<u64>,
    },
    /// The request waits for a token.
    Waiting,
    /// The upstream refused the request's token.
    Refused,
    /// The request is sent once more.
    Replayed,
    /// The request has its answer.
    Answered {
        /// Status of the answer.
        status: StatusCode,
    },
}

/// Receives the events of every request on the worker's thread. An observer must not block.
pub trait Observer: Send + Sync + 'static {
    /// Receives an event of the request with this number.
    fn observe(&self, request: RequestId, at: Instant, observed: Observed<'_>);
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// The receivers of one request's events. Without a receiver a request allocates nothing.
#[derive(Default)]
pub(crate) struct RequestEvents {
    observer: Option<(RequestId, Arc<dyn Observer>)>,
    /// The request on the timeline, while the page has viewers.
    timeline: Option<Box<TimelineRequest>>,
}

impl RequestEvents {
    /// Creates the receivers of a request and reports its arrival.
    pub(crate) fn new(shared: &SharedState, target: &RouteTarget, method: &Method) -> Self {
        let number = |observer| (NEXT.fetch_add(1, Ordering::Relaxed), Arc::clone(observer));
        let timeline = &shared.timeline;
        let on_timeline = || {
            let (session, route) = (&target.session, &target.name);
            Box::new(TimelineRequest::new(
                timeline,
                session,
                route,
                method.as_str(),
            ))
        };
        let events = Self {
            observer: shared.observer.as_ref().map(number),
            timeline: timeline.has_viewers().then(on_timeline),
        };
        events.report(Observed::Arrived {
            route: &target.name,
            method,
        });
        events
    }

    pub(crate) fn report(&self, observed: Observed<'_>) {
        if self.observer.is_none() && self.timeline.is_none() {
            return;
        }
        let at = Instant::now();
        if let Some((request, observer)) = &self.observer {
            observer.observe(*request, at, observed);
        }
        if let Some(request) = &self.timeline {
            request.record(at, observed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cors::Cors;
    use crate::headers::HeaderSummary;

    #[global_allocator]
    static ALLOCATOR: dhat::Alloc = dhat::Alloc;

    const REQUESTS: u64 = 1_000;

    /// Returns the number of blocks that the events of [`REQUESTS`] requests allocate.
    fn allocated_blocks(shared: &SharedState) -> u64 {
        let target = Arc::clone(&shared.table.load().targets()[0]);
        let before = dhat::HeapStats::get().total_blocks;
        for _ in 0..REQUESTS {
            let events = RequestEvents::new(shared, &target, &Method::GET);
            let generation = Some(1);
            events.report(Observed::Sent { generation });
            let status = StatusCode::OK;
            events.report(Observed::Answered { status });
        }
        dhat::HeapStats::get().total_blocks - before
    }

    /// Returns the number of blocks that the checks of [`REQUESTS`] requests allocate.
    fn blocks_of_checks(shared: &SharedState, fields: &[(&'static str, &'static str)]) -> u64 {
        let mut request = http::Request::get("/echo");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let table = shared.table.load();
        let before = dhat::HeapStats::get().total_blocks;
        for _ in 0..REQUESTS {
            let summary = HeaderSummary::of(request.headers());
            let admitted = table.admit(&request, summary, false, &mut Cors::Off);
            assert!(admitted.is_ok());
        }
        dhat::HeapStats::get().total_blocks - before
    }

    #[test]
    fn events_and_checks_allocate_nothing_without_a_viewer() {
        let shared = SharedState::for_test();
        let _profiler = dhat::Profiler::builder().testing().build();
        // Another test of the process may allocate at the same time, but not in each of 100 runs.
        assert!((0..100).any(|_| allocated_blocks(&shared) == 0));
        let program = [("host", "localhost:8080"), ("accept", "*/*")];
        let page = [
            ("host", "localhost:8080"),
            ("origin", "http://localhost:8080"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-mode", "cors"),
        ];
        for fields in [&program[..], &page[..]] {
            assert!((0..100).any(|_| blocks_of_checks(&shared, fields) == 0));
        }
        let viewer = shared.timeline.add_viewer();
        assert!(
            allocated_blocks(&shared) >= REQUESTS,
            "a viewer costs an allocation"
        );
        drop(viewer);
        assert!((0..100).any(|_| allocated_blocks(&shared) == 0));
    }
}
