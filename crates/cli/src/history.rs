//! `token-rotator history`: each generation of a session's token, and what went wrong.

use std::process::ExitCode;

use jiff::Timestamp;

use crate::arguments::{GlobalOptions, HistoryOptions};
use crate::command_error::CommandError;
use crate::output::{self, say};
use crate::session::history::Entry;
use crate::session::{Home, Session};
use crate::table;

/// Shows it.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: &HistoryOptions,
) -> Result<ExitCode, CommandError> {
    let home = Home::open(global, "history").await?;
    let session = home.session(&options.session.name)?;
    let entries = session.history.read();
    let entries = entries.map_err(|error| unreadable(&session, &error))?;
    let newest = &entries[entries.len().saturating_sub(options.limit)..];
    if options.json {
        for entry in newest {
            output::print_json(entry)?;
        }
    } else if newest.is_empty() {
        say!(
            "Nothing has happened yet in session `{}` on this machine.",
            session.name
        );
    } else {
        let rows: Vec<_> = newest
            .iter()
            .map(|entry| {
                [
                    second(entry.at),
                    format!("{} ({})", entry.command, entry.process),
                    entry.happening.name().to_owned(),
                    entry.token.clone().unwrap_or_else(|| "-".to_owned()),
                    detail(entry),
                ]
            })
            .collect();
        output::print(&table::text(["WHEN", "BY", "WHAT", "TOKEN", ""], &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The history of this session.
pub(crate) fn unreadable(session: &Session<'_>, error: &std::io::Error) -> CommandError {
    let file = session.history.file().display();
    CommandError::new(format!("{file} cannot be read"))
        .because(error)
        .hint("check who owns it, or remove it, which is safe: it is only looked at")
}

/// What is known of it, and what to do about it.
fn detail(entry: &Entry) -> String {
    let detail = entry.happening.detail();
    match entry.happening.hint() {
        Some(hint) => format!("{detail} (hint: {hint})"),
        None => detail,
    }
}

fn second(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string()
}
