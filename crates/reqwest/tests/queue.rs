//! One refresh for everybody: rules 1 to 5.

mod common;

use common::{Heard, Tested, World, echo, exposed, login, within};
use futures_util::future::join_all;
use token_rotator_reqwest::TokenError;
use token_rotator_testkit::Fault;

/// Property: whoever is refused before or during the refresh is answered, by one refresh.
#[tokio::test]
async fn fifty_refused_at_once_are_served_by_one_refresh() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    world.issuer.expire_access_tokens();
    world.upstream.gate().close();
    world.issuer.gate().close();
    let requests: Vec<_> = (0..50)
        .map(|number| {
            let request = api.post("/echo").body(format!("body {number}"));
            tokio::spawn(request.send())
        })
        .collect();
    within(world.upstream.gate().arrived(50)).await;
    world.upstream.gate().open();
    within(world.issuer.gate().arrived(1)).await;
    world.issuer.gate().open();
    for answer in within(join_all(requests)).await {
        assert_eq!(echo(answer??).await["generation"], 2);
    }
    let counters = world.issuer.counters();
    assert_eq!((counters.token_requests, counters.refreshes), (1, 1));
    assert_eq!(counters.reuses, 0);
    assert_eq!(world.reached("/echo"), 100);
    Ok(())
}

/// Property: a 401 for an older token is answered with the current one, without a refresh.
#[tokio::test]
async fn a_late_401_starts_no_refresh() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    world.issuer.expire_access_tokens();
    let late = tokio::spawn(api.get("/slow-401").send());
    within(world.upstream.slow_arrived(1)).await;
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    world.upstream.release_slow();
    assert_eq!(echo(within(late).await??).await["generation"], 2);
    assert_eq!(world.asked(), 1);
    Ok(())
}

/// Property: the refresh belongs to nobody; dropping the one who started it changes nothing.
#[tokio::test]
async fn a_dropped_leader_leaves_the_refresh_running() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    world.issuer.expire_access_tokens();
    world.issuer.gate().close();
    let leader = tokio::spawn(api.get("/echo").send());
    within(world.issuer.gate().arrived(1)).await;
    let others: Vec<_> = (0..50)
        .map(|_| tokio::spawn(api.get("/echo").send()))
        .collect();
    leader.abort();
    assert!(leader.await.is_err_and(|error| error.is_cancelled()));
    world.issuer.gate().open();
    for answer in within(join_all(others)).await {
        assert_eq!(echo(answer??).await["generation"], 2);
    }
    let counters = world.issuer.counters();
    assert_eq!((counters.token_requests, counters.reuses), (1, 0));
    Ok(())
}

/// Property: if the refresh fails, everybody who waited gets their own 401, untouched, with the one
/// cause; nobody tries again.
#[tokio::test]
async fn a_failed_refresh_is_told_to_all_who_waited() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    world.issuer.expire_access_tokens();
    let unavailable = Fault::Status {
        status: 503,
        retry_after: Some("60".to_owned()),
    };
    world.issuer.faults().push(unavailable.always());
    world.upstream.gate().close();
    let requests: Vec<_> = (0..50)
        .map(|_| tokio::spawn(api.get("/echo").send()))
        .collect();
    within(world.upstream.gate().arrived(50)).await;
    world.upstream.gate().open();
    for answer in within(join_all(requests)).await {
        let answer = answer??;
        assert_eq!(answer.status(), 401);
        let why = answer.extensions().get::<TokenError>().expect("a reason");
        assert!(why.to_string().contains("503"), "{why}");
        assert!(answer.text().await?.contains("invalid_token"));
    }
    assert_eq!(world.asked(), 1);

    // While the issuer is left alone nothing is sent that would have to wait for it.
    let error = api.get("/echo").send().await.unwrap_err();
    assert!(error.is_token() && !error.is_timeout(), "{error}");
    assert_eq!((world.asked(), world.reached("/echo")), (1, 50));
    Ok(())
}

