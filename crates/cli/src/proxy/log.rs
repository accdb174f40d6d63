//! The log on stderr.

use std::io::IsTerminal as _;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::arguments::LogFormat;

/// Logs this program at `level`, and its libraries at `warn` at most.
pub(super) fn to_stderr(level: Level, format: LogFormat) {
    let filter = Targets::new()
        .with_default(level.min(Level::WARN))
        .with_target("token_rotator", level)
        .with_target("token_rotator_cli", level);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    // This fails only if the process already has a global subscriber.
    let _ = match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
}
