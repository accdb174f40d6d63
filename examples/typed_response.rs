//! A typed refresh answer: the argument of the parser names the type for all hooks.
//!
//! `cargo run -p token-rotator-examples --example typed_response`

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use token_rotator_issuer::{Issuer, Upstream};
use token_rotator_reqwest::Client;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The answer of the login and of the refresh endpoint.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RefreshResponse {
    access_token: String,
    ws_token: String,
    expires_in: u64,
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
    let ws_token = Arc::new(Mutex::new(String::new()));

    let kept = Arc::clone(&ws_token);
    let api = Client::builder()
        .base_url(upstream.url())
        // The token with its lifetime, so that it is refreshed before it expires.
        .on_refresh_success_with(|data: &RefreshResponse| {
            (
                data.access_token.clone(),
                Duration::from_secs(data.expires_in),
            )
        })
        // The compiler infers that `data` is a `&RefreshResponse`.
        .on_after_refresh(move |data| {
            if let Ok(mut kept) = kept.lock() {
                kept.clone_from(&data.ws_token);
            }
        })
        .build()?;

    let credentials = json!({"user": "alice", "password": "any"});
    let login = api
        .post("/login")
        .without_token()
        .json(&credentials)
        .send()
        .await?;
    let login: RefreshResponse = login.json().await?;
    api.set_access_token((login.access_token, Duration::from_secs(login.expires_in)))?;

    issuer.expire_access_tokens();
    let status = api.get("/echo").send().await?.status();

    let renewed = ws_token
        .lock()
        .is_ok_and(|token| !token.is_empty() && *token != login.ws_token);
    Ok(vec![
        format!("answer: {status}"),
        format!("socket token renewed: {renewed}"),
    ])
}
