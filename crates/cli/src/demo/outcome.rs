//! What happened in a run.

use std::time::Duration;

use token_rotator_issuer::{Counters, RequestRecord};

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

/// Runs made by hand.
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

    /// One refresh, no alarm, the session alive, and so many callers who ended like this.
    pub(crate) fn all_ended(end: End, callers: u32) -> Outcome {
        let callers = (1..=callers).map(|number| Caller {
            number,
            begun: Duration::ZERO,
            ended: Duration::from_millis(5),
            end,
        });
        Outcome {
            callers: Callers {
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

    /// The run with this changed: is it still perfect?
    fn perfect_with(change: impl FnOnce(&mut Outcome)) -> bool {
        let mut outcome = all_ended(End::Answered, 3);
        change(&mut outcome);
        outcome.is_perfect(&options(), IssuerProfile::Strict)
    }

    /// Each single flaw makes a run imperfect, and with it the exit code of the demo.
    #[test]
    fn one_flaw_is_enough() {
        assert!(perfect_with(|_| {}));
        for end in [End::Failed, End::Uncertain, End::Cancelled] {
            assert!(!perfect_with(|run| run.callers.callers[1].end = end));
        }
        assert!(!perfect_with(|run| {
            run.callers.callers.pop();
        }));
        for calls in [0, 2] {
            assert!(!perfect_with(|run| run.counters.token_requests = calls));
        }
        assert!(!perfect_with(|run| run.counters.reuses = 1));
        assert!(!perfect_with(|run| run.session_alive = false));
    }

    /// A cancelled leader is one more than those who are asked about.
    #[test]
    fn a_cancelled_leader_does_not_count() {
        assert!(perfect_with(|run| run.callers.callers.push(Caller {
            number: 0,
            begun: Duration::ZERO,
            ended: Duration::ZERO,
            end: End::Cancelled,
        })));
    }

    /// Where an answer is lost, perfect is what the issuer allows: a second presentation and an
    /// answer for all, or the truth for all after one.
    #[test]
    fn a_lost_answer_moves_the_bar() {
        let options = DemoOptions {
            lost_answer: true,
            ..options()
        };
        let mut answered = all_ended(End::Answered, 3);
        let told = all_ended(End::Uncertain, 3);
        assert!(told.is_perfect(&options, IssuerProfile::Strict));
        assert!(!answered.is_perfect(&options, IssuerProfile::Strict));
        assert!(!answered.is_perfect(&options, IssuerProfile::ParentAlways));
        answered.counters.token_requests = 2;
        assert!(answered.is_perfect(&options, IssuerProfile::ParentAlways));
        assert!(!told.is_perfect(&options, IssuerProfile::ParentAlways));
    }
}
