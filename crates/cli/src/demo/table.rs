//! The table that compares the two runs.

use anstyle::{AnsiColor, Style};
use serde::Serialize;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const PLAIN: Style = Style::new();

/// The numbers of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunSummary {
    /// Requests that were sent with the expired token.
    pub(crate) requests: u32,
    /// Requests that were answered with a 200.
    pub(crate) answered: u32,
    /// Calls of the token endpoint.
    pub(crate) refreshes: u64,
    /// Times that the issuer detected the reuse of a refresh token.
    pub(crate) reuse_alarms: u64,
    /// Whether the session can still be refreshed.
    pub(crate) session_alive: bool,
    /// Median time from the start of a caller to its answer or error, in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99th percentile of that time, in milliseconds.
    pub(crate) p99_ms: f64,
    /// Calls of the token endpoint that an ideal client needs.
    pub(crate) ideal_refreshes: u64,
}

/// Formats both runs beside the ideal.
pub(crate) fn text(naive: &RunSummary, rotator: &RunSummary, expected: u32) -> String {
    let yes_no = |alive: bool| if alive { "yes" } else { "no" }.to_owned();
    let milliseconds = |value: f64| format!("{value:.1} ms");
    let answered = |run: &RunSummary| format!("{} of {}", run.answered, run.requests);
    let mut text = format!(
        "{:<20}{:>20}{:>20}{:>14}\n",
        "", "each on its own", "token-rotator", "ideal"
    );
    text += &row(
        "refresh calls",
        (
            naive.refreshes.to_string(),
            naive.refreshes == naive.ideal_refreshes,
        ),
        (
            rotator.refreshes.to_string(),
            rotator.refreshes == rotator.ideal_refreshes,
        ),
        &rotator.ideal_refreshes.to_string(),
    );
    text += &row(
        "requests answered",
        (answered(naive), naive.answered == expected),
        (answered(rotator), rotator.answered == expected),
        &expected.to_string(),
    );
    text += &row(
        "session alive",
        (yes_no(naive.session_alive), naive.session_alive),
        (yes_no(rotator.session_alive), rotator.session_alive),
        "yes",
    );
    text += &row(
        "reuse alarms",
        (naive.reuse_alarms.to_string(), naive.reuse_alarms == 0),
        (rotator.reuse_alarms.to_string(), rotator.reuse_alarms == 0),
        "0",
    );
    let latency = |name: &str, naive, rotator| {
        let (naive, rotator) = (milliseconds(naive), milliseconds(rotator));
        format!("{name:<20}{naive:>20}{rotator:>20}\n")
    };
    text += &latency("latency p50", naive.p50_ms, rotator.p50_ms);
    text += &latency("latency p99", naive.p99_ms, rotator.p99_ms);
    text + "\n"
}

/// Formats one row. Each run has a value and whether the value equals the ideal.
fn row(name: &str, (naive, fine): (String, bool), rotator: (String, bool), ideal: &str) -> String {
    let style = |good: bool| if good { GOOD } else { BAD };
    let (rotator, good) = rotator;
    let (n, r) = (style(fine), style(good));
    format!("{name:<20}{n}{naive:>20}{n:#}{r}{rotator:>20}{r:#}{PLAIN}{ideal:>14}{PLAIN:#}\n")
}
