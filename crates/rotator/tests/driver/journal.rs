//! Tests the journal: the intent is stored before the request, and its outcome after it (rule 8).

use std::time::Duration;

use token_rotator::store::{Intent, IntentOutcome, TokenHash};
use token_rotator::{Event, FailureKind, Profile, RefreshError, Rotator, SourceError, TokenError};

use crate::common::{
    Fixture, IssuerAction, ScriptedStore, collect_outcomes, run_ready_tasks, secret, spawn_callers,
};

async fn signed_in_with_store(fixture: &Fixture) -> (Rotator, ScriptedStore) {
    signed_in_with_profile(fixture, Profile::strict()).await
}

async fn signed_in_with_profile(fixture: &Fixture, profile: Profile) -> (Rotator, ScriptedStore) {
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()).profile(profile))
        .await;
    (rotator, store)
}

/// A second process on the same store, which has adopted the stored token.
async fn second_process(fixture: &Fixture, store: &ScriptedStore) -> Rotator {
    let builder = fixture.builder().store(store.clone());
    let rotator = builder.build().expect("a rotator");
    rotator.token().await.expect("adopted");
    rotator
}

fn presented_again(fixture: &Fixture, by_last_resort: bool) -> usize {
    fixture.events.count(|event| {
        matches!(event, Event::PresentedAgain { last_resort, .. } if *last_resort == by_last_resort)
    })
}

fn flights(fixture: &Fixture) -> usize {
    fixture
        .events
        .count(|event| matches!(event, Event::RefreshStarted { .. }))
}

fn failure<T: std::fmt::Debug>(outcome: Result<T, TokenError>) -> RefreshError {
    match outcome {
        Err(TokenError::Refresh(error)) => error,
        outcome => panic!("a failed refresh, not {outcome:?}"),
    }
}

/// The intent is in the store before the request is sent. The save of the result removes it.
#[tokio::test(start_paused = true)]
async fn an_intent_is_stored_from_before_the_request_to_the_save() {
    let fixture = Fixture::new();
    let (rotator, store) = signed_in_with_store(&fixture).await;
    let login = rotator.token().await.expect("a token");
    fixture.expire().await;
    store.hold_intents(true);
    let tasks = spawn_callers(&rotator, 50);
    store.wait_for_intents(1).await;
    run_ready_tasks().await;
    assert_eq!(
        fixture.issuer.refresh_calls(),
        0,
        "no request before the store has the intent"
    );
    fixture.issuer.hold();
    store.hold_intents(false);
    fixture.issuer.wait_for_calls(1).await;
    let record = store.record().await.expect("a record");
    let intent = record.intent().expect("an intent");
    assert_eq!(Some(intent.token), TokenHash::of(login.token_set()));
    assert_eq!(intent.attempts, 1);
    assert_eq!(intent.outcome, IntentOutcome::Open);
    fixture.issuer.release();
    for token in collect_outcomes(tasks).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    let record = store.record().await.expect("a record");
    assert_eq!(record.intent(), None);
    assert_eq!(
        store.intents(),
        [Some(intent)],
        "only this intent was written"
    );
}

/// If the store cannot take the intent, the flight sends nothing and every waiter gets an error.
#[tokio::test(start_paused = true)]
async fn without_an_intent_nothing_is_sent() {
    let fixture = Fixture::new();
    let (rotator, store) = signed_in_with_store(&fixture).await;
    fixture.expire().await;
    store.fail_intents(1);
    for outcome in collect_outcomes(spawn_callers(&rotator, 50)).await {
        let error = failure(outcome);
        assert!(matches!(error, RefreshError::Store(_)), "{error:?}");
        assert_eq!(error.kind(), FailureKind::NotSent);
    }
    assert_eq!(fixture.issuer.refresh_calls(), 0);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(presented_again(&fixture, false), 0);
}

