//! Counters of the upstream and its log of answered requests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// Requests that the upstream answered since its start or since its counters were reset. The forwarded routes and
/// `/__counters` are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpstreamCounters {
    /// Accepted requests, whatever their status. Requests to routes without authentication count as accepted.
    pub served: u64,
    /// Refused requests: without a token, with an invalid token, or to a route that always refuses.
    pub refused: u64,
    /// Requests by the generation of their token, accepted or refused, summed over all families.
    pub by_generation: BTreeMap<u64, u64>,
    /// The largest number of requests in processing at one time, including requests that wait at a gate.
    pub in_flight_max: u64,
}

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestRecord {
    /// Time from the start of the upstream until the request's head arrived.
    pub arrived: Duration,
    /// Time from the start of the upstream until the response's head was ready.
    pub answered: Duration,
    /// The request's path, without the query.
    pub path: String,
    /// Number of the request's connection. The first connection that the upstream accepts has number 1.
    pub connection: u64,
    /// The request's `x-request-id` header, if the request has that header.
    pub request_id: Option<String>,
    /// The generation of the request's token, valid or not. `None` if the request has no token of this issuer.
    pub generation: Option<u64>,
    /// The status of the response.
    pub status: u16,
}

impl RequestRecord {
    /// Milliseconds from the start of the upstream until the request's head arrived.
    pub fn when_ms(&self) -> u64 {
        self.arrived.as_millis() as u64
    }
}

/// The counters and the records behind one lock.
#[derive(Debug, Default)]
pub(super) struct RequestLog {
    state: Mutex<LogState>,
}

#[derive(Debug, Default)]
struct LogState {
    counters: UpstreamCounters,
    in_flight: u64,
    records: VecDeque<RequestRecord>,
}

impl RequestLog {
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
    pub(super) fn begin(&self) -> RequestInFlight<'_> {
        let mut state = self.state();
        state.in_flight += 1;
        state.counters.in_flight_max = state.counters.in_flight_max.max(state.in_flight);
        RequestInFlight { request_log: self }
    }

    pub(super) fn answered(&self, accepted: bool, record: RequestRecord) {
        let mut state = self.state();
        if accepted {
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

    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct RequestInFlight<'a> {
    request_log: &'a RequestLog,
}

impl Drop for RequestInFlight<'_> {
    fn drop(&mut self) {
        self.request_log.state().in_flight -= 1;
    }
}
