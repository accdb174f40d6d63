//! Naive clients: each request that gets a 401 refreshes the token by itself and tries again.

use std::sync::{Arc, Mutex, PoisonError};

use crate::arguments::DemoOptions;
use crate::command_error::CommandError;
use crate::demo::outcome::{Caller, CallerOutcome, RefreshSpan, RunLog};
use crate::demo::servers::{Servers, run_callers, setup_failed};

/// The state that all naive clients share: one session with its tokens.
struct NaiveSession {
    http: reqwest::Client,
    echo: String,
    token_url: String,
    tokens: Mutex<TokenPair>,
}

#[derive(Clone)]
struct TokenPair {
    access: String,
    refresh: String,
}

/// Runs all requests of the demo.
pub(crate) async fn run(
    servers: &Arc<Servers>,
    options: &DemoOptions,
) -> Result<RunLog, CommandError> {
    let http = servers
        .http()
        .build()
        .map_err(|error| setup_failed("HTTP client", error))?;
    let session = Arc::new(NaiveSession {
        http,
        echo: format!("{}/echo", servers.upstream.url()),
        token_url: servers.issuer.token_url().to_owned(),
        tokens: Mutex::new(TokenPair {
            access: servers.grant.access_token.clone(),
            refresh: servers.grant.refresh_token.clone(),
        }),
    });
    servers.token_expired().await;
    let call = |number| call(Arc::clone(servers), Arc::clone(&session), number);
    let (outputs, cancelled) = run_callers(servers, options, call).await;
    let mut log = RunLog::default();
    log.callers.extend(cancelled);
    for (caller, refresh) in outputs {
        log.callers.push(caller);
        log.refreshes.extend(refresh);
    }
    Ok(log)
}

async fn call(
    servers: Arc<Servers>,
    session: Arc<NaiveSession>,
    number: u32,
) -> (Caller, Option<RefreshSpan>) {
    let begun = servers.time();
    let mut refresh = None;
    let mut outcome = CallerOutcome::Failed;
    let token = session.tokens().access;
    if let Ok(status) = session.get(number, &token).await {
        if status == 200 {
            outcome = CallerOutcome::Answered;
        } else if status == 401 {
            let refresh_begun = servers.time();
            let renewed = session.refresh().await;
            refresh = Some(RefreshSpan {
                by: Some(number),
                begun: refresh_begun,
                ended: servers.time(),
                succeeded: renewed.is_some(),
            });
            if let Some(token) = renewed
                && session
                    .get(number, &token)
                    .await
                    .is_ok_and(|status| status == 200)
            {
                outcome = CallerOutcome::Answered;
            }
        }
    }
    let caller = Caller {
        number,
        begun,
        ended: servers.time(),
        outcome,
    };
    (caller, refresh)
}

impl NaiveSession {
    fn tokens(&self) -> TokenPair {
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

    /// Sends the refresh token grant with the current refresh token. Returns the new access token.
    ///
    /// Returns `None` if the refresh fails.
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
