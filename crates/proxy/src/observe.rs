//! What happens to requests, for whoever wants to watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::{Method, StatusCode};

use crate::admin::Watched;
use crate::routes::Target;
use crate::worker::Shared;

/// The number of a request in this process.
pub type RequestId = u64;

/// Something that happened to a request. It holds no token, no query and no path.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Observed<'a> {
    /// It came in and goes to this route.
    Arrived {
        /// The route's name.
        route: &'a str,
        /// Its method.
        method: &'a Method,
    },
    /// It was sent with the token of this generation; `None`: without one.
    Sent {
        /// The generation.
        generation: Option<u64>,
    },
    /// It waits for a token.
    Waiting,
    /// Its token was refused.
    Refused,
    /// It is sent once more.
    Replayed,
    /// It is answered.
    Answered {
        /// The status.
        status: StatusCode,
    },
}

/// Is told of every request, on the worker's thread: it must be quick and must not block.
pub trait Observer: Send + Sync + 'static {
    /// Something happened to the request of this number.
    fn observe(&self, request: RequestId, at: Instant, observed: Observed<'_>);
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// One request's line to whoever watches; free where nobody does.
#[derive(Default)]
pub(crate) struct Watch {
    observer: Option<(RequestId, Arc<dyn Observer>)>,
    /// For those who look at the page.
    page: Option<Box<Watched>>,
}

impl Watch {
    /// Tells that a request has arrived, and goes with it.
    pub(crate) fn new(shared: &Shared, target: &Target, method: &Method) -> Self {
        let number = |observer| (NEXT.fetch_add(1, Ordering::Relaxed), Arc::clone(observer));
        let timeline = &shared.timeline;
        let watched = || {
            let (session, route) = (&target.session, &target.name);
            Box::new(Watched::new(timeline, session, route, method.as_str()))
        };
        let watch = Self {
            observer: shared.observer.as_ref().map(number),
            page: timeline.is_watched().then(watched),
        };
        watch.tell(Observed::Arrived {
            route: &target.name,
            method,
        });
        watch
    }

    pub(crate) fn tell(&self, observed: Observed<'_>) {
        if self.observer.is_none() && self.page.is_none() {
            return;
        }
        let at = Instant::now();
        if let Some((request, observer)) = &self.observer {
            observer.observe(*request, at, observed);
        }
        if let Some(page) = &self.page {
            page.tell(at, observed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: dhat::Alloc = dhat::Alloc;

    const REQUESTS: u64 = 1_000;

    /// Blocks that the way of so many requests allocates.
    fn allocated(shared: &Shared) -> u64 {
        let target = Arc::clone(&shared.table.load().targets()[0]);
        let before = dhat::HeapStats::get().total_blocks;
        for _ in 0..REQUESTS {
            let watch = Watch::new(shared, &target, &Method::GET);
            let generation = Some(1);
            watch.tell(Observed::Sent { generation });
            let status = StatusCode::OK;
            watch.tell(Observed::Answered { status });
        }
        dhat::HeapStats::get().total_blocks - before
    }

    #[test]
    fn nothing_is_paid_while_nobody_looks() {
        let shared = Shared::for_test();
        let _profiler = dhat::Profiler::builder().testing().build();
        // Another test in the same process may allocate meanwhile, but not every time.
        assert!((0..100).any(|_| allocated(&shared) == 0));
        let watching = shared.timeline.watch();
        assert!(allocated(&shared) >= REQUESTS, "this can be seen");
        drop(watching);
        assert!((0..100).any(|_| allocated(&shared) == 0));
    }
}
