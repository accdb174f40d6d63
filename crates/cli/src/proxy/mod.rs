//! `token-rotator proxy`: the sidecar.

mod log;
mod plan;
mod register;
mod reload;
mod sessions;
mod signals;

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use token_rotator_proxy::{Handle, Listen, StartError};

pub(crate) use self::reload::run as reload;

use self::plan::Plan;
use self::register::Register;
use self::sessions::Sessions;
use self::signals::{Signal, Signals};
use crate::arguments::{GlobalOptions, ProxyOptions};
use crate::command_error::CommandError;
use crate::config::{Config, Places};
use crate::output;
use crate::session::Home;

/// How long requests may take to end, if nothing else is said.
const DRAIN: Duration = Duration::from_secs(30);

/// Serves until it is told to end.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: ProxyOptions,
) -> Result<ExitCode, CommandError> {
    log::to_stderr(options.log, options.log_format);
    let home = Home::open(global, "proxy").await?;
    let mut sessions = Sessions::default();
    let plan = Plan::of(&home.config, &options)?;
    home.store.prepare().await?;
    let config = plan.config(&home, &mut sessions).await?;
    // Before anything is answered, or a signal that comes at once would end it.
    let mut signals = Signals::new().map_err(|error| unable(&error))?;
    let handle = Handle::start(&config).map_err(|error| plan.failed(&home.config, &error))?;
    let mut running = Running {
        drain: plan.drain_timeout.unwrap_or(DRAIN),
        register: Register::enter(&home.config.places),
        global,
        options,
        home,
        sessions,
        handle,
    };
    running.print()?;
    notify(&[sd_notify::NotifyState::Ready]);
    while let Signal::Reload = signals.next().await {
        running.reload().await;
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    tokio::select! {
        code = running.end() => Ok(code),
        // Whoever says it twice means it.
        () = signals.end() => Err(CommandError::new("ended before all was answered")
            .why("it was told to end twice")
            .hint("tell it once and let it end; `--drain-timeout` says how long that may take")),
    }
}

struct Running<'a> {
    global: &'a GlobalOptions,
    options: ProxyOptions,
    home: Home,
    sessions: Sessions,
    handle: Handle,
    register: Option<Register>,
    drain: Duration,
}

impl Running<'_> {
    /// Where callers connect, on stdout.
    fn print(&self) -> Result<(), CommandError> {
        let listening = self.handle.listening();
        let places: Vec<String> = listening.iter().map(place).collect();
        let admin = self.handle.admin().map(|admin| format!("http://{admin}"));
        if self.options.json {
            return output::print_json(&json!({"listen": places, "admin": admin}));
        }
        let listen = places.iter().map(|place| format!("listen  {place}\n"));
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
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(error) => {
                tracing::error!(%error, hint = error.hint_text(), "the configuration stays as it was");
            }
        }
        if let Some(register) = &mut self.register {
            register.reloaded(outcome.err().as_ref());
        }
        notify(&[sd_notify::NotifyState::Ready]);
    }

    async fn try_reload(&mut self) -> Result<(), CommandError> {
        let places = Places::of_user(self.global.config.as_deref())?;
        let config = Config::load(places)?;
        if config.store() != self.home.config.store() {
            return Err(CommandError::new("another store needs another start")
                .why("`[store]` has changed")
                .hint("restart the proxy, or put `[store]` back"));
        }
        let before = std::mem::replace(&mut self.home.config, config);
        let installed = self.install().await;
        if installed.is_err() {
            self.home.config = before;
        }
        installed
    }

    async fn install(&mut self) -> Result<(), CommandError> {
        let plan = Plan::of(&self.home.config, &self.options)?;
        let mut sessions = self.sessions.clone();
        let config = plan.config(&self.home, &mut sessions).await?;
        self.handle
            .reload(&config)
            .map_err(|error| plan.failed(&self.home.config, &error))?;
        self.drain = plan.drain_timeout.unwrap_or(DRAIN);
        let gone = std::mem::replace(&mut self.sessions, sessions);
        gone.end_all_but(&self.sessions);
        Ok(())
    }

    async fn end(self) -> ExitCode {
        tracing::info!(
            within = ?self.drain,
            "no connection is accepted any more; what is under way is answered first"
        );
        // Gone from here on for `reload`.
        drop(self.register);
        if self.handle.drain(self.drain).await {
            return ExitCode::SUCCESS;
        }
        CommandError::new("some requests were cut off, or a session could not be written down")
            .why(format!("they were not through after {:?}", self.drain))
            .hint(
                "give them longer with `--drain-timeout`; `token-rotator doctor` looks at sessions",
            )
            .print_as_warning();
        ExitCode::FAILURE
    }
}

fn place(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => format!("http://{address}"),
        Listen::Unix { path, .. } => format!("unix:{}", path.display()),
        other => format!("{other:?}"),
    }
}

/// Tells the service manager, where there is one.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

fn unable(error: &dyn std::error::Error) -> CommandError {
    CommandError::new("the proxy cannot be set up")
        .because(error)
        .or_hint(
            "correct what it says; for what the system denies, raise the limits of open files \
             (`ulimit -n`) and of processes (`ulimit -u`)",
        )
}

impl Plan {
    /// Why the proxy does not run as planned, with the line of the file where it is.
    fn failed(&self, config: &Config, error: &StartError) -> CommandError {
        let StartError::Config(mistake) = error else {
            return unable(error).hint_of(error.hint());
        };
        let span = mistake.route().and_then(|route| self.span(route));
        match span {
            None => unable(mistake).hint_of(mistake.hint()),
            Some(span) => config
                .mistake(span, "proxy.routes", &mistake.to_string())
                .hint_of(mistake.hint()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_threads() {
        let error = StartError::Worker(std::io::Error::from_raw_os_error(11));
        insta::assert_snapshot!(unable(&error).text(), @"
        exit code 1
        error: the proxy cannot be set up
          because a worker cannot be started: Resource temporarily unavailable (os error 11)
        hint: correct what it says; for what the system denies, raise the limits of open files (`ulimit -n`) and of processes (`ulimit -u`)
        ");
    }
}
