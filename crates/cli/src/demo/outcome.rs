//! The record of a run and its evaluation.

use std::time::Duration;

use token_rotator_issuer::{Counters, RequestRecord};

use crate::arguments::{DemoOptions, IssuerProfile};
use crate::demo::table::RunSummary;

/// The record of one run.
pub(crate) struct RunOutcome {
    pub(crate) log: RunLog,
    /// Every request that the API received.
    pub(crate) record: Vec<RequestRecord>,
    pub(crate) counters: Counters,
    pub(crate) session_alive: bool,
}

/// The callers and the refreshes, timed on the clock of the API's record.
#[derive(Default)]
pub(crate) struct RunLog {
    pub(crate) callers: Vec<Caller>,
    pub(crate) refreshes: Vec<RefreshSpan>,
}

/// One caller, from its start to its outcome.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The number of the caller, sent as `x-request-id`.
    pub(crate) number: u32,
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    pub(crate) outcome: CallerOutcome,
}

/// The outcome of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerOutcome {
    /// The API answered 200.
    Answered,
    /// The caller got the typed error that the refresh token may be spent.
    Uncertain,
    /// Any other answer or error.
    Failed,
    /// The demo cancelled the caller, which is not counted.
    Cancelled,
}

/// One refresh. `by` is the caller that sent it; `None` for a refresh that all callers share.
#[derive(Clone, Debug)]
pub(crate) struct RefreshSpan {
    pub(crate) by: Option<u32>,
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    pub(crate) succeeded: bool,
}

impl RunOutcome {
    /// Summarises the run in numbers.
    pub(crate) fn summary(&self, options: &DemoOptions, profile: IssuerProfile) -> RunSummary {
        let mut latencies: Vec<Duration> = self
            .counted()
            .map(|caller| caller.ended.saturating_sub(caller.begun))
            .collect();
        latencies.sort_unstable();
        RunSummary {
            requests: options.requests,
            answered: self.count(CallerOutcome::Answered),
            refreshes: self.counters.token_requests,
            reuse_alarms: self.counters.reuses,
            session_alive: self.session_alive,
            p50_ms: percentile(&latencies, 50),
            p99_ms: percentile(&latencies, 99),
            ideal_refreshes: ideal_refreshes(options, profile),
        }
    }

    /// Returns whether a run of token-rotator was as good as this issuer allows.
    pub(crate) fn is_perfect(&self, options: &DemoOptions, profile: IssuerProfile) -> bool {
        let outcome = if is_unrecoverable(options, profile) {
            CallerOutcome::Uncertain
        } else {
            CallerOutcome::Answered
        };
        self.count(outcome) == options.requests
            && self.counters.token_requests == ideal_refreshes(options, profile)
            && self.counters.reuses == 0
            && self.session_alive
    }

    /// Counts the callers with this outcome.
    pub(crate) fn count(&self, outcome: CallerOutcome) -> u32 {
        u32::try_from(
            self.counted()
                .filter(|caller| caller.outcome == outcome)
                .count(),
        )
        .unwrap_or(u32::MAX)
    }

    fn counted(&self) -> impl Iterator<Item = &Caller> {
        let callers = self.log.callers.iter();
        callers.filter(|caller| caller.outcome != CallerOutcome::Cancelled)
    }
}

/// Returns whether an answer is lost at an issuer that revokes on reuse. No client can recover then.
pub(crate) fn is_unrecoverable(options: &DemoOptions, profile: IssuerProfile) -> bool {
    options.lost_answer && profile == IssuerProfile::Strict
}

/// Returns the number of requests that an ideal client gets answered.
pub(crate) fn ideal_answers(options: &DemoOptions, profile: IssuerProfile) -> u32 {
    if is_unrecoverable(options, profile) {
        0
    } else {
        options.requests
    }
}

fn ideal_refreshes(options: &DemoOptions, profile: IssuerProfile) -> u64 {
    // A lost answer costs a second refresh if the issuer allows one.
    if options.lost_answer && profile != IssuerProfile::Strict {
        2
    } else {
        1
    }
}

/// Returns the percentile in milliseconds, rounded to a tenth.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    let latency = sorted.get(index).copied().unwrap_or_default();
    (latency.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Constructed runs for tests.
#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    pub(crate) fn options() -> DemoOptions {
        DemoOptions {
            requests: 3,
            lifetime: None,
            profile: None,
            cancel_leader: false,
            lost_answer: false,
            json: false,
            web: false,
            port: None,
        }
    }

    /// Returns a run with one refresh, no alarm, a live session and callers with this outcome.
    pub(crate) fn all_ended(outcome: CallerOutcome, callers: u32) -> RunOutcome {
        let callers = (1..=callers).map(|number| Caller {
            number,
            begun: Duration::ZERO,
            ended: Duration::from_millis(5),
            outcome,
        });
        RunOutcome {
            log: RunLog {
                callers: callers.collect(),
                refreshes: Vec::new(),
            },
            record: Vec::new(),
            counters: Counters {
                token_requests: 1,
                ..Counters::default()
            },
            session_alive: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::{all_ended, options};
    use super::*;

    /// Returns whether a perfect run with this change is still perfect.
    fn perfect_with(change: impl FnOnce(&mut RunOutcome)) -> bool {
        let mut outcome = all_ended(CallerOutcome::Answered, 3);
        change(&mut outcome);
        outcome.is_perfect(&options(), IssuerProfile::Strict)
    }

    /// Each single flaw makes a run imperfect, and so the demo's exit code.
    #[test]
    fn one_flaw_is_enough() {
        assert!(perfect_with(|_| {}));
        for outcome in [
            CallerOutcome::Failed,
            CallerOutcome::Uncertain,
            CallerOutcome::Cancelled,
        ] {
            assert!(!perfect_with(|run| run.log.callers[1].outcome = outcome));
        }
        assert!(!perfect_with(|run| {
            run.log.callers.pop();
        }));
        for count in [0, 2] {
            assert!(!perfect_with(|run| run.counters.token_requests = count));
        }
        assert!(!perfect_with(|run| run.counters.reuses = 1));
        assert!(!perfect_with(|run| run.session_alive = false));
    }

    /// A cancelled leader comes on top of the counted callers.
    #[test]
    fn a_cancelled_leader_does_not_count() {
        assert!(perfect_with(|run| run.log.callers.push(Caller {
            number: 0,
            begun: Duration::ZERO,
            ended: Duration::ZERO,
            outcome: CallerOutcome::Cancelled,
        })));
    }

    /// After a lost answer a perfect run is a second refresh and an answer for every caller. At a
    /// strict issuer it is one refresh and the error `uncertain` for every caller.
    #[test]
    fn a_lost_answer_changes_the_ideal() {
        let options = DemoOptions {
            lost_answer: true,
            ..options()
        };
        let mut answered = all_ended(CallerOutcome::Answered, 3);
        let uncertain = all_ended(CallerOutcome::Uncertain, 3);
        assert!(uncertain.is_perfect(&options, IssuerProfile::Strict));
        assert!(!answered.is_perfect(&options, IssuerProfile::Strict));
        assert!(!answered.is_perfect(&options, IssuerProfile::ParentAlways));
        answered.counters.token_requests = 2;
        assert!(answered.is_perfect(&options, IssuerProfile::ParentAlways));
        assert!(!uncertain.is_perfect(&options, IssuerProfile::ParentAlways));
    }
}
