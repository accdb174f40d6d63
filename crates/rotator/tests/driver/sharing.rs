//! One refresh serves everybody (rules 1, 2 and 5).

use std::time::Duration;

use token_rotator::{Event, FailureKind, RefreshError, SourceError, TokenError};

use crate::common::{Act, Requests as _, World, callers, let_run, outcomes, secret, timed};

/// Fifty callers of an expired single-use session cost one refresh and get its one token.
#[tokio::test(start_paused = true)]
async fn fifty_callers_share_one_refresh() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    let tokens = outcomes(callers(&rotator, 50)).await;
    for token in tokens {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    assert_eq!(world.issuer.calls(), 1);
    assert_eq!(world.issuer.reuse_alarms(), 0);
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::Refreshed { .. })),
        1
    );
}

/// The caller that started the refresh goes away while it is in the air: the refresh goes on, the
/// fifty others are served by it, and nothing is spent twice.
#[tokio::test(start_paused = true)]
async fn a_dropped_leader_leaves_its_flight() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    world.issuer.hold();
    let leader = callers(&rotator, 1).remove(0);
    world.issuer.arrived(1).await;
    let followers = callers(&rotator, 50);
    let_run().await;
    leader.abort();
    assert!(leader.await.expect_err("it was dropped").is_cancelled());
    let_run().await;
    world.issuer.let_go();
    for token in outcomes(followers).await {
        assert_eq!(secret(&token.expect("a token")), "access-2");
    }
    assert_eq!(world.issuer.calls(), 1);
    assert_eq!(world.issuer.reuse_alarms(), 0);
}

/// All callers go away: the refresh still lands, and the next caller finds its token at once.
#[tokio::test(start_paused = true)]
async fn a_flight_lands_with_nobody_waiting() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    world.issuer.hold();
    let calls = callers(&rotator, 10);
    world.issuer.arrived(1).await;
    for call in calls {
        call.abort();
    }
    world.issuer.let_go();
    let_run().await;
    let ready = rotator.ready().expect("a token nobody has to wait for");
    assert_eq!(secret(ready.token().expect("a token")), "access-2");
    assert_eq!(world.issuer.calls(), 1);
}

/// The issuer is down: one call, and all fifty get the same cause when it is over. Nobody waits
/// for a second round.
#[tokio::test(start_paused = true)]
async fn fifty_callers_share_one_failure() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    let down = SourceError::transient("the issuer is down");
    world.issuer.next(Act::Delay(Duration::from_secs(3)));
    world.issuer.next(Act::Fail(down.clone()));
    world.issuer.hold();
    // The delay is answered with a token: this first round is the control.
    world.issuer.let_go();
    let (took, tokens) = timed(outcomes(callers(&rotator, 50))).await;
    assert!(tokens.iter().all(Result::is_ok));
    assert_eq!(took, Duration::from_secs(3));

    world.expire().await;
    let (took, errors) = timed(outcomes(callers(&rotator, 50))).await;
    assert!(
        took < Duration::from_millis(5),
        "nobody waited on: {took:?}"
    );
    assert_eq!(world.issuer.calls(), 2);
    for error in errors {
        let error = error.expect_err("the issuer is down");
        let TokenError::Refresh(RefreshError::Source(source)) = &error else {
            panic!("the issuer's own error, not {error:?}");
        };
        assert_eq!(source.kind(), FailureKind::Transient);
        assert_eq!(source.message(), down.message());
    }
    assert_eq!(
        world
            .heard
            .count(|event| matches!(event, Event::RefreshFailed { .. })),
        1
    );
}

/// A failure that comes late is shared by whoever joined meanwhile, all at the same moment.
#[tokio::test(start_paused = true)]
async fn whoever_joins_late_shares_the_outcome() {
    let world = World::new();
    let rotator = world.signed_in().await;
    world.expire().await;
    world.issuer.next(Act::Hang);
    let first = callers(&rotator, 25);
    let_run().await;
    tokio::time::advance(Duration::from_secs(10)).await;
    let (took, second) = timed(outcomes(callers(&rotator, 25))).await;
    // The source's timeout of 15 s began with the first caller.
    assert_eq!(took.as_secs(), 5);
    for error in second.into_iter().chain(outcomes(first).await) {
        assert!(
            matches!(
                error,
                Err(TokenError::Refresh(RefreshError::TimedOut { .. }))
            ),
            "{error:?}"
        );
    }
    assert_eq!(world.issuer.calls(), 1);
}
