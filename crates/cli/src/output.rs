//! What commands print: data on stdout, the rest on stderr.

use std::fmt;
use std::io::{self, Write as _};

use serde::Serialize;

use crate::command_error::CommandError;

/// Data, to stdout. That nobody takes it is an error like any other, and no panic.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    let mut out = anstream::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| not_taken(&error))
}

/// A value as a line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string(value).map_err(|error| not_taken(&error.into()))?;
    print(&(text + "\n"))
}

/// The same for people, over several lines.
pub(crate) fn print_pretty_json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| not_taken(&error.into()))?;
    print(&(text + "\n"))
}

fn not_taken(error: &io::Error) -> CommandError {
    let hint = match error.kind() {
        io::ErrorKind::BrokenPipe => "whoever was to read it has gone away; run it again without",
        _ => "see to what stdout leads to, then run it again",
    };
    CommandError::new("the output cannot be written to stdout")
        .because(error)
        .hint(hint)
}

/// A line for whoever runs the command, on stderr. One that nobody takes is lost: there is nobody to
/// tell that.
macro_rules! say {
    ($($format:tt)*) => {
        $crate::output::write_line(format_args!($($format)*))
    };
}
pub(crate) use say;

pub(crate) fn write_line(line: fmt::Arguments<'_>) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}
