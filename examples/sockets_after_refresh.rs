//! Sockets that get the new token after each refresh, before the waiting requests go on.
//!
//! `cargo run -p token-rotator-examples --example sockets_after_refresh`

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use token_rotator_issuer::{Issuer, Upstream};
use token_rotator_reqwest::Client;
use tokio::sync::watch;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RefreshResponse {
    access_token: String,
    ws_token: String,
}

#[allow(dead_code, reason = "the tests call `run` themselves")]
#[tokio::main]
async fn main() -> Result<(), Failure> {
    for line in run().await? {
        println!("{line}");
    }
    Ok(())
}

pub(crate) async fn run() -> Result<Vec<String>, Failure> {
    let issuer = Issuer::builder().start().await?;
    let upstream = Upstream::start(&issuer).await?;
    // An open socket watches this value and authenticates again when it changes.
    let (sockets, watching) = watch::channel(String::new());

    let api = Client::builder()
        .base_url(upstream.url())
        .default_header("x-requested-with", "XMLHttpRequest")
        .on_refresh_success(|data: &RefreshResponse| &data.access_token)
        .on_after_refresh_async(move |data: Arc<RefreshResponse>| {
            let sockets = sockets.clone();
            async move {
                sockets.send_replace(data.ws_token.clone());
            }
        })
        .on_refresh_failed(|_error| eprintln!("please sign in"))
        .build()?;

    let credentials = json!({"user": "alice", "password": "any"});
    let login = api
        .post("/login")
        .without_token()
        .json(&credentials)
        .send()
        .await?;
    let login: RefreshResponse = login.json().await?;
    api.set_access_token(&login.access_token)?;

    issuer.expire_access_tokens();
    let requests = (0..20).map(|_| api.get("/echo").send());
    let answers = futures_util::future::try_join_all(requests).await?;
    let good = answers
        .iter()
        .filter(|answer| answer.status() == 200)
        .count();

    let told = !watching.borrow().is_empty() && *watching.borrow() != login.ws_token;
    Ok(vec![
        format!("answered: {good} of {}", answers.len()),
        format!("refreshes: {}", issuer.counters().refreshes),
        format!("sockets told: {told}"),
    ])
}
