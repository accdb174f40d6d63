//! `token-rotator reload`.

use std::process::ExitCode;

use crate::arguments::{GlobalOptions, ReloadOptions};
use crate::command_error::CommandError;

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
    let running = register::running(&places)
        .map_err(|error| CommandError::new("it cannot be seen which proxies run").because(error))?;
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
            .hint("correct the configuration and try again; nothing was changed"));
        }
        anstream::eprintln!("Reloaded: process {}.", after.pid);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(unix)]
fn hang_up(pid: u32) -> Result<(), CommandError> {
    use rustix::process::{Pid, Signal, kill_process};
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let sent = id.map(|id| kill_process(id, Signal::HUP));
    match sent {
        Some(Err(error)) => Err(CommandError::new(format!("process {pid} cannot be told"))
            .because(std::io::Error::from(error))),
        _ => Ok(()),
    }
}

/// What the proxy says once it has tried.
#[cfg(unix)]
async fn until_reloaded(
    places: &crate::config::Places,
    before: &super::register::Notice,
) -> Result<super::register::Notice, CommandError> {
    use std::time::Duration;
    const PATIENCE: Duration = Duration::from_secs(30);
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
    tokio::time::timeout(PATIENCE, reloaded).await.map_err(|_| {
        CommandError::new(format!(
            "the proxy (process {}) does not answer",
            before.pid
        ))
        .why(format!("it was told {PATIENCE:?} ago"))
        .hint("its log says why")
    })
}

/// There is no SIGHUP.
#[cfg(not(unix))]
#[expect(clippy::unused_async, reason = "as elsewhere")]
pub(crate) async fn run(
    _global: &GlobalOptions,
    _options: ReloadOptions,
) -> Result<ExitCode, CommandError> {
    Err(CommandError::new("a running proxy cannot be told on this system").hint("restart it"))
}
