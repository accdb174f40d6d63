//! What was found.

use anstyle::{AnsiColor, Style};
use serde::Serialize;

/// One thing that was looked at.
#[derive(Serialize)]
pub(super) struct Finding {
    /// The session; `None`: all of them.
    session: Option<String>,
    check: &'static str,
    pub(super) grade: Grade,
    what: String,
    hint: Option<String>,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Grade {
    Good,
    /// It works, and could be better.
    Fair,
    /// Something has to be done.
    Bad,
}

impl Finding {
    pub(super) fn good(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(Grade::Good, check, what.into(), None)
    }

    pub(super) fn fair(
        check: &'static str,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(Grade::Fair, check, what.into(), Some(hint.into()))
    }

    pub(super) fn bad(
        check: &'static str,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(Grade::Bad, check, what.into(), Some(hint.into()))
    }

    fn new(grade: Grade, check: &'static str, what: String, hint: Option<String>) -> Self {
        Self {
            session: None,
            check,
            grade,
            what,
            hint,
        }
    }

    /// It is about this session alone.
    pub(super) fn of(mut self, session: &str) -> Self {
        self.session = Some(session.to_owned());
        self
    }

    pub(super) fn text(&self) -> String {
        let (colour, mark) = match self.grade {
            Grade::Good => (AnsiColor::Green, "ok  "),
            Grade::Fair => (AnsiColor::Yellow, "note"),
            Grade::Bad => (AnsiColor::Red, "bad "),
        };
        let style = Style::new().bold().fg_color(Some(colour.into()));
        let place = match &self.session {
            Some(session) => format!("{session}: "),
            None => String::new(),
        };
        let (check, what) = (self.check, &self.what);
        let line = format!("{style}{mark}{style:#} {place}{check}: {what}\n");
        match &self.hint {
            Some(hint) => format!("{line}     hint: {hint}\n"),
            None => line,
        }
    }
}
