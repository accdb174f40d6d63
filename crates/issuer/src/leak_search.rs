//! Support for test runs whose output is searched for leaked secrets.

use std::sync::Once;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// The environment variable that turns the support on.
const ENABLING_VARIABLE: &str = "TOKEN_ROTATOR_TEST_LOG";

/// The prefix of every secret in such a run. It is split so that a printed constant is not found as a leak.
const CANARY: [&str; 2] = ["CANARY", "-7f3a-"];

/// Logs everything to stderr and returns the prefix for secrets. Returns `None` if `TOKEN_ROTATOR_TEST_LOG` is not set.
pub fn begin() -> Option<String> {
    static LOGGING: Once = Once::new();
    std::env::var_os(ENABLING_VARIABLE)?;
    LOGGING.call_once(|| {
        // Fails if the test has installed its own subscriber, which then logs. `try_init` would also install the `log`
        // logger if another crate turns on that feature. Store tests install their own `log` logger.
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
