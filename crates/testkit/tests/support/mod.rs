//! What every test needs: a client without manners of its own, and a refresh in one line.

#![allow(dead_code, reason = "no test binary uses all of it")]

use std::future::Future;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use token_rotator_testkit::{Issuer, IssuerBuilder, Upstream};

pub(crate) type Tested = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Fails a test that would hang; no test takes anywhere near as long.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("done in time")
}

/// A client that follows no redirects and knows no proxies.
pub(crate) fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    builder.build().expect("a client")
}

/// A client that speaks HTTP/2 from the first byte.
pub(crate) fn h2_client() -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge();
    builder.build().expect("a client")
}

pub(crate) async fn started(builder: IssuerBuilder) -> (Issuer, Upstream) {
    let issuer = builder.start().await.expect("an issuer");
    let upstream = Upstream::start(&issuer).await.expect("an upstream");
    (issuer, upstream)
}

/// An answer that was read to its end.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answered {
    pub(crate) async fn from(answer: reqwest::Response) -> Result<Self, reqwest::Error> {
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Self {
            status,
            headers,
            text: answer.text().await?,
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }

    pub(crate) fn string(&self, field: &str) -> String {
        self.json()[field]
            .as_str()
            .unwrap_or_else(|| panic!("no {field}"))
            .to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("ASCII"))
    }
}

/// Redeems a refresh token as the client `demo`.
pub(crate) async fn refresh(
    issuer: &Issuer,
    refresh_token: &str,
) -> Result<Answered, reqwest::Error> {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
        ("client_id", "demo"),
    ];
    post(issuer.token_url(), &form).await
}

pub(crate) async fn post(url: &str, form: &[(&str, &str)]) -> Result<Answered, reqwest::Error> {
    Answered::from(client().post(url).form(form).send().await?).await
}

/// GETs a path of the upstream with a bearer token.
pub(crate) async fn get(
    upstream: &Upstream,
    path: &str,
    token: &str,
) -> Result<Answered, reqwest::Error> {
    let url = format!("{}{path}", upstream.url());
    Answered::from(client().get(url).bearer_auth(token).send().await?).await
}

/// The claims of a JWT, unverified.
pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}