/// An intent was stored although the store reported a failure. The next flight recognises its own
/// intent and has no doubt.
#[tokio::test(start_paused = true)]
async fn an_intent_whose_answer_was_lost_is_recognised_as_own() {
    let fixture = Fixture::new();
    let (rotator, store) = signed_in_with_store(&fixture).await;
    fixture.expire().await;
    store.lose_intents(1);
    let error = failure(rotator.token().await);
    assert!(matches!(error, RefreshError::Store(_)), "{error:?}");
    assert_eq!(fixture.issuer.refresh_calls(), 0);
    let record = store.record().await.expect("a record");
    assert!(record.intent().is_some(), "the intent was stored");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    assert_eq!(presented_again(&fixture, true), 0);
    assert_eq!(presented_again(&fixture, false), 0);
    let intents = store.intents();
    assert_eq!(intents.len(), 2);
    assert_eq!(intents[0].map(|one| one.id), intents[1].map(|two| two.id));
}

/// A request that did not spend the refresh token withdraws the intent, so that no process is in
/// doubt.
#[tokio::test(start_paused = true)]
async fn a_request_that_spends_nothing_withdraws_the_intent() {
    for error in [
        SourceError::not_sent("no route"),
        SourceError::transient("down"),
        SourceError::misconfigured("invalid_client"),
    ] {
        let fixture = Fixture::new();
        let (rotator, store) = signed_in_with_store(&fixture).await;
        fixture.expire().await;
        fixture.issuer.push_action(IssuerAction::Fail(error));
        failure(rotator.token().await);
        assert_eq!(store.record().await.expect("a record").intent(), None);
        assert_eq!(store.intents().last(), Some(&None));
        // The cool-down holds for the other process too.
        tokio::time::advance(Duration::from_secs(1)).await;
        let other = fixture.builder().store(store).build().expect("a rotator");
        assert_eq!(secret(&other.token().await.expect("a token")), "access-2");
        assert_eq!(presented_again(&fixture, true), 0);
        assert_eq!(presented_again(&fixture, false), 0);
    }
}

/// If the store does not take the withdrawal, the process that wrote the intent still has no doubt.
#[tokio::test(start_paused = true)]
async fn an_intent_that_could_not_be_withdrawn_causes_its_writer_no_doubt() {
    let fixture = Fixture::new();
    let (rotator, store) = signed_in_with_store(&fixture).await;
    for round in 1..=2 {
        fixture
            .issuer
            .push_action(IssuerAction::Fail(SourceError::transient("down")));
        fixture.issuer.hold();
        let call = {
            let rotator = rotator.clone();
            tokio::spawn(async move { rotator.refresh_now().await })
        };
        fixture.issuer.wait_for_calls(round).await;
        store.fail_intents(1);
        fixture.issuer.release();
        failure(call.await.expect("no panic"));
        assert!(store.record().await.expect("a record").intent().is_some());
    }
    let token = rotator.refresh_now().await.expect("a token");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(presented_again(&fixture, true), 0);
    assert_eq!(presented_again(&fixture, false), 0);
}

/// A withdrawal restores the previous intent, including its doubt.
#[tokio::test(start_paused = true)]
async fn a_withdrawal_restores_the_previous_doubt() {
    let fixture = Fixture::new();
    let (rotator, store) = signed_in_with_store(&fixture).await;
    fixture.expire().await;
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::uncertain("no answer")));
    failure(rotator.token().await);
    let uncertain = store.record().await.expect("a record").intent();
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::transient("down")));
    failure(rotator.refresh_now().await);
    assert_eq!(store.record().await.expect("a record").intent(), uncertain);
    let token = rotator.refresh_now().await.expect("a token");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(presented_again(&fixture, true), 2);
}

