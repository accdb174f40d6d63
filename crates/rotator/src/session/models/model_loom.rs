//! Loom: every order in which two or three threads can meet at a signal and at the state.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use loom::future::block_on;
use loom::thread;
use token_rotator_core::{Ending, Failure, Now, Policy, Stamp, Validity};

use crate::error::{RefreshError, SourceError};
use crate::session::decide::{KnownRecord, OlderPrints, Write};
use crate::session::signal::Signal;
use crate::session::state::{Arrival, Next, State, Ticket};
use crate::session::writer::PendingWrite;
use crate::store::{Epoch, Version};
use crate::token::token_set::TokenSet;
use crate::token::{Credential, Placement, Token};

/// Whoever waits is woken, whatever comes first: the wait or the signal.
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
        signal.give();
        for waiter in waiters {
            waiter.join().expect("no panic");
        }
    });
}

/// A waiter that goes away while the signal is given disturbs neither it nor the other, and its
/// place is free for the next.
#[test]
fn a_waiter_that_leaves_gives_its_place_back() {
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
        // One place for the waiter that stays, and one that was used twice.
        assert!(signal.places() <= 2);
        signal.give();
        stays.join().expect("no panic");
        assert_eq!(signal.places(), 0);
    });
}

/// A waiter leaves in the very moment in which the signal is given.
#[test]
fn leaving_and_giving_may_meet() {
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
        signal.give();
        leaves.join().expect("no panic");
        stays.join().expect("no panic");
        assert_eq!(signal.places(), 0);
    });
}

const EXPIRED: Now = Now {
    wall: 2_000,
    steady: 2_000,
};

fn ready(state: &State) -> Option<Token> {
    state.ready(crate::runtime::clock::at_unix_millis(EXPIRED.wall))
}

fn arrival(name: &str, expires_at: u64) -> Arrival {
    let tokens = Arc::new(TokenSet::bearer(name));
    Arrival {
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

/// Signed in, the token expired.
fn state() -> Arc<State> {
    let state = State::new(Policy::required(), false);
    let start = Now { wall: 0, steady: 0 };
    state.sign_in(&arrival("old", 1_000), base(1), start);
    Arc::new(state)
}

fn failure() -> RefreshError {
    RefreshError::Source(SourceError::transient("down"))
}

/// What the flight does in the end.
#[derive(Clone, Copy)]
enum Lands {
    WithAToken,
    WithAnError,
}

fn land(state: &State, ticket: &Ticket, lands: Lands) {
    match lands {
        Lands::WithAToken => {
            state.land(
                ticket.flight,
                &arrival("new", 9_000),
                base(2),
                false,
                EXPIRED,
            );
        }
        Lands::WithAnError => {
            let ending = Failure::new(Ending::Transient);
            state.failed(ticket.flight, ending, failure(), EXPIRED);
        }
    }
    ticket.signal.give();
}

/// A caller to its end: launches and lands the flight if it is told to, waits if it is told to.
/// The epoch that it waited in, if it did, and what it got.
fn call(state: &State, launches: &AtomicUsize, lands: Lands) -> (Option<Stamp>, Next) {
    let (ticket, launched) = match state.acquire(EXPIRED) {
        Next::Launch(ticket) => (ticket, true),
        Next::Wait(ticket) => (ticket, false),
        next => return (None, next),
    };
    if launched {
        launches.fetch_add(1, Ordering::SeqCst);
        land(state, &ticket, lands);
    }
    block_on(Arc::clone(&ticket.signal).wait());
    let next = state.settle(ticket.flight, EXPIRED);
    assert!(
        !matches!(next, Next::Wait(_) | Next::Launch(_)),
        "nobody waits twice"
    );
    (Some(ticket.flight.began), next)
}

fn token((began, next): &(Option<Stamp>, Next)) -> Option<&Token> {
    let Next::Go(token) = next else {
        return None;
    };
    if let Some(began) = began {
        assert_eq!(token.stamp().epoch, began.epoch, "another session's token");
    }
    Some(token)
}

/// So many callers of an expired token: one launch, and all of them get what it brought.
fn callers_share_one_flight(count: usize) {
    let state = state();
    let launches = Arc::new(AtomicUsize::new(0));
    let caller = || {
        let (state, launches) = (Arc::clone(&state), Arc::clone(&launches));
        move || call(&state, &launches, Lands::WithAToken)
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

/// Two, in every order.
#[test]
fn two_callers_share_one_flight() {
    loom::model(|| callers_share_one_flight(2));
}

/// Three, in every order with at most two switches that nobody asked for.
#[test]
fn three_callers_share_one_flight() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| callers_share_one_flight(3));
}

/// They share its failure too; the cool-down keeps whoever comes late from a second flight.
#[test]
fn callers_share_one_failure() {
    loom::model(|| {
        let state = state();
        let launches = Arc::new(AtomicUsize::new(0));
        let other = {
            let (state, launches) = (Arc::clone(&state), Arc::clone(&launches));
            thread::spawn(move || call(&state, &launches, Lands::WithAnError))
        };
        let outcomes = [
            call(&state, &launches, Lands::WithAnError),
            other.join().expect("no panic"),
        ];
        assert!(
            outcomes
                .iter()
                .all(|(_, next)| matches!(next, Next::Fail(_)))
        );
        assert_eq!(launches.load(Ordering::SeqCst), 1);
        assert!(ready(&state).is_none());
    });
}

/// A sign-in as another meets a flight and its waiter: whoever waited gets no token but one of
/// its own session, and the new session's token is the one that stays.
#[test]
fn a_sign_in_meets_a_flight() {
    loom::model(|| {
        let state = state();
        let launches = Arc::new(AtomicUsize::new(0));
        let waiter = {
            let (state, launches) = (Arc::clone(&state), Arc::clone(&launches));
            thread::spawn(move || call(&state, &launches, Lands::WithAToken))
        };
        let signs_in = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let bob = KnownRecord::new_epoch();
                state.sign_in(&arrival("bob", 9_000), bob, EXPIRED).0
            })
        };
        let outcome = waiter.join().expect("no panic");
        let bob = signs_in.join().expect("no panic");
        assert!(token(&outcome).is_some() || matches!(outcome.1, Next::Changed));
        let stays = ready(&state).expect("bob's token");
        assert_eq!(stays.stamp(), bob);
    });
}

