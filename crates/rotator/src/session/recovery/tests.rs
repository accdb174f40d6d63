//! The plan for every combination of record, own observations, profile and clocks.

mod own;

use std::time::UNIX_EPOCH;

use super::*;

const LINGER: Duration = Duration::from_secs(40);
const WINDOW: Duration = Duration::from_secs(30);
const EPOCH: u64 = 7;

fn token(number: u8) -> TokenHash {
    TokenHash::from_bytes([number; 32])
}

fn wall(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second)
}

fn steady(second: u64) -> Duration {
    Duration::from_secs(5_000 + second)
}

/// The situation `second` seconds after the start of the test: a strict issuer, an expired access
/// token and no intent in the record.
fn at(second: u64) -> Situation {
    Situation {
        epoch: EPOCH,
        token: token(1),
        found: None,
        profile: Profile::strict(),
        wall: wall(second),
        steady: steady(second),
        usable: false,
        forced: false,
        linger: LINGER,
    }
}

/// An intent of another process for the test's refresh token, begun at second 0.
fn theirs() -> Intent {
    Intent {
        id: IntentId::from_bits(42),
        ..Intent::new(token(1), wall(0))
    }
}

fn find(intent: Intent, second: u64) -> Situation {
    Situation {
        found: Some(intent),
        ..at(second)
    }
}

fn plan(situation: &Situation) -> Plan {
    Recovery::default().plan(situation)
}

/// The plan to present the refresh token again, under the intent of the next attempt.
fn again(intent: Intent) -> Plan {
    Plan::Again(Intent {
        attempts: intent.attempts + 1,
        outcome: IntentOutcome::Open,
        ..intent
    })
}

fn last_resort(intent: Intent) -> Plan {
    match again(intent) {
        Plan::Again(intent) => Plan::LastResort(intent),
        plan => plan,
    }
}

fn wait(seconds: u64) -> Plan {
    Plan::Wait(Duration::from_secs(seconds))
}

/// Without an intent for this refresh token the flight presents it, with any profile and access
/// token.
#[test]
fn what_nobody_presented_is_presented() {
    let other = Intent::new(token(2), wall(0));
    for found in [
        None,
        Some(other),
        Some(other.with_outcome(IntentOutcome::Refused)),
    ] {
        for usable in [true, false] {
            let situation = Situation {
                found,
                usable,
                ..at(3)
            };
            let Plan::Present(intent) = plan(&situation) else {
                panic!("nothing speaks against it");
            };
            assert_eq!(intent.attempts, 1);
            assert_eq!(intent.token, token(1));
            assert_eq!(intent.started, wall(3));
            assert_eq!(intent.outcome, IntentOutcome::Open);
        }
    }
}

/// The intent of another process: the plan for each profile, access token, clock and outcome.
#[test]
fn the_intent_of_another_is_judged_by_the_profile() {
    let open = theirs();
    let uncertain = open.with_outcome(IntentOutcome::Uncertain);
    let (strict, leeway) = (Profile::strict(), Profile::leeway(WINDOW));
    let (parent, many) = (Profile::parent_always(), Profile::multi_use());
    let zero = Profile::leeway(Duration::ZERO);
    #[rustfmt::skip]
    let table = [
        // profile, outcome, access token usable, seconds since, plan
        (strict, open,      true,  0,    Plan::Hold),
        (strict, open,      true,  100,  Plan::Hold),
        (strict, open,      false, 0,    wait(40)),
        (strict, open,      false, 39,   wait(1)),
        (strict, open,      false, 40,   last_resort(open)),
        (strict, uncertain, true,  0,    Plan::Hold),
        (strict, uncertain, false, 0,    last_resort(open)),
        // A tenth of the window is left for the request to reach the issuer.
        (leeway, open,      true,  0,    again(open)),
        (leeway, open,      false, 26,   again(open)),
        (leeway, uncertain, true,  26,   again(open)),
        (leeway, open,      true,  27,   Plan::Hold),
        (leeway, open,      false, 27,   wait(13)),
        (leeway, uncertain, false, 27,   last_resort(open)),
        (leeway, open,      false, 40,   last_resort(open)),
        (zero,   open,      true,  0,    Plan::Hold),
        (zero,   open,      false, 0,    wait(40)),
        (parent, open,      true,  0,    again(open)),
        (parent, uncertain, false, 9999, again(open)),
        (many,   open,      true,  9999, again(open)),
    ];
    for (profile, intent, usable, second, expected) in table {
        let situation = Situation {
            profile,
            usable,
            ..find(intent, second)
        };
        let plan = plan(&situation);
        assert_eq!(plan, expected, "{profile:?} {intent:?} {usable} {second}");
    }
}

