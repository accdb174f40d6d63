//! The two runs in numbers.

use anstyle::{AnsiColor, Style};
use serde::Serialize;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const PLAIN: Style = Style::new();

/// One run in numbers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    /// How many requests met the expired token.
    pub(crate) requests: u32,
    /// How many of them were answered with a 200.
    pub(crate) answered: u32,
    /// Calls of the token endpoint.
    pub(crate) refreshes: u64,
    /// How often the issuer took a refresh token for stolen.
    pub(crate) reuse_alarms: u64,
    /// Whether the session can go on.
    pub(crate) session_alive: bool,
    /// From setting out to having an answer or an error, median.
    pub(crate) p50_ms: f64,
    /// The same for the slowest in a hundred.
    pub(crate) p99_ms: f64,
    /// How many calls of the token endpoint it takes.
    pub(crate) ideal_refreshes: u64,
}

/// Both, against the ideal.
pub(crate) fn text(naive: &Run, rotator: &Run, expected: u32) -> String {
    let yes_no = |alive: bool| if alive { "yes" } else { "no" }.to_owned();
    let milliseconds = |value: f64| format!("{value:.1} ms");
    let answered = |run: &Run| format!("{} of {}", run.answered, run.requests);
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
    for (name, naive, rotator) in [
        ("latency p50", naive.p50_ms, rotator.p50_ms),
        ("latency p99", naive.p99_ms, rotator.p99_ms),
    ] {
        let (naive, rotator) = (milliseconds(naive), milliseconds(rotator));
        text += &format!("{name:<20}{naive:>20}{rotator:>20}\n");
    }
    text + "\n"
}

/// What each of the two came to, and whether that is as it should be.
fn row(name: &str, (naive, fine): (String, bool), rotator: (String, bool), ideal: &str) -> String {
    let style = |good: bool| if good { GOOD } else { BAD };
    let (rotator, good) = rotator;
    let (n, r) = (style(fine), style(good));
    format!("{name:<20}{n}{naive:>20}{n:#}{r}{rotator:>20}{r:#}{PLAIN}{ideal:>14}{PLAIN:#}\n")
}
