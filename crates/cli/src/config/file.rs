//! Reads the configuration file and the session files that `login` writes beside it.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use token_rotator::files::{FileError, TrustedFile};

use super::paths::{UserPaths, private_directory, session_of_file};
use super::problem::ConfigProblem;
use super::proxy::ProxySettings;
use super::session::SessionSettings;
use super::store::StoreSettings;
use super::values::SessionName;
use crate::command_error::{CommandError, file_hint};

/// The longest configuration file that is read, in bytes.
const BYTES_MAX: u64 = 1024 * 1024;

/// The configuration file and the paths of the user.
#[derive(Clone, Debug)]
pub(crate) struct ProgramConfig {
    pub(crate) paths: UserPaths,
    file: ConfigFile,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConfigFile {
    store: StoreSettings,
    sessions: BTreeMap<SessionName, SessionSettings>,
    proxy: ProxySettings,
}

impl ProgramConfig {
    /// Reads the configuration file.
    ///
    /// A missing file counts as empty, unless `--config` or `TOKEN_ROTATOR_CONFIG` names it.
    pub(crate) fn load(paths: UserPaths) -> Result<Self, CommandError> {
        let file = match read_toml(&paths.config_file)? {
            Some(file) => file,
            None if paths.config_is_named => {
                let path = paths.config_file.display();
                return Err(CommandError::new(format!("there is no {path}"))
                    .why("`--config` or TOKEN_ROTATOR_CONFIG names it")
                    .hint("write the file, or leave out `--config` to use the default file"));
            }
            None => ConfigFile::default(),
        };
        Ok(Self { paths, file })
    }

    /// The `[store]` table.
    pub(crate) fn store(&self) -> &StoreSettings {
        &self.file.store
    }

    /// The `[proxy]` table.
    pub(crate) fn proxy(&self) -> &ProxySettings {
        &self.file.proxy
    }

    /// Returns an error about `key` at these bytes of the file.
    pub(crate) fn error_at(&self, span: Range<usize>, key: &str, what: &str) -> CommandError {
        let path = &self.paths.config_file;
        // If the file has become unreadable since, the error has no line number.
        let file = TrustedFile::read(path, BYTES_MAX).ok().flatten();
        let text = file.as_ref().and_then(|file| file.text().ok());
        let span = Some(span).filter(|_| text.is_some());
        ConfigProblem::at(path, text.unwrap_or_default(), span, what)
            .key(key)
            .into()
    }

    /// Returns the settings of a session: the configuration file over the file that `login` wrote.
    ///
    /// Returns `None` if neither file has the session.
    pub(crate) fn session(
        &self,
        name: &SessionName,
    ) -> Result<Option<SessionSettings>, CommandError> {
        let from_login = read_toml(&self.paths.session_file(name.as_str()))?;
        let configured = self.file.sessions.get(name).cloned();
        Ok(match (configured, from_login) {
            (Some(configured), Some(from_login)) => Some(configured.with_fallback(from_login)),
            (configured, from_login) => configured.or(from_login),
        })
    }

    /// Returns the settings that later commands will use after `login` has saved `from_login`.
    pub(crate) fn session_after(
        &self,
        name: &SessionName,
        from_login: &SessionSettings,
    ) -> SessionSettings {
        match self.file.sessions.get(name) {
            Some(configured) => configured.clone().with_fallback(from_login.clone()),
            None => from_login.clone(),
        }
    }

