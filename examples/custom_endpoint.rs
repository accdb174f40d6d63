//! A custom refresh endpoint, and a refresh with a custom request.
//!
//! `cargo run -p token-rotator-examples --example custom_endpoint`

use serde::Deserialize;
use token_rotator_issuer::{Issuer, Upstream};
use token_rotator_reqwest::Client;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The answer of an OAuth token endpoint.
#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    refresh_token: String,
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

    // The endpoint has another path and another origin, which has to be declared.
    let cookie_api = Client::builder()
        .base_url(upstream.url())
        .origin(issuer.url())
        .refresh_endpoint(format!("{}/api/auth/refresh", issuer.url()))
        .bearer_field("accessToken")
        .build()?;
    let login = serde_json::json!({"user": "alice", "password": "any"});
    cookie_api
        .post(issuer.login_url())
        .without_token()
        .json(&login)
        .send()
        .await?;
    // The client has no token yet. The first request is refused, and its 401 starts the first
    // refresh.
    let with_cookie = cookie_api.get("/echo").send().await?.status();

    // A custom request: a form with a refresh token that the program keeps.
    let grant = issuer.sign_in("bob");
    let kept = std::sync::Arc::new(std::sync::Mutex::new(grant.refresh_token.clone()));
    let token_url = issuer.token_url().to_owned();
    let form_api = Client::builder()
        .base_url(upstream.url())
        .on_refresh_success(|data: &TokenResponse| &data.access_token)
        .refresh_with(move |call| {
            let (kept, token_url) = (kept.clone(), token_url.clone());
            async move {
                let last = kept.lock().map(|token| token.clone()).unwrap_or_default();
                let form = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", last.as_str()),
                    ("client_id", "demo"),
                ];
                let answer = call.send(call.post(&token_url)?.form(&form)).await?;
                if let Ok(mut token) = kept.lock() {
                    token.clone_from(&answer.refresh_token);
                }
                Ok(answer)
            }
        })
        .build()?;
    form_api.set_access_token(&grant.access_token)?;
    issuer.expire_access_tokens();
    let with_form = form_api.get("/echo").send().await?.status();

    Ok(vec![
        format!("with a cookie: {with_cookie}"),
        format!("with a form: {with_form}"),
        format!("refreshes: {}", issuer.counters().refreshes),
    ])
}
