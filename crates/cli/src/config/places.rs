//! Where the user's files are.

use std::io;
use std::path::{Path, PathBuf};

use crate::command_error::CommandError;

/// The program's own directories.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The configuration file.
    pub(crate) config_file: PathBuf,
    /// Whether it was named, so that it has to be there.
    pub(crate) config_is_named: bool,
    /// Sessions, in the default store, and what happened in them.
    pub(crate) state: PathBuf,
}

impl Places {
    /// As the environment says (XDG Base Directory; `%APPDATA%` and `%LOCALAPPDATA%` on Windows).
    pub(crate) fn of_user(config: Option<&Path>) -> Result<Self, CommandError> {
        let config_file = match config {
            Some(file) => file.to_owned(),
            None => directory("XDG_CONFIG_HOME", ".config", "APPDATA")?.join("config.toml"),
        };
        Ok(Self {
            config_is_named: config.is_some(),
            config_file,
            state: directory("XDG_STATE_HOME", ".local/state", "LOCALAPPDATA")?,
        })
    }

    /// What `login` was told about a session.
    pub(crate) fn session_file(&self, name: &str) -> PathBuf {
        self.session_files().join(format!("{name}.toml"))
    }

    /// What `login` was told about all of them.
    pub(crate) fn session_files(&self) -> PathBuf {
        self.beside_config().join("sessions")
    }

    /// The key that seals sessions, unless another place is named.
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
    base.map(|base| base.join("token-rotator")).ok_or_else(|| {
        let home = if cfg!(windows) { on_windows } else { "HOME" };
        CommandError::new("there is no home directory to keep anything in")
            .why(format!(
                "neither {variable} nor {home} is set to an absolute path"
            ))
            .hint("set HOME, or name the places with `--config` and `--store`")
    })
}

/// Makes a directory that nobody else may look into, and those above it.
pub(crate) fn private_directory(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}
