//! The name of this host.

use std::sync::Arc;

/// Returns the system's host name. Returns `this host` if the system has none that is readable.
pub(crate) fn host_name() -> Arc<str> {
    let name = system_name().unwrap_or_default();
    // The name is shown to users, so it has no control characters.
    let name: String = name.chars().filter(|letter| !letter.is_control()).collect();
    match name.trim() {
        "" => Arc::from("this host"),
        name => Arc::from(name),
    }
}

#[cfg(unix)]
fn system_name() -> Option<String> {
    let system = rustix::system::uname();
    system.nodename().to_str().ok().map(str::to_owned)
}

#[cfg(not(unix))]
fn system_name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_a_name() {
        assert!(!host_name().is_empty());
    }
}
