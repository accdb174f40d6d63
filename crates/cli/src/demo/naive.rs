//! Clients as they are usually written: whoever meets a 401 refreshes and tries again.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use crate::arguments::DemoOptions;
use crate::command_error::CommandError;
use crate::demo::outcome::{Caller, Callers, End, Refresh};
use crate::demo::world::{World, impossible};

/// What the clients share: the tokens of the one session.
struct Session {
    http: reqwest::Client,
    echo: String,
    token_url: String,
    tokens: Mutex<Tokens>,
}

#[derive(Clone)]
struct Tokens {
    access: String,
    refresh: String,
}

/// Runs all of them.
pub(crate) async fn run(
    world: &Arc<World>,
    options: &DemoOptions,
) -> Result<Callers, CommandError> {
    let http = world
        .http()
        .build()
        .map_err(|error| impossible("HTTP client", error))?;
    let session = Arc::new(Session {
        http,
        echo: format!("{}/echo", world.upstream.url()),
        token_url: world.issuer.token_url().to_owned(),
        tokens: Mutex::new(Tokens {
            access: world.grant.access_token.clone(),
            refresh: world.grant.refresh_token.clone(),
        }),
    });
    world.expiry().await;
    let mut callers = Callers::default();
    let leader = if options.cancel_leader {
        world.issuer.gate().close();
        let leader = tokio::spawn(call(Arc::clone(world), Arc::clone(&session), 0));
        world.issuer.gate().arrived(1).await;
        Some((leader, world.time()))
    } else {
        world.upstream.gate().close();
        None
    };
    let mut tasks = JoinSet::new();
    for number in 1..=options.requests {
        let (world, session) = (Arc::clone(world), Arc::clone(&session));
        let departure = world.departure(number - 1, options.requests);
        tasks.spawn(async move {
            tokio::time::sleep(departure).await;
            call(world, session, number).await
        });
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
        if let Ok((caller, refresh)) = joined {
            callers.callers.push(caller);
            callers.refreshes.extend(refresh);
        }
    }
    Ok(callers)
}

async fn call(world: Arc<World>, session: Arc<Session>, number: u32) -> (Caller, Option<Refresh>) {
    let begun = world.time();
    let mut refresh = None;
    let mut end = End::Failed;
    let token = session.tokens().access;
    if let Ok(status) = session.get(number, &token).await {
        if status == 200 {
            end = End::Answered;
        } else if status == 401 {
            let refresh_begun = world.time();
            let renewed = session.refresh().await;
            refresh = Some(Refresh {
                by: Some(number),
                begun: refresh_begun,
                ended: world.time(),
                succeeded: renewed.is_some(),
            });
            if let Some(token) = renewed
                && session
                    .get(number, &token)
                    .await
                    .is_ok_and(|status| status == 200)
            {
                end = End::Answered;
            }
        }
    }
    let caller = Caller {
        number,
        begun,
        ended: world.time(),
        end,
    };
    (caller, refresh)
}

impl Session {
    fn tokens(&self) -> Tokens {
        self.tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn get(&self, number: u32, token: &str) -> reqwest::Result<u16> {
        let request = self.http.get(&self.echo).bearer_auth(token);
        let answer = request.header("x-request-id", number).send().await?;
        let status = answer.status().as_u16();
        answer.bytes().await?;
        Ok(status)
    }

    /// The refresh token grant, with whatever refresh token is there by now.
    async fn refresh(&self) -> Option<String> {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "demo"),
            ("refresh_token", &self.tokens().refresh),
        ];
        let answer = self
            .http
            .post(&self.token_url)
            .form(&form)
            .send()
            .await
            .ok()?;
        if !answer.status().is_success() {
            return None;
        }
        let answer: serde_json::Value = answer.json().await.ok()?;
        let access = answer.get("access_token")?.as_str()?.to_owned();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.access.clone_from(&access);
        if let Some(refresh) = answer.get("refresh_token").and_then(|token| token.as_str()) {
            refresh.clone_into(&mut tokens.refresh);
        }
        Some(access)
    }
}
