//! Errors in a configuration file.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::command_error::CommandError;

/// An error in a configuration file, with its line, its key and a hint.
#[derive(Debug)]
pub(crate) struct ConfigProblem {
    file: PathBuf,
    line: Option<usize>,
    key: Option<String>,
    what: String,
    hint: Option<String>,
}

impl ConfigProblem {
    /// Creates an error at these bytes of the file's text.
    pub(crate) fn at(file: &Path, text: &str, span: Option<Range<usize>>, what: &str) -> Self {
        let line = span.map(|span| {
            let before = text.get(..span.start).unwrap_or(text);
            before.matches('\n').count() + 1
        });
        Self {
            file: file.to_owned(),
            line,
            key: None,
            what: what.to_owned(),
            hint: None,
        }
    }

    /// Sets the key concerned.
    pub(crate) fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ConfigProblem> for CommandError {
    fn from(problem: ConfigProblem) -> Self {
        let location = match problem.line {
            Some(line) => format!("line {line} of {}", problem.file.display()),
            None => problem.file.display().to_string(),
        };
        let why = match problem.key {
            Some(key) => format!("`{key}`: {}", problem.what),
            None => problem.what,
        };
        let hint = problem
            .hint
            .unwrap_or_else(|| "correct the line; docs/program.md has all keys".to_owned());
        CommandError::new(format!("{location} cannot be used"))
            .why(why)
            .hint(hint)
    }
}
