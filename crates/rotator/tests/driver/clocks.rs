//! Tests that a clock that moves ends no token and revives none (rule 19), and that a token set
//! handed to a sign-in is believed when it says that it has expired.

use std::time::{Duration, SystemTime};

use token_rotator::{
    Clock, Event, Expiry, ExposeSecret as _, RefreshError, SourceError, TokenError, TokenSet,
};

use crate::common::{
    Fixture, IssuerAction, LIFETIME, ScriptedStore, collect_outcomes, run_ready_tasks, secret,
    spawn_callers,
};

const HOUR_MILLIS: i64 = 3_600_000;

/// Jumps of the wall clock: five hours back and forth, and to 1970 and back.
const JUMPS: [i64; 4] = [
    -5 * HOUR_MILLIS,
    5 * HOUR_MILLIS,
    -1_800_000_000_000,
    1_800_000_000_000,
];

fn clock_events(fixture: &Fixture) -> usize {
    let is_clock = |event: &Event| matches!(event, Event::ClockAhead { .. });
    fixture.events.count(is_clock)
}

/// The kinds of token set that say that they have expired.
fn expired(fixture: &Fixture) -> [TokenSet; 4] {
    let now = fixture.clock.wall();
    let at = |at| fixture.issuer.login().with_expiry(Expiry::At(at));
    [
        at(now - Duration::from_secs(3_600)),
        at(now),
        at(SystemTime::UNIX_EPOCH),
        fixture.issuer.login().expires_in(Duration::ZERO),
    ]
}

/// Row 0 of the Rust cases. 200 callers of a token set that was handed in expired cause one refresh
/// and get its token. The clock does not advance meanwhile.
#[tokio::test(start_paused = true)]
async fn a_token_set_handed_in_expired_is_refreshed_before_it_is_served() {
    let kinds = expired(&Fixture::new()).len();
    for kind in 0..kinds {
        let fixture = Fixture::new();
        let rotator = fixture.builder().build().expect("a rotator");
        let tokens = expired(&fixture)[kind].clone();
        let dead = tokens.access_token().clone();
        let stored = rotator.sign_in(tokens).expect("usable tokens");
        stored.await.expect("no store");
        for outcome in collect_outcomes(spawn_callers(&rotator, 200)).await {
            let token = secret(&outcome.expect("a token"));
            assert_ne!(token, dead.expose_secret(), "kind {kind}");
        }
        assert_eq!(fixture.issuer.refresh_calls(), 1, "kind {kind}");
        assert_eq!(fixture.issuer.reuse_alarms(), 0, "kind {kind}");
        assert_eq!(clock_events(&fixture), 0, "kind {kind}");
    }
}

/// A token that is known to have expired is not served while the issuer is down: every caller gets
/// the error.
#[tokio::test(start_paused = true)]
async fn a_token_handed_in_expired_is_not_served_while_the_issuer_is_down() {
    let fixture = Fixture::new();
    let rotator = fixture.builder().build().expect("a rotator");
    let login = fixture.issuer.login().expires_in(Duration::ZERO);
    let stored = rotator.sign_in(login).expect("usable tokens");
    stored.await.expect("no store");
    let down = SourceError::transient("down");
    fixture.issuer.push_action(IssuerAction::Fail(down));
    for outcome in collect_outcomes(spawn_callers(&rotator, 20)).await {
        let error = outcome.expect_err("no token");
        assert!(
            matches!(error, TokenError::Refresh(RefreshError::Source(_))),
            "{error:?}"
        );
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// An update with an expired token set is refreshed before it is served, too.
#[tokio::test(start_paused = true)]
async fn an_update_handed_in_expired_is_refreshed_before_it_is_served() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    let token = rotator.token().await.expect("a token");
    let newer = TokenSet::bearer("dead").with_expiry(Expiry::At(SystemTime::UNIX_EPOCH));
    let stored = rotator.update(&token, newer).expect("usable tokens");
    stored.await.expect("no store");
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}

/// The wall clock is set during the life of a token. The token is served exactly as long as its
/// lifetime, whatever the wall clock shows, and each expiry causes one refresh.
#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_changes_no_lifetime() {
    for jump in JUMPS {
        let fixture = Fixture::new();
        let rotator = fixture.signed_in().await;
        tokio::time::advance(LIFETIME / 2).await;
        fixture.clock.shift_wall(jump);
        let token = rotator.token().await.expect("a token");
        assert_eq!(secret(&token), "access-1", "{jump}");
        assert_eq!(rotator.time_left(&token), Some(LIFETIME / 2), "{jump}");
        // The window of early refreshes opens as if the wall clock had not been set.
        tokio::time::advance((LIFETIME / 2).saturating_sub(Duration::from_secs(1))).await;
        assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
        run_ready_tasks().await;
        assert_eq!(fixture.issuer.refresh_calls(), 1, "{jump}");
        // Set back, the new token lives as long as any other.
        fixture.clock.shift_wall(-jump);
        tokio::time::advance(LIFETIME).await;
        let token = rotator.token().await.expect("a token");
        assert_eq!(secret(&token), "access-3", "{jump}");
        assert_eq!(fixture.issuer.refresh_calls(), 2, "{jump}");
        assert_eq!(fixture.issuer.reuse_alarms(), 0, "{jump}");
    }
}

