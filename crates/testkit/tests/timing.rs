//! Late refusals and crowds at the gate, in an order the test decides.

mod support;

use std::sync::Arc;

use support::{Tested, get, refresh, started, within};
use token_rotator_testkit::Issuer;

#[tokio::test]
async fn a_refusal_can_arrive_after_the_refresh() -> Tested {
    let (issuer, upstream) = started(Issuer::builder()).await;
    let upstream = Arc::new(upstream);
    let grant = issuer.sign_in("alice");
    issuer.expire_access_tokens();
    let slow = |token: String| {
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move {
            get(&upstream, "/slow-401", &token)
                .await
                .map(|answer| answer.status)
        })
    };
    let (first, second) = (
        slow(grant.access_token.clone()),
        slow(grant.access_token.clone()),
    );
    within(upstream.slow_arrived(2)).await;

    let newer = refresh(&issuer, &grant.refresh_token)
        .await?
        .string("access_token");
    assert_eq!(within(slow(newer)).await??, 200);
    assert!(!first.is_finished() && !second.is_finished());
    upstream.release_slow();
    assert_eq!((within(first).await??, within(second).await??), (401, 401));

    let third = slow(grant.access_token.clone());
    within(upstream.slow_arrived(1)).await;
    assert!(!third.is_finished());
    upstream.release_slow();
    assert_eq!(within(third).await??, 401);
    Ok(())
}

#[tokio::test]
async fn tokens_are_judged_after_the_gate() -> Tested {
    const CALLERS: usize = 50;
    let (issuer, upstream) = started(Issuer::builder()).await;
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
                    .map(|answer| answer.status)
            })
        })
        .collect();
    within(gate.arrived(CALLERS)).await;
    issuer.expire_access_tokens();
    gate.open();
    for caller in callers {
        assert_eq!(within(caller).await??, 401);
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
async fn thousands_of_streams_wait_on_one_http2_connection() -> Tested {
    const CALLERS: usize = 2_000;
    let (issuer, upstream) = started(Issuer::builder()).await;
    let token = issuer.sign_in("alice").access_token;
    let gate = upstream.gate();
    gate.close();
    let client = support::h2_client();
    let url = format!("{}/echo", upstream.url());
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(client.get(&url).bearer_auth(&token).send()))
        .collect();
    within(gate.arrived(CALLERS)).await;
    gate.open();
    for caller in callers {
        assert_eq!(within(caller).await??.status().as_u16(), 200);
    }
    assert_eq!(upstream.counters().served, CALLERS as u64);
    Ok(())
}
