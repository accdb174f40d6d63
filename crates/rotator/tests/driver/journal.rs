//! What is presented is written down before, and what became of it after (rule 8).

use std::time::Duration;

use token_rotator::store::{IntentOutcome, TokenHash};
use token_rotator::{Event, FailureKind, Profile, RefreshError, Rotator, SourceError, TokenError};

use crate::common::{Act, ScriptedStore, World, callers, let_run, outcomes, secret};

async fn journalled(world: &World) -> (Rotator, ScriptedStore) {
    journalled_with(world, Profile::strict()).await
}

async fn journalled_with(world: &World, profile: Profile) -> (Rotator, ScriptedStore) {
    let store = ScriptedStore::new();
    let rotator = world
        .signed_in_with(|builder| builder.store(store.clone()).profile(profile))
        .await;
    (rotator, store)
}

/// Another process on the same store, which has seen what is in it.
async fn second(world: &World, store: &ScriptedStore) -> Rotator {
    let builder = world.builder().store(store.clone());
    let rotator = builder.build().expect("a rotator");
    rotator.token().await.expect("adopted");
    rotator
}

fn presented_again(world: &World, by_last_resort: bool) -> usize {
    world.heard.count(|event| {
        matches!(event, Event::PresentedAgain { last_resort, .. } if *last_resort == by_last_resort)
    })
}

fn flights(world: &World) -> usize {
    world
        .heard
        .count(|event| matches!(event, Event::RefreshStarted { .. }))
}

fn failure<T: std::fmt::Debug>(outcome: Result<T, TokenError>) -> RefreshError {
    match outcome {
        Err(TokenError::Refresh(error)) => error,
        other => panic!("a failed refresh, not {other:?}"),
    }
}

/// The intent stands in the store before the request is sent, and goes with the save of what it
/// brought.
#[tokio::test(start_paused = true)]
async fn an_intent_stands_from_before_the_request_to_the_save() {
    let world = World::new();
    let (rotator, store) = journalled(&world).await;
    let login = rotator.token().await.expect("a token");
    world.expire().await;
    store.hold_intents(true);
    let calls = callers(&rotator, 50);
    store.writing_intent(1).await;
    let_run().await;
    assert_eq!(world.issuer.calls(), 0, "not before the store has it");
    world.issuer.hold();
    store.hold_intents(false);
    world.issuer.arrived(1).await;
    let record = store.record().await.expect("a record");
    let intent = record.intent().expect("an intent");
    assert_eq!(Some(intent.token), TokenHash::of(login.token_set()));
    assert_eq!(intent.attempts, 1);
    assert_eq!(intent.outcome, IntentOutcome::Open);
    world.issuer.let_go();
    for token in outcomes(calls).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    let record = store.record().await.expect("a record");
    assert_eq!(record.intent(), None);
    assert_eq!(store.intents(), [Some(intent)], "and nothing else was said");
}

/// A store that cannot take the intent: nothing is sent, and whoever waits is told so.
#[tokio::test(start_paused = true)]
async fn without_an_intent_nothing_is_sent() {
    let world = World::new();
    let (rotator, store) = journalled(&world).await;
    world.expire().await;
    store.fail_intents(1);
    for outcome in outcomes(callers(&rotator, 50)).await {
        let error = failure(outcome);
        assert!(matches!(error, RefreshError::Store(_)), "{error:?}");
        assert_eq!(error.kind(), FailureKind::NotSent);
    }
    assert_eq!(world.issuer.calls(), 0);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(presented_again(&world, false), 0);
}

/// An intent that was stored though the store said it was not: the next flight knows its own, and
/// is in no doubt.
#[tokio::test(start_paused = true)]
async fn an_intent_whose_answer_was_lost_is_known_as_our_own() {
    let world = World::new();
    let (rotator, store) = journalled(&world).await;
    world.expire().await;
    store.lose_intents(1);
    let error = failure(rotator.token().await);
    assert!(matches!(error, RefreshError::Store(_)), "{error:?}");
    assert_eq!(world.issuer.calls(), 0);
    let record = store.record().await.expect("a record");
    assert!(record.intent().is_some(), "it was stored all the same");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(world.issuer.calls(), 1);
    assert_eq!(presented_again(&world, true), 0);
    assert_eq!(presented_again(&world, false), 0);
    let intents = store.intents();
    assert_eq!(intents.len(), 2);
    assert_eq!(intents[0].map(|one| one.id), intents[1].map(|two| two.id));
}

