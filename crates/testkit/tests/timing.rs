//! Late refusals and many waiting requests, in an order that the test decides.

mod support;

use std::sync::Arc;

use support::{TestResult, get, refresh, start_servers, with_timeout};
use token_rotator_testkit::Issuer;

#[tokio::test]
async fn a_refusal_can_arrive_after_the_refresh() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let upstream = Arc::new(upstream);
    let grant = issuer.sign_in("alice");
    issuer.expire_access_tokens();
    let spawn_slow_request = |token: String| {
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move {
            get(&upstream, "/slow-401", &token)
                .await
                .map(|response| response.status)
        })
    };
    let (first, second) = (
        spawn_slow_request(grant.access_token.clone()),
        spawn_slow_request(grant.access_token.clone()),
    );
    with_timeout(upstream.slow_arrived(2)).await;

    let newer = refresh(&issuer, &grant.refresh_token)
        .await?
        .string("access_token");
    assert_eq!(with_timeout(spawn_slow_request(newer)).await??, 200);
    assert!(!first.is_finished() && !second.is_finished());
    upstream.release_slow();
    assert_eq!(
        (with_timeout(first).await??, with_timeout(second).await??),
        (401, 401)
    );

    let third = spawn_slow_request(grant.access_token.clone());
    with_timeout(upstream.slow_arrived(1)).await;
    assert!(!third.is_finished());
    upstream.release_slow();
    assert_eq!(with_timeout(third).await??, 401);
    Ok(())
}

#[tokio::test]
async fn tokens_are_validated_after_the_gate() -> TestResult {
    const CALLERS: usize = 50;
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let upstream = Arc::new(upstream);
    let grant = issuer.sign_in("alice");
    let gate = upstream.gate();
    gate.close();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (upstream, token) = (Arc::clone(&upstream), grant.access_token.clone());
            tokio::spawn(async move {
                get(&upstream, "/echo", &token)
                    .await
                    .map(|response| response.status)
            })
        })
        .collect();
    with_timeout(gate.arrived(CALLERS)).await;
    issuer.expire_access_tokens();
    gate.open();
    for caller in callers {
        assert_eq!(with_timeout(caller).await??, 401);
    }
    let counters = upstream.counters();
    assert_eq!(
        (counters.refused, counters.in_flight_max),
        (CALLERS as u64, CALLERS as u64)
    );
    assert_eq!(counters.by_generation.get(&1), Some(&(CALLERS as u64)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_streams_wait_on_one_http2_connection() -> TestResult {
    const CALLERS: usize = 2_000;
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let token = issuer.sign_in("alice").access_token;
    let gate = upstream.gate();
    gate.close();
    let client = support::h2_client();
    let url = format!("{}/echo", upstream.url());
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(client.get(&url).bearer_auth(&token).send()))
        .collect();
    with_timeout(gate.arrived(CALLERS)).await;
    gate.open();
    for caller in callers {
        assert_eq!(with_timeout(caller).await??.status().as_u16(), 200);
    }
    assert_eq!(upstream.counters().served, CALLERS as u64);
    Ok(())
}
