//! What can be typed after `proxy` and `reload`.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are the program's help, which shows them as they stand"
)]

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{address, duration, level};
use crate::config::{ListenText, OriginText, SessionName};

/// Puts a session's token on everything that passes, for programs that know nothing of tokens.
///
/// Callers send plain requests to this proxy on their own machine. It refreshes the token once for
/// all of them and sends what was refused once more. Routes are in the configuration
/// (`[[proxy.routes]]`), or there is one with `--upstream`.
///
/// SIGTERM ends it once all is answered; SIGHUP or `token-rotator reload` reads the configuration
/// again.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProxyOptions {
    /// Where everything goes, such as https://api.example.com, in place of the configured routes
    #[arg(short, long, value_name = "ORIGIN", env = "TOKEN_ROTATOR_UPSTREAM")]
    pub(crate) upstream: Option<OriginText>,

    /// The session of routes that name none
    #[arg(
        short = 's',
        long = "session",
        value_name = "NAME",
        default_value = "default",
        env = "TOKEN_ROTATOR_SESSION"
    )]
    pub(crate) session: SessionName,

    /// Where callers connect: 127.0.0.1:8080, or unix:/path; may be given several times [default:
    /// 127.0.0.1:8080]
    #[arg(
        short,
        long,
        value_name = "ADDRESS",
        env = "TOKEN_ROTATOR_LISTEN",
        value_delimiter = ','
    )]
    pub(crate) listen: Option<Vec<ListenText>>,

    /// Listen on addresses that other machines can reach: whoever reaches the proxy has the
    /// session's rights
    #[arg(long)]
    pub(crate) public: bool,

    /// A name that callers may call this proxy by, beside localhost; may be given several times
    #[arg(long = "allow-host", value_name = "HOST", hide_short_help = true)]
    pub(crate) allowed_hosts: Vec<String>,

    /// Where a page shows the sessions and the last storm, and /metrics, /healthz and /readyz are
    /// served: 127.0.0.1:9090; loopback only
    #[arg(long, value_name = "ADDRESS", env = "TOKEN_ROTATOR_ADMIN", value_parser = address)]
    pub(crate) admin: Option<SocketAddr>,

    /// How many threads serve [default: one for each processor]
    #[arg(long, value_name = "NUMBER", hide_short_help = true)]
    pub(crate) workers: Option<usize>,

    /// How long requests may take to end after SIGTERM [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration, hide_short_help = true)]
    pub(crate) drain_timeout: Option<Duration>,

    /// How the log on stderr is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "TOKEN_ROTATOR_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,

    /// What is logged: error, warn, info, debug or trace
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        env = "TOKEN_ROTATOR_LOG",
        value_parser = level
    )]
    pub(crate) log: tracing::Level,

    /// Print the addresses as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines to read
    Text,
    /// An object on each line
    Json,
}

/// Has a running proxy read its configuration again.
///
/// The configuration is checked first. No connection is dropped, and requests under way go on by
/// the old one.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReloadOptions {}
