//! Tests the layer with npm's `oidc-provider`, a certified issuer whose refresh tokens are single
//! use.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use token_rotator::middleware::Exchange;
use token_rotator::{Rotator, TokenSet};
use token_rotator_testkit::CertifiedIssuer;
use tower::{Layer, ServiceExt};

use crate::fixture::{http, read, source};

/// A token ends early at the issuer or by the clock; one refresh serves 200 requests each time. The
/// issuer never sees a refresh token twice, and the grant is alive at the end. `OIDC_EXPIRIES` sets
/// the number of expiries for a long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expiry_is_one_refresh() {
    let Some(issuer) = CertifiedIssuer::start(Duration::from_secs(10)).await else {
        return;
    };
    let grant = issuer.sign_in().await;
    let rotator = Rotator::builder(source(issuer.token_url(), &grant.client_id))
        .origin(issuer.upstream_url())
        // Disables early refreshes, so that every token ends before its replacement.
        .refresh_before(Duration::ZERO)
        .build()
        .expect("a rotator");
    // The issuer never issued this token, so the first refusal starts the first refresh.
    let tokens = TokenSet::bearer("never-issued").with_refresh_token(grant.refresh_token.as_str());
    rotator.sign_in(tokens).expect("usable tokens");
    let client = rotator
        .layer()
        .expect("an origin")
        .layer(http::<Full<Bytes>>());

    let send = |number| {
        let uri = format!("{}/echo?number={number}", issuer.upstream_url());
        let request = Request::get(uri).body(Full::default()).expect("a request");
        let answer = client.clone().oneshot(request);
        async move { read(answer.await.expect("an answer")).await.0.as_u16() }
    };
    let looks_good = || Exchange::ready(&rotator, Ok(())).is_some();
    issuer.expiries(&grant, looks_good, send).await;
}
