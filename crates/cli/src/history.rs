//! `token-rotator history`: the generations of a session's token, and its failures.

use std::process::ExitCode;

use jiff::Timestamp;

use crate::arguments::{GlobalOptions, HistoryOptions};
use crate::command_error::CommandError;
use crate::output::{self, say};
use crate::session::history::Entry;
use crate::session::{Context, NamedSession};
use crate::table;

/// Prints the newest entries of a session's history.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: &HistoryOptions,
) -> Result<ExitCode, CommandError> {
    let context = Context::open(global, "history").await?;
    let session = context.session(&options.session.name)?;
    let entries = session.history.read();
    let entries = entries.map_err(|error| cannot_read(&session, &error))?;
    let newest = &entries[entries.len().saturating_sub(options.limit)..];
    if options.json {
        for entry in newest {
            output::print_json(entry)?;
        }
    } else if newest.is_empty() {
        say!(
            "Session `{}` has no history on this machine yet.",
            session.name
        );
    } else {
        let rows: Vec<_> = newest
            .iter()
            .map(|entry| {
                [
                    whole_seconds(entry.at),
                    format!("{} ({})", entry.command, entry.process),
                    entry.event.name().to_owned(),
                    entry.token.clone().unwrap_or_else(|| "-".to_owned()),
                    detail(entry),
                ]
            })
            .collect();
        output::print(&table::text(["WHEN", "BY", "WHAT", "TOKEN", ""], &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Error for a history file that cannot be read.
pub(crate) fn cannot_read(session: &NamedSession<'_>, error: &std::io::Error) -> CommandError {
    let file = session.history.file().display();
    CommandError::new(format!("{file} cannot be read"))
        .because(error)
        .hint("check who owns it, or remove it: sessions work without their history")
}

/// Returns the detail of the event, with the hint in parentheses if there is one.
fn detail(entry: &Entry) -> String {
    let detail = entry.event.detail();
    match entry.event.hint() {
        Some(hint) => format!("{detail} (hint: {hint})"),
        None => detail,
    }
}

fn whole_seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string()
}
