//! What can be typed after the commands that have to do with sessions.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are the program's help, which shows them as they stand"
)]

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::values::{duration, variable};
use crate::config::{SessionName, SessionSettings};

/// Which session.
#[derive(Args, Clone, Debug)]
pub(crate) struct SessionChoice {
    /// The session's name
    #[arg(
        short = 's',
        long = "session",
        value_name = "NAME",
        default_value = "default",
        env = "TOKEN_ROTATOR_SESSION"
    )]
    pub(crate) name: SessionName,
}

/// Signs in, and keeps the session for all other commands.
///
/// How depends on `--grant`: in the browser (authorization-code), with a code to enter on another device
/// (device), as the client itself (client-credentials), or with a refresh token that is on stdin
/// (refresh-token). What is typed here about the session is written down beside the configuration, so
/// that the next login needs no more than `--session`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoginOptions {
    #[command(flatten)]
    pub(crate) session: SessionChoice,

    /// Print the address to sign in at, and open no browser
    #[arg(long)]
    pub(crate) no_browser: bool,

    /// How long to wait for somebody to sign in [default: 5m in the browser; on another device as long
    /// as the code is good]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    /// How the issuer is to ask, such as `login`, `consent` or `select_account` (OpenID Connect)
    #[arg(long, hide_short_help = true)]
    pub(crate) prompt: Option<String>,

    /// Who is going to sign in, such as an e-mail address (OpenID Connect)
    #[arg(long, value_name = "USER", hide_short_help = true)]
    pub(crate) login_hint: Option<String>,

    #[command(flatten)]
    pub(crate) settings: SessionSettings,
}

/// Prints an access token that is good now.
///
/// Refreshes it if it has to, under the session's lock: however many ask at once, the issuer is
/// asked once.
#[derive(Args, Clone, Debug)]
pub(crate) struct TokenOptions {
    #[command(flatten)]
    pub(crate) session: SessionChoice,

    /// How it is written
    #[arg(short, long, value_enum, default_value_t = TokenFormat::Raw)]
    pub(crate) format: TokenFormat,

    /// How long it has to be good at least; refreshed if it is not
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) min_ttl: Option<Duration>,

    /// Refresh it, however good it is
    #[arg(long)]
    pub(crate) refresh: bool,

    /// The id_token instead of the access token
    #[arg(long)]
    pub(crate) id_token: bool,

    /// Print the refresh token too (`--format json` alone): whoever has it is you, and whoever uses
    /// it ends the session here
    #[arg(long)]
    pub(crate) show_refresh_token: bool,

    /// What git adds when it calls a credential helper: get, store or erase
    #[arg(value_name = "OPERATION", hide = true)]
    pub(crate) operation: Option<String>,
}

/// How a token is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenFormat {
    /// The token and a line break
    Raw,
    /// A JSON object: access_token, token_type, expires_at, scope
    Json,
    /// A header line, as `curl -H @-` reads it
    Header,
    /// A git credential helper's answer: git config credential.helper '!token-rotator token -f
    /// git-credential'
    GitCredential,
    /// An ExecCredential for kubectl (client.authentication.k8s.io)
    ExecCredential,
    /// Lines for a .env file: ACCESS_TOKEN, ACCESS_TOKEN_EXPIRES_AT
    Dotenv,
}

/// Runs a command with an access token that is good now.
///
/// The command takes this program's place: signals, terminal and exit code are its own.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExecOptions {
    #[command(flatten)]
    pub(crate) session: SessionChoice,

    /// The environment variable that the token is in
    #[arg(long, value_name = "NAME", default_value = "ACCESS_TOKEN", value_parser = variable)]
    pub(crate) env: String,

    /// Hand it over in this file descriptor, to be read to its end, and in no variable
    #[cfg(unix)]
    #[arg(long, value_name = "NUMBER", conflicts_with = "env", value_parser = clap::value_parser!(i32).range(3..=1023))]
    pub(crate) fd: Option<i32>,

    /// How long the token has to be good at least; refreshed if it is not
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) min_ttl: Option<Duration>,

    /// The id_token instead of the access token
    #[arg(long)]
    pub(crate) id_token: bool,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Signs out: the session is over for every process at once, and its tokens are revoked at the issuer
/// (RFC 7009).
#[derive(Args, Clone, Debug)]
pub(crate) struct LogoutOptions {
    #[command(flatten)]
    pub(crate) session: SessionChoice,
}

/// Shows sessions: whether their tokens are good, who is refreshing them, what went wrong last.
///
/// Looks and changes nothing: no token is refreshed.
#[derive(Args, Clone, Debug)]
pub(crate) struct StatusOptions {
    /// One session [default: all]
    #[arg(
        short = 's',
        long = "session",
        value_name = "NAME",
        env = "TOKEN_ROTATOR_SESSION"
    )]
    pub(crate) session: Option<SessionName>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Shows what has happened in a session on this machine: each generation of its token, when, why and
/// by which process.
///
/// Tokens are told apart by the beginning of a hash.
#[derive(Args, Clone, Debug)]
pub(crate) struct HistoryOptions {
    #[command(flatten)]
    pub(crate) session: SessionChoice,

    /// How many entries, the newest
    #[arg(short = 'n', long, default_value_t = 20)]
    pub(crate) limit: usize,

    /// Print a line of JSON for each
    #[arg(long)]
    pub(crate) json: bool,
}

/// Looks for what keeps a session from working, and says what to do about it.
///
/// Reads the configuration and the store, and asks the issuer for its metadata and the time. Exit code 1
/// means that something has to be done.
#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorOptions {
    /// One session [default: all]
    #[arg(
        short = 's',
        long = "session",
        value_name = "NAME",
        env = "TOKEN_ROTATOR_SESSION"
    )]
    pub(crate) session: Option<SessionName>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints completions for a shell
///
/// For bash: token-rotator completions bash >
/// ~/.local/share/bash-completion/completions/token-rotator
#[derive(Args, Clone, Debug)]
pub(crate) struct CompletionOptions {
    /// Which shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}
