//! The states of a session and what moves it between them.

mod moves;
mod state;

use self::state::{Brought, Cooling, Slot, Token};
use crate::{
    Access, Ending, Failure, Flight, Landing, Now, Number, Policy, Purpose, Stamp, Step, Validity,
};

/// One session: its token, the flight that may be in the air, and what follows from each event.
///
/// `T` is the token and `E` the error of a failed flight, both cloned for whoever is given them;
/// `N` is the [`Number`] of time and counters. Every event is a method that returns at once.
#[derive(Clone, Debug)]
pub struct Session<T, E, N> {
    policy: Policy<N>,
    /// Epoch and generation of now. Both only grow.
    at: Stamp<N>,
    token: Token<T, N>,
    slot: Slot<N>,
    /// The number of flights begun so far.
    flights: N,
    /// No flight but a forced one or a look until the next sign-in.
    ended: bool,
    /// What the last flight failed with, since the last token of this epoch.
    error: Option<E>,
    /// The cool-down after that failure. Not a state of the slot: a look must not end it.
    cooling: Option<Cooling<N>>,
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
    pub fn new(policy: Policy<N>) -> Self {
        Self {
            policy,
            at: Stamp::START,
            token: Token::Never,
            slot: Slot::Idle,
            flights: N::ZERO,
            ended: false,
            error: None,
            cooling: None,
            failures: 0,
            refusals: 0,
            early_from: N::ZERO,
            look_from: N::ZERO,
        }
    }

    /// A request is about to be sent.
    pub fn acquire(&mut self, now: Now<N>) -> Step<T, E, N> {
        let stamp = self.at;
        match &self.token {
            Token::SignedOut => Step::Bare { stamp },
            Token::Never if self.policy.access == Access::Anonymous => Step::Bare { stamp },
            Token::Never => self.need(Purpose::First, now),
            Token::Held(held) if held.usable(now) => {
                let token = held.token.clone();
                let purpose = if self.early_due(now) {
                    Purpose::Early
                } else if self.look_due(now) {
                    Purpose::Look
                } else {
                    return Step::Use { token, stamp };
                };
                Step::UseAndRefresh {
                    token,
                    stamp,
                    flight: self.begin(purpose, now),
                }
            }
            Token::Held(held) => {
                let purpose = if held.refused {
                    Purpose::Refused
                } else {
                    Purpose::Expired
                };
                match self.need(purpose, now) {
                    // Where requests may go out bare, the end of a session stands in nobody's way:
                    // a sign-in has to get through.
                    Step::Fail(_) | Step::Overdue
                        if self.ended && self.policy.access == Access::Anonymous =>
                    {
                        Step::Bare { stamp }
                    }
                    step => step,
                }
            }
        }
    }

    /// The request with this stamp was refused for its token, or for the want of one.
    ///
    /// [`Step::HandBack`], [`Step::Changed`], [`Step::Overdue`] and [`Step::Fail`] all mean that
    /// the caller gets the refusal as it came; so does [`Step::Bare`] after the wait.
    pub fn refused(&mut self, stamp: Stamp<N>, now: Now<N>) -> Step<T, E, N> {
        if stamp.epoch != self.at.epoch {
            return Step::Changed;
        }
        if stamp.generation > self.at.generation {
            return Step::HandBack;
        }
        match &mut self.token {
            Token::SignedOut => Step::HandBack,
            Token::Never => self.need(Purpose::First, now),
            Token::Held(held) if stamp.generation < self.at.generation => {
                // A late refusal: it speaks of a token that has been replaced since.
                if held.usable(now) {
                    return Step::Use {
                        token: held.token.clone(),
                        stamp: self.at,
                    };
                }
                let purpose = if held.refused {
                    Purpose::Refused
                } else {
                    Purpose::Expired
                };
                self.need(purpose, now)
            }
            Token::Held(held) => {
                let age = now.steady.minus(held.since);
                let young =
                    |doublings| age < self.policy.fresh_age(held.validity.lifetime, doublings);
                // A token is fresh if it came from the issuer a moment ago. Those that came
                // another way are older than they look: their refusals are believed, but not one
                // after the other.
                let fresh = match held.brought {
                    Brought::Flight => young(self.refusals),
                    Brought::Others => self.refusals > 0 && young(self.refusals),
                    Brought::Caller => false,
                };
                let fresh = fresh && !held.refused && !held.validity.expired(now.wall);
                if fresh {
                    held.suspect = true;
                    return match self.join(now) {
                        Some(flight) => Step::Wait { flight },
                        None => Step::HandBack,
                    };
                }
                if !held.refused {
                    held.refused = true;
                    let suspect = held.brought == Brought::Others && young(0);
                    self.refusals = if held.suspect || suspect {
                        (self.refusals + 1).min(32)
                    } else {
                        0
                    };
                }
                self.need(Purpose::Refused, now)
            }
        }
    }