/// A strict issuer, a lost answer and a good access token: the record marks the refresh token as
/// possibly spent. No process presents it again, by any method. The access token is served to its
/// end without another early refresh.
#[tokio::test(start_paused = true)]
async fn a_doubtful_refresh_token_is_not_presented_while_the_access_token_lasts() {
    let fixture = Fixture::new();
    let (rotator, store) = signed_in_with_store(&fixture).await;
    let other = second_process(&fixture, &store).await;
    fixture.issuer.push_action(IssuerAction::LoseAnswer);
    failure(rotator.refresh_now().await);
    let intent = store.record().await.expect("a record").intent();
    let intent = intent.expect("an intent");
    assert_eq!(intent.outcome, IntentOutcome::Uncertain);
    assert_eq!(intent.attempts, 1);
    for rotator in [&rotator, &other] {
        let error = failure(rotator.refresh_now().await);
        assert!(
            matches!(error, RefreshError::InDoubt { wait: None }),
            "{error:?}"
        );
        assert_eq!(error.kind(), FailureKind::Uncertain);
        let token = rotator.token().await.expect("still good");
        assert_eq!(secret(&token), "access-1");
    }
    let before = flights(&fixture);
    fixture.almost_expire().await;
    for rotator in [&rotator, &other] {
        let token = rotator.token().await.expect("still good");
        assert_eq!(secret(&token), "access-1");
        run_ready_tasks().await;
    }
    assert_eq!(flights(&fixture), before, "no further early refresh");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}

