//! What happened in a run.

use std::time::Duration;

use token_rotator_testkit::{Counters, RequestRecord};

use crate::arguments::{DemoOptions, IssuerProfile};
use crate::demo::table::Run;

/// One run, as it was.
pub(crate) struct Outcome {
    pub(crate) callers: Callers,
    /// Every request the API has seen.
    pub(crate) record: Vec<RequestRecord>,
    pub(crate) counters: Counters,
    pub(crate) session_alive: bool,
}

/// Who asked for what, on the clock of the API's record.
#[derive(Default)]
pub(crate) struct Callers {
    pub(crate) callers: Vec<Caller>,
    pub(crate) refreshes: Vec<Refresh>,
}

/// One caller, from setting out to having an end.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Its number, which is its `x-request-id` too.
    pub(crate) number: u32,
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    pub(crate) end: End,
}

/// How it ended for a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a 200.
    Answered,
    /// With a typed error that says that the refresh token may be spent.
    Uncertain,
    /// With anything else.
    Failed,
    /// It was cancelled on purpose, and does not count.
    Cancelled,
}

/// One refresh. `by`: the caller whose own it was.
#[derive(Clone, Debug)]
pub(crate) struct Refresh {
    pub(crate) by: Option<u32>,
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    pub(crate) succeeded: bool,
}

impl Outcome {
    /// The run in numbers.
    pub(crate) fn summary(&self, options: &DemoOptions, profile: IssuerProfile) -> Run {
        let mut latencies: Vec<Duration> = self
            .counted()
            .map(|caller| caller.ended.saturating_sub(caller.begun))
            .collect();
        latencies.sort_unstable();
        Run {
            requests: options.requests,
            answered: self.count(End::Answered),
            refreshes: self.counters.token_requests,
            reuse_alarms: self.counters.reuses,
            session_alive: self.session_alive,
            p50_ms: percentile(&latencies, 50),
            p99_ms: percentile(&latencies, 99),
            ideal_refreshes: ideal_refreshes(options, profile),
        }
    }

    /// Whether a run of token-rotator's was as good as this issuer allows.
    pub(crate) fn is_perfect(&self, options: &DemoOptions, profile: IssuerProfile) -> bool {
        let end = if hopeless(options, profile) {
            End::Uncertain
        } else {
            End::Answered
        };
        self.count(end) == options.requests
            && self.counters.token_requests == ideal_refreshes(options, profile)
            && self.counters.reuses == 0
            && self.session_alive
    }

    /// How many callers ended like this.
    pub(crate) fn count(&self, end: End) -> u32 {
        u32::try_from(self.counted().filter(|caller| caller.end == end).count()).unwrap_or(u32::MAX)
    }

    fn counted(&self) -> impl Iterator<Item = &Caller> {
        let callers = self.callers.callers.iter();
        callers.filter(|caller| caller.end != End::Cancelled)
    }
}

/// The answer is lost and the issuer forgives nothing: nobody can do better than say so.
pub(crate) fn hopeless(options: &DemoOptions, profile: IssuerProfile) -> bool {
    options.lost_answer && profile == IssuerProfile::Strict
}

/// How many requests the best of clients gets an answer to.
pub(crate) fn ideal_answers(options: &DemoOptions, profile: IssuerProfile) -> u32 {
    if hopeless(options, profile) {
        0
    } else {
        options.requests
    }
}

fn ideal_refreshes(options: &DemoOptions, profile: IssuerProfile) -> u64 {
    // A lost answer costs a second one, where the issuer allows that.
    if options.lost_answer && profile != IssuerProfile::Strict {
        2
    } else {
        1
    }
}

/// In milliseconds, to a tenth.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    let latency = sorted.get(place).copied().unwrap_or_default();
    (latency.as_secs_f64() * 10_000.0).round() / 10.0
}
