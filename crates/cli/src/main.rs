//! The program `token-rotator`: valid access tokens for scripts, tools and sidecars in any language.
//!
//! Data goes to stdout, everything else to stderr. An error states what happened, the cause and a
//! hint. The exit code tells a script whether the command succeeded.
//!
//! - `arguments/`: the command line; `config/`: the configuration file and the paths
//! - `session/`: a named session with its store, its issuer and its history
//! - `login/ token/ proxy/ doctor/ demo/` and the files here: one module per command
//! - `core_dumps.rs`: keeps secrets out of core dumps
//! - `command_error.rs output.rs table.rs certificates.rs secret_file.rs`: shared by the commands

mod arguments;
mod certificates;
mod command_error;
mod completions;
mod config;
mod core_dumps;
mod demo;
mod doctor;
mod exec;
mod history;
mod issuer;
mod login;
mod logout;
mod output;
mod proxy;
mod rebind;
mod secret_file;
mod session;
mod status;
mod table;
mod token;

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};

use crate::arguments::{Arguments, CliCommand, ReloadOptions};
use crate::command_error::CommandError;
use crate::core_dumps::CoreLimit;

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
    let global = arguments.global;
    let core_limit = CoreLimit::forbid(&global, &arguments.command);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| cannot_start(&error))?;
    runtime.block_on(async {
        match arguments.command {
            CliCommand::Login(options) => Box::pin(login::run(&global, *options)).await,
            CliCommand::Token(options) => token::run(&global, options).await,
            CliCommand::Exec(options) => exec::run(&global, options, core_limit).await,
            CliCommand::Proxy(options) => proxy::run(&global, *options).await,
            CliCommand::Reload(ReloadOptions {}) => proxy::reload(&global).await,
            CliCommand::Status(options) => status::run(&global, options).await,
            CliCommand::History(options) => history::run(&global, &options).await,
            CliCommand::Doctor(options) => doctor::run(&global, options).await,
            CliCommand::Logout(options) => logout::run(&global, &options).await,
            CliCommand::Rebind(options) => rebind::run(&global, &options).await,
            CliCommand::Demo(options) => demo::run(options).await,
            CliCommand::Issuer(options) => issuer::run(options).await,
            CliCommand::Completions(options) => completions::run(&options),
        }
    })
}

/// Removes from clap's error what may be a password or a key: of an address all after the scheme.
fn without_password(mut error: clap::Error) -> clap::Error {
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.clone(),
        _ => String::new(),
    };
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && let Some(shown) = without_secret(&argument, value)
    {
        error.insert(ContextKind::InvalidValue, ContextValue::String(shown));
    }
    error
}

/// Returns what is shown of a value. Returns `None` for a value without a secret.
fn without_secret(argument: &str, value: &str) -> Option<String> {
    let is_store = argument.starts_with("--store ");
    let may_be_key = argument.starts_with("--key ") && value.len() >= 32;
    // An address without any of these characters has neither a user name nor parameters.
    let may_have_password =
        value.contains('@') || (is_store && value.contains(['=', '?', '#', '%']));
    let scheme = value.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("file") => None,
        Some(scheme) if may_have_password => {
            let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
            let shown = if scheme.chars().all(is_letter) {
                scheme
            } else {
                "..."
            };
            Some(format!("{shown}://..."))
        }
        _ if may_be_key || may_have_password => Some("...".to_owned()),
        _ => None,
    }
}

fn cannot_start(error: &std::io::Error) -> CommandError {
    CommandError::new("the program cannot start")
        .because(error)
        .hint("raise the limits of open files (`ulimit -n`) and of processes (`ulimit -u`)")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "The tail of a password is shown": nothing after the scheme of an address, and no key.
    #[test]
    fn an_error_shows_no_secret() {
        let store = |value| without_secret("--store <STORE>", value);
        for value in [
            "redis://:canary@db",
            "mysql://u:can@ary@db",
            "postgres://u:canary/x@db/app",
        ] {
            let shown = store(value).expect("an address");
            assert!(
                shown.ends_with("://...") && !shown.contains("ary"),
                "{shown}"
            );
        }
        assert_eq!(store("u:canary://@db").as_deref(), Some("...://..."));
        assert_eq!(store("mysql://db"), None);
        assert_eq!(store("host=db password=canary").as_deref(), Some("..."));
        assert_eq!(store("redis:canary@db").as_deref(), Some("..."));
        assert_eq!(store("file:sessions"), None);
        let issuer = |value| without_secret("--issuer <URL>", value);
        let shown = issuer("https://me:canary@issuer.example");
        assert_eq!(shown.as_deref(), Some("https://..."));
        assert_eq!(issuer("http://issuer.example"), None);
        let key = "ab".repeat(32);
        assert_eq!(without_secret("--key <KEY>", &key).as_deref(), Some("..."));
    }

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
