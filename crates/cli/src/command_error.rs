//! How a command fails: what happened, why, and what to do.

use std::error::Error as StdError;

use anstyle::{AnsiColor, Style};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// A failed command, in words for the person who typed it.
#[derive(Debug)]
pub(crate) struct CommandError {
    what: String,
    why: Vec<String>,
    hint: Option<String>,
}

impl CommandError {
    /// What happened.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: Vec::new(),
            hint: None,
        }
    }

    /// Why: this error and those behind it.
    pub(crate) fn because(mut self, error: impl StdError) -> Self {
        self.why.push(error.to_string());
        let mut source = error.source();
        while let Some(error) = source {
            self.why.push(error.to_string());
            source = error.source();
        }
        self
    }

    /// What to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints it to stderr.
    pub(crate) fn print(&self) {
        anstream::eprintln!("{ERROR}error:{ERROR:#} {}", self.what);
        for why in &self.why {
            anstream::eprintln!("  because {why}");
        }
        if let Some(hint) = &self.hint {
            anstream::eprintln!("{HINT}hint:{HINT:#} {hint}");
        }
    }
}
