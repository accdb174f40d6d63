//! Test runs that are searched for leaks: everything is logged, and every secret can be found.

use std::sync::Once;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Set in a test run whose output is searched for secrets.
const WATCHED: &str = "TOKEN_ROTATOR_TEST_LOG";

/// What every secret begins with in such a run. Never written in one piece where it could be
/// found in the output by itself.
const CANARY: [&str; 2] = ["CANARY", "-7f3a-"];

/// In a watched run: logs all there is to stderr, and answers what secrets are to begin with.
pub(crate) fn begin() -> Option<String> {
    static LOGGING: Once = Once::new();
    std::env::var_os(WATCHED)?;
    LOGGING.call_once(|| {
        // Where a test has a subscriber of its own, that one watches.
        // Not `try_init`: with a feature that another crate may turn on, that takes the place of the
        // `log` logger too, which tests of stores want for themselves.
        let everything = tracing_subscriber::registry()
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(false)
                    .with_writer(std::io::stderr),
            )
            .with(
                Targets::new()
                    .with_default(LevelFilter::DEBUG)
                    .with_target("token_rotator", LevelFilter::TRACE),
            );
        let _ = tracing::subscriber::set_global_default(everything);
    });
    Some(CANARY.concat())
}
