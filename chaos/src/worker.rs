//! The process of a worker. It shares its session with other processes and may die at any moment.

use std::error::Error;
use std::time::{Duration, Instant};

use token_rotator::{Event, FailureKind, RefreshError, Rotator, SessionKey, Token, TokenError};
use token_rotator_oauth2::refresh_token;
use token_rotator_reqwest::ReqwestTransport;

use crate::report::Report;
use crate::spec::{Job, Spec, Timing};
use crate::steps::{CrashPlan, ReportingSource, ReportingStore};

/// The variable with the spec of a worker.
pub const SPEC: &str = "TOKEN_ROTATOR_CHAOS_WORKER";
/// The time within which a worker tries to get its one token.
const TRIES_FOR: Duration = Duration::from_secs(20);

/// Runs the job in the environment.
pub fn main() -> Result<(), Box<dyn Error>> {
    let spec = std::env::var(SPEC).map_err(|_| format!("{SPEC} is not set"))?;
    let spec: Spec = serde_json::from_str(&spec)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work(&spec))
}

async fn work(spec: &Spec) -> Result<(), Box<dyn Error>> {
    let timing = spec.timing;
    let begun = Instant::now();
    let store = spec.address.open(Timing::of(timing.lease_life))?;
    let crash_plan = CrashPlan::new(spec.die_at);
    let store = ReportingStore {
        store,
        crash_plan: crash_plan.clone(),
    };
    let source = refresh_token(&spec.token_url, &spec.client_id)
        .transport(ReqwestTransport::new()?)
        .revocation_url(&spec.revocation_url)
        .build()?;
    let rotator = Rotator::builder(ReportingSource { source, crash_plan })
        .store(store.clone())
        .coordinator(store)
        .session(SessionKey::new(spec.session.as_str()))
        .profile(spec.profile.profile())
        .origin(&spec.api_url)
        .lease_wait(Timing::of(timing.lease_wait))
        .source_timeout(Timing::of(timing.source))
        .flight_deadline(Timing::of(timing.lease_wait + timing.source * 2))
        .wait_timeout(Timing::of(timing.wait))
        .cool_down(Duration::from_millis(50), Duration::from_millis(500))
        .on_event(on_event)
        .build()?;
    match spec.job {
        Job::Requests => requests(&rotator, spec).await,
        Job::OneToken => one_token(&rotator, spec).await,
        Job::TimedToken => match rotator.token().await {
            Ok(_) => Report::Token {
                micros: begun.elapsed().as_micros().try_into().unwrap_or(u64::MAX),
            }
            .send(),
            Err(error) => Report::GaveUp {
                error: error.to_string(),
            }
            .send(),
        },
    }
    rotator.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

fn on_event(event: &Event) {
    let report = match event {
        Event::RefreshStarted { .. } => Report::Flight,
        Event::Refreshed { .. } => Report::Refreshed,
        Event::Adopted { .. } => Report::Adopted,
        Event::PresentedAgain { last_resort, .. } => Report::PresentedAgain {
            last_resort: *last_resort,
        },
        Event::RefreshFailed { error, .. } => Report::Failed {
            kind: kind(error).to_owned(),
            error: error.to_string(),
        },
        Event::Ended { .. } => Report::Ended,
        Event::SignedOut => Report::SignedOut,
        Event::SaveFailed { .. } => Report::Unsaved,
        _ => return,
    };
    report.send();
}

fn kind(error: &RefreshError) -> &'static str {
    match (error, error.kind()) {
        (RefreshError::Lease(_), _) => "busy",
        (RefreshError::Store(_), _) => "store",
        (_, FailureKind::NotSent) => "not sent",
        (_, FailureKind::Transient) => "transient",
        (_, FailureKind::Uncertain) => "uncertain",
        (_, FailureKind::Terminal) => "terminal",
        _ => "misconfigured",
    }
}

/// A short name for the reason of an error.
fn reason(error: &TokenError) -> &'static str {
    match error {
        TokenError::Refresh(error) => kind(error),
        TokenError::WaitTimedOut { .. } => "waited",
        TokenError::Overdue => "overdue",
        TokenError::SignedOut => "signed out",
        TokenError::SessionChanged => "changed",
        TokenError::FreshTokenRefused => "fresh",
        _ => "other",
    }
}

async fn requests(rotator: &Rotator, spec: &Spec) {
    let http = reqwest::Client::new();
    Report::Up.send();
    loop {
        let begun = Instant::now();
        let outcome = request(rotator, &http, &spec.api_url).await;
        let millis = begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        let (good, without) = match outcome {
            Ok(good) => (good, None),
            Err(error) => (false, Some(reason(&error).to_owned())),
        };
        Report::Answered {
            good,
            without,
            millis,
        }
        .send();
        let pause = if good { 5..25 } else { 50..100 };
        tokio::time::sleep(Duration::from_millis(fastrand::u64(pause))).await;
    }
}

/// Sends a request, and once more after a 401. Returns true if the API answered 200.
async fn request(rotator: &Rotator, http: &reqwest::Client, url: &str) -> Result<bool, TokenError> {
    let token = rotator.token().await?;
    let status = send(http, url, &token).await;
    if status != Some(401) {
        return Ok(status == Some(200));
    }
    let token = rotator.refused(&token).await?;
    Ok(send(http, url, &token).await == Some(200))
}

async fn send(http: &reqwest::Client, url: &str, token: &Token) -> Option<u16> {
    let request = http.get(format!("{url}/echo"));
    let request = request.header("authorization", token.header().clone());
    let answer = request.send().await.ok()?;
    Some(answer.status().as_u16())
}

/// Tries until the API accepts a token, the session is over, or the time has passed.
async fn one_token(rotator: &Rotator, spec: &Spec) {
    let http = reqwest::Client::new();
    let begun = Instant::now();
    Report::Up.send();
    loop {
        let outcome = request(rotator, &http, &spec.api_url).await;
        let over = matches!(outcome, Err(TokenError::SignedOut)) || rotator.has_ended();
        let error = match outcome {
            Ok(true) => {
                let micros = begun.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
                return Report::Token { micros }.send();
            }
            Ok(false) => "the API refuses the token".to_owned(),
            Err(error) => error.to_string(),
        };
        if over || begun.elapsed() > TRIES_FOR {
            return Report::GaveUp { error }.send();
        }
        // Another process has the lease, or the session cools down.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
