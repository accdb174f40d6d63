//! Against npm's `oidc-provider`, a certified issuer whose refresh tokens are single use and whose
//! grants are revoked at the first reuse.

use std::time::Duration;

use token_rotator::{Rotator, TokenSet};
use token_rotator_oauth2::refresh_token;
use token_rotator_reqwest::{Client, ReqwestTransport};
use token_rotator_testkit::CertifiedIssuer;

const REQUESTS: usize = 200;

/// At every expiry, one refresh serves however many requests there are; the issuer never sees a
/// refresh token twice, and the grant is alive at the end. `OIDC_EXPIRIES` makes it a long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expiry_is_one_refresh() {
    let expiries = match std::env::var("OIDC_EXPIRIES") {
        Ok(count) => count.parse().expect("OIDC_EXPIRIES is a number"),
        Err(_) => 5,
    };
    let Some(issuer) = CertifiedIssuer::start(Duration::from_secs(2)).await else {
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
        // No early refresh: every round is to meet an expired token.
        .refresh_before(Duration::ZERO)
        .build()
        .expect("a rotator");
    // A token that nobody issued: the first refusal starts the first refresh.
    let tokens = TokenSet::bearer("never-issued").with_refresh_token(grant.refresh_token.as_str());
    rotator.sign_in(tokens).expect("usable tokens");
    let client = Client::builder()
        .base_url(issuer.upstream_url())
        .rotator(rotator.clone())
        .build()
        .expect("a client");

    for round in 1..=expiries {
        let requests: Vec<_> = (0..REQUESTS)
            .map(|number| {
                let request = client.get("/echo").query(&[("number", number)]);
                tokio::spawn(request.send())
            })
            .collect();
        for request in requests {
            let answer = request.await.expect("no panic").expect("an answer");
            assert_eq!(answer.status(), 200);
        }
        assert_eq!(issuer.stats().await.refreshes, round);
        while rotator.ready().is_some() {
            // The issuer's clock is another process's: there is nothing to wait on but time.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let stats = issuer.stats().await;
    assert_eq!(stats.refreshes, expiries);
    assert_eq!(
        (stats.errors, stats.reuses, stats.grants_revoked),
        (0, 0, 0)
    );
    assert_eq!(stats.upstream_200, expiries * REQUESTS as u64);
    assert!(issuer.alive(&grant).await);

    // Signing out revokes the grant at the issuer, and waits for that when asked to.
    rotator.sign_out().await.expect("no store to fail");
    assert!(rotator.shutdown(Duration::from_secs(10)).await);
    assert!(!issuer.alive(&grant).await);
}
