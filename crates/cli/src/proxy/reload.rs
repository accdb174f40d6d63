//! `token-rotator reload`.

use std::process::ExitCode;
#[cfg(unix)]
use std::time::Duration;

use crate::arguments::{GlobalOptions, ReloadOptions};
use crate::command_error::CommandError;
use crate::output::say;

/// How long a proxy may take to read its configuration again.
#[cfg(unix)]
const PATIENCE: Duration = Duration::from_secs(30);

/// Has every proxy of this configuration read it again, and waits for what comes of it.
#[cfg(unix)]
pub(crate) async fn run(
    global: &GlobalOptions,
    _options: ReloadOptions,
) -> Result<ExitCode, CommandError> {
    use super::register;
    use crate::config::{Config, Places};

    let places = Places::of_user(global.config.as_deref())?;
    // What cannot even be read is said here, and no proxy is bothered with it.
    Config::load(places.clone())?;
    let running = register::running(&places).map_err(|error| {
        CommandError::new("it cannot be seen which proxies run")
            .because(error)
            .hint(format!(
                "{} is to be a directory of your own; SIGHUP tells a proxy without it",
                places.state.join("proxies").display()
            ))
    })?;
    if running.is_empty() {
        return Err(CommandError::new("no proxy runs with this configuration")
            .why(format!(
                "none is entered for {}",
                places.config_file.display()
            ))
            .hint(
                "start one with `token-rotator proxy`; one of another user's reloads on SIGHUP",
            ));
    }
    for before in running {
        hang_up(before.pid)?;
        let after = until_reloaded(&places, &before).await?;
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
fn hang_up(pid: u32) -> Result<(), CommandError> {
    use rustix::process::{Pid, Signal, kill_process};
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let sent = id.map(|id| kill_process(id, Signal::HUP));
    match sent {
        Some(Err(error)) => Err(not_told(pid, &error.into())),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn not_told(pid: u32, error: &std::io::Error) -> CommandError {
    CommandError::new(format!("the proxy (process {pid}) cannot be told"))
        .because(error)
        .hint("reload it as the user that it runs as")
}

/// What the proxy says once it has tried.
#[cfg(unix)]
async fn until_reloaded(
    places: &crate::config::Places,
    before: &super::register::Notice,
) -> Result<super::register::Notice, CommandError> {
    const LOOK: Duration = Duration::from_millis(20);
    let reloaded = async {
        loop {
            let now = super::register::notice(places, before.pid);
            if let Some(now) = now.filter(|now| now.reloads > before.reloads) {
                return now;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, reloaded).await;
    waited.map_err(|_| no_answer(before.pid))
}

#[cfg(unix)]
fn no_answer(pid: u32) -> CommandError {
    CommandError::new(format!("the proxy (process {pid}) does not answer"))
        .why(format!("it was told {PATIENCE:?} ago"))
        .hint("look into its log; `kill -CONT` continues it if it was stopped")
}

/// There is no SIGHUP.
#[cfg(not(unix))]
#[expect(clippy::unused_async, reason = "as elsewhere")]
pub(crate) async fn run(
    _global: &GlobalOptions,
    _options: ReloadOptions,
) -> Result<ExitCode, CommandError> {
    Err(no_signals())
}

#[cfg(any(test, not(unix)))]
fn no_signals() -> CommandError {
    CommandError::new("a running proxy cannot be told on this system")
        .why("it has no SIGHUP")
        .hint("restart the proxy")
}

#[cfg(all(test, unix))]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn a_proxy_of_somebody_elses() {
        let error = std::io::Error::from_raw_os_error(1);
        assert_snapshot!(not_told(7, &error).text(), @"
        exit code 1
        error: the proxy (process 7) cannot be told
          because Operation not permitted (os error 1)
        hint: reload it as the user that it runs as
        ");
    }

    #[test]
    fn a_proxy_that_is_stopped() {
        assert_snapshot!(no_answer(7).text(), @"
        exit code 1
        error: the proxy (process 7) does not answer
          because it was told 30s ago
        hint: look into its log; `kill -CONT` continues it if it was stopped
        ");
    }

    #[test]
    fn a_system_without_signals() {
        assert_snapshot!(no_signals().text(), @"
        exit code 1
        error: a running proxy cannot be told on this system
          because it has no SIGHUP
        hint: restart the proxy
        ");
    }
}
