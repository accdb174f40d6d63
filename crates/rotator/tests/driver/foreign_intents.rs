//! Tests what this process does with another process's journal entries: intents, refusals and late
//! saves (rule 8).

use std::time::Duration;

use token_rotator::store::{Intent, IntentOutcome, TokenHash};
use token_rotator::{Clock as _, Event, Profile, RefreshError, Rotator, SourceError, TokenError};

use crate::common::store::{next_record, with_intent};
use crate::common::{
    Fixture, IssuerAction, ScriptedCoordinator, ScriptedStore, collect_outcomes, run_ready_tasks,
    secret, spawn_callers, timed,
};

struct IntentFixture {
    base: Fixture,
    rotator: Rotator,
    store: ScriptedStore,
    leases: ScriptedCoordinator,
}

impl IntentFixture {
    /// Builds a rotator whose access token has expired.
    async fn new(profile: Profile) -> Self {
        let fixture = Fixture::new();
        let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
        let rotator = fixture
            .signed_in_with(|builder| {
                builder
                    .store(store.clone())
                    .coordinator(leases.clone())
                    .profile(profile)
            })
            .await;
        fixture.expire().await;
        Self {
            base: fixture,
            rotator,
            store,
            leases,
        }
    }

    /// Another process records that it presents the refresh token.
    async fn begin_as_another_process(&self) -> Intent {
        let record = self.store.record().await.expect("a record");
        let tokens = record.tokens().expect("tokens");
        let token = TokenHash::of(tokens).expect("a refresh token");
        let intent = Intent::new(token, self.base.clock.wall());
        self.store.put(with_intent(&record, intent)).await;
        intent
    }

    /// Another process saves its refreshed tokens.
    async fn save_as_another_process(&self) {
        let record = self.store.record().await.expect("a record");
        let newer = self.base.issuer.spend(record.tokens().expect("tokens"));
        self.store
            .put(next_record(Some(&record), None, Some(newer)))
            .await;
    }

    fn last_resorts(&self) -> usize {
        self.base.events.count(|event| {
            matches!(
                event,
                Event::PresentedAgain {
                    last_resort: true,
                    ..
                }
            )
        })
    }
}

fn wait_of<T: std::fmt::Debug>(outcome: Result<T, TokenError>) -> Duration {
    match outcome {
        Err(TokenError::Refresh(RefreshError::InDoubt { wait: Some(wait) })) => wait,
        outcome => panic!("in doubt, with a wait, not {outcome:?}"),
    }
}

/// A lease holder may work for a whole lease life. Every caller waits that long, then the refresh
/// token is presented as a last resort.
#[tokio::test(start_paused = true)]
async fn a_flight_waits_for_the_intent_of_another_process() {
    let fixture = IntentFixture::new(Profile::strict()).await;
    fixture.begin_as_another_process().await;
    tokio::time::advance(Duration::from_secs(1)).await;
    for outcome in collect_outcomes(spawn_callers(&fixture.rotator, 50)).await {
        assert_eq!(wait_of(outcome).as_secs(), 39);
    }
    assert!(
        fixture.leases.is_free().await,
        "other processes can take the lease"
    );
    tokio::time::advance(Duration::from_millis(38_500)).await;
    wait_of(fixture.rotator.token().await);
    wait_of(fixture.rotator.refresh_now().await);
    assert_eq!(fixture.base.issuer.refresh_calls(), 0);
    tokio::time::advance(Duration::from_secs(1)).await;
    let token = fixture.rotator.token().await.expect("a token");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(fixture.last_resorts(), 1);
    assert_eq!(fixture.base.issuer.refresh_calls(), 1);
    assert_eq!(
        fixture.store.record().await.expect("a record").intent(),
        None
    );
}

/// If the other process saves meanwhile, its tokens are adopted and the refresh token is not
/// presented.
#[tokio::test(start_paused = true)]
async fn tokens_that_another_process_saves_meanwhile_are_adopted() {
    let fixture = IntentFixture::new(Profile::strict()).await;
    fixture.begin_as_another_process().await;
    wait_of(fixture.rotator.token().await);
    tokio::time::advance(Duration::from_secs(20)).await;
    fixture.save_as_another_process().await;
    tokio::time::advance(Duration::from_secs(20)).await;
    let token = fixture.rotator.token().await.expect("adopted");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(fixture.base.issuer.refresh_calls(), 0);
    assert_eq!(fixture.last_resorts(), 0);
}

