//! The program `token-rotator`: good tokens for scripts, tools and sidecars in any language.
//!
//! Data goes to stdout, everything else to stderr; an error says what happened, why, and what to
//! do about it, and the exit code says whether the command did what it was asked for.

mod arguments;
mod command_error;
mod demo;
mod issuer;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};
use crate::command_error::CommandError;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            error.print();
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::new("cannot start the runtime").because(error))?;
    runtime.block_on(async {
        match arguments.command {
            Command::Demo(options) => demo::run(options).await,
            Command::Issuer(options) => issuer::run(options).await,
        }
    })
}
