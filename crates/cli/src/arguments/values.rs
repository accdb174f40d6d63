//! Values that several commands take.

use std::time::Duration;

/// A time such as `500ms`, `2s` or `5m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let example = "write it as 500ms, 2s or 5m";
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| example.to_owned())?;
    Duration::try_from(parsed).map_err(|_| format!("it must not be negative; {example}"))
}
