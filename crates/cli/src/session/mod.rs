//! A named session: what is configured of it, its store, its issuer, and the rotator over both.

mod endpoints;
mod failure;
pub(crate) mod history;
mod source;
mod store;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Parser;
use token_rotator::{BuildError, Rotator, RotatorBuilder, SessionKey};
use token_rotator_reqwest::ReqwestTransport;

pub(crate) use self::endpoints::{Endpoint, Endpoints};
pub(crate) use self::failure::{no_token, sign_in, store_failed, unusable_tokens};
use self::history::{Entry, Happening, History};
pub(crate) use self::source::{ClientAuth, IssuerSource};
pub(crate) use self::store::OpenStore;
use crate::arguments::GlobalOptions;
use crate::certificates;
use crate::command_error::CommandError;
use crate::config::{Config, Places, SessionName, SessionSettings};

/// How long a command that is about to end waits for a flight and its save: a flight's deadline, and
/// some more for the store.
pub(crate) const LANDING: Duration = Duration::from_secs(40);

/// The configuration and the store that go with what was typed.
pub(crate) struct Home {
    pub(crate) config: Config,
    pub(crate) store: OpenStore,
    command: &'static str,
}

impl Home {
    /// Reads the configuration and opens the store, for the command of this name.
    pub(crate) async fn open(
        global: &GlobalOptions,
        command: &'static str,
    ) -> Result<Self, CommandError> {
        let config = Config::load(Places::of_user(global.config.as_deref())?)?;
        let settings = config.store();
        let url = global.store.as_ref().or(settings.url.as_ref());
        let key = global.key.as_ref().or(settings.key.as_ref());
        let store = OpenStore::open(url, key, &config.places).await?;
        Ok(Self {
            config,
            store,
            command,
        })
    }

    /// A session that is known: from the file, a login or the environment.
    pub(crate) fn session(&self, name: &SessionName) -> Result<Session<'_>, CommandError> {
        let configured = self.config.session(name)?;
        let environment = SessionSettings::of_environment();
        let known = configured.is_some() || environment != SessionSettings::default();
        if !known {
            return Err(CommandError::new(format!("there is no session `{name}`"))
                .why(self.others(name))
                .hint(format!(
                    "sign in with `token-rotator login --session {name} --issuer URL --client-id ID`"
                ))
                .code(failure::SIGN_IN));
        }
        let settings = environment.over(configured.unwrap_or_default());
        self.session_with(name, settings)
    }

    /// A session with these settings.
    pub(crate) fn session_with(
        &self,
        name: &SessionName,
        settings: SessionSettings,
    ) -> Result<Session<'_>, CommandError> {
        Ok(Session {
            home: self,
            name: name.clone(),
            transport: transport(&settings)?,
            history: History::of(&self.config.places.state, name, self.command),
            settings,
        })
    }

    /// The names of all sessions: configured, signed in, or in the store.
    pub(crate) async fn session_names(&self) -> Result<Vec<SessionName>, CommandError> {
        let mut names = self.config.session_names()?;
        if let OpenStore::File(store) = &self.store {
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

    fn others(&self, name: &SessionName) -> String {
        let file = self.config.places.config_file.display();
        let names = self.config.session_names().unwrap_or_default();
        let names: Vec<_> = names
            .iter()
            .filter(|other| *other != name)
            .map(SessionName::as_str)
            .collect();
        if names.is_empty() {
            format!("nobody has signed in yet, and {file} has no [sessions.{name}]")
        } else {
            format!("these are known: {}", names.join(", "))
        }
    }
}

/// A session by name.
pub(crate) struct Session<'a> {
    home: &'a Home,
    pub(crate) name: SessionName,
    pub(crate) settings: SessionSettings,
    pub(crate) transport: ReqwestTransport,
    pub(crate) history: History,
}

impl Session<'_> {
    /// Its name in the store.
    pub(crate) fn key(&self) -> SessionKey {
        SessionKey::new(self.name.as_str())
    }

    /// The configuration file, to be named in hints.
    pub(crate) fn config_file(&self) -> &Path {
        &self.home.config.places.config_file
    }

    /// Where it is kept.
    pub(crate) fn store(&self) -> &OpenStore {
        &self.home.store
    }

    /// Writes down what this command did.
    pub(crate) fn note(&self, happening: Happening) {
        let command = self.home.command;
        self.history.write(&Entry::now(command, happening, None));
    }

    /// The rotator over its store, which writes the session's history.
    pub(crate) fn rotator(&self) -> Result<Rotator, CommandError> {
        self.rotator_with(|builder| builder)
    }

    /// The same with more settings.
    pub(crate) fn rotator_with(
        &self,
        more: impl FnOnce(RotatorBuilder) -> RotatorBuilder,
    ) -> Result<Rotator, CommandError> {
        let source = IssuerSource::new(&self.settings, self.transport.clone());
        let itself = Arc::new(OnceLock::new());
        let mut builder = Rotator::builder(source)
            .session(self.key())
            .store(self.store().clone())
            .on_event(self.history.listener(Arc::clone(&itself)));
        if let Some(profile) = &self.settings.profile {
            builder = builder.profile(profile.profile);
        }
        if let Some(margin) = &self.settings.refresh_before {
            builder = builder.refresh_before(margin.duration);
        }
        for origin in self.settings.origins.iter().flatten() {
            builder = builder.origin(origin.to_string());
        }
        let rotator = more(builder)
            .build()
            .map_err(|error| unusable(&self.name, &error))?;
        // It was made here, so nobody can have been quicker.
        let _ = itself.set(rotator.downgrade());
        Ok(rotator)
    }

    /// Waits for what a rotator still has to do before the program ends.
    pub(crate) async fn land(&self, rotator: &Rotator) {
        if !rotator.shutdown(LANDING).await {
            not_landed(&self.name).print_as_warning();
        }
    }
}

fn unusable(name: &SessionName, error: &BuildError) -> CommandError {
    CommandError::new(format!("session `{name}` cannot be used"))
        .because(error)
        .or_hint("correct its settings in the configuration; docs/program.md has all keys")
}

fn not_landed(name: &SessionName) -> CommandError {
    CommandError::new(format!(
        "session `{name}` could not be written down before the program had to end"
    ))
    .why(format!(
        "the store or the issuer took longer than {LANDING:?}, or refused"
    ))
    .hint("run `token-rotator doctor`; the next command goes by what the store has")
}

fn transport(settings: &SessionSettings) -> Result<ReqwestTransport, CommandError> {
    fn impossible(error: impl std::error::Error) -> CommandError {
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
    let roots = roots.map_err(impossible)?;
    let user_agent = concat!("token-rotator/", env!("CARGO_PKG_VERSION"));
    ReqwestTransport::configured(|builder| {
        let builder = builder.user_agent(user_agent);
        roots
            .into_iter()
            .fold(builder, reqwest::ClientBuilder::add_root_certificate)
    })
    .map_err(impossible)
}

/// What the environment says of a session, without any flags.
#[derive(Parser)]
struct OfEnvironment {
    #[command(flatten)]
    settings: SessionSettings,
}

impl SessionSettings {
    /// What the environment says; a value that cannot be read ends the program, as at a flag.
    fn of_environment() -> Self {
        OfEnvironment::parse_from(["token-rotator"]).settings
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
        assert_snapshot!(not_landed(&name()).text(), @"
        exit code 1
        error: session `work` could not be written down before the program had to end
          because the store or the issuer took longer than 40s, or refused
        hint: run `token-rotator doctor`; the next command goes by what the store has
        ");
    }
}
