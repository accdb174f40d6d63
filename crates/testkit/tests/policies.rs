//! How each refresh policy treats a used refresh token.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{TestResult, get, refresh, start_servers, with_timeout};
use token_rotator_testkit::{Issuer, IssuerEvent, RefreshPolicy, RevocationCause};

fn issuer_with(policy: RefreshPolicy) -> token_rotator_testkit::IssuerBuilder {
    Issuer::builder().refresh_policy(policy)
}

#[tokio::test]
async fn multi_use_tokens_stay_valid_and_are_not_returned_again() -> TestResult {
    let issuer = issuer_with(RefreshPolicy::MultiUse).start().await?;
    let grant = issuer.sign_in("alice");
    for generation in 2..5 {
        let response = refresh(&issuer, &grant.refresh_token).await?;
        assert_eq!(response.status, 200);
        assert!(response.json().get("refresh_token").is_none());
        assert_eq!(
            issuer.generation_of(&response.string("access_token")),
            Some(generation)
        );
    }
    assert_eq!(
        (issuer.counters().refreshes, issuer.counters().reuses),
        (3, 0)
    );
    Ok(())
}

#[tokio::test]
async fn rotating_tokens_change_and_used_tokens_stay_valid() -> TestResult {
    let issuer = issuer_with(RefreshPolicy::Rotating).start().await?;
    let grant = issuer.sign_in("alice");
    let second = refresh(&issuer, &grant.refresh_token)
        .await?
        .string("refresh_token");
    assert_ne!(second, grant.refresh_token);
    assert_eq!(refresh(&issuer, &second).await?.status, 200);
    assert_eq!(refresh(&issuer, &grant.refresh_token).await?.status, 200);
    assert_eq!(issuer.counters().reuses, 0);
    Ok(())
}

#[tokio::test]
async fn reuse_of_a_single_use_token_revokes_the_family() -> TestResult {
    let (issuer, upstream) = start_servers(issuer_with(RefreshPolicy::SingleUse)).await;
    let mut events = issuer.events();
    let grant = issuer.sign_in("alice");
    let other_grant = issuer.sign_in("bob");
    let first = refresh(&issuer, &grant.refresh_token).await?;
    assert_eq!(first.status, 200);
    let (access, second) = (first.string("access_token"), first.string("refresh_token"));
    assert_eq!(get(&upstream, "/echo", &access).await?.status, 200);

    let reused = refresh(&issuer, &grant.refresh_token).await?;
    assert_eq!(
        (reused.status, reused.string("error").as_str()),
        (400, "invalid_grant")
    );
    assert_eq!(reused.header("cache-control"), "no-store");
    assert!(!issuer.session_alive(&grant));
    assert_eq!(
        refresh(&issuer, &second).await?.string("error"),
        "invalid_grant"
    );
    assert_eq!(get(&upstream, "/echo", &access).await?.status, 401);

    let counters = issuer.counters();
    assert_eq!(
        (
            counters.token_requests,
            counters.refreshes,
            counters.reuses,
            counters.revocations
        ),
        (3, 1, 1, 1)
    );
    assert_eq!(counters.ended_by_client, 0);
    assert!(issuer.session_alive(&other_grant));
    let family = grant.family;
    assert_eq!(events.recv().await?, IssuerEvent::SignedIn { family });
    assert_eq!(
        events.recv().await?,
        IssuerEvent::SignedIn {
            family: other_grant.family
        }
    );
    assert_eq!(
        events.recv().await?,
        IssuerEvent::Refreshed {
            family,
            generation: 2
        }
    );
    assert_eq!(
        events.recv().await?,
        IssuerEvent::Reused {
            family,
            generation: 2
        }
    );
    let cause = RevocationCause::Reuse;
    assert_eq!(
        events.recv().await?,
        IssuerEvent::Revoked {
            family,
            generation: 2,
            cause
        }
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_one_of_many_concurrent_redemptions_succeeds() -> TestResult {
    const CALLERS: usize = 16;
    let issuer = Arc::new(issuer_with(RefreshPolicy::SingleUse).start().await?);
    let grant = issuer.sign_in("alice");
    let gate = issuer.gate();
    gate.close();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (issuer, token) = (Arc::clone(&issuer), grant.refresh_token.clone());
            tokio::spawn(async move {
                refresh(&issuer, &token)
                    .await
                    .map(|response| response.status)
            })
        })
        .collect();
    with_timeout(gate.arrived(CALLERS)).await;
    assert_eq!(issuer.counters().refreshes, 0);
    gate.open();
    let mut statuses = Vec::new();
    for caller in callers {
        statuses.push(with_timeout(caller).await??);
    }
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert!(
        statuses[1..].iter().all(|status| *status == 400),
        "{statuses:?}"
    );
    let counters = issuer.counters();
    assert_eq!(
        (counters.refreshes, counters.reuses, counters.revocations),
        (1, CALLERS as u64 - 1, 1)
    );
    assert_eq!(counters.refresh_in_flight_max, CALLERS as u64);
    assert!(!issuer.session_alive(grant.family));
    Ok(())
}

