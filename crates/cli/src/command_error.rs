//! The error of a command: what happened, the cause and a hint.

use std::error::Error as StdError;
use std::io;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use token_rotator::{FailureKind, SourceError};

use crate::output::say;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// A failed command, as it is shown to the user.
#[derive(Debug)]
pub(crate) struct CommandError {
    summary: String,
    why: Vec<String>,
    hint: Option<String>,
    code: u8,
}

impl CommandError {
    /// Creates an error that states what happened.
    pub(crate) fn new(summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            why: Vec::new(),
            hint: None,
            code: 1,
        }
    }

    /// Adds an error and its sources as causes. Omits a source whose text a cause already contains.
    pub(crate) fn because(mut self, error: impl StdError) -> Self {
        self.why.push(error.to_string());
        let mut source = error.source();
        while let Some(error) = source {
            let why = error.to_string();
            // Many errors repeat the text of their source.
            if !self.why.iter().any(|cause| cause.contains(&why)) {
                self.why.push(why);
            }
            source = error.source();
        }
        self
    }

    /// Adds a cause as a sentence.
    pub(crate) fn why(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    /// Sets the hint: what the user can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the hint of an error. Does nothing if the error has no hint.
    pub(crate) fn hint_of(self, hint: Option<&str>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// Sets the hint unless there is one already.
    pub(crate) fn or_hint(self, hint: impl Into<String>) -> Self {
        match self.hint {
            Some(_) => self,
            None => self.hint(hint),
        }
    }

    /// Sets the exit code of the program. Default: 1.
    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Returns the hint; an empty text if there is none.
    pub(crate) fn hint_text(&self) -> &str {
        self.hint.as_deref().unwrap_or_default()
    }

    /// Converts this error into the failure of a token source.
    pub(crate) fn to_source_error(&self, kind: FailureKind) -> SourceError {
        let error = SourceError::new(kind, self.to_string());
        match &self.hint {
            Some(hint) => error.with_hint(hint.as_str()),
            None => error,
        }
    }

    /// Returns the exit code of the program.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// Prints the error to stderr.
    pub(crate) fn print(&self) {
        say!("{}", self.styled(ERROR, "error"));
    }

    /// Prints the error as a warning, for a command that goes on.
    pub(crate) fn print_as_warning(&self) {
        say!("{}", self.styled(WARNING, "warning"));
    }

    fn styled(&self, style: Style, label: &str) -> String {
        let mut text = format!("{style}{label}:{style:#} {}", self.summary);
        for why in &self.why {
            text = format!("{text}\n  because {why}");
        }
        if let Some(hint) = &self.hint {
            text = format!("{text}\n{HINT}hint:{HINT:#} {hint}");
        }
        text
    }

    /// Returns the printed text without colours, after the exit code.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        let styled = self.styled(ERROR, "error");
        let styled = anstream::adapter::strip_str(&styled);
        format!("exit code {}\n{styled}\n", self.code)
    }
}

/// What happened and the causes in one line, for logs. The hint is left out.
impl std::fmt::Display for CommandError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.summary)?;
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