/// What did not spend the refresh token withdraws the intent: nobody is in doubt, here or next
/// door.
#[tokio::test(start_paused = true)]
async fn what_spends_nothing_withdraws_the_intent() {
    for error in [
        SourceError::not_sent("no route"),
        SourceError::transient("down"),
        SourceError::misconfigured("invalid_client"),
    ] {
        let world = World::new();
        let (rotator, store) = journalled(&world).await;
        world.expire().await;
        world.issuer.next(Act::Fail(error));
        failure(rotator.token().await);
        assert_eq!(store.record().await.expect("a record").intent(), None);
        assert_eq!(store.intents().last(), Some(&None));
        let other = world.builder().store(store).build().expect("a rotator");
        assert_eq!(secret(&other.token().await.expect("a token")), "access-2");
        assert_eq!(presented_again(&world, true), 0);
        assert_eq!(presented_again(&world, false), 0);
    }
}

/// Where the store does not take that, whoever wrote the intent knows better all the same.
#[tokio::test(start_paused = true)]
async fn an_intent_that_could_not_be_withdrawn_puts_its_owner_in_no_doubt() {
    let world = World::new();
    let (rotator, store) = journalled(&world).await;
    for round in 1..=2 {
        world.issuer.next(Act::Fail(SourceError::transient("down")));
        world.issuer.hold();
        let call = {
            let rotator = rotator.clone();
            tokio::spawn(async move { rotator.refresh_now().await })
        };
        world.issuer.arrived(round).await;
        store.fail_intents(1);
        world.issuer.let_go();
        failure(call.await.expect("no panic"));
        assert!(store.record().await.expect("a record").intent().is_some());
    }
    let token = rotator.refresh_now().await.expect("a token");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(presented_again(&world, true), 0);
    assert_eq!(presented_again(&world, false), 0);
}

/// A withdrawal says what was said before, and not that there is no doubt.
#[tokio::test(start_paused = true)]
async fn a_withdrawal_leaves_the_doubt_of_before() {
    let world = World::new();
    let (rotator, store) = journalled(&world).await;
    world.expire().await;
    world
        .issuer
        .next(Act::Fail(SourceError::uncertain("no answer")));
    failure(rotator.token().await);
    let uncertain = store.record().await.expect("a record").intent();
    world.issuer.next(Act::Fail(SourceError::transient("down")));
    failure(rotator.refresh_now().await);
    assert_eq!(store.record().await.expect("a record").intent(), uncertain);
    let token = rotator.refresh_now().await.expect("a token");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(presented_again(&world, true), 2);
}

/// A strict issuer, a lost answer, a good access token: the record says that the refresh token may
/// be spent; it is not presented again, here or next door, by whatever name it is asked for; the
/// access token is served to its end, without another early refresh.
#[tokio::test(start_paused = true)]
async fn a_doubt_is_held_while_the_access_token_lasts() {
    let world = World::new();
    let (rotator, store) = journalled(&world).await;
    let other = second(&world, &store).await;
    world.issuer.next(Act::LoseAnswer);
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
    let before = flights(&world);
    world.almost_expire().await;
    for rotator in [&rotator, &other] {
        let token = rotator.token().await.expect("still good");
        assert_eq!(secret(&token), "access-1");
        let_run().await;
    }
    assert_eq!(flights(&world), before, "no early refresh any more");
    assert_eq!(world.issuer.calls(), 1);
    assert_eq!(world.issuer.reuse_alarms(), 0);
}

/// An early refresh that finds the doubt of another is the last of its kind for this token.
#[tokio::test(start_paused = true)]
async fn one_early_refresh_finds_the_doubt_of_another() {
    let world = World::new();
    let (rotator, store) = journalled(&world).await;
    let other = second(&world, &store).await;
    world.issuer.next(Act::LoseAnswer);
    failure(rotator.refresh_now().await);
    tokio::time::advance(Duration::from_secs(242)).await;
    let before = flights(&world);
    for _ in 0..4 {
        let token = other.token().await.expect("still good");
        assert_eq!(secret(&token), "access-1");
        let_run().await;
        tokio::time::advance(Duration::from_secs(12)).await;
    }
    assert_eq!(flights(&world) - before, 1);
    assert_eq!(world.issuer.calls(), 1);
}

/// Nothing else is left: it is presented once more, which is said, and was written down before.
#[tokio::test(start_paused = true)]
async fn the_last_resort_is_written_down_before_it_is_sent() {
    for refused in [false, true] {
        let world = World::new();
        let (rotator, store) = journalled(&world).await;
        let token = rotator.token().await.expect("a token");
        world
            .issuer
            .next(Act::Fail(SourceError::uncertain("no answer")));
        failure(rotator.refresh_now().await);
        if refused {
            tokio::time::advance(Duration::from_secs(5)).await;
        } else {
            world.expire().await;
        }
        world.issuer.hold();
        let call = {
            let rotator = rotator.clone();
            tokio::spawn(async move { rotator.refused(&token).await })
        };
        world.issuer.arrived(2).await;
        let intent = store.record().await.expect("a record").intent();
        let intent = intent.expect("an intent");
        assert_eq!(intent.attempts, 2);
        assert_eq!(intent.outcome, IntentOutcome::Open);
        assert_eq!(presented_again(&world, true), 1);
        world.issuer.let_go();
        let token = call.await.expect("no panic").expect("a token");
        assert_eq!(secret(&token), "access-2");
        assert_eq!(store.record().await.expect("a record").intent(), None);
        assert_eq!(presented_again(&world, true), 1);
        assert_eq!(world.issuer.calls(), 2);
    }
}

