//! Early refresh: one flight, and everybody goes on with the old token.

use std::time::Duration;

use token_rotator::{Event, SourceError, TokenError};

use crate::common::{
    Act, Requests as _, ScriptedStore, World, callers, let_run, outcomes, secret, timed,
};

/// In the window before expiry one flight starts, and all fifty are served the old token without
/// waiting; once it has landed they are served the new one.
#[tokio::test(start_paused = true)]
async fn everybody_is_served_beside_an_early_refresh() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.almost_expire().await;
    world.issuer.hold();
    let (took, tokens) = timed(outcomes(callers(&rotator, 50))).await;
    assert!(took.is_zero());
    for token in tokens {
        assert_eq!(secret(&token.expect("a token")), "access-1");
    }
    world.issuer.arrived(1).await;
    assert!(rotator.ready().is_some(), "no lock and no wait beside it");
    world.issuer.let_go();
    let_run().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(world.issuer.calls(), 1);
}

/// Past expiry everybody waits for the early flight that is still in the air.
#[tokio::test(start_paused = true)]
async fn past_expiry_everybody_waits_for_the_early_flight() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.almost_expire().await;
    world.issuer.hold();
    rotator.token().await.expect("the old token");
    world.issuer.arrived(1).await;
    tokio::time::advance(Duration::from_secs(6)).await;
    let calls = callers(&rotator, 50);
    let_run().await;
    assert!(calls.iter().all(|call| !call.is_finished()));
    world.issuer.let_go();
    for token in outcomes(calls).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    assert_eq!(world.issuer.calls(), 1);
}

/// An early refresh that fails takes nobody's token away, and is not tried again at once.
#[tokio::test(start_paused = true)]
async fn a_failed_early_refresh_displaces_nothing() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.almost_expire().await;
    let down = || Act::Fail(SourceError::transient("the issuer is down"));
    world.issuer.next(down());
    for _ in 0..10 {
        let token = rotator.token().await.expect("the old token");
        assert_eq!(secret(&token), "access-1");
        let_run().await;
    }
    assert_eq!(world.issuer.calls(), 1);
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
}

/// A request whose body can be sent once waits for the refresh that is due, be it that it starts
/// it or that it finds it in the air.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_sent_once_waits_near_expiry() {
    let world = World::new();
    let rotator = world.signed_in().await;
    let now = rotator.pass_for_once().await.expect("a pass");
    assert_eq!(secret(now.token().expect("a token")), "access-1");
    assert_eq!(world.issuer.calls(), 0);
    world.almost_expire().await;
    world.issuer.hold();
    let once = |_| {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.pass_for_once().await })
    };
    let calls: Vec<_> = (0..5).map(once).collect();
    world.issuer.arrived(1).await;
    let_run().await;
    assert!(calls.iter().all(|call| !call.is_finished()));
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
    world.issuer.let_go();
    for call in calls {
        let pass = call.await.expect("no panic").expect("a pass");
        assert_eq!(secret(pass.token().expect("a token")), "access-2");
    }
    assert_eq!(world.issuer.calls(), 1);
}

/// Where the refresh it waited for fails, it goes out with the token that is still good; as
/// another's it never does.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_sent_once_falls_back_on_the_old_token() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.almost_expire().await;
    world.issuer.next(Act::Fail(SourceError::transient("down")));
    let pass = rotator.pass_for_once().await.expect("the old token");
    assert_eq!(secret(pass.token().expect("a token")), "access-1");
    assert_eq!(world.issuer.calls(), 1);

    tokio::time::advance(Duration::from_secs(1)).await;
    world.issuer.hold();
    let call = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await.map(|_| ()) })
    };
    world.issuer.arrived(2).await;
    let once = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.pass_for_once().await })
    };
    let_run().await;
    rotator
        .sign_in(world.issuer.login())
        .expect("usable tokens");
    let error = once.await.expect("no panic");
    assert!(
        matches!(error, Err(TokenError::SessionChanged)),
        "{error:?}"
    );
    let error = call.await.expect("no panic");
    assert!(
        matches!(error, Err(TokenError::SessionChanged)),
        "{error:?}"
    );
}

/// The margin is never more than a quarter of the lifetime, and a fifth of it at most is added:
/// in the first seventy per cent of its life a token is never refreshed.
#[tokio::test(start_paused = true)]
async fn a_young_token_is_left_alone() {
    let world = World::new();
    world
        .issuer
        .expiry(token_rotator::Expiry::In(Duration::from_secs(1)));
    let rotator = world.signed_in().await;
    tokio::time::advance(Duration::from_millis(699)).await;
    rotator.token().await.expect("a token");
    let_run().await;
    assert_eq!(world.issuer.calls(), 0);
    tokio::time::advance(Duration::from_millis(51)).await;
    rotator.token().await.expect("a token");
    let_run().await;
    assert_eq!(world.issuer.calls(), 1);
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::Refreshed { .. })),
        1
    );
}

/// An ended session serves its token until it expires, to requests that are sent once too: they wait
/// for no look into the store, and none goes out bare while there is a token.
#[tokio::test(start_paused = true)]
async fn after_the_end_a_request_that_is_sent_once_carries_the_token() {
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()).anonymous())
        .await;
    world.almost_expire().await;
    let gone = SourceError::terminal("the grant is gone");
    world.issuer.next(Act::Fail(gone));
    let token = rotator.token().await.expect("the old token");
    assert_eq!(secret(&token), "access-1");
    let_run().await;
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::Ended { .. })),
        1
    );
    let pass = rotator.pass_for_once().await.expect("a pass");
    let token = pass.token().expect("the token that is still good");
    assert_eq!(secret(token), "access-1");
}
