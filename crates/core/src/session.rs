//! The states of a session and what moves it between them.

mod moves;
mod state;

use self::state::{Brought, Cooling, Held, Slot, Stage, Token};
use crate::{
    Access, Ending, Failure, Flight, Kind, Landing, Now, Number, Policy, Purpose, Stamp, Step,
    Validity,
};

/// One session: its token, the flight that may be in the air, and what follows from each event.
///
/// `T` is the token and `E` the error of a failed flight, both cloned for whoever is given them;
/// `N` is the [`Number`] of time and counters. Every event is a method that returns at once.
#[derive(Clone, Debug)]
pub struct Session<T, E, N> {
    /// What it decides by. A change counts from the next event on.
    pub policy: Policy<N>,
    /// Epoch and generation of now. Both only grow.
    at: Stamp<N>,
    token: Token<T>,
    held: Held<N>,
    slot: Slot<N>,
    /// No flight but a forced one or a look until the next sign-in.
    ended: bool,
    /// What the last flight failed with, since the last token of this epoch.
    error: Option<E>,
    /// The cool-down after that failure. Not a state of the slot: a look must not end it.
    cooling: Cooling<N>,
    /// Failures in a row that a cool-down followed.
    failures: u32,
    /// Tokens in a row that were refused from the start.
    refusals: u32,
    /// No early flight before this time of the steady clock.
    early_from: N,
    /// No look into the store before this time of the steady clock.
    look_from: N,
}

/// What a driver may serve without asking again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Current<'a, T, N> {
    /// The token.
    pub token: &'a T,
    /// What a request that carries it remembers.
    pub stamp: Stamp<N>,
    /// Until this moment of the wall clock, that moment not included, [`Session::acquire`] would
    /// answer [`Step::Use`] with this token and change nothing.
    pub until: N,
}

impl<T: Clone, E: Clone, N: Number> Session<T, E, N> {
    /// A session without a token.
    pub const fn new(policy: Policy<N>) -> Self {
        Self {
            policy,
            at: Stamp::START,
            token: Token::Never,
            held: Held::NONE,
            slot: Slot::EMPTY,
            ended: false,
            error: None,
            cooling: Cooling::NONE,
            failures: 0,
            refusals: 0,
            early_from: N::ZERO,
            look_from: N::ZERO,
        }
    }

    /// A request is about to be sent.
    pub fn acquire(&mut self, now: Now<N>) -> Step<T, E, N> {
        let kind = self.on_acquire(now);
        self.step(kind)
    }

    /// [`Session::acquire`], for a driver that keeps the token itself.
    pub fn on_acquire(&mut self, now: Now<N>) -> Kind {
        let anonymous = self.policy.access == Access::Anonymous;
        match self.token {
            Token::SignedOut => Kind::Bare,
            Token::Never if anonymous => Kind::Bare,
            Token::Never => self.need(Purpose::First, now),
            Token::Held(_) if self.held.usable(now) => {
                let purpose = if self.early_due(now) {
                    Purpose::Early
                } else if self.look_due(now) {
                    Purpose::Look
                } else {
                    return Kind::Use;
                };
                self.begin(purpose, now);
                Kind::UseAndRefresh
            }
            Token::Held(_) => match self.need(self.held.want(), now) {
                // Where requests may go out bare, the end of a session stands in nobody's way: a
                // sign-in has to get through.
                Kind::Fail | Kind::Overdue if self.ended && anonymous => Kind::Bare,
                kind => kind,
            },
        }
    }

    /// The request with this stamp was refused for its token, or for the want of one.
    ///
    /// [`Step::HandBack`], [`Step::Changed`], [`Step::Overdue`] and [`Step::Fail`] all mean that
    /// the caller gets the refusal as it came; so does [`Step::Bare`] after the wait.
    pub fn refused(&mut self, stamp: Stamp<N>, now: Now<N>) -> Step<T, E, N> {
        let kind = self.on_refused(stamp, now);
        self.step(kind)
    }