/// The wall clock is set between the sign-in and an expiry without an early refresh. The expired
/// token is not served.
#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_revives_no_token() {
    for jump in JUMPS {
        let fixture = Fixture::new();
        let rotator = fixture.signed_in().await;
        fixture.clock.shift_wall(jump);
        tokio::time::advance(LIFETIME).await;
        let down = SourceError::transient("down");
        fixture.issuer.push_action(IssuerAction::Fail(down));
        rotator.token().await.expect_err("an expired token");
        assert_eq!(fixture.issuer.refresh_calls(), 1, "{jump}");
    }
}

/// A lifetime that is given as a moment becomes a lifetime at the receipt. Setting the wall clock
/// afterwards does not change it.
#[tokio::test(start_paused = true)]
async fn a_moment_of_expiry_becomes_a_lifetime_at_the_receipt() {
    for jump in JUMPS {
        let fixture = Fixture::new();
        let at = fixture.clock.wall() + LIFETIME;
        fixture.issuer.expiry(Expiry::At(at));
        let rotator = fixture.signed_in().await;
        fixture.clock.shift_wall(jump);
        tokio::time::advance(LIFETIME.saturating_sub(Duration::from_secs(100))).await;
        let token = rotator.token().await.expect("a token");
        assert_eq!(secret(&token), "access-1", "{jump}");
        assert_eq!(
            rotator.time_left(&token),
            Some(Duration::from_secs(100)),
            "{jump}"
        );
        fixture.issuer.expiry(Expiry::In(LIFETIME));
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    }
}

/// An issuer's token that had expired before it arrived has an unknown expiry: it is served until it
/// is refused, one event names the clock, and no refresh follows.
#[tokio::test(start_paused = true)]
async fn a_token_that_arrives_expired_proves_the_clock_wrong() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    // {"iat":1799996400,"exp":1800000000}; the clock of the fixture starts at 1800000000.
    let jwt = TokenSet::bearer("e30.eyJpYXQiOjE3OTk5OTY0MDAsImV4cCI6MTgwMDAwMDAwMH0.c2ln");
    let past = fixture.clock.wall() - Duration::from_secs(5 * 3_600);
    let moment = TokenSet::bearer("moment").with_expiry(Expiry::At(past));
    for (number, (tokens, least)) in [(moment, 5 * 3_600), (jwt, 0)].into_iter().enumerate() {
        let tokens = tokens.with_refresh_token(format!("refresh-{number}"));
        fixture
            .issuer
            .push_action(IssuerAction::Answer(tokens.clone()));
        rotator.refresh_now().await.expect("a token");
        tokio::time::advance(Duration::from_secs(24 * 3_600)).await;
        let token = rotator.token().await.expect("a token");
        assert_eq!(rotator.time_left(&token), None);
        assert_eq!(token.token_set().expiry(), Expiry::Unknown);
        assert_eq!(fixture.issuer.refresh_calls(), number + 1);
        assert_eq!(clock_events(&fixture), number + 1);
        let at_least =
            |event: &Event| matches!(event, Event::ClockAhead { by } if by.as_secs() >= least);
        assert!(fixture.events.count(at_least) > 0, "{least}");
    }
}

