//! Defaults, their validation, and what the extremes do.

use std::time::Duration;

use token_rotator::{BuildError, Event, RotatorBuilder, TokenSet};

use crate::common::{Act, ScriptedCoordinator, ScriptedStore, World, secret};

fn setting(builder: RotatorBuilder) -> Option<(&'static str, Duration)> {
    match builder.build() {
        Ok(_) => None,
        Err(BuildError::Setting { setting, value, .. }) => Some((setting, value)),
        Err(error) => panic!("a setting, not {error:?}"),
    }
}

/// Every setting that contradicts another, and those that just do not.
#[tokio::test(start_paused = true)]
async fn settings_are_checked_together() {
    const SECOND: Duration = Duration::from_secs(1);
    const ZERO: Duration = Duration::ZERO;
    const ALMOST: Duration = Duration::new(24, 999_999_999);
    type Set = fn(RotatorBuilder) -> RotatorBuilder;
    let leases = ScriptedCoordinator::new();
    #[rustfmt::skip]
    let table: [(Set, Option<(&str, Duration)>); 15] = [
        (|builder| builder, None),
        (|builder| builder.wait_timeout(ZERO), Some(("wait_timeout", ZERO))),
        (|builder| builder.wait_timeout(Duration::from_nanos(1)), None),
        (|builder| builder.source_timeout(ZERO), Some(("source_timeout", ZERO))),
        (|builder| builder.flight_deadline(ZERO), Some(("flight_deadline", ZERO))),
        (|builder| builder.flight_deadline(ALMOST),
            Some(("flight_deadline", ALMOST))),
        (|builder| builder.flight_deadline(SECOND * 25), None),
        (|builder| builder.lease_wait(SECOND * 16), Some(("flight_deadline", SECOND * 30))),
        (|builder| builder.lease_wait(Duration::MAX), Some(("flight_deadline", SECOND * 30))),
        (|builder| builder.source_timeout(SECOND * 40).flight_deadline(SECOND * 60),
            Some(("source_timeout", SECOND * 40))),
        (|builder| builder.source_timeout(SECOND * 39).flight_deadline(SECOND * 60), None),
        (|builder| builder.cool_down(ZERO, SECOND), Some(("cool_down", ZERO))),
        (|builder| builder.cool_down(Duration::from_micros(999), SECOND), Some(("cool_down", ZERO))),
        (|builder| builder.cool_down(SECOND * 2, SECOND), Some(("cool_down", SECOND * 2))),
        (|builder| builder.cool_down(SECOND, SECOND), None),
    ];
    for (number, (set, expected)) in table.into_iter().enumerate() {
        let builder = World::new().builder().coordinator(leases.clone());
        assert_eq!(setting(set(builder)), expected, "number {number}");
    }
    // Kernel locks and no coordinator have no life that a source could outlast.
    leases.script().kernel = true;
    for builder in [
        World::new().builder().coordinator(leases.clone()),
        World::new().builder(),
    ] {
        let builder = builder
            .source_timeout(SECOND * 600)
            .flight_deadline(SECOND * 3_600);
        assert_eq!(setting(builder), None);
    }
}

/// An origin that cannot be used is the builder's error, and not the first request's.
#[tokio::test(start_paused = true)]
async fn origins_are_checked() {
    let error = World::new()
        .builder()
        .origin("http://api.example.com")
        .build();
    assert!(matches!(error, Err(BuildError::Origin(_))));
}

/// The longest times there are mean for ever, and nothing panics: a flight, a wait, a failure, a
/// save and a shutdown.
#[tokio::test(start_paused = true)]
async fn for_ever_is_a_time_like_any_other() {
    const EVER: Duration = Duration::MAX;
    let world = World::new();
    let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
    leases.script().kernel = true;
    let rotator = world
        .signed_in_with(|builder| {
            builder
                .store(store.clone())
                .coordinator(leases.clone())
                .profile(token_rotator::Profile::leeway(EVER))
                .refresh_before(EVER)
                .wait_timeout(EVER)
                .source_timeout(EVER)
                .lease_wait(EVER)
                .flight_deadline(EVER)
                .cool_down(EVER, EVER)
        })
        .await;
    world.expire().await;
    let busy = leases.busy().await;
    let call = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.token().await })
    };
    tokio::time::advance(Duration::from_secs(3_600)).await;
    drop(busy);
    let token = call.await.expect("no panic").expect("a token");
    assert_eq!(secret(&token), "access-2");
    let down = token_rotator::SourceError::transient("down").with_retry_after(EVER);
    world.issuer.next(Act::Fail(down));
    assert!(rotator.refresh_now().await.is_err());
    let failed = |event: &Event| matches!(event, Event::RefreshFailed { .. });
    assert_eq!(world.heard.count(failed), 1);
    store.fail_saves(1);
    rotator
        .update(&token, TokenSet::bearer("x").expires_in(EVER))
        .expect("usable")
        .await
        .expect_err("the store is down");
    assert!(rotator.shutdown(EVER).await);
    assert_eq!(store.access_token().await.as_deref(), Some("x"));
}

/// What a refresh does not bring is kept from before, in memory and in the store: refresh token,
/// `id_token` and scope.
#[tokio::test(start_paused = true)]
async fn what_a_refresh_does_not_bring_is_kept() {
    use token_rotator::ExposeSecret as _;
    let world = World::new();
    let store = ScriptedStore::new();
    let rotator = world
        .builder()
        .store(store.clone())
        .build()
        .expect("a rotator");
    let login = world.issuer.login().with_scope("read write");
    let stored = rotator.sign_in(login).expect("usable");
    stored.await.expect("stored");
    world.expire().await;
    world.issuer.next(Act::Answer(
        TokenSet::bearer("bare").expires_in(crate::common::LIFETIME),
    ));
    let token = rotator.token().await.expect("a token");
    assert_eq!(secret(&token), "bare");
    let record = store.record().await.expect("a record");
    for tokens in [token.token_set(), record.tokens().expect("tokens")] {
        let refresh_token = tokens.refresh_token().expect("kept");
        assert_eq!(refresh_token.expose_secret(), "refresh-1");
        assert_eq!(tokens.id_token().expect("kept").expose_secret(), "id-1");
        assert_eq!(tokens.scope(), Some("read write"));
        assert!(tokens.extra("ws_token").is_none(), "it came with the other");
    }
    // And what it brings replaces what was there.
    world.expire().await;
    let token = rotator.token().await.expect("a token");
    let tokens = token.token_set();
    assert_eq!(
        tokens.refresh_token().expect("one").expose_secret(),
        "refresh-2"
    );
    assert_eq!(tokens.id_token().expect("one").expose_secret(), "id-2");
    assert_eq!(tokens.scope(), Some("read write"));
    assert_eq!(world.issuer.reuse_alarms(), 0);
}