    /// [`Session::refused`], for a driver that keeps the token itself.
    pub fn on_refused(&mut self, stamp: Stamp<N>, now: Now<N>) -> Kind {
        if stamp.epoch != self.at.epoch {
            return Kind::Changed;
        }
        if stamp.generation > self.at.generation {
            return Kind::HandBack;
        }
        match self.token {
            Token::SignedOut => return Kind::HandBack,
            Token::Never => return self.need(Purpose::First, now),
            Token::Held(_) => {}
        }
        let held = &mut self.held;
        if stamp.generation < self.at.generation {
            // A late refusal: it speaks of a token that has been replaced since.
            if held.usable(now) {
                return Kind::Use;
            }
            let purpose = held.want();
            return self.need(purpose, now);
        }
        if !held.refused {
            let age = now.steady.minus(held.since);
            let others = held.brought == Brought::Others;
            // A token is fresh if it came from the issuer a moment ago. Those that came another
            // way are older than they look: their refusals are believed, but not one after the
            // other.
            let counts = held.brought == Brought::Flight || others && self.refusals > 0;
            let fresh = counts && age < self.policy.fresh_age(held.lifetime, self.refusals);
            if fresh && held.usable(now) {
                held.suspect = true;
                return if self.join(now) {
                    Kind::Wait
                } else {
                    Kind::HandBack
                };
            }
            held.refused = true;
            let young = others && age < self.policy.fresh_age(held.lifetime, 0);
            self.refusals = if held.suspect || young {
                (self.refusals + 1).min(32)
            } else {
                0
            };
        }
        self.need(Purpose::Refused, now)
    }

    /// The caller has waited for this flight: the token installed since it began, or its error.
    /// Starts nothing and asks for no other wait; [`Step::Wait`] says that it woke too early.
    pub fn settle(&mut self, flight: Flight<N>, now: Now<N>) -> Step<T, E, N> {
        let kind = self.on_settle(flight, now);
        self.step(kind)
    }

    /// [`Session::settle`], for a driver that keeps the token itself.
    pub fn on_settle(&mut self, flight: Flight<N>, now: Now<N>) -> Kind {
        if flight.began.epoch != self.at.epoch {
            return Kind::Changed;
        }
        let in_slot = self.in_slot(flight.id);
        if self.holds() && self.at.generation > flight.began.generation {
            // A token that came from elsewhere while the flight was in the air may have been
            // refused or have expired before the caller joined: then the flight decides.
            let undecided = in_slot || self.error.is_some();
            if self.held.usable(now) || !undecided {
                return Kind::Use;
            }
        }
        if in_slot && self.join(now) {
            Kind::Wait
        } else if flight.purpose == Purpose::Look && self.policy.access == Access::Anonymous {
            // A look is no refresh: who waited for one is where they were before.
            Kind::Bare
        } else if in_slot {
            Kind::Overdue
        } else if self.error.is_some() {
            Kind::Fail
        } else {
            Kind::HandBack
        }
    }

    /// Somebody asks for a refresh, whatever the token looks like. Overrides a cool-down unless
    /// the issuer asked for it, and the end of a session. Never [`Step::Use`].
    pub fn force(&mut self, now: Now<N>) -> Step<T, E, N> {
        let kind = self.on_force(now);
        self.step(kind)
    }

    /// [`Session::force`], for a driver that keeps errors itself.
    pub fn on_force(&mut self, now: Now<N>) -> Kind {
        if self.join(now) {
            Kind::Wait
        } else if self.busy() {
            Kind::Overdue
        } else if self.cooling.asked && self.cooling(now) {
            Kind::Fail
        } else {
            self.begin(Purpose::Forced, now);
            Kind::Refresh
        }
    }

    /// The flight brought a token.
    ///
    /// A flight that was given up and succeeds after all counts too, as long as no other token
    /// was installed since it began.
    pub fn refreshed(
        &mut self,
        flight: Flight<N>,
        token: T,
        validity: Validity<N>,
        now: Now<N>,
    ) -> Landing<N> {
        self.land(flight, token, validity, Brought::Flight, now)
    }

    /// The flight found a newer token that somebody else's flight has brought, some time ago.
    /// Otherwise like [`Session::refreshed`].
    pub fn adopted(
        &mut self,
        flight: Flight<N>,
        token: T,
        validity: Validity<N>,
        now: Now<N>,
    ) -> Landing<N> {
        self.land(flight, token, validity, Brought::Others, now)
    }

