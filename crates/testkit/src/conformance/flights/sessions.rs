//! Sign-ins and sign-outs win, and many replicas are as one.

use token_rotator::{Event, TokenError};

use super::issuer::{Policy, access_token};
use super::scene::{Replica, Scene};
use crate::conformance::{Ground, soon};

/// Eight replicas meet an expired token at once: one of them refreshes, the others adopt what it saved.
pub async fn many_replicas_refresh_once(ground: &impl Ground) {
    let scene = Scene::new(ground, Policy::Strict);
    scene.sign_in_expired().await;
    let mut replicas = Vec::new();
    for _ in 0..8 {
        replicas.push(scene.replica().await);
    }
    let calls: Vec<_> = replicas.iter().map(Replica::asking).collect();
    for call in calls {
        let token = soon("a token", call).await.expect("no panic");
        assert_eq!(token.expect("a token"), access_token(0, 1));
    }
    assert_eq!((scene.desk.requests(), scene.desk.alarms()), (1, 0));
    assert_eq!(scene.stored().await, Some(access_token(0, 1)));
}

/// Somebody signs out while a flight is in the air elsewhere: what it brings is neither served nor
/// saved, and is revoked. The tombstone stays, and both have ended.
pub async fn a_sign_out_elsewhere_wins(ground: &impl Ground) {
    let scene = Scene::new(ground, Policy::Strict);
    scene.sign_in(scene.desk.login()).await;
    let (here, there) = (scene.replica().await, scene.replica().await);
    for replica in [&here, &there] {
        assert_eq!(replica.token().await.expect("a token"), access_token(0, 0));
    }
    scene.desk.hold_the_next();
    let rotator = here.rotator.clone();
    let forced = tokio::spawn(async move { rotator.refresh_now().await });
    soon("a request", scene.desk.arrived(1)).await;
    let stored = soon("a sign-out", there.rotator.sign_out()).await;
    stored.expect("a store that works");
    scene.desk.let_go();
    let forced = soon("an end", forced).await.expect("no panic");
    assert!(
        matches!(
            forced,
            Err(TokenError::SessionChanged | TokenError::SignedOut)
        ),
        "{forced:?}"
    );
    soon("a revocation", scene.desk.revoked(&access_token(0, 1))).await;
    assert_eq!(scene.stored().await, None);
    for replica in [&here, &there] {
        let answer = replica.token().await;
        assert!(matches!(answer, Err(TokenError::SignedOut)), "{answer:?}");
    }
    let late = here.heard.picked(|event| match event {
        Event::LateTokens { revoked } => Some(*revoked),
        _ => None,
    });
    assert_eq!(late, [true]);
}

/// Somebody signs in while a flight of the session before is in the air elsewhere: the new session is
/// everybody's, and what the flight brings is nobody's.
pub async fn a_sign_in_elsewhere_wins(ground: &impl Ground) {
    let scene = Scene::new(ground, Policy::Strict);
    scene.sign_in(scene.desk.login()).await;
    let (here, there) = (scene.replica().await, scene.replica().await);
    for replica in [&here, &there] {
        assert_eq!(replica.token().await.expect("a token"), access_token(0, 0));
    }
    scene.desk.hold_the_next();
    let rotator = here.rotator.clone();
    let forced = tokio::spawn(async move { rotator.refresh_now().await });
    soon("a request", scene.desk.arrived(1)).await;
    there.sign_in(scene.desk.login()).await;
    scene.desk.let_go();
    let forced = soon("an end", forced).await.expect("no panic");
    assert!(
        matches!(forced, Err(TokenError::SessionChanged)),
        "{forced:?}"
    );
    assert_eq!(scene.stored().await, Some(access_token(1, 0)));
    for replica in [&here, &there] {
        assert_eq!(replica.token().await.expect("a token"), access_token(1, 0));
    }
    assert_eq!(scene.desk.requests(), 1);
}
