//! Quick start: a login, an access token that expires, and a request that succeeds all the same.
//!
//! `cargo run -p token-rotator-examples --example quick_start`

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
    // An API with login, cookie-based refresh, and tokens that this program can expire.
    let issuer = Issuer::builder().start().await?;
    let upstream = Upstream::start(&issuer).await?;

    let api = Client::builder()
        .base_url(upstream.url())
        // The field of the refresh answer with the new access token.
        .bearer_field("accessToken")
        // Runs when the session has ended: show the login here.
        .on_refresh_failed(|_error| eprintln!("please sign in"))
        .build()?;

    // The login sets the refresh cookie and answers with an access token. The client keeps the
    // cookie.
    let credentials = json!({"user": "alice", "password": "any"});
    let login = api
        .post("/login")
        .without_token()
        .json(&credentials)
        .send()
        .await?;
    let login: Value = login.json().await?;
    api.set_access_token(login["accessToken"].as_str().unwrap_or_default())?;

    let before: Value = api.get("/echo").send().await?.json().await?;
    issuer.expire_access_tokens();
    // The request is refused, the token is refreshed, the request is sent once more. The caller
    // gets one answer.
    let after: Value = api.get("/echo").send().await?.json().await?;

    Ok(vec![
        format!(
            "first request: token {} of {}",
            before["generation"], before["subject"]
        ),
        format!(
            "after expiry: token {} of {}",
            after["generation"], after["subject"]
        ),
        format!("refreshes: {}", issuer.counters().refreshes),
    ])
}