/// A sign-in frees who waits for a flight that never lands.
#[test]
fn a_sign_in_releases_the_waiters() {
    loom::model(|| {
        let state = state();
        let Next::Launch(_never_lands) = state.acquire(EXPIRED) else {
            panic!("the first launches");
        };
        let waiter = {
            let state = Arc::clone(&state);
            let launches = AtomicUsize::new(1);
            thread::spawn(move || call(&state, &launches, Lands::WithAToken))
        };
        state.sign_in(&arrival("bob", 9_000), KnownRecord::new_epoch(), EXPIRED);
        let outcome = waiter.join().expect("no panic");
        assert!(token(&outcome).is_some() || matches!(outcome.1, Next::Changed));
    });
}

/// A sign-out meets a flight that lands: from the moment it has returned nothing is served, and
/// nothing that lands later is installed.
#[test]
fn a_sign_out_meets_a_landing() {
    loom::model(|| {
        let state = state();
        let Next::Launch(ticket) = state.acquire(EXPIRED) else {
            panic!("the first launches");
        };
        let waiter = {
            let state = Arc::clone(&state);
            let launches = AtomicUsize::new(1);
            thread::spawn(move || call(&state, &launches, Lands::WithAToken))
        };
        let flight = {
            let state = Arc::clone(&state);
            thread::spawn(move || land(&state, &ticket, Lands::WithAToken))
        };
        assert!(state.sign_out(KnownRecord::new_epoch(), EXPIRED).is_some());
        assert!(ready(&state).is_none(), "served after the sign-out");
        let (_, next) = waiter.join().expect("no panic");
        assert!(
            matches!(next, Next::Go(_) | Next::Changed | Next::Bare(_)),
            "it was served before the sign-out, or told of it"
        );
        flight.join().expect("no panic");
        assert!(ready(&state).is_none(), "installed after the sign-out");
    });
}

/// Two flights of the past find the same sign-in in the store, and one of our own comes between:
/// each session is entered once, and our own is never undone.
#[test]
fn our_own_sign_in_is_not_undone_by_a_late_look() {
    loom::model(|| {
        let state = state();
        let Next::Launch(ticket) = state.acquire(EXPIRED) else {
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
                state.follow(epoch, Some(&arrival("theirs", 9_000)), theirs, EXPIRED);
            })
        };
        let (ours, _) = state.sign_in(&arrival("ours", 9_000), KnownRecord::new_epoch(), EXPIRED);
        follows.join().expect("no panic");
        let token = ready(&state).expect("our token");
        assert_eq!(token.stamp(), ours);
    });
}

/// Whoever reads beside a flight that lands sees generations that only grow.
#[test]
fn readers_never_go_back() {
    loom::model(|| {
        let state = State::new(Policy::required(), false);
        state.sign_in(&arrival("old", 9_000), base(1), EXPIRED);
        let state = Arc::new(state);
        let reader = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let first = ready(&state).expect("a token").generation();
                let second = ready(&state).expect("a token").generation();
                assert!(first <= second);
            })
        };
        let Next::Launch(ticket) = state.force(EXPIRED) else {
            panic!("a forced flight");
        };
        land(&state, &ticket, Lands::WithAToken);
        reader.join().expect("no panic");
    });
}

/// Two sign-ins meet: what is left to be written is the tokens of the one that is served.
#[test]
fn two_sign_ins_leave_one_write() {
    loom::model(|| {
        let state = Arc::new(State::new(Policy::required(), true));
        let other = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                state.sign_in(&arrival("one", 9_000), KnownRecord::new_epoch(), EXPIRED);
            })
        };
        state.sign_in(&arrival("two", 9_000), KnownRecord::new_epoch(), EXPIRED);
        other.join().expect("no panic");
        let served = ready(&state).expect("a token");
        let write = state.writes(|writes| writes.take(served.stamp().epoch));
        let tokens = write.expect("a write").write.tokens.expect("tokens");
        assert!(Arc::ptr_eq(&tokens, &served.0.credential.tokens));
        assert!(state.writes(|writes| writes.is_empty()));
    });
}

/// A sign-out meets a flight that hands what it could not save to the writer: what is left to be
/// written is the tombstone.
#[test]
fn a_sign_out_drops_what_a_flight_could_not_save() {
    loom::model(|| {
        let state = Arc::new(State::new(Policy::required(), true));
        let (stamp, _) = state.sign_in(&arrival("old", 1_000), base(1), EXPIRED);
        let flight = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let tokens = Some(Arc::new(TokenSet::bearer("new")));
                let write = Write::new(stamp.epoch, tokens, base(1), OlderPrints::default());
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