/// A store that cannot take the raised attempt: it is not sent.
#[tokio::test(start_paused = true)]
async fn a_last_resort_that_cannot_be_written_down_is_not_sent() {
    let world = World::new();
    let (rotator, store) = journalled(&world).await;
    world.expire().await;
    world
        .issuer
        .next(Act::Fail(SourceError::uncertain("no answer")));
    failure(rotator.token().await);
    store.fail_intents(1);
    tokio::time::advance(Duration::from_secs(1)).await;
    let error = failure(rotator.token().await);
    assert!(matches!(error, RefreshError::Store(_)), "{error:?}");
    assert_eq!(world.issuer.calls(), 1);
    assert_eq!(presented_again(&world, true), 0);
}

/// Where the previous refresh token may be used again, a lost answer is asked for at once, once,
/// in the same flight, and the attempt is written down before.
#[tokio::test(start_paused = true)]
async fn where_it_is_safe_it_is_presented_again_at_once() {
    for profile in [
        Profile::parent_always(),
        Profile::leeway(Duration::from_secs(10)),
    ] {
        let world = World::new();
        world.issuer.parent_always();
        let (rotator, store) = journalled_with(&world, profile).await;
        world.expire().await;
        world.issuer.next(Act::LoseAnswer);
        world.issuer.next(Act::Delay(Duration::from_secs(1)));
        let calls = callers(&rotator, 50);
        world.issuer.arrived(2).await;
        let intent = store.record().await.expect("a record").intent();
        let intent = intent.expect("an intent");
        assert_eq!(intent.attempts, 2);
        assert_eq!(intent.outcome, IntentOutcome::Open);
        for token in outcomes(calls).await {
            assert_eq!(secret(&token.expect("a token")), "access-3");
        }
        assert_eq!(store.record().await.expect("a record").intent(), None);
        assert_eq!(presented_again(&world, false), 1);
        assert_eq!(flights(&world), 1);

        world.expire().await;
        world.issuer.next(Act::LoseAnswer);
        world.issuer.next(Act::LoseAnswer);
        let error = failure(rotator.token().await);
        assert_eq!(error.kind(), FailureKind::Uncertain);
        assert_eq!(world.issuer.calls(), 4, "twice and not more");
        let intent = store.record().await.expect("a record").intent();
        let intent = intent.expect("an intent");
        assert_eq!(
            (intent.attempts, intent.outcome),
            (2, IntentOutcome::Uncertain)
        );
    }
}

/// A store that cannot take the second attempt: it is not sent, and the first is in doubt.
#[tokio::test(start_paused = true)]
async fn a_second_attempt_that_cannot_be_written_down_is_not_sent() {
    let world = World::new();
    let (rotator, store) = journalled_with(&world, Profile::parent_always()).await;
    world.expire().await;
    world.issuer.next(Act::LoseAnswer);
    world.issuer.hold();
    let calls = callers(&rotator, 1);
    world.issuer.arrived(1).await;
    store.fail_intents(1);
    world.issuer.let_go();
    for outcome in outcomes(calls).await {
        assert_eq!(failure(outcome).kind(), FailureKind::Uncertain);
    }
    assert_eq!(world.issuer.calls(), 1);
    let intent = store.record().await.expect("a record").intent();
    let intent = intent.expect("an intent");
    assert_eq!(
        (intent.attempts, intent.outcome),
        (1, IntentOutcome::Uncertain)
    );
}

/// A store that does not outlive the process, and refresh tokens that may be used many times: no
/// journal.
#[tokio::test(start_paused = true)]
async fn where_it_is_of_no_use_no_journal_is_kept() {
    for profile in [Profile::strict(), Profile::multi_use()] {
        let world = World::new();
        world.issuer.parent_always();
        let store = ScriptedStore::new();
        if profile == Profile::strict() {
            store.forget_with_the_process();
        }
        let rotator = world
            .signed_in_with(|builder| builder.store(store.clone()).profile(profile))
            .await;
        world.expire().await;
        world.issuer.next(Act::LoseAnswer);
        // In doubt, or answered at the second time.
        let _ = rotator.token().await;
        world.expire().await;
        rotator.token().await.expect("a token");
        world.issuer.next(Act::Fail(SourceError::transient("down")));
        failure(rotator.refresh_now().await);
        world.issuer.next(Act::Fail(SourceError::terminal("over")));
        failure(rotator.refresh_now().await);
        assert_eq!(store.intents(), []);
        assert_eq!(store.record().await.expect("a record").intent(), None);
    }
}
