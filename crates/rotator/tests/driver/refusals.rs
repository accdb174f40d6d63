//! A 401 counts only against the token its request carried (rules 3 and 4).

use std::time::Duration;

use token_rotator::{TokenError, TokenSet, UpdateError};

use crate::common::{Requests as _, World, let_run, outcomes, secret};

/// A refusal of the token of now starts one refresh; those that come late, for the token before,
/// get the newer token at once and start nothing.
#[tokio::test(start_paused = true)]
async fn a_late_refusal_gets_the_newer_token_at_once() {
    let world = World::new();
    let rotator = world.signed_in().await;
    let old = rotator.token().await.expect("a token");
    tokio::time::advance(Duration::from_secs(30)).await;
    let new = rotator.refused(&old).await.expect("a newer token");
    assert_eq!(secret(&new), "access-2");
    assert_eq!(new.generation(), old.generation() + 1);
    for _ in 0..20 {
        let again = rotator.refused(&old).await.expect("the newer token");
        assert_eq!(again.generation(), new.generation());
    }
    assert_eq!(world.issuer.calls(), 1);
}

/// Fifty requests refused together cost one refresh.
#[tokio::test(start_paused = true)]
async fn fifty_refusals_share_one_refresh() {
    let world = World::new();
    let rotator = world.signed_in().await;
    let old = rotator.token().await.expect("a token");
    tokio::time::advance(Duration::from_secs(30)).await;
    let calls = (0..50)
        .map(|_| {
            let (rotator, old) = (rotator.clone(), old.clone());
            tokio::spawn(async move { rotator.refused(&old).await })
        })
        .collect();
    for token in outcomes(calls).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    assert_eq!(world.issuer.calls(), 1);
}

/// From the moment a token is refused nobody is served it any more, whether the refusal starts a
/// refresh or joins an early one that is in the air already.
#[tokio::test(start_paused = true)]
async fn a_refused_token_is_not_served_again() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.almost_expire().await;
    world.issuer.hold();
    let old = rotator
        .token()
        .await
        .expect("the old token, served meanwhile");
    world.issuer.arrived(1).await;
    assert!(
        rotator.ready().is_some(),
        "still served beside the early refresh"
    );
    let refused = {
        let (rotator, old) = (rotator.clone(), old.clone());
        tokio::spawn(async move { rotator.refused(&old).await })
    };
    let_run().await;
    assert!(rotator.ready().is_none(), "it was refused");
    world.issuer.let_go();
    let new = refused.await.expect("no panic").expect("a token");
    assert_eq!(secret(&new), "access-2");
    assert_eq!(world.issuer.calls(), 1);
}

/// A request of another sign-in is never answered with this one's token.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_another_epoch_is_told_so() {
    let world = World::new();
    let rotator = world.signed_in().await;
    let alices = rotator.token().await.expect("a token");
    rotator
        .sign_in(world.issuer.login())
        .expect("usable tokens");
    let error = rotator.refused(&alices).await;
    assert!(
        matches!(error, Err(TokenError::SessionChanged)),
        "{error:?}"
    );
    rotator.sign_out();
    let error = rotator.refused(&alices).await;
    assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    assert_eq!(world.issuer.calls(), 0);
}

/// A token refused as soon as it is issued is refused for something else than its age: no refresh.
#[tokio::test(start_paused = true)]
async fn a_fresh_token_refused_starts_nothing() {
    let world = World::new();
    let rotator = world.signed_in().await;
    // A sign-in may bring a token of any age; this one comes from the issuer.
    let token = rotator.refresh_now().await.expect("a token");
    tokio::time::advance(Duration::from_millis(1_900)).await;
    let error = rotator.refused(&token).await;
    assert!(
        matches!(error, Err(TokenError::FreshTokenRefused)),
        "{error:?}"
    );
    assert_eq!(world.issuer.calls(), 1);
    // Refused before, it has to be twice as old the next time.
    tokio::time::advance(Duration::from_millis(2_200)).await;
    rotator.refused(&token).await.expect("old enough by now");
    assert_eq!(world.issuer.calls(), 2);
}

/// A refusal that is only reported starts the refresh for those who follow, and waits for nothing.
#[tokio::test(start_paused = true)]
async fn a_reported_refusal_starts_the_refresh() {
    let world = World::new();
    let rotator = world.signed_in().await;
    let token = rotator.token().await.expect("a token");
    tokio::time::advance(Duration::from_secs(30)).await;
    rotator.report_refused(&token);
    assert_eq!(world.issuer.calls(), 0, "nothing ran yet");
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(world.issuer.calls(), 1);
}

/// A newer token from elsewhere answers refusals of the one before, and its refresh token is the
/// one that is used from then on.
#[tokio::test(start_paused = true)]
async fn an_update_replaces_the_token_in_its_epoch() {
    let world = World::new();
    let rotator = world.signed_in().await;
    let old = rotator.token().await.expect("a token");
    let newer = world.issuer.spend(old.token_set());
    rotator.update(&old, newer).expect("usable tokens");
    let token = rotator.refused(&old).await.expect("the newer token");
    assert_eq!(secret(&token), "access-2");
    world.expire().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    assert_eq!(world.issuer.reuse_alarms(), 0);
}

/// An update keeps the refresh token where it brings none, and changes nothing after a sign-out.
#[tokio::test(start_paused = true)]
async fn an_update_inherits_and_does_not_revive() {
    let world = World::new();
    let rotator = world.signed_in().await;
    let login = rotator.token().await.expect("a token");
    rotator
        .update(
            &login,
            TokenSet::bearer("pushed").expires_in(Duration::from_secs(60)),
        )
        .expect("usable tokens");
    assert_eq!(secret(&rotator.token().await.expect("a token")), "pushed");
    world.expire().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    rotator.sign_out();
    let late = rotator.update(&login, TokenSet::bearer("late"));
    assert_eq!(late.err(), Some(UpdateError::SessionChanged));
    let error = rotator.token().await;
    assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
}
