//! Intents of our own: never sent, sent, raised by another, withdrawn and cleared.

use super::*;

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
    journal.writing(EPOCH, raised);
    assert_eq!(journal.plan(&find(raised, 50)), wait(40));
    // And what was ours before is so still.
    let (journal, intent) = sent();
    journal.writing(EPOCH, intent.again());
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
    journal.writing(before, old);
    journal.written(before, &old);
    journal.sending(before, &old, steady(0));
    journal.uncertain(before, old);
    journal.withdraw(before, None);
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
