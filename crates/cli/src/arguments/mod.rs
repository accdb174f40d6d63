//! What can be typed.

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

use clap::{Args, Parser, Subcommand};

pub(crate) use self::demo::DemoOptions;
pub(crate) use self::issuer::{IssuerOptions, IssuerProfile};
pub(crate) use self::proxy::{LogFormat, ProxyOptions, ReloadOptions};
pub(crate) use self::sessions::{
    CompletionOptions, DoctorOptions, ExecOptions, HistoryOptions, LoginOptions, LogoutOptions,
    StatusOptions, TokenFormat, TokenOptions,
};
use crate::config::{KeyChoice, StoreUrl};

/// One refresh serves everybody: token rotation done once, for every program.
#[derive(Debug, Parser)]
#[command(
    name = "token-rotator",
    version,
    arg_required_else_help = true,
    after_help = "Try `token-rotator demo` first. Exit codes: 0 done; 1 failed; 2 typed wrong; \
                  3 somebody has to sign in; 4 not now, try again later."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: GlobalOptions,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where things are, for every command that has to do with sessions.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Where things are")]
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

    /// Where the key is that seals them: auto, keyring, keyutils, file, file:PATH, env:NAME, none
    #[arg(
        long,
        value_name = "KEY",
        env = "TOKEN_ROTATOR_KEY",
        global = true,
        hide_short_help = true
    )]
    pub(crate) key: Option<KeyChoice>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Login(Box<LoginOptions>),
    Token(TokenOptions),
    Exec(ExecOptions),
    Proxy(Box<ProxyOptions>),
    Reload(ReloadOptions),
    Status(StatusOptions),
    History(HistoryOptions),
    Doctor(DoctorOptions),
    Logout(LogoutOptions),
    Demo(DemoOptions),
    Issuer(IssuerOptions),
    Completions(CompletionOptions),
}
