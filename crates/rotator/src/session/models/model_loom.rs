//! Loom checks: every order in which two or three threads reach a signal and the state.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use loom::future::block_on;
use loom::thread;
use token_rotator_core::{Ending, Failure, Now, Policy, Stamp, Validity};

use crate::error::{RefreshError, SourceError};
use crate::session::decide::{KnownRecord, ReplacedTokens, Write};
use crate::session::signal::Signal;
use crate::session::state::{CallerAction, PreparedToken, State, Ticket};
use crate::session::writer::PendingWrite;
use crate::store::{Epoch, Version};
use crate::token::token_set::TokenSet;
use crate::token::{Credential, Placement, Token};

/// A waiter is woken, whether its wait or the signal comes first.
#[test]
fn no_wake_up_is_lost() {
    loom::model(|| {
        let signal = Signal::new();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let signal = Arc::clone(&signal);
                thread::spawn(move || block_on(signal.wait()))
            })
            .collect();
        signal.set();
        for waiter in waiters {
            waiter.join().expect("no panic");
        }
    });
}

/// A waiter that is dropped while the signal is set affects neither the signal nor the other
/// waiter. Its index is used by the next waiter.
#[test]
fn a_dropped_waiter_frees_its_index() {
    loom::model(|| {
        let signal = Signal::new();
        let stays = {
            let signal = Arc::clone(&signal);
            thread::spawn(move || block_on(signal.wait()))
        };
        let leaves = {
            let signal = Arc::clone(&signal);
            thread::spawn(move || {
                for _ in 0..2 {
                    let mut wait = pin!(Arc::clone(&signal).wait());
                    let _ = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                }
            })
        };
        leaves.join().expect("no panic");
        // One index for the waiter that stays, and one index that was used twice.
        assert!(signal.index_count() <= 2);
        signal.set();
        stays.join().expect("no panic");
        assert_eq!(signal.index_count(), 0);
    });
}

/// A waiter is dropped at the moment at which the signal is set.
#[test]
fn a_waiter_may_drop_while_the_signal_is_set() {
    loom::model(|| {
        let signal = Signal::new();
        let leaves = {
            let signal = Arc::clone(&signal);
            thread::spawn(move || {
                let mut wait = pin!(signal.wait());
                let _ = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            })
        };
        let stays = {
            let signal = Arc::clone(&signal);
            thread::spawn(move || block_on(signal.wait()))
        };
        signal.set();
        leaves.join().expect("no panic");
        stays.join().expect("no panic");
        assert_eq!(signal.index_count(), 0);
    });
}

const EXPIRED: Now = Now {
    wall: 2_000,
    steady: 2_000,
};

fn ready(state: &State) -> Option<Token> {
    state.ready(std::time::Duration::from_millis(EXPIRED.wall))
}

fn prepared(name: &str, expires_at: u64) -> PreparedToken {
    let tokens = Arc::new(TokenSet::bearer(name));
    PreparedToken {
        credential: Credential::new(tokens, &Placement::bearer()).expect("a token"),
        validity: Validity::until(expires_at),
    }
}

fn base(revision: u64) -> KnownRecord {
    KnownRecord::at(Version {
        epoch: Epoch::from_bits(7),
        revision,
    })
}

/// A signed-in state with an expired token.
fn state() -> Arc<State> {
    let state = State::new(Policy::required(), false);
    let start = Now { wall: 0, steady: 0 };
    state.sign_in(&prepared("old", 1_000), (base(1), Box::default()), start);
    Arc::new(state)
}

fn failure() -> RefreshError {
    RefreshError::Source(SourceError::transient("down"))
}

/// How a flight ends.
#[derive(Clone, Copy)]
enum FlightEnd {
    WithAToken,
    WithAnError,
}

fn land(state: &State, ticket: &Ticket, end: FlightEnd) {
    match end {
        FlightEnd::WithAToken => {
            state.land(
                ticket.flight,
                &prepared("new", 9_000),
                base(2),
                false,
                EXPIRED,
            );
        }
        FlightEnd::WithAnError => {
            let ending = Failure::new(Ending::Transient);
            state.failed(ticket.flight, ending, failure(), EXPIRED);
        }
    }
    ticket.signal.set();
}

/// One caller from start to end: launches and lands the flight, or waits for it, as the state
/// decides. Returns the stamp of the flight that it waited for, if any, and its last action.
fn call(state: &State, launches: &AtomicUsize, end: FlightEnd) -> (Option<Stamp>, CallerAction) {
    let (ticket, launched) = match state.acquire(EXPIRED) {
        CallerAction::Launch(ticket) => (ticket, true),
        CallerAction::Wait(ticket) => (ticket, false),
        action => return (None, action),
    };
    if launched {
        launches.fetch_add(1, Ordering::SeqCst);
        land(state, &ticket, end);
    }
    block_on(Arc::clone(&ticket.signal).wait());
    let action = state.settle(ticket.flight, EXPIRED);
    assert!(
        !matches!(action, CallerAction::Wait(_) | CallerAction::Launch(_)),
        "no caller waits twice"
    );
    (Some(ticket.flight.began), action)
}

