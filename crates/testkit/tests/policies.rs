//! What each policy does with a refresh token that was used before.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{Tested, get, refresh, started, within};
use token_rotator_testkit::{Issuer, IssuerEvent, RefreshPolicy, RevocationCause};

fn with(policy: RefreshPolicy) -> token_rotator_testkit::IssuerBuilder {
    Issuer::builder().refresh_policy(policy)
}

#[tokio::test]
async fn multi_use_tokens_stay_and_are_not_repeated() -> Tested {
    let issuer = with(RefreshPolicy::MultiUse).start().await?;
    let grant = issuer.sign_in("alice");
    for generation in 2..5 {
        let answer = refresh(&issuer, &grant.refresh_token).await?;
        assert_eq!(answer.status, 200);
        assert!(answer.json().get("refresh_token").is_none());
        assert_eq!(
            issuer.generation_of(&answer.string("access_token")),
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
async fn rotating_tokens_change_and_the_old_stay_good() -> Tested {
    let issuer = with(RefreshPolicy::Rotating).start().await?;
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
async fn reuse_of_a_single_use_token_revokes_the_family() -> Tested {
    let (issuer, upstream) = started(with(RefreshPolicy::SingleUse)).await;
    let mut events = issuer.events();
    let grant = issuer.sign_in("alice");
    let bystander = issuer.sign_in("bob");
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
    assert!(issuer.session_alive(&bystander));
    let family = grant.family;
    assert_eq!(events.recv().await?, IssuerEvent::SignedIn { family });
    assert_eq!(
        events.recv().await?,
        IssuerEvent::SignedIn {
            family: bystander.family
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
async fn of_simultaneous_redemptions_exactly_one_succeeds() -> Tested {
    const CALLERS: usize = 16;
    let issuer = Arc::new(with(RefreshPolicy::SingleUse).start().await?);
    let grant = issuer.sign_in("alice");
    let gate = issuer.gate();
    gate.close();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (issuer, token) = (Arc::clone(&issuer), grant.refresh_token.clone());
            tokio::spawn(async move { refresh(&issuer, &token).await.map(|answer| answer.status) })
        })
        .collect();
    within(gate.arrived(CALLERS)).await;
    assert_eq!(issuer.counters().refreshes, 0);
    gate.open();
    let mut statuses = Vec::new();
    for caller in callers {
        statuses.push(within(caller).await??);
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
async fn leeway_mints_again_until_it_is_over() -> Tested {
    let issuer = with(RefreshPolicy::Leeway(Duration::from_secs(30)))
        .start()
        .await?;
    let grant = issuer.sign_in("alice");
    let first = refresh(&issuer, &grant.refresh_token)
        .await?
        .string("refresh_token");
    issuer.advance_clock(Duration::from_secs(25));
    let again = refresh(&issuer, &grant.refresh_token).await?;
    assert_eq!(again.status, 200);
    assert_ne!(again.string("refresh_token"), first);
    assert_eq!(issuer.counters().reuses, 0);

    // The second use at 25 s does not extend the leeway that began with the first.
    issuer.advance_clock(Duration::from_secs(6));
    assert_eq!(refresh(&issuer, &grant.refresh_token).await?.status, 400);
    assert!(!issuer.session_alive(&grant));
    assert_eq!(issuer.counters().reuses, 1);
    Ok(())
}

#[tokio::test]
async fn leeway_ends_when_a_successor_is_used() -> Tested {
    let issuer = with(RefreshPolicy::Leeway(Duration::from_secs(30)))
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
async fn a_leeway_of_zero_is_single_use() -> Tested {
    let issuer = with(RefreshPolicy::Leeway(Duration::ZERO)).start().await?;
    let grant = issuer.sign_in("alice");
    assert_eq!(refresh(&issuer, &grant.refresh_token).await?.status, 200);
    assert_eq!(refresh(&issuer, &grant.refresh_token).await?.status, 400);
    assert!(!issuer.session_alive(&grant));
    Ok(())
}

#[tokio::test]
async fn the_parent_is_always_answered_with_its_successor() -> Tested {
    let issuer = with(RefreshPolicy::ParentAlways).start().await?;
    let grant = issuer.sign_in("alice");
    let second = refresh(&issuer, &grant.refresh_token)
        .await?
        .string("refresh_token");
    issuer.advance_clock(Duration::from_secs(3600));
    let again = refresh(&issuer, &grant.refresh_token).await?;
    assert_eq!(again.string("refresh_token"), second);
    assert_eq!(issuer.generation_of(&again.string("access_token")), Some(3));

    assert_eq!(refresh(&issuer, &second).await?.status, 200);
    assert!(issuer.session_alive(&grant));
    let older_than_the_parent = refresh(&issuer, &grant.refresh_token).await?;
    assert_eq!(older_than_the_parent.status, 400);
    assert!(!issuer.session_alive(&grant));
    Ok(())
}

#[tokio::test]
async fn a_new_token_of_a_dead_family_raises_no_alarm() -> Tested {
    let issuer = with(RefreshPolicy::SingleUse).start().await?;
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
