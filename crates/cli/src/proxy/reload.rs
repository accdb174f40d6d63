//! `token-rotator reload`: sends SIGHUP to the running proxies and reports the outcome.

use std::process::ExitCode;
#[cfg(unix)]
use std::time::Duration;

use crate::arguments::GlobalOptions;
use crate::command_error::CommandError;
use crate::output::say;

/// How long a proxy may take to reload.
#[cfg(unix)]
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes every proxy with this configuration reload, and waits for the outcome.
///
/// *Errors:* the configuration is invalid, no proxy runs, or a proxy fails to reload within 30 s.
#[cfg(unix)]
pub(crate) async fn run(global: &GlobalOptions) -> Result<ExitCode, CommandError> {
    use super::registry;
    use crate::config::{ProgramConfig, UserPaths};

    let paths = UserPaths::from_environment(global.config.as_deref(), global.store.as_ref())?;
    // An unreadable configuration is reported here, without a signal to a proxy.
    ProgramConfig::load(paths.clone())?;
    let running = registry::running(&paths).map_err(|error| {
        CommandError::new("the running proxies cannot be listed")
            .because(error)
            .hint(format!(
                "check who owns {}; SIGHUP reloads a proxy without it",
                registry::directory(&paths).display()
            ))
    })?;
    if running.is_empty() {
        return Err(CommandError::new("no proxy runs with this configuration")
            .why(format!(
                "none is registered for {}",
                paths.config_file.display()
            ))
            .hint(
                "start one with `token-rotator proxy`; reload another user's proxy with SIGHUP",
            ));
    }
    for before in running {
        send_sighup(before.pid)?;
        let after = until_reloaded(&paths, &before).await?;
        if let Some(error) = after.error {
            return Err(CommandError::new(format!(
                "the proxy (process {}) keeps its old configuration",
                after.pid
            ))
            .why(error)
            .hint(after.hint.unwrap_or_default()));
        }
        say!("Reloaded: process {}.", after.pid);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(unix)]
fn send_sighup(pid: u32) -> Result<(), CommandError> {
    use rustix::process::{Pid, Signal, kill_process};
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let sent = id.map(|id| kill_process(id, Signal::HUP));
    match sent {
        Some(Err(error)) => Err(signal_failed(pid, &error.into())),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn signal_failed(pid: u32, error: &std::io::Error) -> CommandError {
    CommandError::new(format!("the proxy (process {pid}) cannot be signalled"))
        .because(error)
        .hint("reload it as the user that it runs as")
}

/// Waits until the proxy has written the outcome of its reload.
#[cfg(unix)]
async fn until_reloaded(
    paths: &crate::config::UserPaths,
    before: &super::registry::ProxyEntry,
) -> Result<super::registry::ProxyEntry, CommandError> {
    const POLL_INTERVAL: Duration = Duration::from_millis(20);
    let reloaded = async {
        loop {
            let now = super::registry::entry(paths, before.pid);
            if let Some(now) = now.filter(|now| now.reloads > before.reloads) {
                return now;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let waited = tokio::time::timeout(RELOAD_TIMEOUT, reloaded).await;
    waited.map_err(|_| reload_timed_out(before.pid))
}

#[cfg(unix)]
fn reload_timed_out(pid: u32) -> CommandError {
    CommandError::new(format!("the proxy (process {pid}) does not answer"))
        .why(format!("it received SIGHUP {RELOAD_TIMEOUT:?} ago"))
        .hint("check its log; `kill -CONT` continues it if it was stopped")
}

/// Fails: this system has no SIGHUP.
#[cfg(not(unix))]
#[expect(clippy::unused_async, reason = "the Unix version is async")]
pub(crate) async fn run(_global: &GlobalOptions) -> Result<ExitCode, CommandError> {
    Err(reload_unsupported())
}

#[cfg(any(test, not(unix)))]
fn reload_unsupported() -> CommandError {
    CommandError::new("a running proxy cannot be reloaded on this system")
        .why("this system has no SIGHUP")
        .hint("restart the proxy")
}

#[cfg(all(test, unix))]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn a_proxy_of_another_user() {
        let error = std::io::Error::from_raw_os_error(1);
        assert_snapshot!(signal_failed(7, &error).text(), @"
        exit code 1
        error: the proxy (process 7) cannot be signalled
          because Operation not permitted (os error 1)
        hint: reload it as the user that it runs as
        ");
    }

    #[test]
    fn a_proxy_that_is_stopped() {
        assert_snapshot!(reload_timed_out(7).text(), @"
        exit code 1
        error: the proxy (process 7) does not answer
          because it received SIGHUP 30s ago
        hint: check its log; `kill -CONT` continues it if it was stopped
        ");
    }

    #[test]
    fn a_system_without_signals() {
        assert_snapshot!(reload_unsupported().text(), @"
        exit code 1
        error: a running proxy cannot be reloaded on this system
          because this system has no SIGHUP
        hint: restart the proxy
        ");
    }
}
