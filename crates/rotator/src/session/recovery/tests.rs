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
fn situation_at(second: u64) -> Situation {
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
fn foreign_intent() -> Intent {
    Intent {
        id: IntentId::from_bits(42),
        ..Intent::new(token(1), wall(0))
    }
}

fn situation_with(intent: Intent, second: u64) -> Situation {
    Situation {
        found: Some(intent),
        ..situation_at(second)
    }
}

fn plan(situation: &Situation) -> RecoveryPlan {
    Recovery::default().plan(situation)
}

/// The plan to present the refresh token again, under the intent of the next attempt.
fn present_again(intent: Intent) -> RecoveryPlan {
    RecoveryPlan::PresentAgain(Intent {
        attempts: intent.attempts + 1,
        outcome: IntentOutcome::Open,
        ..intent
    })
}

fn last_resort(intent: Intent) -> RecoveryPlan {
    match present_again(intent) {
        RecoveryPlan::PresentAgain(intent) => RecoveryPlan::LastResort(intent),
        plan => plan,
    }
}

fn wait(seconds: u64) -> RecoveryPlan {
    RecoveryPlan::Wait(Duration::from_secs(seconds))
}

/// Without an intent for this refresh token the flight presents it, with any profile and access
/// token.
#[test]
fn an_unused_refresh_token_is_presented() {
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
                ..situation_at(3)
            };
            let RecoveryPlan::Present(intent) = plan(&situation) else {
                panic!("the plan does not present the refresh token");
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
fn a_foreign_intent_is_judged_by_the_profile() {
    let open = foreign_intent();
    let uncertain = open.with_outcome(IntentOutcome::Uncertain);
    let (strict, leeway) = (Profile::strict(), Profile::leeway(WINDOW));
    let (parent, many) = (Profile::parent_always(), Profile::multi_use());
    let zero = Profile::leeway(Duration::ZERO);
    #[rustfmt::skip]
    let table = [
        // profile, outcome, access token usable, seconds since, plan
        (strict, open,      true,  0,    RecoveryPlan::DoNotPresent),
        (strict, open,      true,  100,  RecoveryPlan::DoNotPresent),
        (strict, open,      false, 0,    wait(40)),
        (strict, open,      false, 39,   wait(1)),
        (strict, open,      false, 40,   last_resort(open)),
        (strict, uncertain, true,  0,    RecoveryPlan::DoNotPresent),
        (strict, uncertain, false, 0,    last_resort(open)),
        // A tenth of the window is left for the request to reach the issuer.
        (leeway, open,      true,  0,    present_again(open)),
        (leeway, open,      false, 26,   present_again(open)),
        (leeway, uncertain, true,  26,   present_again(open)),
        (leeway, open,      true,  27,   RecoveryPlan::DoNotPresent),
        (leeway, open,      false, 27,   wait(13)),
        (leeway, uncertain, false, 27,   last_resort(open)),
        (leeway, open,      false, 40,   last_resort(open)),
        (zero,   open,      true,  0,    RecoveryPlan::DoNotPresent),
        (zero,   open,      false, 0,    wait(40)),
        (parent, open,      true,  0,    present_again(open)),
        (parent, uncertain, false, 9999, present_again(open)),
        (many,   open,      true,  9999, present_again(open)),
    ];
    for (profile, intent, usable, second, expected) in table {
        let situation = Situation {
            profile,
            usable,
            ..situation_with(intent, second)
        };
        let plan = plan(&situation);
        assert_eq!(plan, expected, "{profile:?} {intent:?} {usable} {second}");
    }
}

/// With kernel locks no other process can be refreshing, so the plan has no wait.
#[test]
fn with_kernel_locks_no_plan_waits() {
    let situation = Situation {
        linger: Duration::ZERO,
        ..situation_with(foreign_intent(), 0)
    };
    assert_eq!(plan(&situation), last_resort(foreign_intent()));
}

/// A refused refresh token is presented again only if a caller forces the refresh.
#[test]
fn a_refused_token_is_presented_only_by_force() {
    for profile in [Profile::strict(), Profile::parent_always()] {
        for usable in [true, false] {
            let refused = foreign_intent().with_outcome(IntentOutcome::Refused);
            let situation = Situation {
                profile,
                usable,
                ..situation_with(refused, 500)
            };
            assert_eq!(plan(&situation), RecoveryPlan::Refused);
            let forced = Situation {
                forced: true,
                ..situation
            };
            assert_eq!(plan(&forced), present_again(refused));
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
        ..situation_with(foreign_intent(), 50)
    };
    assert_eq!(plan(&forced(held)), RecoveryPlan::DoNotPresent);
    assert_eq!(plan(&forced(situation_with(foreign_intent(), 1))), wait(39));
}

/// A refresh token of an older record is presented only as the last resort or by force, whatever the
/// window of the profile.
#[test]
fn a_token_of_an_older_record_is_the_last_resort() {
    let intent = Intent::of_older_record(token(1));
    for profile in [Profile::strict(), Profile::okta()] {
        for (usable, forced, presented) in [
            (true, false, false),
            (true, true, true),
            (false, false, true),
            (false, true, true),
        ] {
            let situation = Situation {
                profile,
                usable,
                forced,
                ..situation_with(intent, 1)
            };
            let expected = if presented {
                RecoveryPlan::LastResort(intent.again())
            } else {
                RecoveryPlan::DoNotPresent
            };
            assert_eq!(plan(&situation), expected, "{usable} {forced}");
        }
    }
}

/// A wall clock that was set back opens no window. The wait then counts from the first read of the
/// intent.
#[test]
fn a_wall_clock_that_was_set_back_opens_no_window() {
    let mut recovery = Recovery::default();
    let back = |second| Situation {
        profile: Profile::leeway(WINDOW),
        wall: wall(0) - Duration::from_secs(3_600),
        ..situation_with(foreign_intent(), second)
    };
    assert_eq!(recovery.plan(&back(100)), wait(40));
    assert_eq!(recovery.plan(&back(139)), wait(1));
    assert_eq!(recovery.plan(&back(140)), last_resort(foreign_intent()));
}

/// A wall clock that was set back a little keeps no window open that has closed by the steady
/// clock.
#[test]
fn a_window_that_was_watched_closes_by_the_steady_clock() {
    let mut recovery = Recovery::default();
    let behind = |second| Situation {
        profile: Profile::leeway(WINDOW),
        wall: wall(2),
        ..situation_with(foreign_intent(), second)
    };
    assert_eq!(recovery.plan(&behind(2)), present_again(foreign_intent()));
    assert_eq!(recovery.plan(&behind(28)), present_again(foreign_intent()));
    assert_eq!(recovery.plan(&behind(29)), wait(13));
}

/// A wall clock that was set forward closes the window.
#[test]
fn a_wall_clock_that_was_set_forward_closes_the_window() {
    let situation = Situation {
        profile: Profile::leeway(WINDOW),
        wall: wall(3_600),
        usable: true,
        ..situation_with(foreign_intent(), 1)
    };
    assert_eq!(plan(&situation), RecoveryPlan::DoNotPresent);
}

/// The wait counts from the first read of the intent, also while the access token is usable.
#[test]
fn the_wait_begins_when_the_intent_is_first_read() {
    let mut recovery = Recovery::default();
    // The wall clock stands before the intent's start, so only the steady clock counts.
    let watched = |second, usable| Situation {
        usable,
        wall: wall(0) - Duration::from_secs(1),
        ..situation_with(foreign_intent(), second)
    };
    assert_eq!(recovery.plan(&watched(0, true)), RecoveryPlan::DoNotPresent);
    assert_eq!(recovery.plan(&watched(30, false)), wait(10));
}

/// Another process that raises the attempts is refreshing now, so the wait starts again. The record
/// holds the time of the first attempt only.
#[test]
fn a_raised_intent_restarts_the_wait() {
    let mut recovery = Recovery::default();
    assert_eq!(
        recovery.plan(&situation_with(foreign_intent(), 30)),
        wait(10)
    );
    let raised = raised_foreign_intent(&mut recovery);
    assert_eq!(recovery.plan(&situation_with(raised, 35)), wait(40));
    assert_eq!(recovery.plan(&situation_with(raised, 74)), wait(1));
    assert_eq!(
        recovery.plan(&situation_with(raised, 75)),
        last_resort(raised)
    );
}

/// The watched intent, raised by another process.
fn raised_foreign_intent(recovery: &mut Recovery) -> Intent {
    let watched = recovery.known(EPOCH).and_then(|known| known.watched);
    let id = watched.expect("a watched intent").id;
    Intent {
        id,
        ..foreign_intent().again()
    }
}
