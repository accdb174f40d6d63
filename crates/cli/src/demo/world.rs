//! The issuer and the API of one run, and the moment at which the token expires.

use std::time::{Duration, Instant};

use token_rotator_issuer::{Fault, Grant, Issuer, IssuerBuilder, Upstream};

use crate::arguments::{DemoOptions, IssuerProfile};
use crate::command_error::CommandError;
use crate::demo::outcome::{Callers, Outcome};

/// Beyond so many requests HTTP/2 carries them, however many connections the system allows.
const HTTP1_MAX: u32 = 1_000;

/// The descriptors a request over HTTP/1 can hold: both ends of a connection to the API, and of one
/// to the issuer.
const DESCRIPTORS_EACH: u64 = 4;

/// The descriptors that all else in the program can hold.
const DESCRIPTORS_BESIDES: u64 = 100;

/// How long the tokens live that replace the one that expires.
const OUTLIVES: Duration = Duration::from_secs(600);

/// One run's surroundings. Every run has its own, so that neither inherits anything.
pub(crate) struct World {
    pub(crate) issuer: Issuer,
    pub(crate) upstream: Upstream,
    pub(crate) grant: Grant,
    /// How long the requests take to set out, from the first to the last.
    pub(crate) spread: Duration,
    http2: bool,
}

impl World {
    /// Starts both and signs in.
    pub(crate) async fn start(
        options: &DemoOptions,
        profile: IssuerProfile,
    ) -> Result<Self, CommandError> {
        // An issuer far away takes its time, and the storm that this lets gather grows with it.
        let answer_delay =
            Duration::from_micros(u64::from(options.requests) * 60).max(Duration::from_millis(80));
        let builder = Issuer::builder()
            .refresh_policy(profile.policy())
            .access_lifetime(options.lifetime())
            // Nobody knows when the token expires: it is the refusals that tell.
            .announce_lifetime(false)
            .answer_delay(answer_delay);
        let (issuer, upstream) = started(builder).await?;
        if options.lost_answer {
            issuer.faults().push(Fault::AnswerLost);
        }
        let grant = issuer.sign_in("newcomer");
        Ok(Self {
            issuer,
            upstream,
            grant,
            spread: answer_delay / 2,
            http2: options.requests > http1_max(),
        })
    }

    /// The HTTP client both runs build on.
    pub(crate) fn http(&self) -> reqwest::ClientBuilder {
        let builder = reqwest::Client::builder().no_proxy();
        if self.http2 {
            builder.http2_prior_knowledge()
        } else {
            builder.http1_only()
        }
    }

    /// Ends when the access token of the sign-in is refused. The next one outlives the demo, which
    /// is about one expiry.
    pub(crate) async fn expiry(&self) {
        self.issuer.set_access_lifetime(OUTLIVES);
        while self.issuer.accepts(&self.grant.access_token) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// When the caller of this number sets out: the first third at once, the others within the
    /// spread.
    pub(crate) fn departure(&self, number: u32, of: u32) -> Duration {
        let first = first_wave(of);
        self.spread * number.saturating_sub(first) / of.saturating_sub(first).max(1)
    }

    /// The API takes in the first wave before it answers any of it, so that many callers meet the
    /// 401 together, each with its request on the way.
    pub(crate) async fn answer_first_wave_together(&self, of: u32) {
        self.upstream.gate().arrived(first_wave(of) as usize).await;
        self.upstream.gate().open();
    }

    /// The time on the clock of the API's record.
    pub(crate) fn time(&self) -> Duration {
        Instant::now().saturating_duration_since(self.upstream.started())
    }

    /// What became of it all.
    pub(crate) async fn finish(&self, callers: Callers) -> Outcome {
        let outcome = Outcome {
            callers,
            record: self.upstream.record(),
            counters: self.issuer.counters(),
            session_alive: self.issuer.session_alive(&self.grant),
        };
        self.upstream.shutdown().await;
        self.issuer.shutdown().await;
        outcome
    }
}

/// The issuer, and an API of its own.
pub(crate) async fn started(builder: IssuerBuilder) -> Result<(Issuer, Upstream), CommandError> {
    let issuer = builder
        .start()
        .await
        .map_err(|error| impossible("issuer", error))?;
    let upstream = Upstream::start(&issuer)
        .await
        .map_err(|error| impossible("API", error))?;
    Ok((issuer, upstream))
}

/// The demo lacks something that any machine has.
pub(crate) fn impossible(what: &str, error: impl std::error::Error) -> CommandError {
    CommandError::new(format!("the demo's {what} could not be made"))
        .because(error)
        .or_hint("it needs ports on 127.0.0.1, and more open files than this (`ulimit -n`)")
}

/// How many requests can have connections of their own. Without descriptors for all of them the
/// server could not take in those for whom the callers wait.
fn http1_max() -> u32 {
    let spare = descriptors().saturating_sub(DESCRIPTORS_BESIDES);
    u32::try_from(spare / DESCRIPTORS_EACH).map_or(HTTP1_MAX, |most| most.min(HTTP1_MAX))
}

/// How many the process may have.
#[cfg(unix)]
fn descriptors() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(not(unix))]
fn descriptors() -> u64 {
    u64::MAX
}

fn first_wave(of: u32) -> u32 {
    of.div_ceil(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_ports() {
        let error = std::io::Error::from_raw_os_error(24);
        insta::assert_snapshot!(impossible("issuer", error).text(), @"
        exit code 1
        error: the demo's issuer could not be made
          because Too many open files (os error 24)
        hint: it needs ports on 127.0.0.1, and more open files than this (`ulimit -n`)
        ");
    }
}