    /// Returns the names of all sessions, sorted.
    pub(crate) fn session_names(&self) -> Result<Vec<SessionName>, CommandError> {
        let mut names: Vec<_> = self.file.sessions.keys().cloned().collect();
        let directory = self.paths.session_files();
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            Err(error) => return Err(cannot_list(&directory, error)),
        };
        for entry in entries {
            let file = entry
                .map_err(|error| cannot_list(&directory, error))?
                .file_name();
            let name = file.to_str().and_then(|name| name.strip_suffix(".toml"));
            names.extend(name.and_then(|name| session_of_file(name).parse::<SessionName>().ok()));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Saves the settings of a login for later commands. Keeps an unchanged file untouched.
    pub(crate) fn write_session_file(
        &self,
        name: &SessionName,
        settings: &SessionSettings,
    ) -> Result<(), CommandError> {
        let path = self.paths.session_file(name.as_str());
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
                     {}: without one of them other commands do not find this session",
                    self.paths.config_file.display()
                ))
        };
        let text = toml::to_string(settings).map_err(|error| failed(io::Error::other(error)))?;
        let text = format!("# Written by `token-rotator login`; it holds no secret.\n{text}");
        match TrustedFile::read(&path, BYTES_MAX) {
            Ok(Some(before)) if before.bytes() == text.as_bytes() => return Ok(()),
            // An error of the system returns below, when the file is written.
            Ok(_) | Err(FileError::TooLong { .. } | FileError::Io(_)) => {}
            Err(error) => return Err(cannot_read(&path, error)),
        }
        let written = path
            .parent()
            .map_or(Ok(()), private_directory)
            .and_then(|()| write_private(&path, &text));
        written.map_err(failed)
    }
}

/// Writes a file that only its owner may change, whatever the umask.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// Reads a TOML file that only its user and root can change. Returns `None` if there is no file.
fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, CommandError> {
    let file = TrustedFile::read(path, BYTES_MAX).map_err(|error| cannot_read(path, error))?;
    let Some(file) = file else {
        return Ok(None);
    };
    let text = file.text().map_err(|error| cannot_read(path, error))?;
    let parsed = toml::Deserializer::parse(text).map_err(|error| (None, error));
    let value = parsed.and_then(|toml| {
        serde_path_to_error::deserialize(toml).map_err(|error| {
            // `Spanned` wraps its value in this field, which the user did not write.
            let key = error
                .path()
                .to_string()
                .replace(".$__serde_spanned_private_value", "");
            (Some(key).filter(|key| key != "."), error.into_inner())
        })
    });
    value.map(Some).map_err(|(key, error)| {
        let what = without_value(error.message());
        let mut problem = ConfigProblem::at(path, text, error.span(), &what);
        if let Some(key) = key {
            if is_client_secret(&key) {
                problem = problem.hint(
                    "do not write the secret into this file: name its location with \
                     `client_secret_env` or `client_secret_file`",
                );
            }
            problem = problem.key(key);
        }
        problem.into()
    })
}

/// Removes a text of the file from the parser's error. It may be an address with a password.
fn without_value(message: &str) -> String {
    let quoted = message.split_once("string \"").and_then(|(before, rest)| {
        let (_, after) = rest.rsplit_once('"')?;
        Some(format!("{before}a text{after}"))
    });
    quoted.unwrap_or_else(|| message.to_owned())
}

fn is_client_secret(key: &str) -> bool {
    key.rsplit('.').next() == Some("client_secret")
}

fn cannot_read(path: &Path, error: FileError) -> CommandError {
    let hint = match &error {
        FileError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            "check who owns it and who may read it".to_owned()
        }
        error => error
            .hint()
            .unwrap_or("write it as a TOML file in UTF-8")
            .to_owned(),
    };
    let path = path.display();
    let failed = match &error {
        FileError::Exposed { .. } => CommandError::new(format!("{path} is not trusted")),
        _ => CommandError::new(format!("{path} cannot be read")),
    };
    failed.because(error).hint(hint)
}

fn cannot_list(directory: &Path, error: io::Error) -> CommandError {
    CommandError::new(format!("{} cannot be listed", directory.display()))
        .because(error)
        .hint("check that it is a directory, and who owns it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_parser_shows_no_value() {
        let shown = without_value(
            r#"invalid type: string "postgres://u:ca"nary@db", expected struct StoreSettings"#,
        );
        assert_eq!(shown, "invalid type: a text, expected struct StoreSettings");
        assert_eq!(without_value("unknown field `x`"), "unknown field `x`");
    }

    /// Tested with an error made here, because the super-user may read every file.
    #[test]
    fn a_file_without_read_permission() {
        let error = io::Error::from_raw_os_error(13);
        insta::assert_snapshot!(cannot_read(Path::new("config.toml"), error.into()).text(), @"
        exit code 1
        error: config.toml cannot be read
          because Permission denied (os error 13)
        hint: check who owns it and who may read it
        ");
    }
}
