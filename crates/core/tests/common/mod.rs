//! The harness that property tests and scenarios share: one set of events and answers, one
//! driver that plays them on a `Session`, one generator of histories.

// Each test program uses its own part of the harness.
#![allow(dead_code)]

pub(crate) mod events;
pub(crate) mod generate;
pub(crate) mod run;
pub(crate) mod scenario;

/// How many cases a property is tried on: so many, or `PROPTEST_CASES` where that is set.
pub(crate) fn cases(default: u32) -> proptest::test_runner::Config {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(default);
    proptest::test_runner::Config {
        cases,
        // A history that failed is printed as a scenario: it belongs into `scenarios/`.
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..proptest::test_runner::Config::default()
    }
}
