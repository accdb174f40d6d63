//! What another process has written down, found by this one: its doubts, its refusals and its
//! late saves (rule 8).

use std::time::Duration;

use token_rotator::store::{Intent, IntentOutcome, TokenHash};
use token_rotator::{Clock as _, Event, Profile, RefreshError, Rotator, SourceError, TokenError};

use crate::common::store::{following, with_intent};
use crate::common::{
    Act, ScriptedCoordinator, ScriptedStore, World, callers, let_run, outcomes, secret, timed,
};

struct Scene {
    world: World,
    rotator: Rotator,
    store: ScriptedStore,
    leases: ScriptedCoordinator,
}

impl Scene {
    /// A rotator whose access token has expired.
    async fn new(profile: Profile) -> Self {
        let world = World::new();
        let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
        let rotator = world
            .signed_in_with(|builder| {
                builder
                    .store(store.clone())
                    .coordinator(leases.clone())
                    .profile(profile)
            })
            .await;
        world.expire().await;
        Self {
            world,
            rotator,
            store,
            leases,
        }
    }

    /// Another process writes down that it presents the refresh token.
    async fn others_begin(&self) -> Intent {
        let record = self.store.record().await.expect("a record");
        let tokens = record.tokens().expect("tokens");
        let token = TokenHash::of(tokens).expect("a refresh token");
        let intent = Intent::new(token, self.world.clock.wall());
        self.store.put(with_intent(&record, intent)).await;
        intent
    }

    /// Another process saves what it has refreshed.
    async fn others_save(&self) {
        let record = self.store.record().await.expect("a record");
        let newer = self.world.issuer.spend(record.tokens().expect("tokens"));
        self.store
            .put(following(Some(&record), None, Some(newer)))
            .await;
    }

