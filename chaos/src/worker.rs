//! The process that shares a session with others and may die at any moment.

use std::error::Error;
use std::time::{Duration, Instant};

use token_rotator::store::SessionStore as _;
use token_rotator::{Event, FailureKind, RefreshError, Rotator, SessionKey, Token, TokenError};
use token_rotator_oauth2::refresh_token;
use token_rotator_reqwest::ReqwestTransport;

use crate::said::Said;
use crate::spec::{Job, Spec, Timing};
use crate::steps::{Fate, Watched, WatchedSource};

/// The variable that tells a worker what to do.
pub const SPEC: &str = "TOKEN_ROTATOR_CHAOS_WORKER";
/// How long a worker tries to get its one token.
const TRIES_FOR: Duration = Duration::from_secs(20);

/// Does what the environment says.
pub fn main() -> Result<(), Box<dyn Error>> {
    let spec =
        std::env::var(SPEC).map_err(|_| format!("{SPEC} says what to do, and is not set"))?;
    let spec: Spec = serde_json::from_str(&spec)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work(&spec))
}

async fn work(spec: &Spec) -> Result<(), Box<dyn Error>> {
    let timing = spec.timing;
    let begun = Instant::now();
    let store = spec.place.open(Timing::of(timing.lease_life))?;
    let fate = Fate::new(spec.die_at);
    let watched = Watched {
        coordinator: store.coordinator().ok_or("every store has a coordinator")?,
        store,
        fate: fate.clone(),
    };
    let source = refresh_token(&spec.token_url, &spec.client_id)
        .transport(ReqwestTransport::new()?)
        .revocation_url(&spec.revocation_url)
        .build()?;
    let rotator = Rotator::builder(WatchedSource { source, fate })
        .store(watched.clone())
        .coordinator(watched)
        .session(SessionKey::new(spec.session.as_str()))
        .profile(spec.profile.profile())
        .origin(&spec.api_url)
        .lease_wait(Timing::of(timing.lease_wait))
        .source_timeout(Timing::of(timing.source))
        .flight_deadline(Timing::of(timing.lease_wait + timing.source * 2))
        .wait_timeout(Timing::of(timing.wait))
        .cool_down(Duration::from_millis(50), Duration::from_millis(500))
        .on_event(hear)
        .build()?;
    match spec.job {
        Job::Requests => requests(&rotator, spec).await,
        Job::OneToken => one_token(&rotator, spec).await,
        Job::TimedToken => match rotator.token().await {
            Ok(_) => Said::Token {
                micros: begun.elapsed().as_micros().try_into().unwrap_or(u64::MAX),
            }
            .tell(),
            Err(error) => Said::GaveUp {
                error: error.to_string(),
            }
            .tell(),
        },
    }
    rotator.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

fn hear(event: &Event) {
    let said = match event {
        Event::RefreshStarted { .. } => Said::Flight,
        Event::Refreshed { .. } => Said::Refreshed,
        Event::Adopted { .. } => Said::Adopted,
        Event::PresentedAgain { last_resort, .. } => Said::PresentedAgain {
            last_resort: *last_resort,
        },
        Event::RefreshFailed { error, .. } => Said::Failed {
            kind: kind(error).to_owned(),
            error: error.to_string(),
        },
        Event::Ended { .. } => Said::Ended,
        Event::SignedOut => Said::SignedOut,
        Event::SaveFailed { .. } => Said::Unsaved,
        _ => return,
    };
    said.tell();
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

/// Why there is no token, in a word.
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
    Said::Up.tell();
    loop {
        let begun = Instant::now();
        let outcome = request(rotator, &http, &spec.api_url).await;
        let millis = begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        let (good, without) = match outcome {
            Ok(good) => (good, None),
            Err(error) => (false, Some(reason(&error).to_owned())),
        };
        Said::Answered {
            good,
            without,
            millis,
        }
        .tell();
        let pause = if good { 5..25 } else { 50..100 };
        tokio::time::sleep(Duration::from_millis(fastrand::u64(pause))).await;
    }
}

/// One request, replayed once where it was refused for its token.
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

/// Tries until it has a token that the API takes, the session is over, or it took too long.
async fn one_token(rotator: &Rotator, spec: &Spec) {
    let http = reqwest::Client::new();
    let begun = Instant::now();
    Said::Up.tell();
    loop {
        let outcome = request(rotator, &http, &spec.api_url).await;
        let over = matches!(outcome, Err(TokenError::SignedOut)) || rotator.has_ended();
        let error = match outcome {
            Ok(true) => {
                let micros = begun.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
                return Said::Token { micros }.tell();
            }
            Ok(false) => "the API refuses the token".to_owned(),
            Err(error) => error.to_string(),
        };
        if over || begun.elapsed() > TRIES_FOR {
            return Said::GaveUp { error }.tell();
        }
        // Another process has the lease, or the issuer is left alone for a moment.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
