//! HTTP clients and requests for the tests of issuer and upstream.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::future::Future;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use token_rotator_testkit::{Issuer, IssuerBuilder, Upstream};

pub(crate) type TestResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Awaits `future`, and fails the test after 30 seconds. No test takes nearly as long.
pub(crate) async fn with_timeout<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("the future completes within 30 seconds")
}

/// Builds a client that follows no redirects and uses no proxy.
pub(crate) fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    builder.build().expect("a client")
}

/// Builds a client that speaks HTTP/2 with prior knowledge.
pub(crate) fn h2_client() -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge();
    builder.build().expect("a client")
}

pub(crate) async fn start_servers(builder: IssuerBuilder) -> (Issuer, Upstream) {
    let issuer = builder.start().await.expect("an issuer");
    let upstream = Upstream::start(&issuer).await.expect("an upstream");
    (issuer, upstream)
}

/// A response with its whole body.
pub(crate) struct ReceivedResponse {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl ReceivedResponse {
    pub(crate) async fn from(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self {
            status,
            headers,
            text: response.text().await?,
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
) -> Result<ReceivedResponse, reqwest::Error> {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
        ("client_id", "demo"),
    ];
    post(issuer.token_url(), &form).await
}

pub(crate) async fn post(
    url: &str,
    form: &[(&str, &str)],
) -> Result<ReceivedResponse, reqwest::Error> {
    ReceivedResponse::from(client().post(url).form(form).send().await?).await
}

/// Sends a GET request for a path of the upstream, with a bearer token.
pub(crate) async fn get(
    upstream: &Upstream,
    path: &str,
    token: &str,
) -> Result<ReceivedResponse, reqwest::Error> {
    let url = format!("{}{path}", upstream.url());
    ReceivedResponse::from(client().get(url).bearer_auth(token).send().await?).await
}

/// Returns the claims of a JWT without verifying its signature.
pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}
