//! The paths of the user's files.

use std::io;
use std::path::{Path, PathBuf};

use super::store::StoreUrl;
use crate::command_error::CommandError;

/// The configuration file and the state directory.
#[derive(Clone, Debug)]
pub(crate) struct UserPaths {
    /// The configuration file.
    pub(crate) config_file: PathBuf,
    /// Whether a flag or the environment names the file, which then must exist.
    pub(crate) config_is_named: bool,
    /// The directory of the default store, of histories and of running proxies.
    pub(crate) state: PathBuf,
    /// Whether the environment has no home directory. Then a store must be named.
    pub(crate) is_homeless: bool,
}

impl UserPaths {
    /// Finds the paths (XDG Base Directory; `%APPDATA%` and `%LOCALAPPDATA%` on Windows).
    ///
    /// Without a home directory, a service may name its files: histories and running proxies are then
    /// in the directory of the store, or beside the configuration file.
    ///
    /// *Errors:* the environment has no absolute home directory, and no flag names the files.
    pub(crate) fn from_environment(
        config: Option<&Path>,
        store: Option<&StoreUrl>,
    ) -> Result<Self, CommandError> {
        let config_file = match config {
            Some(file) => file.to_owned(),
            None => directory("XDG_CONFIG_HOME", ".config", "APPDATA")?.join("config.toml"),
        };
        let state = directory("XDG_STATE_HOME", ".local/state", "LOCALAPPDATA");
        let is_homeless = state.is_err();
        let state = match (state, store) {
            (Ok(state), _) => state,
            (Err(_), Some(StoreUrl::Directory(directory))) => directory.clone(),
            (Err(error), _) => {
                let named = config.ok_or(error)?;
                named.parent().unwrap_or(Path::new("")).to_owned()
            }
        };
        Ok(Self {
            config_is_named: config.is_some(),
            config_file,
            state,
            is_homeless,
        })
    }

    /// Returns the file with the settings that `login` saved for a session.
    pub(crate) fn session_file(&self, name: &str) -> PathBuf {
        self.session_files().join(format!("{name}.toml"))
    }

    /// Returns the directory of the session files.
    pub(crate) fn session_files(&self) -> PathBuf {
        self.beside_config().join("sessions")
    }

    /// Returns the default file of the key that encrypts sessions.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.beside_config().join("key")
    }

    fn beside_config(&self) -> &Path {
        self.config_file.parent().unwrap_or(Path::new(""))
    }
}

fn directory(variable: &str, under_home: &str, on_windows: &str) -> Result<PathBuf, CommandError> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let base = if cfg!(windows) {
        absolute(on_windows)
    } else {
        absolute(variable).or_else(|| Some(absolute("HOME")?.join(under_home)))
    };
    base.map(|base| base.join("token-rotator"))
        .ok_or_else(|| no_home(variable, on_windows))
}

/// The error that a path has no default, because the environment has no home directory.
pub(crate) fn no_home(variable: &str, on_windows: &str) -> CommandError {
    let home_variable = if cfg!(windows) { on_windows } else { "HOME" };
    CommandError::new("no home directory is set")
        .why(format!(
            "neither {variable} nor {home_variable} is set to an absolute path"
        ))
        .hint("set HOME to an absolute path, or give both `--config` and `--store`")
}

/// Creates a directory and its parents. On Unix only the owner may access the new directories.
pub(crate) fn private_directory(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}
