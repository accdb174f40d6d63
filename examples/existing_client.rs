//! An existing client keeps its cookies, proxies, timeouts and headers.
//!
//! `cargo run -p token-rotator-examples --example existing_client`

use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use token_rotator_issuer::{Issuer, Upstream};
use token_rotator_reqwest::{Client, reqwest};

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

    let mut headers = HeaderMap::new();
    headers.insert(
        "x-requested-with",
        HeaderValue::from_static("XMLHttpRequest"),
    );
    let mine = reqwest::Client::builder()
        .cookie_store(true)
        .default_headers(headers)
        .build()?;

    let api = Client::builder()
        .base_url(upstream.url())
        .client(mine.clone())
        .bearer_field("accessToken")
        .build()?;

    // The sign-in uses the existing client, and the refresh uses the new one. Both share their
    // cookies.
    let credentials = json!({"user": "alice", "password": "any"});
    let login = mine
        .post(format!("{}/login", upstream.url()))
        .json(&credentials)
        .send()
        .await?;
    let login: Value = login.json().await?;
    api.set_access_token(login["accessToken"].as_str().unwrap_or_default())?;

    issuer.expire_access_tokens();
    let echo: Value = api.get("/echo").send().await?.json().await?;

    Ok(vec![
        format!("after expiry: token {}", echo["generation"]),
        format!("my header: {}", echo["headers"]["x-requested-with"]),
    ])
}
