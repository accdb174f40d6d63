//! Against npm's `oidc-provider`, a certified issuer whose refresh tokens are single use.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use token_rotator::{Rotator, TokenSet};
use token_rotator_testkit::CertifiedIssuer;
use tower::{Layer, ServiceExt};

use crate::world::{http, read, source};

const EXPIRIES: u64 = 5;
const REQUESTS: usize = 200;

/// At every expiry, one refresh serves however many requests there are; the issuer never sees a
/// refresh token twice, and the grant is alive at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expiry_is_one_refresh() {
    let Some(issuer) = CertifiedIssuer::start(Duration::from_secs(2)).await else {
        return;
    };
    let grant = issuer.sign_in().await;
    let rotator = Rotator::builder(source(issuer.token_url(), &grant.client_id))
        .origin(issuer.upstream_url())
        // No early refresh: every round is to meet an expired token.
        .refresh_before(Duration::ZERO)
        .build()
        .expect("a rotator");
    // A token that nobody issued: the first refusal starts the first refresh.
    let tokens = TokenSet::bearer("never-issued").with_refresh_token(grant.refresh_token.as_str());
    rotator.sign_in(tokens).expect("usable tokens");
    let client = rotator
        .layer()
        .expect("an origin")
        .layer(http::<Full<Bytes>>());

    for round in 1..=EXPIRIES {
        let requests: Vec<_> = (0..REQUESTS)
            .map(|number| {
                let uri = format!("{}/echo?number={number}", issuer.upstream_url());
                let request = Request::get(uri).body(Full::default()).expect("a request");
                tokio::spawn(client.clone().oneshot(request))
            })
            .collect();
        for request in requests {
            let answer = request.await.expect("no panic").expect("an answer");
            assert_eq!(read(answer).await.0, 200);
        }
        assert_eq!(issuer.stats().await.refreshes, round);
        while rotator.ready().is_some() {
            // The issuer's clock is another process's: there is nothing to wait on but time.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let stats = issuer.stats().await;
    assert_eq!(
        (
            stats.refreshes,
            stats.errors,
            stats.reuses,
            stats.grants_revoked
        ),
        (EXPIRIES, 0, 0, 0)
    );
    assert_eq!(stats.upstream_200, EXPIRIES * REQUESTS as u64);
    assert!(issuer.alive(&grant).await);
}
