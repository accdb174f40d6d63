//! The command line.
//!
//! `demo.rs issuer.rs proxy.rs sessions.rs`: the arguments of the commands; `sessions.rs` has those of
//! all commands that use a session. `values.rs`: parsers of single values.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are the program's help, which shows them as they stand"
)]

mod demo;
mod issuer;
mod proxy;
mod sessions;
pub(crate) mod values;

use std::path::PathBuf;

use clap::{Arg, Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use self::demo::DemoOptions;
pub(crate) use self::issuer::{IssuerOptions, IssuerProfile};
pub(crate) use self::proxy::{LogFormat, ProxyOptions, ReloadOptions};
pub(crate) use self::sessions::{
    CompletionOptions, DoctorOptions, ExecOptions, HistoryOptions, LoginOptions, LogoutOptions,
    OutputFormat, RebindOptions, StatusOptions, TokenOptions,
};
use crate::config::{KeyChoice, StoreUrl};

/// One refresh serves every caller: token rotation done once, for every program.
#[derive(Debug, Parser)]
#[command(
    name = "token-rotator",
    version,
    arg_required_else_help = true,
    after_help = "Try `token-rotator demo` first. Exit codes: 0 done; 1 failed; 2 wrong usage; \
                  3 sign-in needed; 4 temporary failure, try again later."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: GlobalOptions,

    #[command(subcommand)]
    pub(crate) command: CliCommand,
}

/// The files and stores of every command that uses sessions.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Files and stores")]
pub(crate) struct GlobalOptions {
    /// The configuration file [default: token-rotator/config.toml in the user's configuration
    /// directory, if it is there]
    #[arg(
        long,
        value_name = "FILE",
        env = "TOKEN_ROTATOR_CONFIG",
        global = true,
        hide_short_help = true
    )]
    pub(crate) config: Option<PathBuf>,

    /// Where sessions are kept: a directory, redis://, rediss:// or postgres:// [default: the
    /// user's state directory]
    #[arg(
        long,
        value_name = "STORE",
        env = "TOKEN_ROTATOR_STORE",
        hide_env_values = true,
        global = true,
        hide_short_help = true
    )]
    pub(crate) store: Option<StoreUrl>,

    /// The key that encrypts stored sessions: auto, keyring, keyutils, file, file:PATH, env:NAME, none
    #[arg(
        long,
        value_name = "KEY",
        env = "TOKEN_ROTATOR_KEY",
        global = true,
        hide_short_help = true
    )]
    pub(crate) key: Option<KeyChoice>,

    /// Authorities of the certificate of a store's server (PEM), in place of those of the system
    #[arg(
        long,
        value_name = "FILE",
        env = "TOKEN_ROTATOR_STORE_CA_FILE",
        global = true,
        hide_short_help = true
    )]
    pub(crate) store_ca_file: Option<PathBuf>,

    /// A host on another machine that the store may connect to without TLS; may be given several times
    #[arg(
        long,
        value_name = "HOST",
        env = "TOKEN_ROTATOR_STORE_CLEAR_TEXT_HOST",
        value_delimiter = ',',
        global = true,
        hide_short_help = true
    )]
    pub(crate) store_clear_text_host: Vec<String>,

    /// Allow core dumps and debuggers, which can read tokens and the key
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) allow_core_dumps: bool,
}

/// Makes an empty environment variable count as unset, as in most programs: scripts and CI systems unset
/// a variable by an empty value.
pub(crate) fn without_empty_variables(command: Command) -> Command {
    let is_empty = |arg: &Arg| {
        let name = arg.get_env();
        name.is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()))
    };
    command
        .mut_args(|arg| if is_empty(&arg) { arg.env(None) } else { arg })
        .mut_subcommands(without_empty_variables)
}

impl Arguments {
    /// Parses the command line and the environment.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let mut command = without_empty_variables(Self::command());
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    Login(Box<LoginOptions>),
    Token(TokenOptions),
    Exec(ExecOptions),
    Proxy(Box<ProxyOptions>),
    Reload(ReloadOptions),
    Status(StatusOptions),
    History(HistoryOptions),
    Doctor(DoctorOptions),
    Logout(LogoutOptions),
    Rebind(RebindOptions),
    Demo(DemoOptions),
    Issuer(IssuerOptions),
    Completions(CompletionOptions),
}
