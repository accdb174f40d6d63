//! `token-rotator completions`: what shells complete.

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::arguments::{Arguments, CompletionOptions};

/// Prints them.
pub(crate) fn run(options: &CompletionOptions) -> ExitCode {
    let mut command = Arguments::command();
    clap_complete::generate(
        options.shell,
        &mut command,
        "token-rotator",
        &mut std::io::stdout(),
    );
    ExitCode::SUCCESS
}
