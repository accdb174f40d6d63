//! Arguments of the commands that use a session.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::values::{parse_duration, parse_variable};
use crate::config::{SessionName, SessionSettings};

/// The session of a command.
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

/// Signs in, and stores the session for all other commands.
///
/// `--grant` chooses how. authorization-code: in the browser. device: with a code to enter on another
/// device. client-credentials: as the client itself. refresh-token: with a refresh token from stdin.
/// The settings of the session are saved beside the configuration, so that the next login needs only
/// `--session`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoginOptions {
    #[command(flatten)]
    pub(crate) session: SessionChoice,

    /// Print the sign-in address, and open no browser
    #[arg(long)]
    pub(crate) no_browser: bool,

    /// How long to wait for the sign-in [default: 5m in the browser; on another device as long as the
    /// code is valid]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,

    /// How the issuer prompts the user: `login`, `consent` or `select_account` (OpenID Connect)
    #[arg(long, hide_short_help = true)]
    pub(crate) prompt: Option<String>,

    /// The user who will sign in, such as an e-mail address (OpenID Connect)
    #[arg(long, value_name = "USER", hide_short_help = true)]
    pub(crate) login_hint: Option<String>,

    #[command(flatten)]
    pub(crate) settings: SessionSettings,
}

/// Prints a valid access token.
///
/// Refreshes the token if needed, under the session's lock: many commands at once send a single
/// refresh to the issuer.
#[derive(Args, Clone, Debug)]
pub(crate) struct TokenOptions {
    #[command(flatten)]
    pub(crate) session: SessionChoice,

    /// The format of the token
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Raw)]
    pub(crate) format: OutputFormat,

    /// How long the token must stay valid at least; refreshes it otherwise
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) min_ttl: Option<Duration>,

    /// Refresh the token even if it is valid
    #[arg(long)]
    pub(crate) refresh: bool,

    /// Fail at once if another process could not refresh the token a moment ago [default: waits up to
    /// 2s, unless the issuer asked for more]
    #[arg(long)]
    pub(crate) no_wait: bool,

    /// Print the id_token instead of the access token
    #[arg(long)]
    pub(crate) id_token: bool,

    /// Print the refresh token too (only with `--format json`): its holder can act as you, and its use
    /// elsewhere ends the session here
    #[arg(long)]
    pub(crate) show_refresh_token: bool,

    /// The operation that git passes to a credential helper: get, store or erase
    #[arg(value_name = "OPERATION", hide = true)]
    pub(crate) operation: Option<String>,
}

/// The format of a printed token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// The token and a line break
    Raw,
    /// A JSON object: access_token, token_type, expires_at, scope
    Json,
    /// A header line for `curl -H @-`
    Header,
    /// A git credential helper's answer: git config credential.helper '!token-rotator token -f
    /// git-credential'
    GitCredential,
    /// An ExecCredential for kubectl (client.authentication.k8s.io)
    ExecCredential,
    /// Lines for a .env file: ACCESS_TOKEN, ACCESS_TOKEN_EXPIRES_AT
    Dotenv,
}

/// Runs a command with a valid access token.
///
/// The command replaces this process: signals, terminal and exit code are those of the command.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExecOptions {
    #[command(flatten)]
    pub(crate) session: SessionChoice,

    /// The environment variable for the token
    #[arg(long, value_name = "NAME", default_value = "ACCESS_TOKEN", value_parser = parse_variable)]
    pub(crate) env: String,

    /// Pass the token in this file descriptor, to be read to its end, and in no variable
    #[cfg(unix)]
    #[arg(long, value_name = "NUMBER", conflicts_with = "env", value_parser = clap::value_parser!(i32).range(3..=1023))]
    pub(crate) fd: Option<i32>,

    /// How long the token must stay valid at least; refreshes it otherwise
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) min_ttl: Option<Duration>,

    /// Fail at once if another process could not refresh the token a moment ago [default: waits up to
    /// 2s, unless the issuer asked for more]
    #[arg(long)]
    pub(crate) no_wait: bool,

    /// Pass the id_token instead of the access token
    #[arg(long)]
    pub(crate) id_token: bool,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Signs out: the session ends for every process at once, and its tokens are revoked at the issuer
/// (RFC 7009).
#[derive(Args, Clone, Debug)]
pub(crate) struct LogoutOptions {
    #[command(flatten)]
    pub(crate) session: SessionChoice,
}

/// Shows sessions: whether their tokens are valid, which process refreshes them, the last failure.
///
/// Changes nothing and refreshes no token.
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

/// Shows the history of a session on this machine: each generation of its token, when, why and by
/// which process.
///
/// A token is shown as the beginning of its hash.
#[derive(Args, Clone, Debug)]
pub(crate) struct HistoryOptions {
    #[command(flatten)]
    pub(crate) session: SessionChoice,

    /// The number of entries to show, the newest
    #[arg(short = 'n', long, default_value_t = 20)]
    pub(crate) limit: usize,

    /// Print a line of JSON for each entry
    #[arg(long)]
    pub(crate) json: bool,
}

/// Checks sessions and says how to repair what does not work.
///
/// Reads the configuration and the store, and asks the issuer for its metadata and the time. Exit code 1
/// means that a check failed.
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
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}
