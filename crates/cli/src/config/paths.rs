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
        file_of_session(&self.session_files(), name, "toml")
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

/// Returns the file of a session in this directory.
///
/// Sessions whose names differ by case have different files, although macOS and Windows ignore the case
/// of file names: `+` stands before each capital letter. A file that an earlier version named without
/// `+` keeps its name.
pub(crate) fn file_of_session(directory: &Path, name: &str, extension: &str) -> PathBuf {
    let plain = format!("{name}.{extension}");
    let mut listed = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        listed.extend(entry.file_name().into_string());
    }
    let file = if listed.contains(&plain) {
        plain
    } else if name.contains(|letter: char| letter.is_ascii_uppercase()) {
        let mut encoded = String::new();
        for letter in name.chars() {
            if letter.is_ascii_uppercase() {
                encoded.push('+');
            }
            encoded.push(letter.to_ascii_lowercase());
        }
        format!("{encoded}.{extension}")
    } else if listed.iter().any(|file| file.eq_ignore_ascii_case(&plain)) {
        // The file of another session would be opened in its place.
        format!("{name}+.{extension}")
    } else {
        plain
    };
    directory.join(file)
}

/// Returns the session's name of a file without its extension: the reverse of [`file_of_session`].
pub(crate) fn session_of_file(stem: &str) -> String {
    let mut name = String::new();
    let mut letters = stem.strip_suffix('+').unwrap_or(stem).chars();
    while let Some(letter) = letters.next() {
        if letter == '+' {
            name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        } else {
            name.push(letter);
        }
    }
    name
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

#[cfg(test)]
mod tests {
    use super::*;

    /// "Session names that differ by case share files on macOS and Windows".
    #[test]
    fn names_that_differ_by_case_have_different_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut files = Vec::new();
        for name in ["work", "Work", "WORK", "w-Ork.1", "w-ork.1"] {
            let file = file_of_session(directory.path(), name, "toml");
            std::fs::write(&file, name).expect("a file");
            assert_eq!(file_of_session(directory.path(), name, "toml"), file);
            let file = file
                .file_name()
                .expect("a name")
                .to_str()
                .expect("text")
                .to_owned();
            assert_eq!(
                session_of_file(file.strip_suffix(".toml").expect("its end")),
                name
            );
            files.push(file.to_ascii_lowercase());
        }
        files.sort();
        files.dedup();
        assert_eq!(files.len(), 5, "{files:?}");
    }

    /// A file of an earlier version keeps its name, and no other session gets it.
    #[test]
    fn a_file_of_an_earlier_version_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let old = directory.path().join("Work.toml");
        std::fs::write(&old, "").expect("a file");
        assert_eq!(file_of_session(directory.path(), "Work", "toml"), old);
        let other = file_of_session(directory.path(), "work", "toml");
        assert_eq!(other, directory.path().join("work+.toml"));
        assert_eq!(session_of_file("work+"), "work");
        assert_eq!(session_of_file("Work"), "Work");
    }
}