/// With kernel locks no other process can be refreshing, so the plan has no wait.
#[test]
fn where_nobody_lingers_nobody_waits() {
    let situation = Situation {
        linger: Duration::ZERO,
        ..find(theirs(), 0)
    };
    assert_eq!(plan(&situation), last_resort(theirs()));
}

/// A refused refresh token is presented again only if a caller forces the refresh.
#[test]
fn a_refused_token_is_presented_by_force_alone() {
    for profile in [Profile::strict(), Profile::parent_always()] {
        for usable in [true, false] {
            let refused = theirs().with_outcome(IntentOutcome::Refused);
            let situation = Situation {
                profile,
                usable,
                ..find(refused, 500)
            };
            assert_eq!(plan(&situation), Plan::Refused);
            let forced = Situation {
                forced: true,
                ..situation
            };
            assert_eq!(plan(&forced), again(refused));
        }
    }
}

/// Force overrides the end of a session, but no doubt.
#[test]
fn force_does_not_override_a_doubt() {
    let forced = |situation| Situation {
        forced: true,
        ..situation
    };
    let held = Situation {
        usable: true,
        ..find(theirs(), 50)
    };
    assert_eq!(plan(&forced(held)), Plan::Hold);
    assert_eq!(plan(&forced(find(theirs(), 1))), wait(39));
}

/// A wall clock that was set back opens no window. The wait then counts from the first read of the
/// intent.
#[test]
fn a_wall_clock_that_was_set_back_opens_no_window() {
    let mut recovery = Recovery::default();
    let back = |second| Situation {
        profile: Profile::leeway(WINDOW),
        wall: wall(0) - Duration::from_secs(3_600),
        ..find(theirs(), second)
    };
    assert_eq!(recovery.plan(&back(100)), wait(40));
    assert_eq!(recovery.plan(&back(139)), wait(1));
    assert_eq!(recovery.plan(&back(140)), last_resort(theirs()));
}

/// A wall clock that was set back a little keeps no window open that has closed by the steady
/// clock.
#[test]
fn a_window_that_was_watched_closes_by_the_steady_clock() {
    let mut recovery = Recovery::default();
    let behind = |second| Situation {
        profile: Profile::leeway(WINDOW),
        wall: wall(2),
        ..find(theirs(), second)
    };
    assert_eq!(recovery.plan(&behind(2)), again(theirs()));
    assert_eq!(recovery.plan(&behind(28)), again(theirs()));
    assert_eq!(recovery.plan(&behind(29)), wait(13));
}

/// A wall clock that was set forward closes the window.
#[test]
fn a_wall_clock_that_was_set_forward_closes_the_window() {
    let situation = Situation {
        profile: Profile::leeway(WINDOW),
        wall: wall(3_600),
        usable: true,
        ..find(theirs(), 1)
    };
    assert_eq!(plan(&situation), Plan::Hold);
}

/// The wait counts from the first read of the intent, also while the access token is usable.
#[test]
fn the_wait_begins_when_the_intent_is_first_seen() {
    let mut recovery = Recovery::default();
    // The wall clock stands before the intent's start, so only the steady clock counts.
    let seen = |second, usable| Situation {
        usable,
        wall: wall(0) - Duration::from_secs(1),
        ..find(theirs(), second)
    };
    assert_eq!(recovery.plan(&seen(0, true)), Plan::Hold);
    assert_eq!(recovery.plan(&seen(30, false)), wait(10));
}

/// Another process that raises the attempts is refreshing now, so the wait begins anew. The record
/// holds the time of the first attempt only.
#[test]
fn a_raised_intent_is_waited_for_anew() {
    let mut recovery = Recovery::default();
    assert_eq!(recovery.plan(&find(theirs(), 30)), wait(10));
    let raised = theirs_raised_from(&mut recovery);
    assert_eq!(recovery.plan(&find(raised, 35)), wait(40));
    assert_eq!(recovery.plan(&find(raised, 74)), wait(1));
    assert_eq!(recovery.plan(&find(raised, 75)), last_resort(raised));
}

/// The watched intent, raised by another process.
fn theirs_raised_from(recovery: &mut Recovery) -> Intent {
    let seen = recovery.known(EPOCH).and_then(|known| known.seen);
    let id = seen.expect("it watches one").id;
    Intent {
        id,
        ..theirs().again()
    }
}
