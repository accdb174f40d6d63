//! A named session: its settings, its store, its issuer, and the rotator over both.
//!
//! - `endpoints.rs`, `source.rs`: the issuer's endpoints, and the token source that calls them
//! - `store.rs`: the store of all sessions; `history.rs`: the history of each session
//! - `failure.rs`: errors of a session as command errors; `offline.rs`: how to ask for a refresh token

mod endpoints;
mod failure;
pub(crate) mod history;
mod offline;
mod source;
mod store;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use token_rotator::store::BoxedStore;
use token_rotator::{BuildError, Rotator, RotatorBuilder, SessionKey};
use token_rotator_reqwest::ReqwestTransport;

pub(crate) use self::endpoints::{Endpoint, Endpoints};
pub(crate) use self::failure::{no_token, sign_in, source_failed, store_failed, unusable_tokens};
use self::history::{Entry, History, HistoryEvent};
pub(crate) use self::source::{ClientAuthentication, IssuerSource};
pub(crate) use self::store::{OpenStore, StoreKind};
use crate::arguments::{GlobalOptions, without_empty_variables};
use crate::certificates;
use crate::command_error::CommandError;
use crate::config::{ProgramConfig, SessionName, SessionSettings, UserPaths};

/// How long a command waits for a flight and its save before it ends. Longer than the deadline of a
/// flight, to leave time for the store.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(40);

/// The configuration and the store of a command.
pub(crate) struct Context {
    pub(crate) config: ProgramConfig,
    pub(crate) store: OpenStore,
    command: &'static str,
}

impl Context {
    /// Reads the configuration and opens the store, for the command of this name.
    pub(crate) async fn open(
        global: &GlobalOptions,
        command: &'static str,
    ) -> Result<Self, CommandError> {
        let paths = UserPaths::from_environment(global.config.as_deref(), global.store.as_ref())?;
        let config = ProgramConfig::load(paths)?;
        let settings = config.store();
        let url = global.store.as_ref().or(settings.url.as_ref());
        let key = global.key.as_ref().or(settings.key.as_ref());
        let store = OpenStore::open(url, key, &config.paths).await?;
        Ok(Self {
            config,
            store,
            command,
        })
    }

    /// Returns a session that the configuration file, an earlier login or the environment defines.
    ///
    /// *Errors:* none of them defines the session.
    pub(crate) fn session(&self, name: &SessionName) -> Result<NamedSession<'_>, CommandError> {
        let configured = self.config.session(name)?;
        let environment = SessionSettings::from_environment();
        let known = configured.is_some() || environment != SessionSettings::default();
        if !known {
            return Err(CommandError::new(format!("there is no session `{name}`"))
                .why(self.known_sessions(name))
                .hint(format!(
                    "sign in with `token-rotator login --session {name} --issuer URL --client-id ID`"
                ))
                .code(failure::EXIT_SIGN_IN));
        }
        let settings = environment.with_fallback(configured.unwrap_or_default());
        self.session_with(name, settings)
    }

    /// Returns a session with these settings.
    pub(crate) fn session_with(
        &self,
        name: &SessionName,
        settings: SessionSettings,
    ) -> Result<NamedSession<'_>, CommandError> {
        Ok(NamedSession {
            context: self,
            name: name.clone(),
            transport: transport(&settings)?,
            history: History::of(&self.config.paths.state, name, self.command),
            settings,
        })
    }

    /// Returns the names of all sessions that are configured, signed in, or in a file store.
    pub(crate) async fn session_names(&self) -> Result<Vec<SessionName>, CommandError> {
        let mut names = self.config.session_names()?;
        if let StoreKind::File(store) = &self.store.kind {
            let stored = store.sessions().await;
            let stored =
                stored.map_err(|error| store_failed("the store cannot be read", &error))?;
            names.extend(
                stored
                    .iter()
                    .filter_map(|header| header.session.as_str().parse().ok()),
            );
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn known_sessions(&self, name: &SessionName) -> String {
        let file = self.config.paths.config_file.display();
        let names = self.config.session_names().unwrap_or_default();
        let names: Vec<_> = names
            .iter()
            .filter(|other| *other != name)
            .map(SessionName::as_str)
            .collect();
        if names.is_empty() {
            format!("no user has signed in yet, and {file} has no [sessions.{name}]")
        } else {
            format!("the known sessions are: {}", names.join(", "))
        }
    }
}

/// A session by name.
pub(crate) struct NamedSession<'a> {
    context: &'a Context,
    pub(crate) name: SessionName,
    pub(crate) settings: SessionSettings,
    pub(crate) transport: ReqwestTransport,
    pub(crate) history: History,
}

