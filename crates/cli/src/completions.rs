//! `token-rotator completions`: the completion script of a shell.

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::arguments::{Arguments, CompletionOptions};
use crate::command_error::CommandError;
use crate::output;

/// Prints the completion script.
pub(crate) fn run(options: &CompletionOptions) -> Result<ExitCode, CommandError> {
    let mut command = Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, "token-rotator", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
