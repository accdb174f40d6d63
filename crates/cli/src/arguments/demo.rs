//! Arguments of `demo`.

use std::time::Duration;

use clap::Args;

use super::issuer::IssuerProfile;
use super::values::parse_duration;

/// Shows what happens when a token expires under many requests at once: with clients that each
/// refresh on their own, and with token-rotator.
///
/// Everything is real but local: an issuer with single-use refresh tokens and reuse detection, and an
/// API that refuses expired tokens. All requests go over TCP. Exit code 0 means that token-rotator's
/// run was perfect.
///
/// With --web the requests never end, the token expires every few seconds, and a page in the browser
/// shows each storm live.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoOptions {
    /// How many requests meet the expired token
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) requests: u32,

    /// How long an access token lives, such as 500ms or 2s; the demo waits for it to expire
    /// [default: 1s, or 5s with --web]
    #[arg(long, value_parser = parse_duration)]
    pub(crate) lifetime: Option<Duration>,

    /// How the issuer treats refresh tokens [default: strict, or parent-always with --lost-answer]
    #[arg(long, value_enum)]
    pub(crate) profile: Option<IssuerProfile>,

    /// Cancel the request that started the refresh while the refresh is in flight
    #[arg(long)]
    pub(crate) cancel_leader: bool,

    /// Lose the issuer's answer to the first refresh, after it has consumed the refresh token
    #[arg(long)]
    pub(crate) lost_answer: bool,

    /// Print the two runs as JSON and nothing else; with --web, the addresses
    #[arg(long)]
    pub(crate) json: bool,

    /// Show the demo on a page in the browser, through the proxy, until Ctrl-C; --requests is the
    /// number of callers, up to 1000
    #[arg(long, conflicts_with_all = ["cancel_leader", "lost_answer"])]
    pub(crate) web: bool,

    /// The port of the page [default: a free one]
    #[arg(long, value_name = "PORT", requires = "web")]
    pub(crate) port: Option<u16>,
}

impl DemoOptions {
    /// Returns the lifetime of an access token.
    pub(crate) fn lifetime(&self) -> Duration {
        let usual = if self.web { 5 } else { 1 };
        self.lifetime.unwrap_or(Duration::from_secs(usual))
    }
}
