//! The results of the steps: a line for each step, and a last line for CI.

use std::{fmt::Write as _, time::Duration};

use crate::tally::Tally;

/// The verdict on a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The step succeeded.
    Passed,
    /// The step failed.
    Failed,
    /// The step cannot run on this machine.
    Skipped,
}

impl Verdict {
    /// The word in the report. A failure is in capitals.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The verdict.
    pub(crate) verdict: Verdict,
    /// The reason, or a count. May be empty.
    pub(crate) detail: String,
    /// The tests of a step that runs tests.
    pub(crate) tests: Option<Tally>,
}

impl Outcome {
    /// The step succeeded.
    pub(crate) fn passed(detail: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Passed,
            detail: detail.into(),
            tests: None,
        }
    }

    /// The step failed; the detail names the cause.
    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Failed,
            detail: detail.into(),
            tests: None,
        }
    }

    /// The step cannot run on this machine; the detail is the reason.
    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Skipped,
            detail: why.into(),
            tests: None,
        }
    }

    /// Adds the tests that ran.
    pub(crate) fn with_tests(mut self, tests: Tally) -> Self {
        self.tests = Some(tests);
        self
    }
}

/// The cost of a step.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Wall time.
    pub(crate) time: Duration,
    /// Processor time of the step's processes, all cores together.
    pub(crate) processor: Duration,
}

/// The results of the finished steps.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<(&'static str, Cost, Outcome)>,
}

impl Report {
    /// Adds a finished step.
    pub(crate) fn add(&mut self, step: &'static str, cost: Cost, outcome: Outcome) {
        self.rows.push((step, cost, outcome));
    }

    /// True if a step failed.
    pub(crate) fn any_failed(&self) -> bool {
        self.rows
            .iter()
            .any(|(_, _, outcome)| outcome.verdict == Verdict::Failed)
    }

    /// Returns the table of steps and the last line.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("\n  step        result       time  processor\n");
        let mut total = Cost::default();
        for (step, cost, outcome) in &self.rows {
            total.time += cost.time;
            total.processor += cost.processor;
            let row = format!(
                "  {step:<11} {:<8} {:>8}   {:>8}  {}",
                outcome.verdict.word(),
                seconds(cost.time),
                seconds(cost.processor),
                outcome.detail
            );
            let _ = writeln!(text, "{}", row.trim_end());
        }
        let (time, processor) = (seconds(total.time), seconds(total.processor));
        let _ = writeln!(
            text,
            "  {:<11} {:<8} {time:>8}   {processor:>8}\n",
            "all", ""
        );

        let runs: Vec<(&str, u64)> = self
            .rows
            .iter()
            .filter_map(|(step, _, outcome)| Some((*step, outcome.tests?.ran())))
            .collect();
        if !runs.is_empty() {
            let each = runs
                .iter()
                .map(|(step, ran)| format!("{step} {ran}"))
                .collect::<Vec<_>>()
                .join(", ");
            let _ = writeln!(
                text,
                "{} tests ran: {each}",
                runs.iter().map(|(_, ran)| ran).sum::<u64>()
            );
        }
        text.push_str(&self.closing_line());
        text.push('\n');
        text
    }

    /// Returns `N passed, M failed`, with `, K skipped` if a step was skipped.
    fn closing_line(&self) -> String {
        let mut all = Tally::default();
        for (_, _, outcome) in &self.rows {
            all += counted(outcome);
        }
        let mut line = format!("{} passed, {} failed", all.passed, all.failed);
        if all.skipped > 0 {
            let _ = write!(line, ", {} skipped", all.skipped);
        }
        line
    }
}

/// A step counts as its tests. A step without tests, or that failed outside its tests, counts as
/// one.
fn counted(outcome: &Outcome) -> Tally {
    let mut tally = outcome.tests.unwrap_or_default();
    match outcome.verdict {
        Verdict::Passed if outcome.tests.is_none() => tally.passed += 1,
        Verdict::Failed if tally.failed == 0 => tally.failed += 1,
        Verdict::Skipped => tally.skipped += 1,
        Verdict::Passed | Verdict::Failed => {}
    }
    tally
}

/// Formats a time in seconds with one digit.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: impl IntoIterator<Item = Outcome>) -> Report {
        let mut report = Report::default();
        for outcome in outcomes {
            let cost = Cost {
                time: Duration::from_millis(1_250),
                processor: Duration::from_millis(2_500),
            };
            report.add("step", cost, outcome);
        }
        report
    }

    fn tests(passed: u64, failed: u64, skipped: u64) -> Tally {
        Tally {
            passed,
            failed,
            skipped,
        }
    }

    fn last_line(report: &Report) -> String {
        report
            .text()
            .lines()
            .last()
            .expect("never empty")
            .to_owned()
    }

    #[test]
    fn tests_count_each_and_other_steps_one() {
        let report = report([
            Outcome::passed(""),
            Outcome::passed("").with_tests(tests(40, 0, 2)),
        ]);
        assert_eq!(last_line(&report), "41 passed, 0 failed, 2 skipped");
        assert!(
            report.text().contains("40 tests ran: step 40\n"),
            "{}",
            report.text()
        );
        assert!(!report.any_failed());
    }

    #[test]
    fn a_failure_is_never_counted_as_none() {
        assert_eq!(
            last_line(&report([Outcome::failed("does not compile")])),
            "0 passed, 1 failed"
        );
        assert_eq!(
            last_line(&report([
                Outcome::failed("no test").with_tests(tests(0, 0, 0))
            ])),
            "0 passed, 1 failed"
        );
        assert_eq!(
            last_line(&report([Outcome::failed("two").with_tests(tests(5, 2, 0))])),
            "5 passed, 2 failed"
        );
        assert!(report([Outcome::failed("")]).any_failed());
    }

    #[test]
    fn a_skipped_step_is_counted_and_says_why() {
        let report = report([Outcome::skipped("no apt-get on this machine")]);
        assert_eq!(last_line(&report), "0 passed, 0 failed, 1 skipped");
        assert!(report.text().contains("no apt-get"));
    }

    #[test]
    fn rows_do_not_end_in_blanks() {
        assert!(
            report([Outcome::passed("")])
                .text()
                .lines()
                .all(|line| line == line.trim_end())
        );
    }
}
