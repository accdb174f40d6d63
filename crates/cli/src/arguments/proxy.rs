//! Arguments of `proxy` and `reload`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{parse_address, parse_duration, parse_level};
use crate::config::{ListenText, OriginText, SessionName};

/// Adds a session's token to every request, for programs that do not handle tokens.
///
/// Callers send plain requests to this proxy on their own machine. The proxy refreshes the token once
/// for all callers and sends a refused request once more. The configuration has the routes
/// (`[[proxy.routes]]`); `--upstream` replaces them by a single route.
///
/// On SIGTERM the proxy answers the requests under way, then ends. On SIGHUP or `token-rotator reload`
/// it reads the configuration again.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProxyOptions {
    /// The upstream of all requests, such as https://api.example.com; replaces the configured routes
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

    /// Listen on addresses that other machines can reach: every client that reaches the proxy gets
    /// the session's rights
    #[arg(long)]
    pub(crate) public: bool,

    /// A host name that callers may use for this proxy, besides localhost; may be given several times
    #[arg(long = "allow-host", value_name = "HOST", hide_short_help = true)]
    pub(crate) allowed_hosts: Vec<String>,

    /// An origin whose web pages may use this proxy, such as http://localhost:5173; may be given several
    /// times
    #[arg(long = "allow-origin", value_name = "ORIGIN", hide_short_help = true)]
    pub(crate) allowed_origins: Vec<String>,

    /// Serve callers without a local bearer on addresses and host names where browsers do not mark the
    /// requests of web pages: every page that a browser shows there gets the session's rights
    #[arg(long, hide_short_help = true)]
    pub(crate) unsafe_no_bearer: bool,

    /// The address of the page with the sessions and the last storm, and of /metrics, /healthz and
    /// /readyz, such as 127.0.0.1:9090; loopback only
    #[arg(long, value_name = "ADDRESS", env = "TOKEN_ROTATOR_ADMIN", value_parser = parse_address)]
    pub(crate) admin: Option<SocketAddr>,

    /// The number of worker threads [default: one for each processor]
    #[arg(long, value_name = "NUMBER", hide_short_help = true)]
    pub(crate) workers: Option<usize>,

    /// How long requests may take to end after SIGTERM [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, hide_short_help = true)]
    pub(crate) drain_timeout: Option<Duration>,

    /// The format of the log on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "TOKEN_ROTATOR_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,

    /// The log level: error, warn, info, debug or trace
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        env = "TOKEN_ROTATOR_LOG",
        value_parser = parse_level
    )]
    pub(crate) log: tracing::Level,

    /// Print the addresses as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The format of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Plain lines
    Text,
    /// A JSON object on each line
    Json,
}

/// Makes running proxies read their configuration again.
///
/// The configuration is checked first. No connection is dropped, and requests under way use the old
/// configuration to their end.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReloadOptions {}
