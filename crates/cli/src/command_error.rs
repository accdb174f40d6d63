//! How a command fails: what happened, why, and what to do.

use std::error::Error as StdError;
use std::io;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use token_rotator::{FailureKind, SourceError};

use crate::output::say;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// A failed command, in words for the person who typed it.
#[derive(Debug)]
pub(crate) struct CommandError {
    what: String,
    why: Vec<String>,
    hint: Option<String>,
    code: u8,
}

impl CommandError {
    /// What happened.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: Vec::new(),
            hint: None,
            code: 1,
        }
    }

    /// Why: this error and those behind it, each said once.
    pub(crate) fn because(mut self, error: impl StdError) -> Self {
        self.why.push(error.to_string());
        let mut source = error.source();
        while let Some(error) = source {
            let why = error.to_string();
            // Many errors repeat their source as their own words.
            if !self.why.iter().any(|said| said.contains(&why)) {
                self.why.push(why);
            }
            source = error.source();
        }
        self
    }

    /// Why, in a sentence.
    pub(crate) fn why(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    /// What to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to do, as the error itself says it. Changes nothing where it says nothing.
    pub(crate) fn hint_of(self, hint: Option<&str>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// What to do, unless the error itself has said it.
    pub(crate) fn or_hint(self, hint: impl Into<String>) -> Self {
        match self.hint {
            Some(_) => self,
            None => self.hint(hint),
        }
    }

    /// What the program ends with. Default: 1.
    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// What to do, in words.
    pub(crate) fn hint_text(&self) -> &str {
        self.hint.as_deref().unwrap_or_default()
    }

    /// The same as a failure of a token source.
    pub(crate) fn of_source(&self, kind: FailureKind) -> SourceError {
        let error = SourceError::new(kind, self.to_string());
        match &self.hint {
            Some(hint) => error.with_hint(hint.as_str()),
            None => error,
        }
    }

    /// What the program ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// Prints it to stderr.
    pub(crate) fn print(&self) {
        say!("{}", self.told(ERROR, "error"));
    }

    /// The same for what does not end the command.
    pub(crate) fn print_as_warning(&self) {
        say!("{}", self.told(WARNING, "warning"));
    }

    fn told(&self, style: Style, word: &str) -> String {
        let mut text = format!("{style}{word}:{style:#} {}", self.what);
        for why in &self.why {
            text = format!("{text}\n  because {why}");
        }
        if let Some(hint) = &self.hint {
            text = format!("{text}\n{HINT}hint:{HINT:#} {hint}");
        }
        text
    }

    /// What is printed, without its colours.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        let told = self.told(ERROR, "error");
        let told = anstream::adapter::strip_str(&told);
        format!("exit code {}\n{told}\n", self.code)
    }
}

/// All of it in one line, for a log.
impl std::fmt::Display for CommandError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.what)?;
        self.why.iter().try_for_each(|why| write!(out, ": {why}"))
    }
}

/// What to do about a port that cannot be listened on. Returns `None` where another port may help.
pub(crate) fn port_hint(error: &io::Error) -> Option<&'static str> {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::PermissionDenied, _) => Some("choose a port above 1023"),
        (io::ErrorKind::AddrNotAvailable, _) => Some("choose an address of this machine"),
        // EMFILE and ENFILE, which have no kind.
        (_, Some(23 | 24)) if cfg!(unix) => Some("raise the limit of open files (`ulimit -n`)"),
        _ => None,
    }
}

/// What to do about a file that cannot be read or written. Returns `None` if the cause does not tell.
pub(crate) fn file_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Some("give this user the right to it"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("make room on its disk"),
        io::ErrorKind::NotFound => Some("write the file, or name another"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: each error of the system has the hint for its own cause, and an unknown one none.
    #[test]
    fn each_error_of_the_system_has_its_hint() {
        let kind = io::Error::from;
        for (error, port, file) in [
            (
                kind(io::ErrorKind::PermissionDenied),
                Some("choose a port above 1023"),
                Some("give this user the right to it"),
            ),
            (kind(io::ErrorKind::AddrInUse), None, None),
            (
                kind(io::ErrorKind::AddrNotAvailable),
                Some("choose an address of this machine"),
                None,
            ),
            (
                kind(io::ErrorKind::NotFound),
                None,
                Some("write the file, or name another"),
            ),
            (
                kind(io::ErrorKind::StorageFull),
                None,
                Some("make room on its disk"),
            ),
        ] {
            assert_eq!(
                (port_hint(&error), file_hint(&error)),
                (port, file),
                "{error}"
            );
        }
        #[cfg(unix)]
        assert_eq!(
            port_hint(&io::Error::from_raw_os_error(24)),
            Some("raise the limit of open files (`ulimit -n`)")
        );
    }
}
