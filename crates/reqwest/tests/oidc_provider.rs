//! Tests the client with npm's `oidc-provider`, a certified issuer whose refresh tokens are single
//! use and which revokes a grant at the first reuse.

use std::time::Duration;

use token_rotator::middleware::Exchange;
use token_rotator::{Rotator, TokenSet};
use token_rotator_oauth2::refresh_token;
use token_rotator_reqwest::{Client, ReqwestTransport};
use token_rotator_testkit::CertifiedIssuer;

/// A token ends early at the issuer or by the clock; one refresh serves 200 requests each time. The
/// issuer never sees a refresh token twice, and the grant is alive at the end. `OIDC_EXPIRIES` sets
/// the number of expiries for a long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expiry_is_one_refresh() {
    let Some(issuer) = CertifiedIssuer::start(Duration::from_secs(10)).await else {
        return;
    };
    let grant = issuer.sign_in().await;
    let source = refresh_token(issuer.token_url(), grant.client_id.as_str())
        .revocation_url(issuer.revocation_url())
        .transport(ReqwestTransport::new().expect("a transport"))
        .build()
        .expect("a source");
    let rotator = Rotator::builder(source)
        .origin(issuer.upstream_url())
        // Disables early refreshes, so that every token ends before its replacement.
        .refresh_before(Duration::ZERO)
        .build()
        .expect("a rotator");
    // The issuer never issued this token, so the first refusal starts the first refresh.
    let tokens = TokenSet::bearer("never-issued").with_refresh_token(grant.refresh_token.as_str());
    rotator.sign_in(tokens).expect("usable tokens");
    let client = Client::builder()
        .base_url(issuer.upstream_url())
        .rotator(rotator.clone())
        .build()
        .expect("a client");

    let send = |number| {
        let request = client.get("/echo").query(&[("number", number)]);
        async move { request.send().await.expect("an answer").status().as_u16() }
    };
    let looks_good = || Exchange::ready(&rotator, Ok(())).is_some();
    issuer.expiries(&grant, looks_good, send).await;

    // A sign-out revokes the grant at the issuer, and `shutdown` waits for the revocation.
    rotator.sign_out().await.expect("no store to fail");
    assert!(rotator.shutdown(Duration::from_secs(10)).await);
    assert!(!issuer.alive(&grant).await);
}