/// Property: after a sign-out nothing comes back, and whoever waited gets their 401.
#[tokio::test]
async fn signing_out_wins_over_the_refresh_in_the_air() -> Tested {
    let world = World::new().await;
    let heard = Heard::new();
    let api = world.reading().on_event(heard.listener()).build()?;
    login(&api, "alice").await;
    world.issuer.expire_access_tokens();
    world.issuer.gate().close();
    let waiting = tokio::spawn(api.get("/echo").send());
    within(world.issuer.gate().arrived(1)).await;
    api.clear();
    let answer = within(waiting).await??;
    assert_eq!(answer.status(), 401);
    assert!(matches!(
        answer.extensions().get::<TokenError>(),
        Some(TokenError::SignedOut)
    ));
    world.issuer.gate().open();
    heard.wait_for("LateTokens").await;
    assert!(api.access_token().is_none());
    assert_eq!(api.get("/echo").send().await?.status(), 401);
    assert_eq!(world.asked(), 1);
    Ok(())
}

/// Property: a request stays its user's; the new user's token is not overwritten.
#[tokio::test]
async fn signing_in_as_another_wins_over_the_refresh_in_the_air() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    world.issuer.expire_access_tokens();
    world.issuer.gate().close();
    let waiting = tokio::spawn(api.get("/echo").send());
    within(world.issuer.gate().arrived(1)).await;
    let bob = world.issuer.sign_in("bob");
    api.set_access_token(&bob.access_token)?;
    let answer = within(waiting).await??;
    assert_eq!(answer.status(), 401);
    assert!(matches!(
        answer.extensions().get::<TokenError>(),
        Some(TokenError::SessionChanged)
    ));
    world.issuer.gate().open();
    assert!(api.shutdown(std::time::Duration::from_secs(10)).await);
    assert_eq!(exposed(api.access_token()), Some(bob.access_token));
    assert_eq!(echo(api.get("/echo").send().await?).await["subject"], "bob");
    Ok(())
}

/// Property: only refusals of the token are acted upon; every other answer is handed on.
#[tokio::test]
async fn other_errors_are_handed_on_untouched() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    for status in [400, 403, 404, 409, 419, 500, 503] {
        let answer = api.get(format!("/status/{status}")).send().await?;
        assert_eq!(answer.status(), status);
        let body = answer.json::<serde_json::Value>().await?;
        assert_eq!(body["status"], status);
        assert_eq!(world.reached(&format!("/status/{status}")), 1);
    }
    assert_eq!(world.asked(), 0);
    Ok(())
}

/// Property: a request that is refused whatever its token is sent twice, and refreshes once.
#[tokio::test]
async fn a_request_is_replayed_once() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    world.issuer.expire_access_tokens();
    let answer = api.get("/always-401").send().await?;
    assert_eq!(answer.status(), 401);
    assert_eq!((world.reached("/always-401"), world.asked()), (2, 1));
    // The token is fresh, so the next refusal starts nothing.
    let answer = api.get("/always-401").send().await?;
    assert!(matches!(
        answer.extensions().get::<TokenError>(),
        Some(TokenError::FreshTokenRefused)
    ));
    assert_eq!((world.reached("/always-401"), world.asked()), (3, 1));
    Ok(())
}

/// Property: without a token a request goes out bare, and the first 401 starts the first refresh, as
/// after a page load with nothing but the cookie.
#[tokio::test]
async fn the_first_401_starts_the_first_refresh() -> Tested {
    let world = World::new().await;
    let jar = std::sync::Arc::new(reqwest::cookie::Jar::default());
    let kept = jar.clone();
    let page = world
        .builder()
        .configure(move |builder| builder.no_proxy().cookie_provider(jar.clone()))
        .bearer_field("accessToken")
        .build()?;
    login(&page, "alice").await;

    let reloaded = world
        .builder()
        .configure(move |builder| builder.no_proxy().cookie_provider(kept.clone()))
        .bearer_field("accessToken")
        .build()?;
    assert!(reloaded.access_token().is_none());
    let requests = (0..10).map(|_| reloaded.get("/echo").send());
    for answer in join_all(requests).await {
        assert_eq!(echo(answer?).await["generation"], 2);
    }
    assert_eq!(world.asked(), 1);
    Ok(())
}
