//! Tests the builder: defaults, validation and extreme values.

use std::time::Duration;

use token_rotator::{BuildError, Event, RotatorBuilder, TokenSet};

use crate::common::{Fixture, IssuerAction, ScriptedCoordinator, ScriptedStore, secret};

fn setting(builder: RotatorBuilder) -> Option<(&'static str, Duration)> {
    match builder.build() {
        Ok(_) => None,
        Err(BuildError::Setting { setting, value, .. }) => Some((setting, value)),
        Err(error) => panic!("a setting, not {error:?}"),
    }
}

/// Checks every pair of contradicting settings, and settings at the limit that are valid.
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
        let builder = Fixture::new().builder().coordinator(leases.clone());
        assert_eq!(setting(set(builder)), expected, "number {number}");
    }
    // A kernel lock has no lease life, and neither has a missing coordinator, so a source cannot
    // outlast it.
    leases.script().kernel = true;
    for builder in [
        Fixture::new().builder().coordinator(leases.clone()),
        Fixture::new().builder(),
    ] {
        let builder = builder
            .source_timeout(SECOND * 600)
            .flight_deadline(SECOND * 3_600);
        assert_eq!(setting(builder), None);
    }
}

/// An unusable origin is an error of `build`, not of the first request.
#[tokio::test(start_paused = true)]
async fn origins_are_checked() {
    let error = Fixture::new()
        .builder()
        .origin("http://api.example.com")
        .build();
    assert!(matches!(error, Err(BuildError::Origin(_))));
}

/// The maximum duration means no limit for a flight, a wait, a failure, a save and a shutdown, and
/// causes no panic.
#[tokio::test(start_paused = true)]
async fn the_maximum_duration_means_no_limit() {
    const NO_LIMIT: Duration = Duration::MAX;
    let fixture = Fixture::new();
    let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
    leases.script().kernel = true;
    let rotator = fixture
        .signed_in_with(|builder| {
            builder
                .store(store.clone())
                .coordinator(leases.clone())
                .profile(token_rotator::Profile::leeway(NO_LIMIT))
                .refresh_before(NO_LIMIT)
                .wait_timeout(NO_LIMIT)
                .source_timeout(NO_LIMIT)
                .lease_wait(NO_LIMIT)
                .flight_deadline(NO_LIMIT)
                .cool_down(NO_LIMIT, NO_LIMIT)
        })
        .await;
    fixture.expire().await;
    let busy = leases.acquire_as_another_process().await;
    let call = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.token().await })
    };
    tokio::time::advance(Duration::from_secs(3_600)).await;
    drop(busy);
    let token = call.await.expect("no panic").expect("a token");
    assert_eq!(secret(&token), "access-2");
    let down = token_rotator::SourceError::transient("down").with_retry_after(NO_LIMIT);
    fixture.issuer.push_action(IssuerAction::Fail(down));
    assert!(rotator.refresh_now().await.is_err());
    let failed = |event: &Event| matches!(event, Event::RefreshFailed { .. });
    assert_eq!(fixture.events.count(failed), 1);
    store.fail_saves(1);
    rotator
        .update(&token, TokenSet::bearer("x").expires_in(NO_LIMIT))
        .expect("usable")
        .await
        .expect_err("the store is down");
    assert!(rotator.shutdown(NO_LIMIT).await);
    assert_eq!(store.access_token().await.as_deref(), Some("x"));
}

/// If a refresh returns no refresh token, `id_token` or scope, memory and store keep the previous
/// value.
#[tokio::test(start_paused = true)]
async fn values_missing_from_a_refresh_are_kept() {
    use token_rotator::ExposeSecret as _;
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .builder()
        .store(store.clone())
        .build()
        .expect("a rotator");
    let login = fixture.issuer.login().with_scope("read write");
    let stored = rotator.sign_in(login).expect("usable");
    stored.await.expect("stored");
    fixture.expire().await;
    fixture.issuer.push_action(IssuerAction::Answer(
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
        assert!(
            tokens.extra("ws_token").is_none(),
            "an extra field of the previous token set"
        );
    }
    // A value that the refresh returns replaces the previous value.
    fixture.expire().await;
    let token = rotator.token().await.expect("a token");
    let tokens = token.token_set();
    assert_eq!(
        tokens.refresh_token().expect("one").expose_secret(),
        "refresh-2"
    );
    assert_eq!(tokens.id_token().expect("one").expose_secret(), "id-2");
    assert_eq!(tokens.scope(), Some("read write"));
    assert_eq!(fixture.issuer.reuse_alarms(), 0);
}
