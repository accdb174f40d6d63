//! Arguments of `issuer`.

use std::time::Duration;

use clap::builder::ArgPredicate;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, ValueEnum};
use token_rotator::Profile;
use token_rotator_issuer::{Fault, FaultRule, RefreshPolicy};

use super::Arguments;
use super::values::parse_duration;

/// Starts an issuer and an API to test against, on loopback, until it is interrupted.
///
/// The issuer speaks OAuth 2.0 (authorization, device authorization, token, revocation,
/// introspection and discovery endpoints) and the cookie flow of web applications (login, refresh,
/// logout). It signs in every visitor, as `alice` unless `login_hint` (or `user` at /device) names
/// another user. The API refuses expired tokens.
///
/// `GET /__counters` on the API returns the counters of both as JSON. `upstream` has the requests per
/// generation of their token (`by_generation`). `issuer` has `refreshes`, `reuses` (alarms),
/// `revocations` (families that an alarm ended) and `ended_by_client` (by /revoke or /logout).
#[derive(Args, Clone, Debug)]
pub(crate) struct IssuerOptions {
    /// The issuer's port; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,

    /// The API's port; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub(crate) upstream_port: u16,

    /// How refresh tokens are treated
    #[arg(
        long,
        value_enum,
        default_value_t = IssuerProfile::Strict,
        default_value_if("leeway", ArgPredicate::IsPresent, "leeway")
    )]
    pub(crate) profile: IssuerProfile,

    /// For how long a used refresh token is accepted again [default: 10s]; implies `--profile leeway`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) leeway: Option<Duration>,

    /// How long an access token lives, such as 3s or 5m
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    pub(crate) lifetime: Duration,

    /// Random access tokens instead of JWTs
    #[arg(long)]
    pub(crate) opaque: bool,

    /// Leave `expires_in` out of every answer
    #[arg(long)]
    pub(crate) no_expires_in: bool,

    /// How far the issuer's clock is ahead, in milliseconds; negative if it is behind
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) skew: i64,

    /// How long it takes to answer a refresh
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub(crate) delay: Duration,

    /// Another client besides the public `demo`, as ID or ID:SECRET; may be given several times
    #[arg(long, value_name = "ID[:SECRET]")]
    pub(crate) client: Vec<String>,

    /// What goes wrong with the next refreshes, in order: KIND, KIND=VALUE, KIND*TIMES
    ///
    /// Kinds: delay=200ms, status=500, status=503,retry-after=5, retry-after=5 (a 429), hang,
    /// reset-before, reset-after, answer-lost, malformed, empty, error-in-200, expires-in=0,
    /// redirect=URL, html-403, `oauth=invalid_grant`. TIMES is a number or `always`.
    #[arg(long, value_name = "FAULT", value_parser = parse_fault)]
    pub(crate) fault: Vec<FaultRule>,

    /// Print the addresses as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl IssuerOptions {
    /// Returns the issuer's refresh policy.
    ///
    /// *Errors:* `--leeway` together with a profile other than `leeway`.
    pub(crate) fn policy(&self) -> Result<RefreshPolicy, clap::Error> {
        match (self.profile, self.leeway) {
            (profile, None) => Ok(profile.policy()),
            (IssuerProfile::Leeway, Some(leeway)) => Ok(RefreshPolicy::Leeway(leeway)),
            _ => Err(Arguments::command().error(
                ErrorKind::ArgumentConflict,
                "`--leeway` is for `--profile leeway`; leave one of the two out",
            )),
        }
    }
}

/// How an issuer treats refresh tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IssuerProfile {
    /// Single use; using one twice revokes the grant
    Strict,
    /// Single use, with a grace period: 10 seconds, or `--leeway`
    Leeway,
    /// Single use, but the previous refresh token always returns its successor
    ParentAlways,
    /// Refresh tokens can be used for ever
    MultiUse,
    /// A new refresh token with every refresh; the old ones stay valid
    Rotating,
}

impl IssuerProfile {
    const LEEWAY: Duration = Duration::from_secs(10);

    /// Returns the refresh policy of the issuer.
    pub(crate) fn policy(self) -> RefreshPolicy {
        match self {
            Self::Strict => RefreshPolicy::SingleUse,
            Self::Leeway => RefreshPolicy::Leeway(Self::LEEWAY),
            Self::ParentAlways => RefreshPolicy::ParentAlways,
            Self::MultiUse => RefreshPolicy::MultiUse,
            Self::Rotating => RefreshPolicy::Rotating,
        }
    }

    /// Returns the profile that a rotator uses for this issuer.
    pub(crate) fn profile(self) -> Profile {
        match self {
            Self::Strict => Profile::strict(),
            Self::Leeway => Profile::leeway(Self::LEEWAY),
            Self::ParentAlways => Profile::parent_always(),
            Self::MultiUse | Self::Rotating => Profile::multi_use(),
        }
    }
}

fn parse_fault(text: &str) -> Result<FaultRule, String> {
    let (text, times) = text.rsplit_once('*').unwrap_or((text, "1"));
    let (kind, value) = match text.split_once('=') {
        Some((kind, value)) => (kind, Some(value)),
        None => (text, None),
    };
    let needed = || value.ok_or_else(|| format!("`{kind}` needs a value: {kind}=VALUE"));
    let fault = match kind {
        "delay" => Fault::Delay(parse_duration(needed()?)?),
        "status" => parse_status_fault(needed()?)?,
        "retry-after" => Fault::Status {
            status: 429,
            retry_after: Some(needed()?.to_owned()),
        },
        "hang" => Fault::Hang,
        "reset-before" => Fault::ResetBefore,
        "reset-after" => Fault::ResetAfter,
        "answer-lost" => Fault::AnswerLost,
        "malformed" => Fault::MalformedJson,
        "empty" => Fault::EmptyBody,
        "error-in-200" => Fault::ErrorInside200,
        "expires-in" => {
            let value = needed()?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            Fault::WrongExpiry(value)
        }
        "redirect" => Fault::Redirect(needed()?.to_owned()),
        "html-403" => Fault::HtmlForbidden,
        "oauth" => Fault::OAuthError {
            status: 400,
            error: needed()?.to_owned(),
        },
        _ => return Err(format!("there is no fault `{kind}`; see `issuer --help`")),
    };
    match times {
        "always" => Ok(fault.always()),
        times => times
            .parse()
            .map(|times| fault.times(times))
            .map_err(|_| format!("`{times}` is not a repeat count: write a number or `always`")),
    }
}

/// Parses `503` or `503,retry-after=5`.
fn parse_status_fault(text: &str) -> Result<Fault, String> {
    let (code, rest) = match text.split_once(',') {
        Some((code, rest)) => (code, Some(rest)),
        None => (text, None),
    };
    let retry_after = rest.map(|rest| {
        rest.strip_prefix("retry-after=")
            .map(str::to_owned)
            .ok_or_else(|| {
                format!("`{rest}` is not an option of a status: write {code},retry-after=5")
            })
    });
    Ok(Fault::Status {
        status: parse_status(code)?,
        retry_after: retry_after.transpose()?,
    })
}

fn parse_status(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|status| (200..=599).contains(status))
        .ok_or_else(|| format!("`{text}` is not a status: write one from 200 to 599"))
}
