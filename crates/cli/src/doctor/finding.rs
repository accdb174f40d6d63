//! The result of a check.

use anstyle::{AnsiColor, Style};
use serde::Serialize;

/// The result of one check.
#[derive(Serialize)]
pub(super) struct Finding {
    /// The session concerned; `None` for a check of the whole setup.
    session: Option<String>,
    check: &'static str,
    pub(super) grade: Grade,
    what: String,
    hint: Option<String>,
}

/// The grade of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Grade {
    /// Works.
    Good,
    /// Works with a limitation.
    Fair,
    /// Does not work: the user must act.
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

    /// Sets the session concerned.
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
        let session = match &self.session {
            Some(session) => format!("{session}: "),
            None => String::new(),
        };
        let (check, what) = (self.check, &self.what);
        let line = format!("{style}{mark}{style:#} {session}{check}: {what}\n");
        match &self.hint {
            Some(hint) => format!("{line}     hint: {hint}\n"),
            None => line,
        }
    }
}