fn token((began, action): &(Option<Stamp>, CallerAction)) -> Option<&Token> {
    let CallerAction::Send(token) = action else {
        return None;
    };
    if let Some(began) = began {
        assert_eq!(token.stamp().epoch, began.epoch, "another session's token");
    }
    Some(token)
}

/// `count` callers of an expired token: one launch, and all callers get its token.
fn callers_share_one_flight(count: usize) {
    let state = state();
    let launches = Arc::new(AtomicUsize::new(0));
    let caller = || {
        let (state, launches) = (Arc::clone(&state), Arc::clone(&launches));
        move || call(&state, &launches, FlightEnd::WithAToken)
    };
    let others: Vec<_> = (1..count).map(|_| thread::spawn(caller())).collect();
    let mut outcomes = vec![caller()()];
    for other in others {
        outcomes.push(other.join().expect("no panic"));
    }
    for outcome in &outcomes {
        assert_eq!(token(outcome).expect("a token").generation(), 2);
    }
    assert_eq!(launches.load(Ordering::SeqCst), 1);
    assert_eq!(ready(&state).expect("published").generation(), 2);
}

/// Two callers, in every order.
#[test]
fn two_callers_share_one_flight() {
    loom::model(|| callers_share_one_flight(2));
}

/// Three callers, in every order with at most two preemptions.
#[test]
fn three_callers_share_one_flight() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| callers_share_one_flight(3));
}

/// Callers share one failure. The cool-down keeps a late caller from a second flight.
#[test]
fn callers_share_one_failure() {
    loom::model(|| {
        let state = state();
        let launches = Arc::new(AtomicUsize::new(0));
        let other = {
            let (state, launches) = (Arc::clone(&state), Arc::clone(&launches));
            thread::spawn(move || call(&state, &launches, FlightEnd::WithAnError))
        };
        let outcomes = [
            call(&state, &launches, FlightEnd::WithAnError),
            other.join().expect("no panic"),
        ];
        assert!(
            outcomes
                .iter()
                .all(|(_, action)| matches!(action, CallerAction::Fail(_)))
        );
        assert_eq!(launches.load(Ordering::SeqCst), 1);
        assert!(ready(&state).is_none());
    });
}

/// A sign-in as another user during a flight: the flight's waiter gets no token of another session,
/// and the new session's token stays.
#[test]
fn a_sign_in_during_a_flight() {
    loom::model(|| {
        let state = state();
        let launches = Arc::new(AtomicUsize::new(0));
        let waiter = {
            let (state, launches) = (Arc::clone(&state), Arc::clone(&launches));
            thread::spawn(move || call(&state, &launches, FlightEnd::WithAToken))
        };
        let signs_in = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let bob = KnownRecord::new_epoch();
                state
                    .sign_in(&prepared("bob", 9_000), (bob, Box::default()), EXPIRED)
                    .0
            })
        };
        let outcome = waiter.join().expect("no panic");
        let bob = signs_in.join().expect("no panic");
        assert!(token(&outcome).is_some() || matches!(outcome.1, CallerAction::Changed));
        let stays = ready(&state).expect("bob's token");
        assert_eq!(stays.stamp(), bob);
    });
}

/// A sign-in releases the waiters of a flight that never ends.
#[test]
fn a_sign_in_releases_the_waiters() {
    loom::model(|| {
        let state = state();
        let CallerAction::Launch(_never_lands) = state.acquire(EXPIRED) else {
            panic!("the first launches");
        };
        let waiter = {
            let state = Arc::clone(&state);
            let launches = AtomicUsize::new(1);
            thread::spawn(move || call(&state, &launches, FlightEnd::WithAToken))
        };
        state.sign_in(
            &prepared("bob", 9_000),
            (KnownRecord::new_epoch(), Box::default()),
            EXPIRED,
        );
        let outcome = waiter.join().expect("no panic");
        assert!(token(&outcome).is_some() || matches!(outcome.1, CallerAction::Changed));
    });
}

