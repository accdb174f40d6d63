//! The requests of the demo through token-rotator's client.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use token_rotator::{Event, FailureKind, Rotator, TokenError, TokenSet};
use token_rotator_reqwest::{Client, Error};

use crate::arguments::{DemoOptions, IssuerProfile};
use crate::command_error::CommandError;
use crate::demo::outcome::{Caller, CallerOutcome, RefreshSpan, RunLog};
use crate::demo::servers::{Servers, run_callers, setup_failed, token_source};

/// Runs all requests of the demo.
pub(crate) async fn run(
    servers: &Arc<Servers>,
    options: &DemoOptions,
    profile: IssuerProfile,
) -> Result<RunLog, CommandError> {
    let refreshes = Arc::new(Mutex::new(RefreshRecorder::default()));
    let client = client(servers, profile, &refreshes)?;
    servers.token_expired().await;
    let call = |number| call(Arc::clone(servers), client.clone(), number);
    let (mut callers, cancelled) = run_callers(servers, options, call).await;
    callers.extend(cancelled);
    client.shutdown(Duration::from_secs(10)).await;
    let refreshes = std::mem::take(&mut lock(&refreshes).finished);
    Ok(RunLog { callers, refreshes })
}

/// Builds a client over a session at the issuer. Records the flights in `refreshes`.
fn client(
    servers: &Arc<Servers>,
    profile: IssuerProfile,
    refreshes: &Arc<Mutex<RefreshRecorder>>,
) -> Result<Client, CommandError> {
    let source = token_source(&servers.issuer)?;
    let (recorded, clock) = (Arc::clone(refreshes), Arc::clone(servers));
    let rotator = Rotator::builder(source)
        .origin(servers.upstream.url())
        .profile(profile.profile())
        .on_event(move |event| lock(&recorded).record(event, clock.time()))
        .build()
        .map_err(|error| setup_failed("rotator", error))?;
    let tokens = TokenSet::bearer(servers.grant.access_token.as_str())
        .with_refresh_token(servers.grant.refresh_token.as_str());
    rotator
        .sign_in(tokens)
        .map_err(|error| setup_failed("session", error))?;
    let http = servers
        .http()
        .build()
        .map_err(|error| setup_failed("HTTP client", error))?;
    Client::builder()
        .base_url(servers.upstream.url())
        .client(http)
        .rotator(rotator)
        .build()
        .map_err(|error| setup_failed("client", error))
}

async fn call(servers: Arc<Servers>, client: Client, number: u32) -> Caller {
    let begun = servers.time();
    let outcome = send(&client, number).await;
    Caller {
        number,
        begun,
        ended: servers.time(),
        outcome,
    }
}

async fn send(client: &Client, number: u32) -> CallerOutcome {
    let answer = client
        .get("/echo")
        .header("x-request-id", number)
        .send()
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(Error::Token(error)) => return outcome_of(&error),
        Err(_) => return CallerOutcome::Failed,
    };
    let status = answer.status();
    let why = answer.extensions().get::<TokenError>().map(outcome_of);
    // A request is answered when its body has arrived.
    if answer.bytes().await.is_ok() && status == 200 {
        return CallerOutcome::Answered;
    }
    why.unwrap_or(CallerOutcome::Failed)
}

fn outcome_of(error: &TokenError) -> CallerOutcome {
    match error {
        TokenError::Refresh(error) if error.kind() == FailureKind::Uncertain => {
            CallerOutcome::Uncertain
        }
        _ => CallerOutcome::Failed,
    }
}

/// Collects the flights from the rotator's events.
#[derive(Default)]
struct RefreshRecorder {
    begun: Option<Duration>,
    finished: Vec<RefreshSpan>,
}

impl RefreshRecorder {
    fn record(&mut self, event: &Event, at: Duration) {
        match event {
            Event::RefreshStarted { .. } => self.begun = Some(at),
            // The answer to the first request of the flight was lost: the flight sends a second one.
            Event::PresentedAgain { .. } => {
                self.finish(at, false);
                self.begun = Some(at);
            }
            Event::Refreshed { .. } => self.finish(at, true),
            Event::RefreshFailed { .. } | Event::Ended { .. } => self.finish(at, false),
            _ => {}
        }
    }

    fn finish(&mut self, at: Duration, succeeded: bool) {
        if let Some(begun) = self.begun.take() {
            self.finished.push(RefreshSpan {
                by: None,
                begun,
                ended: at,
                succeeded,
            });
        }
    }
}

fn lock(refreshes: &Mutex<RefreshRecorder>) -> std::sync::MutexGuard<'_, RefreshRecorder> {
    refreshes.lock().unwrap_or_else(PoisonError::into_inner)
}
