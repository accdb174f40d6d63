//! What the upstream counts, and its log of requests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// What the upstream answered since it started or since its counters were reset. Forwarded routes and
/// `/__counters` do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpstreamCounters {
    /// Requests that were let in, whatever they were answered then; those without authentication included.
    pub served: u64,
    /// Requests that were not: no token, a bad one, or a route that refuses always.
    pub refused: u64,
    /// How many requests carried a token of each generation, let in or not, over all families.
    pub by_generation: BTreeMap<u64, u64>,
    /// The most requests that were in processing at one time, waiting at a gate included.
    pub in_flight_max: u64,
}

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestRecord {
    /// When its head had arrived, since the upstream started.
    pub arrived: Duration,
    /// When the head of its answer was ready, since the upstream started.
    pub answered: Duration,
    /// Its path, without the query.
    pub path: String,
    /// The connection it came in on: 1 for the first that the upstream accepted, and so on.
    pub connection: u64,
    /// Its header `x-request-id`, if it has one.
    pub request_id: Option<String>,
    /// The generation of the token it carried, good or not; `None` without one of ours.
    pub generation: Option<u64>,
    /// The status it was answered with.
    pub status: u16,
}

impl RequestRecord {
    /// When its head had arrived: milliseconds since the upstream started.
    pub fn when_ms(&self) -> u64 {
        self.arrived.as_millis() as u64
    }
}

/// Counters and records behind one lock.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counters: UpstreamCounters,
    in_flight: u64,
    records: VecDeque<RequestRecord>,
}

impl Ledger {
    const REMEMBERED: usize = 100_000;

    pub(super) fn counters(&self) -> UpstreamCounters {
        self.state().counters.clone()
    }

    pub(super) fn records(&self) -> Vec<RequestRecord> {
        self.state().records.iter().cloned().collect()
    }

    pub(super) fn reset(&self) {
        let mut state = self.state();
        state.counters = UpstreamCounters {
            in_flight_max: state.in_flight,
            ..UpstreamCounters::default()
        };
        state.records.clear();
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(super) fn begin(&self) -> InFlight<'_> {
        let mut state = self.state();
        state.in_flight += 1;
        state.counters.in_flight_max = state.counters.in_flight_max.max(state.in_flight);
        InFlight { ledger: self }
    }

    pub(super) fn answered(&self, let_in: bool, record: RequestRecord) {
        let mut state = self.state();
        if let_in {
            state.counters.served += 1;
        } else {
            state.counters.refused += 1;
        }
        if let Some(generation) = record.generation {
            *state.counters.by_generation.entry(generation).or_default() += 1;
        }
        if state.records.len() == Self::REMEMBERED {
            state.records.pop_front();
        }
        state.records.push_back(record);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct InFlight<'a> {
    ledger: &'a Ledger,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.ledger.state().in_flight -= 1;
    }
}
