//! The right to sign in and out, separate from the client that the rest of the program uses.
//!
//! `cargo run -p token-rotator-examples --example init_and_clear_session`

use serde_json::{Value, json};
use token_rotator_issuer::{Issuer, Upstream};
use token_rotator_reqwest::{Client, SendOnly, SessionHandle};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The part of the program that signs in and out. Only this part has the handle.
struct Auth {
    api: Client<SendOnly>,
    session: SessionHandle,
}

impl Auth {
    async fn init_session(&self, user: &str) -> Result<(), Failure> {
        let credentials = json!({"user": user, "password": "any"});
        let login = self
            .api
            .post("/login")
            .without_token()
            .json(&credentials)
            .send()
            .await?;
        let login: Value = login.json().await?;
        self.session
            .set_access_token(login["accessToken"].as_str().unwrap_or_default())?;
        Ok(())
    }

    async fn clear_session(&self) -> Result<(), Failure> {
        self.api.post("/logout").send().await?;
        self.session.clear();
        Ok(())
    }
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

    let (api, session) = Client::builder()
        .base_url(upstream.url())
        .bearer_field("accessToken")
        .build_split()?;
    let auth = Auth {
        api: api.clone(),
        session,
    };

    auth.init_session("alice").await?;
    let inside = api.get("/echo").send().await?.status();
    auth.clear_session().await?;
    // After the sign-out the request is sent without token, and the caller gets its 401. No refresh
    // starts.
    let outside = api.get("/echo").send().await?.status();

    Ok(vec![
        format!("signed in: {inside}"),
        format!("signed out: {outside}"),
        format!("token left: {}", api.access_token().is_some()),
        format!("refreshes: {}", issuer.counters().refreshes),
    ])
}