    fn last_resorts(&self) -> usize {
        self.world.heard.count(|event| {
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
        other => panic!("in doubt, with a wait, not {other:?}"),
    }
}

/// A holder of a lease may be at work for as long as one lasts: so long it is waited for, whoever
/// asks; then the refresh token is presented, as a last resort.
#[tokio::test(start_paused = true)]
async fn the_intent_of_another_is_waited_for() {
    let scene = Scene::new(Profile::strict()).await;
    scene.others_begin().await;
    tokio::time::advance(Duration::from_secs(1)).await;
    for outcome in outcomes(callers(&scene.rotator, 50)).await {
        assert_eq!(wait_of(outcome).as_secs(), 39);
    }
    assert!(scene.leases.is_free().await, "nobody else is kept from it");
    tokio::time::advance(Duration::from_millis(38_500)).await;
    wait_of(scene.rotator.token().await);
    wait_of(scene.rotator.refresh_now().await);
    assert_eq!(scene.world.issuer.calls(), 0);
    tokio::time::advance(Duration::from_secs(1)).await;
    let token = scene.rotator.token().await.expect("a token");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(scene.last_resorts(), 1);
    assert_eq!(scene.world.issuer.calls(), 1);
    assert_eq!(scene.store.record().await.expect("a record").intent(), None);
}

/// If it saves meanwhile, that is adopted, and nothing is presented.
#[tokio::test(start_paused = true)]
async fn what_the_other_saves_meanwhile_is_adopted() {
    let scene = Scene::new(Profile::strict()).await;
    scene.others_begin().await;
    wait_of(scene.rotator.token().await);
    tokio::time::advance(Duration::from_secs(20)).await;
    scene.others_save().await;
    tokio::time::advance(Duration::from_secs(20)).await;
    let token = scene.rotator.token().await.expect("adopted");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(scene.world.issuer.calls(), 0);
    assert_eq!(scene.last_resorts(), 0);
}

/// A lock of the kernel's is free only if its holder has ended: no wait.
#[tokio::test(start_paused = true)]
async fn behind_a_kernel_lock_nobody_is_waited_for() {
    let scene = Scene::new(Profile::strict()).await;
    scene.leases.script().kernel = true;
    let intent = scene.others_begin().await;
    scene.world.issuer.hold();
    let calls = callers(&scene.rotator, 5);
    scene.world.issuer.arrived(1).await;
    let raised = scene.store.record().await.expect("a record").intent();
    let raised = raised.expect("an intent");
    assert_eq!((raised.id, raised.attempts), (intent.id, 2));
    scene.world.issuer.let_go();
    for token in outcomes(calls).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    assert_eq!(scene.last_resorts(), 1);
}

/// Without a coordinator nothing keeps others from being at work, for as long as a source may take.
#[tokio::test(start_paused = true)]
async fn without_a_coordinator_another_is_waited_for_too() {
    let scene = Scene::new(Profile::strict()).await;
    let builder = scene.world.builder().store(scene.store.clone());
    let alone = builder.build().expect("a rotator");
    scene.others_begin().await;
    assert_eq!(wait_of(alone.token().await).as_secs(), 15);
    tokio::time::advance(Duration::from_secs(15)).await;
    let token = alone.token().await.expect("a token");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(scene.last_resorts(), 1);
}

/// Where the profile allows it, nobody waits.
#[tokio::test(start_paused = true)]
async fn where_it_is_safe_another_is_not_waited_for() {
    for profile in [
        Profile::parent_always(),
        Profile::leeway(Duration::from_secs(30)),
    ] {
        let scene = Scene::new(profile).await;
        scene.others_begin().await;
        let token = scene.rotator.token().await.expect("a token");
        assert_eq!(secret(&token), "access-2");
        assert_eq!(scene.last_resorts(), 0);
    }
}

/// Somebody raises the attempts at the very moment: whoever loses that leaves the refresh token
/// alone, and waits for the one who won.
#[tokio::test(start_paused = true)]
async fn of_two_last_resorts_one_is_sent() {
    let scene = Scene::new(Profile::strict()).await;
    let intent = scene.others_begin().await;
    tokio::time::advance(Duration::from_secs(41)).await;
    scene.store.hold_intents(true);
    let calls = callers(&scene.rotator, 5);
    scene.store.writing_intent(1).await;
    let record = scene.store.record().await.expect("a record");
    let raised = intent.with_attempts(2);
    scene.store.put(with_intent(&record, raised)).await;
    scene.store.hold_intents(false);
    for outcome in outcomes(calls).await {
        assert_eq!(wait_of(outcome).as_secs(), 40);
    }
    assert_eq!(scene.world.issuer.calls(), 0);
    assert_eq!(
        scene.store.record().await.expect("a record").intent(),
        Some(raised)
    );
}

/// An intent of ours that was written down, not sent and not withdrawn, and then raised by another,
/// is theirs.
#[tokio::test(start_paused = true)]
async fn an_intent_of_ours_that_another_has_raised_is_theirs() {
    let scene = Scene::new(Profile::strict()).await;
    scene.store.lose_intents(1);
    let error = scene.rotator.token().await;
    assert!(
        matches!(error, Err(TokenError::Refresh(RefreshError::Store(_)))),
        "{error:?}"
    );
    let record = scene.store.record().await.expect("a record");
    let raised = record.intent().expect("an intent").with_attempts(2);
    scene.store.put(with_intent(&record, raised)).await;
    wait_of(scene.rotator.refresh_now().await);
    assert_eq!(scene.world.issuer.calls(), 0);
}

/// What the issuer has refused is written down: the next process ends without asking, and asks if
/// it is told to.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_written_down_for_everybody() {
    let scene = Scene::new(Profile::strict()).await;
    scene
        .world
        .issuer
        .next(Act::Fail(SourceError::terminal("invalid_grant")));
    assert!(scene.rotator.token().await.is_err());
    assert!(scene.rotator.has_ended());
    let intent = scene.store.record().await.expect("a record").intent();
    let outcome = intent.expect("an intent").outcome;
    assert_eq!(outcome, IntentOutcome::Refused);

    let builder = scene.world.builder().store(scene.store.clone());
    let next = builder.build().expect("a rotator");
    for outcome in outcomes(callers(&next, 50)).await {
        assert!(
            matches!(outcome, Err(TokenError::Refresh(RefreshError::Refused))),
            "{outcome:?}"
        );
    }
    assert!(next.has_ended());
    assert_eq!(scene.world.issuer.calls(), 1);
    let token = next.refresh_now().await.expect("the issuer has relented");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(scene.world.issuer.calls(), 2);
    assert_eq!(scene.store.record().await.expect("a record").intent(), None);
    tokio::time::advance(Duration::from_secs(1)).await;
    let token = scene.rotator.token().await.expect("revived");
    assert_eq!(secret(&token), "access-2");
}

/// A forced attempt that was not sent leaves the refusal as it stood.
#[tokio::test(start_paused = true)]
async fn a_refusal_outlives_an_attempt_that_was_not_sent() {
    let scene = Scene::new(Profile::strict()).await;
    scene
        .world
        .issuer
        .next(Act::Fail(SourceError::terminal("invalid_grant")));
    assert!(scene.rotator.token().await.is_err());
    scene
        .world
        .issuer
        .next(Act::Fail(SourceError::not_sent("no route")));
    assert!(scene.rotator.refresh_now().await.is_err());
    let intent = scene.store.record().await.expect("a record").intent();
    let outcome = intent.expect("an intent").outcome;
    assert_eq!(outcome, IntentOutcome::Refused);
}

/// The owner of an intent is late, and others have but raised its attempts: its tokens win.
#[tokio::test(start_paused = true)]
async fn an_owner_that_is_late_wins_over_attempts() {
    let scene = Scene::new(Profile::strict()).await;
    scene.world.issuer.hold();
    let calls = callers(&scene.rotator, 5);
    scene.world.issuer.arrived(1).await;
    for _ in 0..2 {
        let record = scene.store.record().await.expect("a record");
        let intent = record.intent().expect("an intent");
        let raised = intent.with_attempts(intent.attempts + 1);
        scene.store.put(with_intent(&record, raised)).await;
    }
    scene.world.issuer.let_go();
    for token in outcomes(calls).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    let record = scene.store.record().await.expect("a record");
    assert_eq!(record.intent(), None);
    assert_eq!(record.version().revision, 5);
    assert_eq!(
        scene.store.access_token().await.as_deref(),
        Some("access-2")
    );
}

/// They have saved: theirs win, and the owner's write is refused.
#[tokio::test(start_paused = true)]
async fn an_owner_that_is_late_adopts_what_others_have_saved() {
    let scene = Scene::new(Profile::parent_always()).await;
    scene.world.issuer.parent_always();
    scene.world.issuer.hold();
    let calls = callers(&scene.rotator, 5);
    scene.world.issuer.arrived(1).await;
    let record = scene.store.record().await.expect("a record");
    let raised = record.intent().expect("an intent").with_attempts(2);
    scene.store.put(with_intent(&record, raised)).await;
    scene.others_save().await;
    let saved = scene.store.record().await.expect("a record");
    scene.world.issuer.let_go();
    for token in outcomes(calls).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    let record = scene.store.record().await.expect("a record");
    assert_eq!(
        record.version(),
        saved.version(),
        "nothing was written over it"
    );
    let adopted = |event: &Event| matches!(event, Event::Adopted { .. });
    assert_eq!(scene.world.heard.count(adopted), 1);
}

/// What this session is in doubt about is not settled by the flight of the one before.
#[tokio::test(start_paused = true)]
async fn a_flight_of_the_past_settles_no_doubt_of_now() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.issuer.next(Act::Delay(Duration::from_secs(5)));
    world.issuer.next(Act::SpendAndHang);
    let refresh = || {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    let alices = refresh();
    world.issuer.arrived(1).await;
    rotator.sign_in(world.issuer.login()).expect("usable");
    let bobs = refresh();
    world.issuer.arrived(2).await;
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
    let_run().await;
    assert_eq!(world.issuer.calls(), 2);
    assert_eq!(world.issuer.reuse_alarms(), 0);
}
