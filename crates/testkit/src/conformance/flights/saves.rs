//! Saves and journals that fail, and records that somebody else has written meanwhile.

use std::sync::atomic::Ordering;

use token_rotator::{Event, RefreshError, TokenError};

use super::issuer::{Policy, access_token};
use super::scene::Scene;
use crate::conformance::{Ground, soon};

/// A save that fails three times and then works: the token is served meanwhile, each failure is told,
/// nobody else spends the old one, and in the end everybody has the new one.
pub async fn a_save_that_fails_is_tried_until_it_works(ground: &impl Ground) {
    let scene = Scene::new(ground, Policy::Strict);
    scene.sign_in_expired().await;
    let (here, there) = (scene.replica().await, scene.replica().await);
    here.trouble.failing_saves.store(3, Ordering::SeqCst);
    assert_eq!(here.token().await.expect("a token"), access_token(0, 1));
    let waiting = there.asking();
    let recovered = |event: &Event| matches!(event, Event::SaveRecovered { attempts: 3 });
    here.heard.told("a save that works", recovered).await;
    let failures = here.heard.picked(|event| match event {
        Event::SaveFailed { attempts, .. } => Some(*attempts),
        _ => None,
    });
    assert_eq!(failures, [1, 2, 3]);
    let token = match soon("an answer", waiting).await.expect("no panic") {
        Err(TokenError::Refresh(RefreshError::InDoubt { .. })) => there.settled().await,
        answer => answer,
    };
    assert_eq!(token.expect("a token"), access_token(0, 1));
    assert_eq!(scene.stored().await, Some(access_token(0, 1)));
    assert_eq!((scene.desk.requests(), scene.desk.alarms()), (1, 0));
}

/// An intent that cannot be written down: nothing is sent. When it can, the token is refreshed once.
pub async fn a_journal_that_fails_sends_nothing(ground: &impl Ground) {
    let scene = Scene::new(ground, Policy::Strict);
    if !scene.is_durable().await {
        // There is no journal.
        return;
    }
    scene.sign_in_expired().await;
    let replica = scene.replica().await;
    replica.trouble.failing_intents.store(1, Ordering::SeqCst);
    let failed = replica.token().await;
    assert!(
        matches!(failed, Err(TokenError::Refresh(RefreshError::Store(_)))),
        "{failed:?}"
    );
    assert_eq!(scene.desk.requests(), 0);
    assert!(scene.record().await.intent().is_none());
    let other = scene.replica().await;
    assert_eq!(other.settled().await.expect("a token"), access_token(0, 1));
    assert_eq!(scene.desk.requests(), 1);
}

/// Somebody writes newer tokens between a flight's reading and its intent: it loses the swap, reads
/// again, and adopts them without a request.
pub async fn a_conflict_before_the_request_is_decided_anew(ground: &impl Ground) {
    let scene = Scene::new(ground, Policy::Strict);
    if !scene.is_durable().await {
        // There is no write between reading and sending.
        return;
    }
    scene.sign_in_expired().await;
    let replica = scene.replica().await;
    let newer = scene.desk.login();
    let foreign = replica.trouble.foreign.lock();
    *foreign.unwrap_or_else(std::sync::PoisonError::into_inner) = Some(newer);
    assert_eq!(replica.token().await.expect("a token"), access_token(1, 0));
    assert_eq!(scene.desk.requests(), 0);
    assert_eq!(scene.stored().await, Some(access_token(1, 0)));
}