#[tokio::test]
async fn a_used_token_is_accepted_until_the_leeway_ends() -> TestResult {
    let issuer = issuer_with(RefreshPolicy::Leeway(Duration::from_secs(30)))
        .start()
        .await?;
    let grant = issuer.sign_in("alice");
    let first = refresh(&issuer, &grant.refresh_token)
        .await?
        .string("refresh_token");
    issuer.advance_clock(Duration::from_secs(25));
    let second_response = refresh(&issuer, &grant.refresh_token).await?;
    assert_eq!(second_response.status, 200);
    assert_ne!(second_response.string("refresh_token"), first);
    assert_eq!(issuer.counters().reuses, 0);

    // The second use at 25 s does not extend the leeway, which began with the first use.
    issuer.advance_clock(Duration::from_secs(6));
    assert_eq!(refresh(&issuer, &grant.refresh_token).await?.status, 400);
    assert!(!issuer.session_alive(&grant));
    assert_eq!(issuer.counters().reuses, 1);
    Ok(())
}

#[tokio::test]
async fn leeway_ends_when_a_successor_is_used() -> TestResult {
    let issuer = issuer_with(RefreshPolicy::Leeway(Duration::from_secs(30)))
        .start()
        .await?;
    let grant = issuer.sign_in("alice");
    let first = refresh(&issuer, &grant.refresh_token)
        .await?
        .string("refresh_token");
    assert_eq!(refresh(&issuer, &first).await?.status, 200);
    assert_eq!(refresh(&issuer, &grant.refresh_token).await?.status, 400);
    assert!(!issuer.session_alive(&grant));
    Ok(())
}

#[tokio::test]
async fn a_leeway_of_zero_is_single_use() -> TestResult {
    let issuer = issuer_with(RefreshPolicy::Leeway(Duration::ZERO))
        .start()
        .await?;
    let grant = issuer.sign_in("alice");
    assert_eq!(refresh(&issuer, &grant.refresh_token).await?.status, 200);
    assert_eq!(refresh(&issuer, &grant.refresh_token).await?.status, 400);
    assert!(!issuer.session_alive(&grant));
    Ok(())
}

#[tokio::test]
async fn the_parent_token_always_returns_its_successor() -> TestResult {
    let issuer = issuer_with(RefreshPolicy::ParentAlways).start().await?;
    let grant = issuer.sign_in("alice");
    let second = refresh(&issuer, &grant.refresh_token)
        .await?
        .string("refresh_token");
    issuer.advance_clock(Duration::from_secs(3600));
    let second_response = refresh(&issuer, &grant.refresh_token).await?;
    assert_eq!(second_response.string("refresh_token"), second);
    assert_eq!(
        issuer.generation_of(&second_response.string("access_token")),
        Some(3)
    );

    assert_eq!(refresh(&issuer, &second).await?.status, 200);
    assert!(issuer.session_alive(&grant));
    let grandparent = refresh(&issuer, &grant.refresh_token).await?;
    assert_eq!(grandparent.status, 400);
    assert!(!issuer.session_alive(&grant));
    Ok(())
}

#[tokio::test]
async fn an_unused_token_of_a_revoked_family_is_no_reuse() -> TestResult {
    let issuer = issuer_with(RefreshPolicy::SingleUse).start().await?;
    let grant = issuer.sign_in("alice");
    issuer.revoke_family(&grant);
    assert_eq!(
        refresh(&issuer, &grant.refresh_token)
            .await?
            .string("error"),
        "invalid_grant"
    );
    assert_eq!(
        (issuer.counters().reuses, issuer.counters().revocations),
        (0, 0)
    );
    Ok(())
}