    /// The caller has waited for this flight: the token installed since it began, or its error.
    /// Starts nothing and asks for no other wait; [`Step::Wait`] says that it woke too early.
    pub fn settle(&mut self, flight: Flight<N>, now: Now<N>) -> Step<T, E, N> {
        if flight.began.epoch != self.at.epoch {
            return Step::Changed;
        }
        let in_slot = self.in_slot(flight);
        if let Token::Held(held) = &self.token
            && self.at.generation > flight.began.generation
        {
            // A token that came from elsewhere while the flight was in the air may have been
            // refused or have expired before the caller joined: then the flight decides.
            let undecided = in_slot || self.error.is_some();
            if held.usable(now) || !undecided {
                return Step::Use {
                    token: held.token.clone(),
                    stamp: self.at,
                };
            }
        }
        if in_slot && self.join(now).is_some() {
            return Step::Wait { flight };
        }
        match &self.error {
            // A look is no refresh: who waited for one is where they were before.
            _ if flight.purpose == Purpose::Look && self.policy.access == Access::Anonymous => {
                Step::Bare { stamp: self.at }
            }
            _ if in_slot => Step::Overdue,
            Some(error) => Step::Fail(error.clone()),
            None => Step::HandBack,
        }
    }

    /// Somebody asks for a refresh, whatever the token looks like. Overrides a cool-down unless
    /// the issuer asked for it, and the end of a session. Never [`Step::Use`].
    pub fn force(&mut self, now: Now<N>) -> Step<T, E, N> {
        if let Some(flight) = self.join(now) {
            return Step::Wait { flight };
        }
        if self.flight().is_some() {
            return Step::Overdue;
        }
        match &self.error {
            Some(error) if self.cooling(now).is_some_and(|cooling| cooling.asked) => {
                Step::Fail(error.clone())
            }
            _ => Step::Refresh {
                flight: self.begin(Purpose::Forced, now),
            },
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
        if !self.in_slot(flight) {
            return Landing::Stale;
        }
        self.slot = Slot::Idle;
        // A newer token came from elsewhere: the failure is its waiters' and nothing more. Its
        // `invalid_grant` is about a refresh token that has been replaced.
        let stale = flight.began.generation != self.at.generation;
        if flight.purpose == Purpose::Look && !stale {
            self.look_from = now
                .steady
                .plus(self.policy.look_interval.unwrap_or(N::ZERO));
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
        if let (Ending::Uncertain, Token::Held(held)) = (failure.ending, &mut self.token) {
            held.validity.refresh_at = None;
        }
        let wait = self
            .policy
            .cool_down(self.failures, failure.retry_after, failure.jitter);
        self.failures = (self.failures + 1).min(32);
        let until = now.steady.plus(wait);
        self.cooling = Some(Cooling {
            until,
            asked: failure.retry_after.is_some(),
        });
        Landing::Cooling(until)
    }

    /// An early flight found somebody else at work and would rather not wait for them.
    ///
    /// True if it may end without a result. False if callers wait for it by now: it goes on.
    pub fn yielded(&mut self, flight: Flight<N>, now: Now<N>) -> bool {
        if !self.in_slot(flight) {
            return true;
        }
        let awaited = matches!(self.slot, Slot::Flying { awaited: true, .. });
        let served = matches!(&self.token, Token::Held(held) if held.usable(now));
        if flight.purpose == Purpose::Early && served && !awaited {
            self.slot = Slot::Idle;
            return true;
        }
        false
    }

    /// A timer: is the flight past its deadline? True if it has just become so, and its waiters
    /// are to be released.
    pub fn overdue(&mut self, now: Now<N>) -> bool {
        match self.slot {
            Slot::Flying {
                flight, deadline, ..
            } if now.steady >= deadline => {
                self.slot = Slot::Overdue { flight };
                true
            }
            _ => false,
        }
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
        let untouched = matches!(self.token, Token::Never) && self.flight().is_none();
        let alone = self.policy.look_interval.is_none();
        if untouched && alone && self.policy.access == Access::Anonymous {
            return false;
        }
        self.begin_epoch();
        self.token = Token::SignedOut;
        true
    }

    /// The token to serve without asking again, and for how long.
    pub fn current(&self, now: Now<N>) -> Option<Current<'_, T, N>> {
        let Token::Held(held) = &self.token else {
            return None;
        };
        if !held.usable(now) {
            return None;
        }
        let expires_at = held.validity.expires_at.unwrap_or(N::MAX);
        let early_at = match (held.validity.refresh_at, self.slot) {
            (Some(refresh_at), Slot::Idle) if !self.ended => {
                let cool_from = self.cooling.map_or(N::ZERO, |cooling| cooling.until);
                refresh_at.most(now.wall_at(cool_from.most(self.early_from)))
            }
            (_, Slot::Idle) if self.ended && self.policy.look_interval.is_some() => {
                now.wall_at(self.look_from)
            }
            _ => N::MAX,
        };
        Some(Current {
            token: &held.token,
            stamp: self.at,
            until: early_at.least(expires_at),
        })
    }

    /// The token of this epoch, usable or not.
    pub fn held(&self) -> Option<&T> {
        match &self.token {
            Token::Held(held) => Some(&held.token),
            Token::Never | Token::SignedOut => None,
        }
    }

    /// Epoch and generation of now.
    pub fn stamp(&self) -> Stamp<N> {
        self.at
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
        match self.slot {
            Slot::Flying { flight, .. } | Slot::Overdue { flight } => Some(flight),
            Slot::Idle => None,
        }
    }
}