impl NamedSession<'_> {
    /// Returns the key of the session in the store.
    pub(crate) fn key(&self) -> SessionKey {
        SessionKey::new(self.name.as_str())
    }

    /// Returns the configuration file, for hints.
    pub(crate) fn config_file(&self) -> &Path {
        &self.context.config.paths.config_file
    }

    /// Returns the store of the session.
    pub(crate) fn store(&self) -> &BoxedStore {
        &self.context.store.sessions
    }

    /// Returns the store of the session by its kind, for calls that only one kind has.
    pub(crate) fn store_kind(&self) -> &StoreKind {
        &self.context.store.kind
    }

    /// Writes an event of this command into the history.
    pub(crate) fn record_event(&self, event: HistoryEvent) {
        let command = self.context.command;
        self.history.write(&Entry::now(command, event, None));
    }

    /// Builds a rotator over the session's store. The rotator writes the history.
    pub(crate) fn rotator(&self) -> Result<Rotator, CommandError> {
        self.rotator_with(|builder| builder)
    }

    /// Builds a rotator like [`rotator`](Self::rotator), with more settings.
    pub(crate) fn rotator_with(
        &self,
        more: impl FnOnce(RotatorBuilder) -> RotatorBuilder,
    ) -> Result<Rotator, CommandError> {
        let source = IssuerSource::new(&self.settings, self.transport.clone());
        let weak_rotator = Arc::new(OnceLock::new());
        let mut builder = Rotator::builder(source)
            .session(self.key())
            .store(self.store().clone())
            .on_event(self.history.listener(Arc::clone(&weak_rotator)));
        if let Some(profile) = &self.settings.profile {
            builder = builder.profile(profile.profile);
        }
        if let Some(margin) = &self.settings.refresh_before {
            builder = builder.refresh_before(margin.duration);
        }
        if let Some(lifetime) = &self.settings.lifetime {
            builder = builder.default_lifetime(lifetime.duration);
        }
        for origin in self.settings.origins.iter().flatten() {
            builder = builder.origin(origin.to_string());
        }
        let rotator = more(builder)
            .build()
            .map_err(|error| unusable(&self.name, &error))?;
        // This cannot fail: the cell was created here and is set once.
        let _ = weak_rotator.set(rotator.downgrade());
        Ok(rotator)
    }

    /// Waits until the rotator has finished its flight and its saves. Warns after 40 s.
    pub(crate) async fn shut_down(&self, rotator: &Rotator) {
        if !rotator.shutdown(SHUTDOWN_TIMEOUT).await {
            not_saved(&self.name).print_as_warning();
        }
    }
}

fn unusable(name: &SessionName, error: &BuildError) -> CommandError {
    CommandError::new(format!("session `{name}` cannot be used"))
        .because(error)
        .or_hint("correct its settings in the configuration; docs/program.md has all keys")
}

fn not_saved(name: &SessionName) -> CommandError {
    CommandError::new(format!(
        "session `{name}` could not be saved before the program ended"
    ))
    .why(format!(
        "the store or the issuer took longer than {SHUTDOWN_TIMEOUT:?}, or refused"
    ))
    .hint("run `token-rotator doctor`; the next command uses what the store has")
}

fn transport(settings: &SessionSettings) -> Result<ReqwestTransport, CommandError> {
    fn cannot_build(error: impl std::error::Error) -> CommandError {
        CommandError::new("requests to the issuer cannot be made")
            .because(error)
            .hint("check the certificates in `ca_file` (`--ca-file`), and those of the system")
    }
    let roots = match &settings.ca_file {
        Some(file) => certificates::read(file)?,
        None => Vec::new(),
    };
    let roots: Result<Vec<_>, _> = roots
        .iter()
        .map(|root| reqwest::Certificate::from_der(root))
        .collect();
    let roots = roots.map_err(cannot_build)?;
    let user_agent = concat!("token-rotator/", env!("CARGO_PKG_VERSION"));
    ReqwestTransport::configured(|builder| {
        let builder = builder.user_agent(user_agent);
        roots
            .into_iter()
            .fold(builder, reqwest::ClientBuilder::add_root_certificate)
    })
    .map_err(cannot_build)
}

/// Parses the settings of a session from the environment alone.
#[derive(Parser)]
struct EnvironmentSettings {
    #[command(flatten)]
    settings: SessionSettings,
}

impl SessionSettings {
    /// Reads the settings from the environment. An invalid value ends the program, like an invalid flag.
    fn from_environment() -> Self {
        let command = without_empty_variables(EnvironmentSettings::command());
        let parsed = command
            .try_get_matches_from(["token-rotator"])
            .and_then(|matches| EnvironmentSettings::from_arg_matches(&matches));
        parsed.unwrap_or_else(|error| error.exit()).settings
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn name() -> SessionName {
        "work".parse().expect("a name")
    }

    #[test]
    fn settings_that_contradict_each_other() {
        let error = BuildError::Thread("no thread can be had".into());
        assert_snapshot!(unusable(&name(), &error).text(), @"
        exit code 1
        error: session `work` cannot be used
          because the rotator's own thread could not be started: no thread can be had
        hint: correct its settings in the configuration; docs/program.md has all keys
        ");
    }

    #[test]
    fn a_session_that_was_not_saved_in_time() {
        assert_snapshot!(not_saved(&name()).text(), @"
        exit code 1
        error: session `work` could not be saved before the program ended
          because the store or the issuer took longer than 40s, or refused
        hint: run `token-rotator doctor`; the next command uses what the store has
        ");
    }
}
