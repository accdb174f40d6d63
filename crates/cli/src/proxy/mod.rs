//! `token-rotator proxy`: the sidecar. `token-rotator reload`: makes it read its configuration again.
//!
//! - `plan.rs`: merges the configuration file and the flags; `sessions.rs`: the rotators of the routes
//! - `registry.rs`: the files by which `reload.rs` finds running proxies
//! - `signals.rs`: SIGHUP and SIGTERM; `log.rs`: the log on stderr

mod log;
mod plan;
mod registry;
mod reload;
mod sessions;
mod signals;

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use token_rotator_proxy::{Handle, Listen, StartError};

pub(crate) use self::reload::run as reload;

use self::plan::ProxyPlan;
use self::registry::Registration;
use self::sessions::ProxySessions;
use self::signals::{ProxySignal, Signals};
use crate::arguments::{GlobalOptions, ProxyOptions};
use crate::command_error::CommandError;
use crate::config::{ProgramConfig, UserPaths};
use crate::output;
use crate::session::Context;

/// Serves until SIGTERM or Ctrl-C, then finishes the requests under way.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: ProxyOptions,
) -> Result<ExitCode, CommandError> {
    log::to_stderr(options.log, options.log_format);
    let context = Context::open(global, "proxy").await?;
    let mut sessions = ProxySessions::default();
    let plan = ProxyPlan::of(&context.config, &options)?;
    context.store.prepare().await?;
    let config = plan.config(&context, &mut sessions).await?;
    // Installed before the proxy listens: an early SIGHUP would otherwise end the process.
    let mut signals = Signals::new().map_err(|error| setup_failed(&error))?;
    let handle = Handle::start(&config).map_err(|error| plan.failed(&context.config, &error))?;
    let mut running = RunningProxy {
        drain: plan.drain_timeout,
        registration: Registration::enter(&context.config.paths),
        global,
        options,
        context,
        sessions,
        handle,
    };
    running.print()?;
    notify(&[sd_notify::NotifyState::Ready]);
    while let ProxySignal::Reload = signals.next().await {
        running.reload().await;
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    tokio::select! {
        code = running.end() => Ok(code),
        // A second signal ends the wait for requests.
        () = signals.end() => {
            Err(CommandError::new("the proxy ended before all requests were answered")
                .why("it received a second signal to end")
                .hint("send one signal and wait; `--drain-timeout` limits the wait"))
        }
    }
}

struct RunningProxy<'a> {
    global: &'a GlobalOptions,
    options: ProxyOptions,
    context: Context,
    sessions: ProxySessions,
    handle: Handle,
    registration: Option<Registration>,
    drain: Duration,
}

impl RunningProxy<'_> {
    /// Prints the addresses of the proxy to stdout.
    fn print(&self) -> Result<(), CommandError> {
        let listening = self.handle.listening();
        let paths: Vec<String> = listening.iter().map(address_text).collect();
        let admin = self.handle.admin().map(|admin| format!("http://{admin}"));
        if self.options.json {
            return output::print_json(&json!({"listen": paths, "admin": admin}));
        }
        let listen = paths.iter().map(|address| format!("listen  {address}\n"));
        let admin = admin.map(|admin| format!("admin   {admin}\n"));
        output::print(&listen.chain(admin).collect::<String>())
    }

    async fn reload(&mut self) {
        let before = [
            sd_notify::NotifyState::Reloading,
            sd_notify::NotifyState::monotonic_usec_now()
                .unwrap_or(sd_notify::NotifyState::MonotonicUsec(0)),
        ];
        notify(&before);
        let outcome = self.try_reload().await;
        match &outcome {
            Ok(()) => tracing::info!("the configuration was reloaded"),
            Err(error) => {
                tracing::error!(%error, hint = error.hint_text(), "the proxy keeps its old configuration");
            }
        }
        if let Some(registration) = &mut self.registration {
            registration.reloaded(outcome.err().as_ref());
        }
        notify(&[sd_notify::NotifyState::Ready]);
    }

    async fn try_reload(&mut self) -> Result<(), CommandError> {
        let paths =
            UserPaths::from_environment(self.global.config.as_deref(), self.global.store.as_ref())?;
        let config = ProgramConfig::load(paths)?;
        if config.store() != self.context.config.store() {
            return Err(CommandError::new("a running proxy cannot change its store")
                .why("`[store]` has changed")
                .hint("restart the proxy, or put `[store]` back"));
        }
        let before = std::mem::replace(&mut self.context.config, config);
        let installed = self.install().await;
        if installed.is_err() {
            self.context.config = before;
        }
        installed
    }

    async fn install(&mut self) -> Result<(), CommandError> {
        let plan = ProxyPlan::of(&self.context.config, &self.options)?;
        let mut sessions = self.sessions.clone();
        let config = plan.config(&self.context, &mut sessions).await?;
        self.handle
            .reload(&config)
            .map_err(|error| plan.failed(&self.context.config, &error))?;
        self.drain = plan.drain_timeout;
        let previous = std::mem::replace(&mut self.sessions, sessions);
        previous.shut_down_unused(&self.sessions);
        Ok(())
    }

    async fn end(self) -> ExitCode {
        tracing::info!(
            within = ?self.drain,
            "no new connection is accepted; requests under way are answered first"
        );
        // `reload` does not find this proxy from here on.
        drop(self.registration);
        if self.handle.drain(self.drain).await {
            return ExitCode::SUCCESS;
        }
        CommandError::new("some requests were cut off, or a session could not be saved")
            .why(format!("they were not finished after {:?}", self.drain))
            .hint(
                "give them longer with `--drain-timeout`; `token-rotator doctor` looks at sessions",
            )
            .print_as_warning();
        ExitCode::FAILURE
    }
}

fn address_text(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => format!("http://{address}"),
        Listen::Unix { path, .. } => format!("unix:{}", path.display()),
        other => format!("{other:?}"),
    }
}

/// Notifies the service manager, if there is one.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be notified");
    }
}

fn setup_failed(error: &dyn std::error::Error) -> CommandError {
    CommandError::new("the proxy cannot be set up")
        .because(error)
        .or_hint(
            "correct the setting that is named; if the system denies a resource, raise the limits of open \
             files (`ulimit -n`) and of processes (`ulimit -u`)",
        )
}

impl ProxyPlan {
    /// Converts a start error, with the line of the configuration file if it concerns a route.
    fn failed(&self, config: &ProgramConfig, error: &StartError) -> CommandError {
        let StartError::Config(config_error) = error else {
            return setup_failed(error).hint_of(error.hint());
        };
        let span = config_error.route().and_then(|route| self.span(route));
        match span {
            None => setup_failed(config_error).hint_of(config_error.hint()),
            Some(span) => config
                .error_at(span, "proxy.routes", &config_error.to_string())
                .hint_of(config_error.hint()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_threads() {
        let error = StartError::Worker(std::io::Error::from_raw_os_error(11));
        insta::assert_snapshot!(setup_failed(&error).text(), @"
        exit code 1
        error: the proxy cannot be set up
          because a worker cannot be started: Resource temporarily unavailable (os error 11)
        hint: correct the setting that is named; if the system denies a resource, raise the limits of open files (`ulimit -n`) and of processes (`ulimit -u`)
        ");
    }
}
