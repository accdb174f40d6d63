//! The same requests through token-rotator's client.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use token_rotator::{Event, FailureKind, Rotator, TokenError, TokenSet};
use token_rotator_oauth2::refresh_token;
use token_rotator_reqwest::{Client, Error, ReqwestTransport};
use tokio::task::{JoinHandle, JoinSet};

use crate::arguments::{DemoOptions, IssuerProfile};
use crate::command_error::CommandError;
use crate::demo::outcome::{Caller, Callers, End, Refresh};
use crate::demo::world::{World, impossible};

/// Runs all of them.
pub(crate) async fn run(
    world: &Arc<World>,
    options: &DemoOptions,
    profile: IssuerProfile,
) -> Result<Callers, CommandError> {
    let refreshes = Arc::new(Mutex::new(Refreshes::default()));
    let client = client(world, profile, &refreshes)?;
    world.expiry().await;
    let mut callers = Callers::default();
    let leader = if options.cancel_leader {
        // The issuer holds the first refresh until everybody has set out and its caller is gone.
        world.issuer.gate().close();
        let leader = spawn(world, &client, 0, Duration::ZERO);
        world.issuer.gate().arrived(1).await;
        Some((leader, world.time()))
    } else {
        world.upstream.gate().close();
        None
    };
    let mut tasks = JoinSet::new();
    for number in 1..=options.requests {
        let departure = world.departure(number - 1, options.requests);
        let task = spawn(world, &client, number, departure);
        tasks.spawn(task);
    }
    if let Some((leader, begun)) = leader {
        tokio::time::sleep(world.spread).await;
        leader.abort();
        callers.callers.push(Caller {
            number: 0,
            begun,
            ended: world.time(),
            end: End::Cancelled,
        });
        world.issuer.gate().open();
    } else {
        world.answer_first_wave_together(options.requests).await;
    }
    while let Some(joined) = tasks.join_next().await {
        if let Ok(Ok(caller)) = joined {
            callers.callers.push(caller);
        }
    }
    client.shutdown(Duration::from_secs(10)).await;
    callers.refreshes = std::mem::take(&mut lock(&refreshes).flown);
    Ok(callers)
}

/// A client over a session at the issuer, its flights written down.
fn client(
    world: &Arc<World>,
    profile: IssuerProfile,
    refreshes: &Arc<Mutex<Refreshes>>,
) -> Result<Client, CommandError> {
    // A proxy that the environment names does not lead to loopback.
    let transport = ReqwestTransport::configured(reqwest::ClientBuilder::no_proxy);
    let transport = transport.map_err(|error| impossible("transport", error))?;
    let source = refresh_token(world.issuer.token_url(), "demo")
        .transport(transport)
        .build()
        .map_err(|error| impossible("token source", error))?;
    let (recorded, clock) = (Arc::clone(refreshes), Arc::clone(world));
    let rotator = Rotator::builder(source)
        .origin(world.upstream.url())
        .profile(profile.profile())
        .on_event(move |event| lock(&recorded).note(event, clock.time()))
        .build()
        .map_err(|error| impossible("rotator", error))?;
    let tokens = TokenSet::bearer(world.grant.access_token.as_str())
        .with_refresh_token(world.grant.refresh_token.as_str());
    rotator
        .sign_in(tokens)
        .map_err(|error| impossible("session", error))?;
    let http = world
        .http()
        .build()
        .map_err(|error| impossible("HTTP client", error))?;
    Client::builder()
        .base_url(world.upstream.url())
        .client(http)
        .rotator(rotator)
        .build()
        .map_err(|error| impossible("client", error))
}

fn spawn(
    world: &Arc<World>,
    client: &Client,
    number: u32,
    departure: Duration,
) -> JoinHandle<Caller> {
    let (world, client) = (Arc::clone(world), client.clone());
    tokio::spawn(async move {
        tokio::time::sleep(departure).await;
        let begun = world.time();
        let end = call(&client, number).await;
        Caller {
            number,
            begun,
            ended: world.time(),
            end,
        }
    })
}

async fn call(client: &Client, number: u32) -> End {
    let answer = client
        .get("/echo")
        .header("x-request-id", number)
        .send()
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(Error::Token(error)) => return end_of(&error),
        Err(_) => return End::Failed,
    };
    let status = answer.status();
    let why = answer.extensions().get::<TokenError>().map(end_of);
    // A request has its answer when it has the body.
    if answer.bytes().await.is_ok() && status == 200 {
        return End::Answered;
    }
    why.unwrap_or(End::Failed)
}

fn end_of(error: &TokenError) -> End {
    match error {
        TokenError::Refresh(error) if error.kind() == FailureKind::Uncertain => End::Uncertain,
        _ => End::Failed,
    }
}

/// The flights, as the rotator's events tell of them.
#[derive(Default)]
struct Refreshes {
    begun: Option<Duration>,
    flown: Vec<Refresh>,
}

impl Refreshes {
    fn note(&mut self, event: &Event, at: Duration) {
        match event {
            Event::RefreshStarted { .. } => self.begun = Some(at),
            // The answer to the first request of the flight was lost, and here goes the second.
            Event::PresentedAgain { .. } => {
                self.end(at, false);
                self.begun = Some(at);
            }
            Event::Refreshed { .. } => self.end(at, true),
            Event::RefreshFailed { .. } | Event::Ended { .. } => self.end(at, false),
            _ => {}
        }
    }

    fn end(&mut self, at: Duration, succeeded: bool) {
        if let Some(begun) = self.begun.take() {
            self.flown.push(Refresh {
                by: None,
                begun,
                ended: at,
                succeeded,
            });
        }
    }
}

fn lock(refreshes: &Mutex<Refreshes>) -> std::sync::MutexGuard<'_, Refreshes> {
    refreshes.lock().unwrap_or_else(PoisonError::into_inner)
}