    /// The flight failed, and this is what its waiters are told.
    pub fn failed(
        &mut self,
        flight: Flight<N>,
        failure: Failure<N>,
        error: E,
        now: Now<N>,
    ) -> Landing<N> {
        if !self.in_slot(flight.id) {
            return Landing::Stale;
        }
        self.slot.stage = Stage::Idle;
        // A newer token came from elsewhere: the failure is its waiters' and nothing more. Its
        // `invalid_grant` is about a refresh token that has been replaced.
        let stale = flight.began.generation != self.at.generation;
        if flight.purpose == Purpose::Look && !stale {
            self.look_from = now.steady.plus(self.policy.look_interval);
            return Landing::Ended;
        }
        self.error = Some(error);
        if stale {
            return Landing::Stale;
        }
        if failure.ending == Ending::Terminal {
            self.ended = true;
            self.look_from = now.steady;
            return Landing::Ended;
        }
        if failure.ending == Ending::Uncertain {
            self.held.refresh_at = N::MAX;
        }
        let wait = self
            .policy
            .cool_down(self.failures, failure.retry_after, failure.jitter);
        self.failures = (self.failures + 1).min(32);
        self.cooling = Cooling {
            until: now.steady.plus(wait),
            asked: failure.retry_after.is_some(),
        };
        Landing::Cooling(self.cooling.until)
    }

    /// An early flight found somebody else at work and would rather not wait for them.
    ///
    /// True if it may end without a result. False if callers wait for it by now: it goes on.
    pub fn yielded(&mut self, flight: Flight<N>, now: Now<N>) -> bool {
        if !self.in_slot(flight.id) {
            return true;
        }
        let awaited = self.slot.stage == Stage::Flying && self.slot.awaited;
        let yields = flight.purpose == Purpose::Early && self.serves(now) && !awaited;
        if yields {
            self.slot.stage = Stage::Idle;
        }
        yields
    }

    /// A timer: is the flight past its deadline? True if it has just become so, and its waiters
    /// are to be released.
    pub fn overdue(&mut self, now: Now<N>) -> bool {
        let overdue = self.slot.stage == Stage::Flying && now.steady >= self.slot.deadline;
        if overdue {
            self.slot.stage = Stage::Overdue;
        }
        overdue
    }

    /// A newer token of the same sign-in came from elsewhere. It revives an ended session, but
    /// after a sign-out it comes too late and changes nothing.
    pub fn update(&mut self, token: T, validity: Validity<N>, now: Now<N>) -> Stamp<N> {
        if matches!(self.token, Token::SignedOut) {
            return self.at;
        }
        self.install(token, validity, Brought::Caller, now)
    }

    /// A sign-in: a new epoch begins with this token, and what is in the air belongs to the past.
    pub fn sign_in(&mut self, token: T, validity: Validity<N>, now: Now<N>) -> Stamp<N> {
        self.begin_epoch();
        self.install(token, validity, Brought::Caller, now)
    }

    /// A sign-out: a new epoch begins without a token.
    ///
    /// False if that changed nothing: where requests may go out bare anyway and nobody else writes
    /// the session, signing out of one that never had a token, nor was about to get one, leaves it
    /// as it is.
    pub fn sign_out(&mut self) -> bool {
        let untouched = matches!(self.token, Token::Never) && !self.busy();
        if untouched && !self.shared() && self.policy.access == Access::Anonymous {
            return false;
        }
        self.begin_epoch();
        self.token = Token::SignedOut;
        true
    }

    /// The token to serve without asking again, and for how long.
    pub fn current(&self, now: Now<N>) -> Option<Current<'_, T, N>> {
        let token = self.held().filter(|_| self.held.usable(now))?;
        let from = if self.busy() {
            N::MAX
        } else if !self.ended {
            let free_from = self.cooling.until.most(self.early_from);
            self.held.refresh_at.most(now.wall_at(free_from))
        } else if self.shared() {
            now.wall_at(self.look_from)
        } else {
            N::MAX
        };
        Some(Current {
            token,
            stamp: self.at,
            until: from.least(self.held.expires_at),
        })
    }

    /// The token of this epoch, usable or not.
    pub fn held(&self) -> Option<&T> {
        match &self.token {
            Token::Held(token) => Some(token),
            Token::Never | Token::SignedOut => None,
        }
    }

    /// Epoch and generation of now.
    pub fn stamp(&self) -> Stamp<N> {
        self.at
    }

    /// What a step [`Step::Fail`] would fail with now.
    pub fn error(&self) -> Option<&E> {
        self.error.as_ref()
    }

    /// Until when, by the steady clock, no flight starts after the last failure.
    pub fn cool_until(&self) -> N {
        self.cooling.until
    }

    /// Whether somebody signed out and nobody in since.
    pub fn signed_out(&self) -> bool {
        matches!(self.token, Token::SignedOut)
    }

    /// Whether the issuer has refused to refresh this session any more.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The flight that holds the slot, overdue or not.
    pub fn flight(&self) -> Option<Flight<N>> {
        self.busy().then_some(self.slot.flight)
    }
}