/// An early refresh that finds another process's doubt is the last early refresh of this token.
#[tokio::test(start_paused = true)]
async fn only_one_early_refresh_follows_the_doubt_of_another_process() {
    let fixture = Fixture::new();
    let (rotator, store) = signed_in_with_store(&fixture).await;
    let other = second_process(&fixture, &store).await;
    fixture.issuer.push_action(IssuerAction::LoseAnswer);
    failure(rotator.refresh_now().await);
    tokio::time::advance(Duration::from_secs(242)).await;
    let before = flights(&fixture);
    for _ in 0..4 {
        let token = other.token().await.expect("still good");
        assert_eq!(secret(&token), "access-1");
        run_ready_tasks().await;
        tokio::time::advance(Duration::from_secs(12)).await;
    }
    assert_eq!(flights(&fixture) - before, 1);
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// When no token is left, the refresh token is presented once more. An event reports it, and the
/// attempt is recorded first.
#[tokio::test(start_paused = true)]
async fn the_last_resort_is_recorded_before_it_is_sent() {
    for refused in [false, true] {
        let fixture = Fixture::new();
        let (rotator, store) = signed_in_with_store(&fixture).await;
        let token = rotator.token().await.expect("a token");
        fixture
            .issuer
            .push_action(IssuerAction::Fail(SourceError::uncertain("no answer")));
        failure(rotator.refresh_now().await);
        if refused {
            tokio::time::advance(Duration::from_secs(5)).await;
        } else {
            fixture.expire().await;
        }
        fixture.issuer.hold();
        let call = {
            let rotator = rotator.clone();
            tokio::spawn(async move { rotator.refused(&token).await })
        };
        fixture.issuer.wait_for_calls(2).await;
        let intent = store.record().await.expect("a record").intent();
        let intent = intent.expect("an intent");
        assert_eq!(intent.attempts, 2);
        assert_eq!(intent.outcome, IntentOutcome::Open);
        assert_eq!(presented_again(&fixture, true), 1);
        fixture.issuer.release();
        let token = call.await.expect("no panic").expect("a token");
        assert_eq!(secret(&token), "access-2");
        assert_eq!(store.record().await.expect("a record").intent(), None);
        assert_eq!(presented_again(&fixture, true), 1);
        assert_eq!(fixture.issuer.refresh_calls(), 2);
    }
}

/// If the store cannot take the raised attempt, the request is not sent.
#[tokio::test(start_paused = true)]
async fn a_last_resort_that_cannot_be_recorded_is_not_sent() {
    let fixture = Fixture::new();
    let (rotator, store) = signed_in_with_store(&fixture).await;
    fixture.expire().await;
    fixture
        .issuer
        .push_action(IssuerAction::Fail(SourceError::uncertain("no answer")));
    failure(rotator.token().await);
    store.fail_intents(1);
    tokio::time::advance(Duration::from_secs(1)).await;
    let error = failure(rotator.token().await);
    assert!(matches!(error, RefreshError::Store(_)), "{error:?}");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    assert_eq!(presented_again(&fixture, true), 0);
}

/// If the previous refresh token may be reused, the flight repeats a lost request once, at once,
/// and records the attempt first.
#[tokio::test(start_paused = true)]
async fn a_reusable_refresh_token_is_presented_again_at_once() {
    for profile in [
        Profile::parent_always(),
        Profile::leeway(Duration::from_secs(10)),
    ] {
        let fixture = Fixture::new();
        fixture.issuer.parent_always();
        let (rotator, store) = signed_in_with_profile(&fixture, profile).await;
        fixture.expire().await;
        fixture.issuer.push_action(IssuerAction::LoseAnswer);
        fixture
            .issuer
            .push_action(IssuerAction::Delay(Duration::from_secs(1)));
        let tasks = spawn_callers(&rotator, 50);
        fixture.issuer.wait_for_calls(2).await;
        let intent = store.record().await.expect("a record").intent();
        let intent = intent.expect("an intent");
        assert_eq!(intent.attempts, 2);
        assert_eq!(intent.outcome, IntentOutcome::Open);
        for token in collect_outcomes(tasks).await {
            assert_eq!(secret(&token.expect("a token")), "access-3");
        }
        assert_eq!(store.record().await.expect("a record").intent(), None);
        assert_eq!(presented_again(&fixture, false), 1);
        assert_eq!(flights(&fixture), 1);

        fixture.expire().await;
        fixture.issuer.push_action(IssuerAction::LoseAnswer);
        fixture.issuer.push_action(IssuerAction::LoseAnswer);
        let error = failure(rotator.token().await);
        assert_eq!(error.kind(), FailureKind::Uncertain);
        assert_eq!(
            fixture.issuer.refresh_calls(),
            4,
            "at most two requests for each flight"
        );
        let intent = store.record().await.expect("a record").intent();
        let intent = intent.expect("an intent");
        assert_eq!(
            (intent.attempts, intent.outcome),
            (2, IntentOutcome::Uncertain)
        );
    }
}

/// If the store cannot take the second attempt, the request is not sent, and the first attempt
/// stays in doubt.
#[tokio::test(start_paused = true)]
async fn a_second_attempt_that_cannot_be_recorded_is_not_sent() {
    let fixture = Fixture::new();
    let (rotator, store) = signed_in_with_profile(&fixture, Profile::parent_always()).await;
    fixture.expire().await;
    fixture.issuer.push_action(IssuerAction::LoseAnswer);
    fixture.issuer.hold();
    let tasks = spawn_callers(&rotator, 1);
    fixture.issuer.wait_for_calls(1).await;
    store.fail_intents(1);
    fixture.issuer.release();
    for outcome in collect_outcomes(tasks).await {
        assert_eq!(failure(outcome).kind(), FailureKind::Uncertain);
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    let intent = store.record().await.expect("a record").intent();
    let intent = intent.expect("an intent");
    assert_eq!(
        (intent.attempts, intent.outcome),
        (1, IntentOutcome::Uncertain)
    );
}

/// A store that is not durable, or refresh tokens that may be used many times: no journal is
/// written.
#[tokio::test(start_paused = true)]
async fn a_useless_journal_is_not_written() {
    for profile in [Profile::strict(), Profile::multi_use()] {
        let fixture = Fixture::new();
        fixture.issuer.parent_always();
        let store = ScriptedStore::new();
        if profile == Profile::strict() {
            store.make_volatile();
        }
        let rotator = fixture
            .signed_in_with(|builder| builder.store(store.clone()).profile(profile))
            .await;
        fixture.expire().await;
        fixture.issuer.push_action(IssuerAction::LoseAnswer);
        // The outcome is uncertain, or the second attempt gets an answer.
        let _ = rotator.token().await;
        fixture.expire().await;
        rotator.token().await.expect("a token");
        fixture
            .issuer
            .push_action(IssuerAction::Fail(SourceError::transient("down")));
        failure(rotator.refresh_now().await);
        fixture
            .issuer
            .push_action(IssuerAction::Fail(SourceError::terminal("over")));
        failure(rotator.refresh_now().await);
        let refused = |intent: &Option<Intent>| {
            intent.is_none_or(|intent| intent.outcome == IntentOutcome::Refused)
        };
        assert!(store.intents().iter().all(refused), "{:?}", store.intents());
        // Only a refusal is written: it holds for every process that shares a durable store.
        let intent = store.record().await.expect("a record").intent();
        assert_eq!(intent.is_some(), profile == Profile::multi_use());
    }
}