/// A source that answers with a lifetime of zero gives no expiry. The token is served until it is
/// refused.
#[tokio::test(start_paused = true)]
async fn a_lifetime_of_zero_from_a_source_is_unknown() {
    let fixture = Fixture::new();
    let rotator = fixture.signed_in().await;
    fixture.issuer.expiry(Expiry::In(Duration::ZERO));
    let token = rotator.refresh_now().await.expect("a token");
    assert_eq!(rotator.time_left(&token), None);
    tokio::time::advance(LIFETIME).await;
    rotator.token().await.expect("a token");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    assert_eq!(clock_events(&fixture), 0);
}

/// A JWT of unknown expiry lives from its receipt for the time between `iat` and `exp`, also if the
/// local clock is five hours behind.
#[tokio::test(start_paused = true)]
async fn a_slow_clock_extends_no_jwt() {
    let fixture = Fixture::new();
    fixture.clock.shift_wall(-5 * HOUR_MILLIS);
    let rotator = fixture.builder().build().expect("a rotator");
    // {"iat":1800000000,"exp":1800003600}
    let login = fixture.issuer.login();
    let refresh_token = login.refresh_token().expect("a refresh token").clone();
    let jwt = TokenSet::bearer("e30.eyJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMzYwMH0.c2ln")
        .with_refresh_token(refresh_token);
    rotator
        .sign_in(jwt)
        .expect("usable tokens")
        .await
        .expect("no store");
    let token = rotator.token().await.expect("a token");
    let hour = Duration::from_secs(3_600);
    assert_eq!(rotator.time_left(&token), Some(hour));
    tokio::time::advance(hour).await;
    assert_eq!(rotator.time_left(&token), Some(Duration::ZERO));
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
}

/// An opaque token without expiry has the lifetime that the program sets. The issuer's own lifetime
/// overrides it.
#[tokio::test(start_paused = true)]
async fn a_default_lifetime_counts_if_the_issuer_gives_none() {
    let fixture = Fixture::new();
    let two_hours = Duration::from_secs(7_200);
    fixture.issuer.expiry(Expiry::Unknown);
    let set = |builder: token_rotator::RotatorBuilder| builder.default_lifetime(two_hours);
    let rotator = fixture.signed_in_with(set).await;
    let token = rotator.token().await.expect("a token");
    assert_eq!(rotator.time_left(&token), Some(two_hours));
    fixture.issuer.expiry(Expiry::In(LIFETIME));
    tokio::time::advance(two_hours).await;
    let token = rotator.token().await.expect("a token");
    assert_eq!(secret(&token), "access-2");
    assert_eq!(rotator.time_left(&token), Some(LIFETIME));
}

/// A stored token set was received by a clock that was far ahead. Its age is unknown, so the token
/// counts as expired; one refresh writes a receipt that is right.
#[tokio::test(start_paused = true)]
async fn a_receipt_in_the_future_is_refreshed_once() {
    for (ahead, refreshes) in [(5 * HOUR_MILLIS, 1), (60_000, 0), (60_001, 1)] {
        let fixture = Fixture::new();
        let store = ScriptedStore::new();
        fixture.clock.shift_wall(ahead);
        fixture
            .signed_in_with(|builder| builder.store(store.clone()))
            .await;
        fixture.clock.shift_wall(-ahead);
        for _process in 0..3 {
            let builder = fixture.builder().store(store.clone());
            let rotator = builder.build().expect("a rotator");
            let token = rotator.token().await.expect("a token");
            let left = rotator.time_left(&token);
            assert!(left <= Some(LIFETIME), "{ahead}: {left:?}");
            assert_eq!(fixture.issuer.refresh_calls(), refreshes, "{ahead}");
        }
    }
}

/// A clock that does not count suspend: the wall clock ran further, so the token has expired.
#[tokio::test(start_paused = true)]
async fn time_in_suspend_counts_by_the_wall_clock() {
    #[derive(Clone)]
    struct Suspends(crate::common::TestClock);

    impl Clock for Suspends {
        fn wall(&self) -> SystemTime {
            self.0.wall()
        }

        fn steady(&self) -> Duration {
            self.0.steady()
        }

        fn counts_suspend(&self) -> bool {
            false
        }
    }

    let fixture = Fixture::new();
    let clock = Suspends(fixture.clock.clone());
    let rotator = fixture.signed_in_with(|builder| builder.clock(clock)).await;
    // Set back: nothing changes.
    fixture.clock.shift_wall(-5 * HOUR_MILLIS);
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
    // Suspended for an hour.
    fixture.clock.shift_wall(HOUR_MILLIS);
    assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    assert_eq!(fixture.issuer.refresh_calls(), 1);
}
