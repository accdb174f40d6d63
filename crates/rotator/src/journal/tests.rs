//! Every combination of what the record says, what we know ourselves, what the profile allows and
//! what the clocks show, against the plan that follows.

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

/// What a flight finds `second` seconds after the story began, with a strict issuer, an access
/// token that is gone and no intent in the record.
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

/// Somebody's intent for the refresh token of the story, begun when it began.
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
    Journal::default().plan(situation)
}

/// The refresh token may be presented, and under an intent that says so.
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

/// An intent of ours, written at the beginning.
fn written() -> (Journal, Intent) {
    let journal = Journal::default();
    let Plan::Present(intent) = journal.plan(&at(0)) else {
        panic!("nothing speaks against it");
    };
    journal.writing(EPOCH, intent);
    journal.written(EPOCH, &intent);
    (journal, intent)
}

/// The same, and sent at once.
fn sent() -> (Journal, Intent) {
    let (journal, intent) = written();
    journal.sending(EPOCH, &intent, steady(0));
    (journal, intent)
}

/// Without an intent, or with one for another refresh token, nothing speaks against it, whatever
/// the profile and the access token.
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

/// Another's intent: what the profile, the access token, the clock and the outcome make of it.
#[test]
fn the_intent_of_another_is_judged_by_the_profile() {
    let open = theirs();
    let uncertain = open.with_outcome(IntentOutcome::Uncertain);
    let (strict, leeway) = (Profile::strict(), Profile::leeway(WINDOW));
    let (parent, many) = (Profile::parent_always(), Profile::multi_use());
    let zero = Profile::leeway(Duration::ZERO);
    #[rustfmt::skip]
    let table = [
        // profile, outcome, access token good, seconds since, plan
        (strict, open,      true,  0,    Plan::Hold),
        (strict, open,      true,  100,  Plan::Hold),
        (strict, open,      false, 0,    wait(40)),
        (strict, open,      false, 39,   wait(1)),
        (strict, open,      false, 40,   last_resort(open)),
        (strict, uncertain, true,  0,    Plan::Hold),
        (strict, uncertain, false, 0,    last_resort(open)),
        // A tenth of the window is left for the way.
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

/// With kernel locks nobody else can be at work: no wait.
#[test]
fn where_nobody_lingers_nobody_waits() {
    let situation = Situation {
        linger: Duration::ZERO,
        ..find(theirs(), 0)
    };
    assert_eq!(plan(&situation), last_resort(theirs()));
}

/// What the issuer has refused is not presented again, unless somebody asks for it by name.
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

/// Force overrides the end of a session, and not a doubt.
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

/// A wall clock that was set back tells nothing: no window is open, and the wait goes by how long
/// we have watched.
#[test]
fn a_wall_clock_that_was_set_back_opens_no_window() {
    let journal = Journal::default();
    let back = |second| Situation {
        profile: Profile::leeway(WINDOW),
        wall: wall(0) - Duration::from_secs(3_600),
        ..find(theirs(), second)
    };
    assert_eq!(journal.plan(&back(100)), wait(40));
    assert_eq!(journal.plan(&back(139)), wait(1));
    assert_eq!(journal.plan(&back(140)), last_resort(theirs()));
}

/// Nor does one that was set back by a little keep a window open that we have watched close.
#[test]
fn a_window_that_was_watched_closes_by_the_steady_clock() {
    let journal = Journal::default();
    let behind = |second| Situation {
        profile: Profile::leeway(WINDOW),
        wall: wall(2),
        ..find(theirs(), second)
    };
    assert_eq!(journal.plan(&behind(2)), again(theirs()));
    assert_eq!(journal.plan(&behind(28)), again(theirs()));
    assert_eq!(journal.plan(&behind(29)), wait(13));
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

/// The access token is watched over too: time passed with it counts as waited.
#[test]
fn the_wait_begins_when_the_intent_is_first_seen() {
    let journal = Journal::default();
    // No help from the wall clock.
    let seen = |second, usable| Situation {
        usable,
        wall: wall(0) - Duration::from_secs(1),
        ..find(theirs(), second)
    };
    assert_eq!(journal.plan(&seen(0, true)), Plan::Hold);
    assert_eq!(journal.plan(&seen(30, false)), wait(10));
}

/// When its attempts are raised, somebody else is at work, and the wait begins anew: the record
/// says when the first attempt was made, and not when the last was.
#[test]
fn a_raised_intent_is_waited_for_anew() {
    let journal = Journal::default();
    assert_eq!(journal.plan(&find(theirs(), 30)), wait(10));
    let raised = theirs_raised_from(&journal);
    assert_eq!(journal.plan(&find(raised, 35)), wait(40));
    assert_eq!(journal.plan(&find(raised, 74)), wait(1));
    assert_eq!(journal.plan(&find(raised, 75)), last_resort(raised));
}

/// The intent that the journal watches, raised by somebody.
fn theirs_raised_from(journal: &Journal) -> Intent {
    let seen = journal.known(EPOCH).and_then(|known| known.seen);
    let id = seen.expect("it watches one").id;
    Intent {
        id,
        ..theirs().again()
    }
}

/// Our own that was never sent is presented, whether the record took it or not, and its time
/// begins when it is.
#[test]
fn our_own_that_was_never_sent_is_presented() {
    let (journal, intent) = written();
    for (found, usable) in [(Some(intent), true), (Some(intent), false), (None, false)] {
        let situation = Situation {
            found,
            usable,
            ..at(100)
        };
        let expected = Intent {
            started: wall(100),
            ..intent
        };
        assert_eq!(journal.plan(&situation), Plan::Present(expected));
    }
    // Its answer was lost: nobody told us that it was written, and it was.
    let journal = Journal::default();
    journal.writing(EPOCH, intent);
    assert!(matches!(
        journal.plan(&find(intent, 1)),
        Plan::Present(found) if found.id == intent.id && found.attempts == 1
    ));
}

/// Our own that was sent is in doubt at once; nobody waits for us. By both clocks.
#[test]
fn our_own_that_was_sent_is_in_doubt() {
    let (journal, intent) = sent();
    for found in [Some(intent), None] {
        let situation = |second, usable| Situation {
            found,
            usable,
            ..at(second)
        };
        assert_eq!(journal.plan(&situation(1, true)), Plan::Hold);
        assert_eq!(journal.plan(&situation(1, false)), last_resort(intent));
        let leeway = |second| Situation {
            profile: Profile::leeway(WINDOW),
            ..situation(second, true)
        };
        assert_eq!(journal.plan(&leeway(26)), again(intent));
        assert_eq!(journal.plan(&leeway(27)), Plan::Hold);
        let set_back = Situation {
            wall: wall(0) - Duration::from_secs(10),
            ..leeway(26)
        };
        assert_eq!(journal.plan(&set_back), again(intent));
        let set_back = Situation {
            wall: wall(0),
            ..leeway(27)
        };
        assert_eq!(journal.plan(&set_back), Plan::Hold);
        let set_forward = Situation {
            wall: wall(27),
            ..leeway(1)
        };
        assert_eq!(journal.plan(&set_forward), Plan::Hold);
    }
}

/// Our own that another has raised since is not ours any more: neither unsent nor without a wait.
#[test]
fn our_own_that_another_has_raised_is_theirs() {
    for (journal, intent) in [written(), sent()] {
        let raised = intent.again();
        let situation = Situation {
            usable: true,
            ..find(raised, 10)
        };
        assert_eq!(journal.plan(&situation), Plan::Hold);
        assert_eq!(journal.plan(&find(raised, 11)), wait(39));
        assert_eq!(journal.plan(&find(raised, 50)), last_resort(raised));
        let uncertain = raised.with_outcome(IntentOutcome::Uncertain);
        assert_eq!(journal.plan(&find(uncertain, 51)), last_resort(raised));
    }
}

/// Another's that we have raised is ours only if the record took that for certain.
#[test]
fn one_that_we_raised_is_ours_once_the_record_has_it() {
    let journal = Journal::default();
    let raised = theirs().again();
    journal.plan(&find(theirs(), 0));
    journal.writing(EPOCH, raised);
    // Nobody knows whose attempt it is, if it is in the record at all.
    assert_eq!(journal.plan(&find(raised, 50)), wait(40));
    journal.written(EPOCH, &raised);
    assert_eq!(journal.plan(&find(raised, 51)), last_resort(raised));
}

/// The record was written by another while we were about to raise its intent: theirs is theirs.
#[test]
fn one_that_we_lost_is_not_ours() {
    let journal = Journal::default();
    let raised = theirs().again();
    let before = journal.writing(EPOCH, raised);
    journal.not_written(EPOCH, before);
    assert_eq!(journal.plan(&find(raised, 50)), wait(40));
    // And what was ours before is so again.
    let (journal, intent) = sent();
    let before = journal.writing(EPOCH, intent.again());
    journal.not_written(EPOCH, before);
    assert_eq!(journal.plan(&find(intent, 1)), last_resort(intent));
}

/// Withdrawn: nothing was spent by us, and what was in doubt before is in doubt again.
#[test]
fn a_withdrawn_intent_leaves_things_as_they_stood() {
    // Ours alone: whether or not the record says so, it was never spent.
    let (journal, intent) = sent();
    journal.withdraw(EPOCH, None);
    assert!(matches!(journal.plan(&at(5)), Plan::Present(_)));
    assert!(matches!(
        journal.plan(&find(intent, 5)),
        Plan::Present(found) if found.attempts == 1
    ));
    assert_eq!(journal.in_doubt(EPOCH, token(1), Some(intent)), None);
    assert_eq!(journal.in_doubt(EPOCH, token(1), None), None);

    // Ours, with a lost answer before.
    let (journal, intent) = sent();
    let uncertain = intent.with_outcome(IntentOutcome::Uncertain);
    journal.uncertain(EPOCH, uncertain);
    assert_eq!(journal.in_doubt(EPOCH, token(1), None), Some(uncertain));
    journal.writing(EPOCH, intent.again());
    journal.written(EPOCH, &intent.again());
    journal.withdraw(EPOCH, Some(uncertain));
    assert_eq!(journal.in_doubt(EPOCH, token(1), None), Some(uncertain));
    assert_eq!(journal.plan(&at(5)), last_resort(intent));

    // Another's, raised by us: theirs again, and waited for.
    let journal = Journal::default();
    journal.plan(&find(theirs_of(token(1)), 0));
    let theirs = theirs_of(token(1));
    journal.writing(EPOCH, theirs.again());
    journal.written(EPOCH, &theirs.again());
    journal.sending(EPOCH, &theirs.again(), steady(1));
    journal.withdraw(EPOCH, Some(theirs));
    assert_eq!(journal.plan(&find(theirs, 10)), wait(30));
}

fn theirs_of(token: TokenHash) -> Intent {
    Intent {
        id: IntentId::from_bits(99),
        ..Intent::new(token, wall(0))
    }
}

/// Cleared: nothing is in doubt.
#[test]
fn a_cleared_journal_knows_nothing() {
    let (journal, _) = sent();
    journal.clear(EPOCH);
    assert!(matches!(journal.plan(&at(5)), Plan::Present(_)));
    assert_eq!(journal.in_doubt(EPOCH, token(1), None), None);
}

/// A flight of the sign-in before, still in the air, changes nothing of what is known of this one,
/// and learns nothing from it; a later sign-in begins with an empty journal.
#[test]
fn sign_ins_do_not_meet_in_the_journal() {
    let (journal, intent) = sent();
    let before = EPOCH - 1;
    let old = Intent::new(token(2), wall(0));
    assert!(journal.writing(before, old).is_none());
    journal.written(before, &old);
    journal.sending(before, &old, steady(0));
    journal.uncertain(before, old);
    journal.withdraw(before, None);
    journal.not_written(before, None);
    journal.clear(before);
    assert_eq!(journal.plan(&find(intent, 1)), last_resort(intent));
    let late = Situation {
        epoch: before,
        ..at(1)
    };
    assert!(matches!(journal.plan(&late), Plan::Present(_)));
    let later = Situation {
        epoch: EPOCH + 1,
        ..at(1)
    };
    assert!(matches!(journal.plan(&later), Plan::Present(_)));
    assert_eq!(journal.in_doubt(EPOCH, token(1), None), None, "it is over");
}