/// A free kernel lock means that its holder has ended, so no wait follows.
#[tokio::test(start_paused = true)]
async fn a_flight_with_a_kernel_lock_does_not_wait() {
    let fixture = IntentFixture::new(Profile::strict()).await;
    fixture.leases.script().kernel = true;
    let intent = fixture.begin_as_another_process().await;
    fixture.base.issuer.hold();
    let tasks = spawn_callers(&fixture.rotator, 5);
    fixture.base.issuer.wait_for_calls(1).await;
    let raised = fixture.store.record().await.expect("a record").intent();
    let raised = raised.expect("an intent");
    assert_eq!((raised.id, raised.attempts), (intent.id, 2));
    fixture.base.issuer.release();
    for token in collect_outcomes(tasks).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    assert_eq!(fixture.last_resorts(), 1);
}

/// Without a coordinator another process may be working, for as long as a source may take.
#[tokio::test(start_paused = true)]
async fn a_flight_without_a_coordinator_waits_too() {
    let fixture = IntentFixture::new(Profile::strict()).await;
    let builder = fixture.base.builder().store(fixture.store.clone());
    let alone = builder.build().expect("a rotator");
    fixture.begin_as_another_process().await;
    assert_eq!(wait_of(alone.token().await).as_secs(), 15);
    tokio::time::advance(Duration::from_secs(15)).await;
    let token = alone.token().await.expect("a token");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(fixture.last_resorts(), 1);
}

/// If the profile allows reuse, no wait follows.
#[tokio::test(start_paused = true)]
async fn a_flight_does_not_wait_if_reuse_is_safe() {
    for profile in [
        Profile::parent_always(),
        Profile::leeway(Duration::from_secs(30)),
    ] {
        let fixture = IntentFixture::new(profile).await;
        fixture.begin_as_another_process().await;
        let token = fixture.rotator.token().await.expect("a token");
        assert_eq!(secret(&token), "access-2");
        assert_eq!(fixture.last_resorts(), 0);
    }
}

/// Another process raises the attempts at the same moment. The process that loses does not present
/// the refresh token and waits for the winner.
#[tokio::test(start_paused = true)]
async fn only_one_of_two_last_resorts_is_sent() {
    let fixture = IntentFixture::new(Profile::strict()).await;
    let intent = fixture.begin_as_another_process().await;
    tokio::time::advance(Duration::from_secs(41)).await;
    fixture.store.hold_intents(true);
    let tasks = spawn_callers(&fixture.rotator, 5);
    fixture.store.wait_for_intents(1).await;
    let record = fixture.store.record().await.expect("a record");
    let raised = intent.with_attempts(2);
    fixture.store.put(with_intent(&record, raised)).await;
    fixture.store.hold_intents(false);
    for outcome in collect_outcomes(tasks).await {
        assert_eq!(wait_of(outcome).as_secs(), 40);
    }
    assert_eq!(fixture.base.issuer.refresh_calls(), 0);
    assert_eq!(
        fixture.store.record().await.expect("a record").intent(),
        Some(raised)
    );
}

/// This process recorded an intent, sent no request and could not withdraw the intent. After
/// another process raised it, it belongs to that process.
#[tokio::test(start_paused = true)]
async fn an_own_intent_that_another_process_raised_belongs_to_it() {
    let fixture = IntentFixture::new(Profile::strict()).await;
    fixture.store.lose_intents(1);
    let error = fixture.rotator.token().await;
    assert!(
        matches!(error, Err(TokenError::Refresh(RefreshError::Store(_)))),
        "{error:?}"
    );
    let record = fixture.store.record().await.expect("a record");
    let raised = record.intent().expect("an intent").with_attempts(2);
    fixture.store.put(with_intent(&record, raised)).await;
    wait_of(fixture.rotator.refresh_now().await);
    assert_eq!(fixture.base.issuer.refresh_calls(), 0);
}

/// A refusal of the issuer is recorded. The next process ends without a request, and sends one only
/// for `refresh_now`.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_recorded_for_every_process() {
    let fixture = IntentFixture::new(Profile::strict()).await;
    fixture
        .base
        .issuer
        .push_action(IssuerAction::Fail(SourceError::terminal("invalid_grant")));
    assert!(fixture.rotator.token().await.is_err());
    assert!(fixture.rotator.has_ended());
    let intent = fixture.store.record().await.expect("a record").intent();
    let outcome = intent.expect("an intent").outcome;
    assert_eq!(outcome, IntentOutcome::Refused);

    let builder = fixture.base.builder().store(fixture.store.clone());
    let next = builder.build().expect("a rotator");
    for outcome in collect_outcomes(spawn_callers(&next, 50)).await {
        assert!(
            matches!(outcome, Err(TokenError::Refresh(RefreshError::Refused))),
            "{outcome:?}"
        );
    }
    assert!(next.has_ended());
    assert_eq!(fixture.base.issuer.refresh_calls(), 1);
    let token = next
        .refresh_now()
        .await
        .expect("the issuer accepts the refresh token again");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(fixture.base.issuer.refresh_calls(), 2);
    assert_eq!(
        fixture.store.record().await.expect("a record").intent(),
        None
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    let token = fixture.rotator.token().await.expect("revived");
    assert_eq!(secret(&token), "access-2");
}

