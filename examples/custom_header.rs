//! A custom auth scheme: a header of its own carries the token. No other origin gets the header, not even at a
//! redirect.
//!
//! `cargo run -p token-rotator-examples --example custom_header`

use serde_json::{Value, json};
use token_rotator_issuer::{Issuer, Upstream};
use token_rotator_reqwest::Client;

type Failure = Box<dyn std::error::Error + Send + Sync>;

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
    let elsewhere = Upstream::start(&issuer).await?;

    let api = Client::builder()
        .base_url(upstream.url())
        .bearer_field("accessToken")
        .token_header("x-auth-token")
        // With a scheme: .token_header_with("x-auth-token", |token| format!("Token {token}"))
        .build()?;

    let credentials = json!({"user": "alice", "password": "any"});
    let login = api
        .post("/login")
        .without_token()
        .json(&credentials)
        .send()
        .await?;
    let login: Value = login.json().await?;
    api.set_access_token(login["accessToken"].as_str().unwrap_or_default())?;

    issuer.expire_access_tokens();
    let here: Value = api
        .get("/header/x-auth-token/echo")
        .send()
        .await?
        .json()
        .await?;
    let there: Value = api
        .get(format!("{}/open/echo", elsewhere.url()))
        .send()
        .await?
        .json()
        .await?;

    Ok(vec![
        format!("here, after expiry: {}", here["headers"]["x-auth-token"]),
        format!("elsewhere: {}", there["headers"]["x-auth-token"]),
    ])
}
