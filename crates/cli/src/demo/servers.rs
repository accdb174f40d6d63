//! The issuer and the API of one run, and the timing of its requests.

use std::time::{Duration, Instant};

use token_rotator_issuer::{Fault, Grant, Issuer, IssuerBuilder, Upstream};
use token_rotator_oauth2::{TokenEndpoint, refresh_token};
use token_rotator_reqwest::ReqwestTransport;
use tokio::task::JoinSet;

use crate::arguments::{DemoOptions, IssuerProfile};
use crate::command_error::CommandError;
use crate::demo::outcome::{Caller, CallerOutcome, RunLog, RunOutcome};

/// Limit of requests over HTTP/1. More requests use HTTP/2, whatever the limit of open files.
const HTTP1_MAX: u32 = 1_000;

/// File descriptors per request over HTTP/1: both ends of a connection to the API and of a
/// connection to the issuer.
const DESCRIPTORS_EACH: u64 = 4;

/// File descriptors for the rest of the program.
const DESCRIPTORS_BESIDES: u64 = 100;

/// Lifetime of the tokens after the first expiry: longer than any run.
const NEXT_LIFETIME: Duration = Duration::from_secs(600);

/// The servers and the sign-in of one run. Each run has its own, so that no state is shared.
pub(crate) struct Servers {
    pub(crate) issuer: Issuer,
    pub(crate) upstream: Upstream,
    pub(crate) grant: Grant,
    /// Time between the start of the first caller and of the last.
    pub(crate) spread: Duration,
    http2: bool,
}

impl Servers {
    /// Starts the issuer and the API, and signs in.
    pub(crate) async fn start(
        options: &DemoOptions,
        profile: IssuerProfile,
    ) -> Result<Self, CommandError> {
        // A slow issuer lets more requests gather during the refresh.
        let answer_delay =
            Duration::from_micros(u64::from(options.requests) * 60).max(Duration::from_millis(80));
        let builder = Issuer::builder()
            .refresh_policy(profile.policy())
            .access_lifetime(options.lifetime())
            // Without `expires_in` only a refusal shows that the token has expired.
            .announce_lifetime(false)
            .answer_delay(answer_delay);
        let (issuer, upstream) = start_servers(builder).await?;
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

    /// Returns the HTTP client settings that both runs use.
    pub(crate) fn http(&self) -> reqwest::ClientBuilder {
        let builder = reqwest::Client::builder().no_proxy();
        if self.http2 {
            builder.http2_prior_knowledge()
        } else {
            builder.http1_only()
        }
    }

    /// Waits until the access token of the sign-in has expired. Later tokens outlive the run, which
    /// has a single expiry.
    pub(crate) async fn token_expired(&self) {
        self.issuer.set_access_lifetime(NEXT_LIFETIME);
        while self.issuer.accepts(&self.grant.access_token) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Returns the start of a caller: the first third starts at once, the rest within the spread.
    pub(crate) fn start_delay(&self, number: u32, of: u32) -> Duration {
        let first = first_wave(of);
        self.spread * number.saturating_sub(first) / of.saturating_sub(first).max(1)
    }

    /// Holds the API's answers until the whole first wave has arrived, so that many requests in
    /// flight get their 401 together.
    pub(crate) async fn answer_first_wave_together(&self, of: u32) {
        self.upstream.gate().arrived(first_wave(of) as usize).await;
        self.upstream.gate().open();
    }

    /// Returns the time on the clock of the API's record.
    pub(crate) fn time(&self) -> Duration {
        Instant::now().saturating_duration_since(self.upstream.started())
    }

    /// Stops the servers and returns the record of the run.
    pub(crate) async fn finish(&self, log: RunLog) -> RunOutcome {
        let outcome = RunOutcome {
            log,
            record: self.upstream.record(),
            counters: self.issuer.counters(),
            session_alive: self.issuer.session_alive(&self.grant),
        };
        self.upstream.shutdown().await;
        self.issuer.shutdown().await;
        outcome
    }
}

/// Starts an issuer, and an API that accepts its tokens.
pub(crate) async fn start_servers(
    builder: IssuerBuilder,
) -> Result<(Issuer, Upstream), CommandError> {
    let issuer = builder
        .start()
        .await
        .map_err(|error| setup_failed("issuer", error))?;
    let upstream = Upstream::start(&issuer)
        .await
        .map_err(|error| setup_failed("API", error))?;
    Ok((issuer, upstream))
}

/// Runs the callers of the demo: `call` sends the requests of the caller with this number. With `--cancel-leader`
/// caller 0 starts the refresh and is cancelled.
///
/// Returns the outputs of the other callers, and the cancelled caller.
pub(crate) async fn run_callers<C>(
    servers: &Servers,
    options: &DemoOptions,
    call: impl Fn(u32) -> C,
) -> (Vec<C::Output>, Option<Caller>)
where
    C: Future<Output: Send> + Send + 'static,
{
    let leader = if options.cancel_leader {
        // The issuer holds the first refresh until all callers have started and its caller is cancelled.
        servers.issuer.gate().close();
        let leader = tokio::spawn(call(0));
        servers.issuer.gate().arrived(1).await;
        Some((leader, servers.time()))
    } else {
        servers.upstream.gate().close();
        None
    };
    let mut tasks = JoinSet::new();
    for number in 1..=options.requests {
        let start_delay = servers.start_delay(number - 1, options.requests);
        let call = call(number);
        tasks.spawn(async move {
            tokio::time::sleep(start_delay).await;
            call.await
        });
    }
    let mut cancelled = None;
    if let Some((leader, begun)) = leader {
        tokio::time::sleep(servers.spread).await;
        leader.abort();
        cancelled = Some(Caller {
            number: 0,
            begun,
            ended: servers.time(),
            outcome: CallerOutcome::Cancelled,
        });
        servers.issuer.gate().open();
    } else {
        servers.answer_first_wave_together(options.requests).await;
    }
    let mut outputs = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        outputs.extend(joined.ok());
    }
    (outputs, cancelled)
}

/// Returns the token source of the demo's client at this issuer.
pub(crate) fn token_source(issuer: &Issuer) -> Result<TokenEndpoint, CommandError> {
    // A proxy from the environment cannot reach loopback.
    let transport = ReqwestTransport::configured(reqwest::ClientBuilder::no_proxy);
    let transport = transport.map_err(|error| setup_failed("transport", error))?;
    refresh_token(issuer.token_url(), "demo")
        .transport(transport)
        .build()
        .map_err(|error| setup_failed("token source", error))
}

/// Error for a part of the demo that cannot be created, such as a server without a free port.
pub(crate) fn setup_failed(what: &str, error: impl std::error::Error) -> CommandError {
    CommandError::new(format!("the demo's {what} could not be created"))
        .because(error)
        .or_hint("the demo needs ports on 127.0.0.1 and enough open files: raise `ulimit -n`")
}

/// Returns how many requests can have their own HTTP/1 connections.
///
/// With too few descriptors the API could not accept the whole first wave, and the run would hang.
fn http1_max() -> u32 {
    let spare = descriptors().saturating_sub(DESCRIPTORS_BESIDES);
    u32::try_from(spare / DESCRIPTORS_EACH).map_or(HTTP1_MAX, |most| most.min(HTTP1_MAX))
}

/// Returns the limit of open file descriptors of this process.
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
        insta::assert_snapshot!(setup_failed("issuer", error).text(), @"
        exit code 1
        error: the demo's issuer could not be created
          because Too many open files (os error 24)
        hint: the demo needs ports on 127.0.0.1 and enough open files: raise `ulimit -n`
        ");
    }
}
