//! The program `token-rotator`: valid access tokens for scripts, tools and sidecars in any language.
//!
//! Data goes to stdout, everything else to stderr. An error states what happened, the cause and a
//! hint. The exit code tells a script whether the command succeeded.
//!
//! - `arguments/`: the command line; `config/`: the configuration file and the paths
//! - `session/`: a named session with its store, its issuer and its history
//! - `login/ token/ proxy/ doctor/ demo/` and the files here: one module per command
//! - `command_error.rs output.rs table.rs certificates.rs`: shared by the commands

mod arguments;
mod certificates;
mod command_error;
mod completions;
mod config;
mod demo;
mod doctor;
mod exec;
mod history;
mod issuer;
mod login;
mod logout;
mod output;
mod proxy;
mod session;
mod status;
mod table;
mod token;

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};

use crate::arguments::{Arguments, CliCommand, ReloadOptions};
use crate::command_error::CommandError;

fn main() -> ExitCode {
    let arguments = Arguments::read().unwrap_or_else(|error| without_password(error).exit());
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            error.print();
            error.exit_code()
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| cannot_start(&error))?;
    let global = arguments.global;
    runtime.block_on(async {
        match arguments.command {
            CliCommand::Login(options) => Box::pin(login::run(&global, *options)).await,
            CliCommand::Token(options) => token::run(&global, options).await,
            CliCommand::Exec(options) => exec::run(&global, options).await,
            CliCommand::Proxy(options) => proxy::run(&global, *options).await,
            CliCommand::Reload(ReloadOptions {}) => proxy::reload(&global).await,
            CliCommand::Status(options) => status::run(&global, options).await,
            CliCommand::History(options) => history::run(&global, &options).await,
            CliCommand::Doctor(options) => doctor::run(&global, options).await,
            CliCommand::Logout(options) => logout::run(&global, &options).await,
            CliCommand::Demo(options) => demo::run(options).await,
            CliCommand::Issuer(options) => issuer::run(options).await,
            CliCommand::Completions(options) => completions::run(&options),
        }
    })
}

/// Removes the password from a store URL that clap would repeat in its error.
fn without_password(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && let Some((scheme, rest)) = value.split_once("://")
        && let Some((_, address)) = rest.rsplit_once('@')
    {
        let value = ContextValue::String(format!("{scheme}://...@{address}"));
        error.insert(ContextKind::InvalidValue, value);
    }
    error
}

fn cannot_start(error: &std::io::Error) -> CommandError {
    CommandError::new("the program cannot start")
        .because(error)
        .hint("raise the limits of open files (`ulimit -n`) and of processes (`ulimit -u`)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_descriptors() {
        let error = std::io::Error::from_raw_os_error(24);
        insta::assert_snapshot!(cannot_start(&error).text(), @"
        exit code 1
        error: the program cannot start
          because Too many open files (os error 24)
        hint: raise the limits of open files (`ulimit -n`) and of processes (`ulimit -u`)
        ");
    }
}
