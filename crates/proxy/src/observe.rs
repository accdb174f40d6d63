//! What happens to requests, for whoever wants to watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::{Method, StatusCode};

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
#[derive(Clone)]
pub(crate) struct Watch(Option<(RequestId, Arc<dyn Observer>)>);

impl Watch {
    pub(crate) fn new(observer: Option<&Arc<dyn Observer>>) -> Self {
        let watch = |observer| (NEXT.fetch_add(1, Ordering::Relaxed), Arc::clone(observer));
        Self(observer.map(watch))
    }

    pub(crate) fn tell(&self, observed: Observed<'_>) {
        if let Some((request, observer)) = &self.0 {
            observer.observe(*request, Instant::now(), observed);
        }
    }
}
