//! Parsers for the values of arguments.

use std::time::Duration;

/// Parses a duration such as `500ms`, `2s` or `5m`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let example = "write it as 500ms, 2s or 5m";
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| example.to_owned())?;
    Duration::try_from(parsed).map_err(|_| format!("it must not be negative; {example}"))
}

/// Parses the name of an environment variable.
pub(crate) fn parse_variable(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('=') {
        return Err("write a name such as ACCESS_TOKEN, without `=`".to_owned());
    }
    Ok(text.to_owned())
}

/// Parses an address with a port. `localhost` becomes 127.0.0.1.
pub(crate) fn parse_address(text: &str) -> Result<std::net::SocketAddr, String> {
    let text = text.replacen("localhost:", "127.0.0.1:", 1);
    let address = text.parse();
    address.map_err(|_| "write an address and a port such as 127.0.0.1:9090".to_owned())
}

/// Parses a log level.
pub(crate) fn parse_level(text: &str) -> Result<tracing::Level, String> {
    let level = text.parse();
    level.map_err(|_| "write one of error, warn, info, debug, trace".to_owned())
}