/// A forced attempt that was not sent leaves the recorded refusal unchanged.
#[tokio::test(start_paused = true)]
async fn a_refusal_stays_after_an_attempt_that_was_not_sent() {
    let fixture = IntentFixture::new(Profile::strict()).await;
    fixture
        .base
        .issuer
        .push_action(IssuerAction::Fail(SourceError::terminal("invalid_grant")));
    assert!(fixture.rotator.token().await.is_err());
    fixture
        .base
        .issuer
        .push_action(IssuerAction::Fail(SourceError::not_sent("no route")));
    assert!(fixture.rotator.refresh_now().await.is_err());
    let intent = fixture.store.record().await.expect("a record").intent();
    let outcome = intent.expect("an intent").outcome;
    assert_eq!(outcome, IntentOutcome::Refused);
}

/// The owner of an intent is late, and other processes have only raised its attempts: the owner's
/// tokens win.
#[tokio::test(start_paused = true)]
async fn a_late_owner_wins_over_raised_attempts() {
    let fixture = IntentFixture::new(Profile::strict()).await;
    fixture.base.issuer.hold();
    let tasks = spawn_callers(&fixture.rotator, 5);
    fixture.base.issuer.wait_for_calls(1).await;
    for _ in 0..2 {
        let record = fixture.store.record().await.expect("a record");
        let intent = record.intent().expect("an intent");
        let raised = intent.with_attempts(intent.attempts + 1);
        fixture.store.put(with_intent(&record, raised)).await;
    }
    fixture.base.issuer.release();
    for token in collect_outcomes(tasks).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    let record = fixture.store.record().await.expect("a record");
    assert_eq!(record.intent(), None);
    assert_eq!(record.version().revision, 5);
    assert_eq!(
        fixture.store.access_token().await.as_deref(),
        Some("access-2")
    );
}

/// The other process has saved its tokens: its tokens win, and the owner's write is refused.
#[tokio::test(start_paused = true)]
async fn a_late_owner_adopts_the_tokens_of_another_process() {
    let fixture = IntentFixture::new(Profile::parent_always()).await;
    fixture.base.issuer.parent_always();
    fixture.base.issuer.hold();
    let tasks = spawn_callers(&fixture.rotator, 5);
    fixture.base.issuer.wait_for_calls(1).await;
    let record = fixture.store.record().await.expect("a record");
    let raised = record.intent().expect("an intent").with_attempts(2);
    fixture.store.put(with_intent(&record, raised)).await;
    fixture.save_as_another_process().await;
    let saved = fixture.store.record().await.expect("a record");
    fixture.base.issuer.release();
    for token in collect_outcomes(tasks).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    let record = fixture.store.record().await.expect("a record");
    assert_eq!(
        record.version(),
        saved.version(),
        "the saved record was not overwritten"
    );
    let adopted = |event: &Event| matches!(event, Event::Adopted { .. });
    assert_eq!(fixture.base.events.count(adopted), 1);
}

/// A flight of the previous session does not settle a doubt of the current session.
#[tokio::test(start_paused = true)]
async fn a_flight_of_the_previous_session_settles_no_current_doubt() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture
        .issuer
        .push_action(IssuerAction::Delay(Duration::from_secs(5)));
    fixture.issuer.push_action(IssuerAction::SpendAndHang);
    let refresh = || {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    let alices = refresh();
    fixture.issuer.wait_for_calls(1).await;
    rotator.sign_in(fixture.issuer.login()).expect("usable");
    let bobs = refresh();
    fixture.issuer.wait_for_calls(2).await;
    let (took, outcome) = timed(bobs).await;
    assert_eq!(took.as_secs(), 15, "{outcome:?}");
    assert!(alices.await.expect("no panic").is_err());
    let error = rotator.refresh_now().await;
    assert!(
        matches!(
            error,
            Err(TokenError::Refresh(RefreshError::InDoubt { wait: None }))
        ),
        "{error:?}"
    );
    run_ready_tasks().await;
    assert_eq!(fixture.issuer.refresh_calls(), 2);
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}
