//! Flights that the failure of another process holds back.

use token_rotator_core::{Ending, Failure, Landing, Now, Policy, Session, Step, Validity};

fn at(time: u64) -> Now {
    Now {
        wall: time,
        steady: time,
    }
}

fn expired() -> Session {
    let mut session = Session::new(Policy::required());
    session.sign_in(Validity::until(1_000), at(0));
    session
}

/// No flight starts for exactly the given time, and no failure is counted.
#[test]
fn a_flight_is_held_back_for_the_given_time() {
    let mut session = expired();
    assert_eq!(session.acquire(at(1_000)), Step::Refresh);
    let flight = session.flight().expect("a flight");
    assert_eq!(
        session.held_back(flight, 700, false, at(1_000)),
        Landing::Cooling
    );
    assert_eq!(session.error(), flight.id);
    assert_eq!(session.settle(flight, at(1_000)), Step::Fail);
    assert_eq!(session.acquire(at(1_699)), Step::Fail);
    assert_eq!(session.acquire(at(1_700)), Step::Refresh);
    // The next failure is the first that is counted.
    let flight = session.flight().expect("a flight");
    session.failed(flight, Failure::new(Ending::Transient), at(1_700));
    assert_eq!(session.cool_until(), 1_700 + session.policy.cool_down);
}

/// A caller overrides the wait unless the issuer asked for it.
#[test]
fn force_overrides_a_wait_that_the_issuer_did_not_ask_for() {
    for (by_issuer, expected) in [(false, Step::Refresh), (true, Step::Fail)] {
        let mut session = expired();
        session.acquire(at(1_000));
        let flight = session.flight().expect("a flight");
        session.held_back(flight, 700, by_issuer, at(1_000));
        assert_eq!(session.force(at(1_001)), expected);
    }
}

/// A wait is at most as long as the longest `Retry-After`.
#[test]
fn a_wait_is_bounded() {
    let mut session = expired();
    session.acquire(at(1_000));
    let flight = session.flight().expect("a flight");
    session.held_back(flight, u64::MAX, false, at(1_000));
    assert_eq!(session.cool_until(), 1_000 + session.policy.retry_after_max);
}

/// A token that was installed meanwhile stays in use without a cool-down. A flight that has left its slot
/// reports nothing.
#[test]
fn a_late_report_holds_nothing_back() {
    let mut session = expired();
    session.acquire(at(1_000));
    let flight = session.flight().expect("a flight");
    session.update(Validity::until(9_000), at(1_001));
    assert_eq!(
        session.held_back(flight, 700, false, at(1_002)),
        Landing::Stale
    );
    assert_eq!(session.cool_until(), 0);
    assert_eq!(session.acquire(at(1_003)), Step::Use);
    assert_eq!(session.error(), flight.id);
    session.sign_in(Validity::until(9_000), at(1_004));
    assert_eq!(
        session.held_back(flight, 700, false, at(1_005)),
        Landing::Stale
    );
    assert_eq!(session.error(), 0);
}