/// A sign-out during the end of a flight: after the sign-out no token is served, and no later token
/// is installed.
#[test]
fn a_sign_out_at_the_end_of_a_flight() {
    loom::model(|| {
        let state = state();
        let CallerAction::Launch(ticket) = state.acquire(EXPIRED) else {
            panic!("the first launches");
        };
        let waiter = {
            let state = Arc::clone(&state);
            let launches = AtomicUsize::new(1);
            thread::spawn(move || call(&state, &launches, FlightEnd::WithAToken))
        };
        let flight = {
            let state = Arc::clone(&state);
            thread::spawn(move || land(&state, &ticket, FlightEnd::WithAToken))
        };
        assert!(state.sign_out(KnownRecord::new_epoch(), EXPIRED).is_some());
        assert!(ready(&state).is_none(), "served after the sign-out");
        let (_, action) = waiter.join().expect("no panic");
        assert!(
            matches!(
                action,
                CallerAction::Send(_) | CallerAction::Changed | CallerAction::SendBare(_)
            ),
            "the caller got a token before the sign-out, or the sign-out"
        );
        flight.join().expect("no panic");
        assert!(ready(&state).is_none(), "installed after the sign-out");
    });
}

/// An old flight finds another process's sign-in in the store while this process signs in. Each
/// session is entered once, and the own sign-in is never undone.
#[test]
fn a_late_read_does_not_undo_a_sign_in() {
    loom::model(|| {
        let state = state();
        let CallerAction::Launch(ticket) = state.acquire(EXPIRED) else {
            panic!("the first launches");
        };
        let follows = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let theirs = KnownRecord::at(Version {
                    epoch: Epoch::from_bits(8),
                    revision: 2,
                });
                let epoch = ticket.flight.began.epoch;
                state.follow(
                    epoch,
                    Some(&prepared("theirs", 9_000)),
                    (theirs, Box::default()),
                    EXPIRED,
                );
            })
        };
        let (ours, _) = state.sign_in(
            &prepared("ours", 9_000),
            (KnownRecord::new_epoch(), Box::default()),
            EXPIRED,
        );
        follows.join().expect("no panic");
        let token = ready(&state).expect("our token");
        assert_eq!(token.stamp(), ours);
    });
}

/// A reader during a flight sees generations that only grow.
#[test]
fn readers_never_go_back() {
    loom::model(|| {
        let state = State::new(Policy::required(), false);
        state.sign_in(&prepared("old", 9_000), (base(1), Box::default()), EXPIRED);
        let state = Arc::new(state);
        let reader = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let first = ready(&state).expect("a token").generation();
                let second = ready(&state).expect("a token").generation();
                assert!(first <= second);
            })
        };
        let CallerAction::Launch(ticket) = state.force(EXPIRED) else {
            panic!("a forced flight");
        };
        land(&state, &ticket, FlightEnd::WithAToken);
        reader.join().expect("no panic");
    });
}

/// Two concurrent sign-ins: the pending write holds the tokens that are served.
#[test]
fn two_sign_ins_leave_one_write() {
    loom::model(|| {
        let state = Arc::new(State::new(Policy::required(), true));
        let other = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                state.sign_in(
                    &prepared("one", 9_000),
                    (KnownRecord::new_epoch(), Box::default()),
                    EXPIRED,
                );
            })
        };
        state.sign_in(
            &prepared("two", 9_000),
            (KnownRecord::new_epoch(), Box::default()),
            EXPIRED,
        );
        other.join().expect("no panic");
        let served = ready(&state).expect("a token");
        let write = state.writes(|writes| writes.take(served.stamp().epoch));
        let tokens = write.expect("a write").write.tokens.expect("tokens");
        assert!(Arc::ptr_eq(&tokens, &served.0.credential.tokens));
        assert!(state.writes(|writes| writes.is_empty()));
    });
}

/// A sign-out while a flight leaves its unsaved tokens to the writer: the pending write is the
/// tombstone.
#[test]
fn a_sign_out_drops_the_unsaved_tokens_of_a_flight() {
    loom::model(|| {
        let state = Arc::new(State::new(Policy::required(), true));
        let unwritten = KnownRecord {
            unwritten: true,
            ..base(1)
        };
        let (stamp, _) = state.sign_in(
            &prepared("old", 1_000),
            (unwritten, Box::default()),
            EXPIRED,
        );
        let flight = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let tokens = Some(Arc::new(TokenSet::bearer("new")));
                let write = Write::new(stamp.epoch, tokens, base(1), ReplacedTokens::default());
                drop(state.put_write(PendingWrite::failed_once(write), false));
            })
        };
        let (out, _) = state
            .sign_out(KnownRecord::new_epoch(), EXPIRED)
            .expect("signed in before");
        flight.join().expect("no panic");
        let write = state.writes(|writes| writes.take(out.epoch));
        assert!(write.expect("a write").write.tokens.is_none());
        assert!(state.writes(|writes| writes.is_empty()));
    });
}
