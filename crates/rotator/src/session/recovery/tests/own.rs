//! Intents of this process: never sent, sent, raised by another process, withdrawn and cleared.

use super::*;

/// An intent of this process, written at second 0.
fn written() -> (Recovery, Intent) {
    let mut recovery = Recovery::default();
    let RecoveryPlan::Present(intent) = recovery.plan(&situation_at(0)) else {
        panic!("the plan does not present the refresh token");
    };
    recovery.writing(EPOCH, intent);
    recovery.written(EPOCH, &intent);
    (recovery, intent)
}

/// An intent of this process, written and sent at second 0.
fn sent() -> (Recovery, Intent) {
    let (mut recovery, intent) = written();
    recovery.sending(EPOCH, &intent, steady(0));
    (recovery, intent)
}

/// An own intent that was never sent is presented, whether the record holds it or not. Its time
/// begins at the presentation.
#[test]
fn an_unsent_own_intent_is_presented() {
    let (mut recovery, intent) = written();
    for (found, usable) in [(Some(intent), true), (Some(intent), false), (None, false)] {
        let situation = Situation {
            found,
            usable,
            ..situation_at(100)
        };
        let expected = Intent {
            started: wall(100),
            ..intent
        };
        assert_eq!(recovery.plan(&situation), RecoveryPlan::Present(expected));
    }
    // The store's answer to the write was lost, but the record holds the intent.
    let mut recovery = Recovery::default();
    recovery.writing(EPOCH, intent);
    assert!(matches!(
        recovery.plan(&situation_with(intent, 1)),
        RecoveryPlan::Present(found) if found.id == intent.id && found.attempts == 1
    ));
}

/// An own intent that was sent is in doubt at once, by both clocks. No other process is waited for.
#[test]
fn a_sent_own_intent_is_in_doubt() {
    let (mut recovery, intent) = sent();
    for found in [Some(intent), None] {
        let situation = |second, usable| Situation {
            found,
            usable,
            ..situation_at(second)
        };
        assert_eq!(
            recovery.plan(&situation(1, true)),
            RecoveryPlan::DoNotPresent
        );
        assert_eq!(recovery.plan(&situation(1, false)), last_resort(intent));
        let leeway = |second| Situation {
            profile: Profile::leeway(WINDOW),
            ..situation(second, true)
        };
        assert_eq!(recovery.plan(&leeway(26)), present_again(intent));
        assert_eq!(recovery.plan(&leeway(27)), RecoveryPlan::DoNotPresent);
        let set_back = Situation {
            wall: wall(0) - Duration::from_secs(10),
            ..leeway(26)
        };
        assert_eq!(recovery.plan(&set_back), present_again(intent));
        let set_back = Situation {
            wall: wall(0),
            ..leeway(27)
        };
        assert_eq!(recovery.plan(&set_back), RecoveryPlan::DoNotPresent);
        let set_forward = Situation {
            wall: wall(27),
            ..leeway(1)
        };
        assert_eq!(recovery.plan(&set_forward), RecoveryPlan::DoNotPresent);
    }
}

/// An own intent that another process has raised counts as foreign: it may be sent, and it is
/// waited for.
#[test]
fn an_own_intent_raised_by_another_process_is_foreign() {
    for (mut recovery, intent) in [written(), sent()] {
        let raised = intent.again();
        let situation = Situation {
            usable: true,
            ..situation_with(raised, 10)
        };
        assert_eq!(recovery.plan(&situation), RecoveryPlan::DoNotPresent);
        assert_eq!(recovery.plan(&situation_with(raised, 11)), wait(39));
        assert_eq!(
            recovery.plan(&situation_with(raised, 50)),
            last_resort(raised)
        );
        let uncertain = raised.with_outcome(IntentOutcome::Uncertain);
        assert_eq!(
            recovery.plan(&situation_with(uncertain, 51)),
            last_resort(raised)
        );
    }
}

/// A foreign intent that this process has raised counts as own only if the record certainly holds
/// the raised intent.
#[test]
fn a_raised_foreign_intent_is_own_once_the_record_holds_it() {
    let mut recovery = Recovery::default();
    let raised = foreign_intent().again();
    recovery.plan(&situation_with(foreign_intent(), 0));
    recovery.writing(EPOCH, raised);
    // Either process may have made the attempt in the record.
    assert_eq!(recovery.plan(&situation_with(raised, 50)), wait(40));
    recovery.written(EPOCH, &raised);
    assert_eq!(
        recovery.plan(&situation_with(raised, 51)),
        last_resort(raised)
    );
}

