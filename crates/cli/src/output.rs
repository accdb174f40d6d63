//! The output of commands: data on stdout, messages on stderr.

use std::fmt;
use std::io::{self, Write as _};

use serde::Serialize;

use crate::command_error::CommandError;

/// Prints data to stdout.
///
/// *Errors:* stdout cannot be written, for example a closed pipe. `print!` would panic.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    let mut out = anstream::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| cannot_write(&error))
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string(value).map_err(|error| cannot_write(&error.into()))?;
    print(&(text + "\n"))
}

/// Prints a value as indented JSON.
pub(crate) fn print_pretty_json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| cannot_write(&error.into()))?;
    print(&(text + "\n"))
}

fn cannot_write(error: &io::Error) -> CommandError {
    let hint = match error.kind() {
        io::ErrorKind::BrokenPipe => {
            "the reading process closed the pipe; run the command without it"
        }
        _ => "check the file or device that stdout leads to, then run the command again",
    };
    CommandError::new("the output cannot be written to stdout")
        .because(error)
        .hint(hint)
}

/// Prints a message to the user on stderr. A failure to write is ignored: stderr is the last channel.
macro_rules! say {
    ($($format:tt)*) => {
        $crate::output::write_line(format_args!($($format)*))
    };
}
pub(crate) use say;

pub(crate) fn write_line(line: fmt::Arguments<'_>) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}
