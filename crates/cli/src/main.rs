//! The program `token-rotator`: good tokens for scripts, tools and sidecars in any language.
//!
//! Data goes to stdout, everything else to stderr; an error says what happened, why, and what to
//! do about it, and the exit code says whether the command did what it was asked for.

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

use clap::Parser as _;
use clap::error::{ContextKind, ContextValue};

use crate::arguments::{Arguments, Command};
use crate::command_error::CommandError;

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| without_password(error).exit());
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
            Command::Login(options) => Box::pin(login::run(&global, *options)).await,
            Command::Token(options) => token::run(&global, options).await,
            Command::Exec(options) => exec::run(&global, options).await,
            Command::Proxy(options) => proxy::run(&global, *options).await,
            Command::Reload(options) => proxy::reload(&global, options).await,
            Command::Status(options) => status::run(&global, options).await,
            Command::History(options) => history::run(&global, &options).await,
            Command::Doctor(options) => doctor::run(&global, options).await,
            Command::Logout(options) => logout::run(&global, &options).await,
            Command::Demo(options) => demo::run(options).await,
            Command::Issuer(options) => issuer::run(options).await,
            Command::Completions(options) => completions::run(&options),
        }
    })
}

/// A store's address may hold a password, which an error about it does not repeat.
fn without_password(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && let Some((scheme, rest)) = value.split_once("://")
        && let Some((_, place)) = rest.rsplit_once('@')
    {
        let value = ContextValue::String(format!("{scheme}://...@{place}"));
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