/// Another process wrote the record while this process was about to raise the intent, so the intent
/// stays foreign.
#[test]
fn an_intent_that_lost_its_write_stays_foreign() {
    let mut recovery = Recovery::default();
    let raised = foreign_intent().again();
    recovery.writing(EPOCH, raised);
    assert_eq!(recovery.plan(&situation_with(raised, 50)), wait(40));
    // An intent that was own before stays own.
    let (mut recovery, intent) = sent();
    recovery.writing(EPOCH, intent.again());
    assert_eq!(
        recovery.plan(&situation_with(intent, 1)),
        last_resort(intent)
    );
}

/// A withdrawn intent was not spent by this process. An intent that was in doubt before is in doubt
/// again.
#[test]
fn a_withdrawn_intent_restores_the_intent_before() {
    // Only this process wrote the intent, so it was never spent, whatever the record says.
    let (mut recovery, intent) = sent();
    recovery.withdraw(EPOCH, None);
    assert!(matches!(
        recovery.plan(&situation_at(5)),
        RecoveryPlan::Present(_)
    ));
    assert!(matches!(
        recovery.plan(&situation_with(intent, 5)),
        RecoveryPlan::Present(found) if found.attempts == 1
    ));
    assert_eq!(recovery.in_doubt(EPOCH, token(1), Some(intent)), None);
    assert_eq!(recovery.in_doubt(EPOCH, token(1), None), None);

    // An own intent with a lost answer before.
    let (mut recovery, intent) = sent();
    let uncertain = intent.with_outcome(IntentOutcome::Uncertain);
    recovery.uncertain(EPOCH, uncertain);
    assert_eq!(recovery.in_doubt(EPOCH, token(1), None), Some(uncertain));
    recovery.writing(EPOCH, intent.again());
    recovery.written(EPOCH, &intent.again());
    recovery.withdraw(EPOCH, Some(uncertain));
    assert_eq!(recovery.in_doubt(EPOCH, token(1), None), Some(uncertain));
    assert_eq!(recovery.plan(&situation_at(5)), last_resort(intent));

    // A foreign intent that this process had raised is foreign again, and is waited for.
    let mut recovery = Recovery::default();
    recovery.plan(&situation_with(foreign_intent_for(token(1)), 0));
    let foreign = foreign_intent_for(token(1));
    recovery.writing(EPOCH, foreign.again());
    recovery.written(EPOCH, &foreign.again());
    recovery.sending(EPOCH, &foreign.again(), steady(1));
    recovery.withdraw(EPOCH, Some(foreign));
    assert_eq!(recovery.plan(&situation_with(foreign, 10)), wait(30));
}

fn foreign_intent_for(token: TokenHash) -> Intent {
    Intent {
        id: IntentId::from_bits(99),
        ..Intent::new(token, wall(0))
    }
}

/// After a clear, no intent is in doubt.
#[test]
fn a_cleared_recovery_holds_no_intent() {
    let (mut recovery, _) = sent();
    recovery.clear(EPOCH);
    assert!(matches!(
        recovery.plan(&situation_at(5)),
        RecoveryPlan::Present(_)
    ));
    assert_eq!(recovery.in_doubt(EPOCH, token(1), None), None);
}

/// A flight of an earlier epoch neither changes nor reads the recovery state of this epoch. A later
/// epoch begins with an empty recovery state.
#[test]
fn epochs_share_no_recovery_state() {
    let (mut recovery, intent) = sent();
    let before = EPOCH - 1;
    let old = Intent::new(token(2), wall(0));
    recovery.writing(before, old);
    recovery.written(before, &old);
    recovery.sending(before, &old, steady(0));
    recovery.uncertain(before, old);
    recovery.withdraw(before, None);
    recovery.clear(before);
    assert_eq!(
        recovery.plan(&situation_with(intent, 1)),
        last_resort(intent)
    );
    let late = Situation {
        epoch: before,
        ..situation_at(1)
    };
    assert!(matches!(recovery.plan(&late), RecoveryPlan::Present(_)));
    let later = Situation {
        epoch: EPOCH + 1,
        ..situation_at(1)
    };
    assert!(matches!(recovery.plan(&later), RecoveryPlan::Present(_)));
    assert_eq!(recovery.in_doubt(EPOCH, token(1), None), None, "it is over");
}
