//! Tests that a 401 counts only against the token of its request (rules 3 and 4).

use std::time::Duration;

use token_rotator::{TokenError, TokenSet, UpdateError};

use crate::common::{Fixture, Requests as _, collect_outcomes, run_ready_tasks, secret};

/// A refusal of the current token starts one refresh. A late refusal of the previous token gets the
/// newer token at once and starts none.
#[tokio::test(start_paused = true)]
async fn a_late_refusal_gets_the_newer_token_at_once() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    let old = rotator.token().await.expect("a token");
    tokio::time::advance(Duration::from_secs(30)).await;
    let new = rotator.refused(&old).await.expect("a newer token");
    assert_eq!(secret(&new), "access-2");
    assert_eq!(new.generation(), old.generation() + 1);
    for _ in 0..20 {
        let again = rotator.refused(&old).await.expect("the newer token");
        assert_eq!(again.generation(), new.generation());
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// 50 requests that are refused together cause one refresh.
#[tokio::test(start_paused = true)]
async fn fifty_refusals_share_one_refresh() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    let old = rotator.token().await.expect("a token");
    tokio::time::advance(Duration::from_secs(30)).await;
    let tasks = (0..50)
        .map(|_| {
            let (rotator, old) = (rotator.clone(), old.clone());
            tokio::spawn(async move { rotator.refused(&old).await })
        })
        .collect();
    for token in collect_outcomes(tasks).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// A refused token is not served again, whether the refusal starts a refresh or joins an early
/// refresh.
#[tokio::test(start_paused = true)]
async fn a_refused_token_is_not_served_again() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.almost_expire().await;
    fixture.issuer.hold();
    let old = rotator
        .token()
        .await
        .expect("the old token, served meanwhile");
    fixture.issuer.wait_for_calls(1).await;
    assert!(
        rotator.ready().is_some(),
        "still served beside the early refresh"
    );
    let refused = {
        let (rotator, old) = (rotator.clone(), old.clone());
        tokio::spawn(async move { rotator.refused(&old).await })
    };
    run_ready_tasks().await;
    assert!(rotator.ready().is_none(), "the token was refused");
    fixture.issuer.release();
    let new = refused.await.expect("no panic").expect("a token");
    assert_eq!(secret(&new), "access-2");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// A request of another sign-in never gets a token of the current sign-in.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_another_epoch_gets_session_changed() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    let alices = rotator.token().await.expect("a token");
    rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    let error = rotator.refused(&alices).await;
    assert!(
        matches!(error, Err(TokenError::SessionChanged)),
        "{error:?}"
    );
    rotator.sign_out();
    let error = rotator.refused(&alices).await;
    assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
    assert_eq!(fixture.issuer.refresh_calls(), 0);
}

/// A token that is refused just after its issue causes no refresh, because its age is not the
/// reason.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_new_token_starts_no_refresh() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    // A sign-in may bring a token of any age; this token comes from the issuer.
    let token = rotator.refresh_now().await.expect("a token");
    tokio::time::advance(Duration::from_millis(1_900)).await;
    let error = rotator.refused(&token).await;
    assert!(
        matches!(error, Err(TokenError::FreshTokenRefused)),
        "{error:?}"
    );
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    // After one refusal the token must be twice as old before the next refusal counts.
    tokio::time::advance(Duration::from_millis(2_200)).await;
    rotator.refused(&token).await.expect("old enough by now");
    assert_eq!(fixture.issuer.refresh_calls(), 2);
}

/// A refusal that is only reported starts the refresh for later callers and waits for nothing.
#[tokio::test(start_paused = true)]
async fn a_reported_refusal_starts_the_refresh() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    let token = rotator.token().await.expect("a token");
    tokio::time::advance(Duration::from_secs(30)).await;
    rotator.report_refused(&token);
    assert_eq!(fixture.issuer.refresh_calls(), 0, "no task has run yet");
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// A newer token from outside answers refusals of the previous token, and later refreshes use its
/// refresh token.
#[tokio::test(start_paused = true)]
async fn an_update_replaces_the_token_in_its_epoch() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    let old = rotator.token().await.expect("a token");
    let newer = fixture.issuer.spend(old.token_set());
    rotator.update(&old, newer).expect("usable tokens");
    let token = rotator.refused(&old).await.expect("the newer token");
    assert_eq!(secret(&token), "access-2");
    fixture.expire().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-3");
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// An update without a refresh token keeps the current one, and an update after a sign-out changes
/// nothing.
#[tokio::test(start_paused = true)]
async fn an_update_keeps_the_refresh_token_and_revives_no_session() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    let login = rotator.token().await.expect("a token");
    rotator
        .update(
            &login,
            TokenSet::bearer("pushed").expires_in(Duration::from_secs(60)),
        )
        .expect("usable tokens");
    assert_eq!(secret(&rotator.token().await.expect("a token")), "pushed");
    fixture.expire().await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    rotator.sign_out();
    let late = rotator.update(&login, TokenSet::bearer("late"));
    assert_eq!(late.err(), Some(UpdateError::SessionChanged));
    let error = rotator.token().await;
    assert!(matches!(error, Err(TokenError::SignedOut)), "{error:?}");
}
