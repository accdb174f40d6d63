//! Reading the file, and what `login` has written beside it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::places::Places;
use super::problem::ConfigProblem;
use super::proxy::ProxySettings;
use super::session::SessionSettings;
use super::store::StoreSettings;
use super::values::SessionName;
use crate::command_error::{CommandError, file_hint};

/// All that is configured.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) places: Places,
    file: File,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    store: StoreSettings,
    sessions: BTreeMap<SessionName, SessionSettings>,
    proxy: ProxySettings,
}

impl Config {
    /// Reads the file; one that is not there is as good as empty, unless it was named.
    pub(crate) fn load(places: Places) -> Result<Self, CommandError> {
        let file = match read(&places.config_file)? {
            Some(file) => file,
            None if places.config_is_named => {
                let path = places.config_file.display();
                return Err(CommandError::new(format!("there is no {path}"))
                    .why("`--config` or TOKEN_ROTATOR_CONFIG names it")
                    .hint("write the file, or name none for the user's own"));
            }
            None => File::default(),
        };
        Ok(Self { places, file })
    }

    /// The `[store]` table.
    pub(crate) fn store(&self) -> &StoreSettings {
        &self.file.store
    }

    /// The `[proxy]` table.
    pub(crate) fn proxy(&self) -> &ProxySettings {
        &self.file.proxy
    }

    /// A mistake at these bytes of the file, about this key.
    pub(crate) fn mistake(&self, span: Range<usize>, key: &str, what: &str) -> CommandError {
        let path = &self.places.config_file;
        // Without the text, which was there a moment ago, the line is left out.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let span = Some(span).filter(|_| !text.is_empty());
        ConfigProblem::at(path, &text, span, what).key(key).into()
    }

    /// What is known of this session; `None`: nothing at all.
    pub(crate) fn session(
        &self,
        name: &SessionName,
    ) -> Result<Option<SessionSettings>, CommandError> {
        let written = read(&self.places.session_file(name.as_str()))?;
        let configured = self.file.sessions.get(name).cloned();
        Ok(match (configured, written) {
            (Some(configured), Some(written)) => Some(configured.over(written)),
            (configured, written) => configured.or(written),
        })
    }

    /// What later commands will know of this session, once `login` has written these settings down.
    pub(crate) fn session_after(
        &self,
        name: &SessionName,
        written: &SessionSettings,
    ) -> SessionSettings {
        match self.file.sessions.get(name) {
            Some(configured) => configured.clone().over(written.clone()),
            None => written.clone(),
        }
    }

    /// The names of all sessions, in their order.
    pub(crate) fn session_names(&self) -> Result<Vec<SessionName>, CommandError> {
        let mut names: Vec<_> = self.file.sessions.keys().cloned().collect();
        let directory = self.places.session_files();
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            Err(error) => return Err(unlisted(&directory, error)),
        };
        for entry in entries {
            let file = entry
                .map_err(|error| unlisted(&directory, error))?
                .file_name();
            let name = file.to_str().and_then(|name| name.strip_suffix(".toml"));
            names.extend(name.and_then(|name| name.parse::<SessionName>().ok()));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Writes down what `login` was told, for the next time.
    pub(crate) fn remember(
        &self,
        name: &SessionName,
        settings: &SessionSettings,
    ) -> Result<(), CommandError> {
        let path = self.places.session_file(name.as_str());
        let failed = |error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => file_hint(&error),
                _ => None,
            };
            CommandError::new(format!("{} cannot be written", path.display()))
                .because(error)
                .hint_of(hint)
                .or_hint(format!(
                    "make its directory writable and sign in again, or write [sessions.{name}] into \
                     {}: other commands know this session by neither",
                    self.places.config_file.display()
                ))
        };
        let text = toml::to_string(settings).map_err(|error| failed(io::Error::other(error)))?;
        let text = format!("# Written by `token-rotator login`; it holds no secret.\n{text}");
        if std::fs::read_to_string(&path).is_ok_and(|before| before == text) {
            return Ok(());
        }
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, text));
        written.map_err(failed)
    }
}

/// What a TOML file says; `None`: there is none.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, CommandError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, error)),
    };
    let parsed = toml::Deserializer::parse(&text).map_err(|error| (None, error));
    let value = parsed.and_then(|toml| {
        serde_path_to_error::deserialize(toml).map_err(|error| {
            // A value that knows its place in the file is wrapped in a field of toml's own.
            let key = error
                .path()
                .to_string()
                .replace(".$__serde_spanned_private_value", "");
            (Some(key).filter(|key| key != "."), error.into_inner())
        })
    });
    value.map(Some).map_err(|(key, error)| {
        let mut problem = ConfigProblem::at(path, &text, error.span(), error.message());
        if let Some(key) = key {
            if secret_in_the_clear(&key) {
                problem = problem.hint(
                    "a secret does not stand in this file: name where it is with \
                     `client_secret_env` or `client_secret_file`",
                );
            }
            problem = problem.key(key);
        }
        problem.into()
    })
}

fn secret_in_the_clear(key: &str) -> bool {
    key.rsplit('.').next() == Some("client_secret")
}

fn unreadable(path: &Path, error: io::Error) -> CommandError {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "check who owns it and who may read it",
        _ => "it is to be a file of TOML in UTF-8",
    };
    CommandError::new(format!("{} cannot be read", path.display()))
        .because(error)
        .hint(hint)
}

fn unlisted(directory: &Path, error: io::Error) -> CommandError {
    CommandError::new(format!("{} cannot be listed", directory.display()))
        .because(error)
        .hint("it is to be a directory that you may read: check what it is and who owns it")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who may read everything cannot bring this about.
    #[test]
    fn a_file_of_somebody_elses() {
        let error = io::Error::from_raw_os_error(13);
        insta::assert_snapshot!(unreadable(Path::new("config.toml"), error).text(), @"
        exit code 1
        error: config.toml cannot be read
          because Permission denied (os error 13)
        hint: check who owns it and who may read it
        ");
    }
}
