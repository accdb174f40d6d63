//! The states of a session and what moves it between them.

mod endpoints;
mod moves;
mod state;

use self::endpoints::Refusers;
use self::state::{Brought, Cooling, Held, Slot, Stage, Token};
use crate::{
    Access, Attempt, Ending, Failure, Flight, Landing, NEVER, Now, Policy, Purpose, Stamp, Step,
    Validity,
};

/// One session: its token, the flight that may be in the air, and what follows from each event.
///
/// Every event is a method that returns at once. The driver keeps the token and the error of the
/// last failed flight; the session keeps their numbers.
#[derive(Clone, Debug)]
pub struct Session {
    /// What it decides by. A change counts from the next event on.
    pub policy: Policy,
    /// Epoch and generation of now. Both only grow.
    at: Stamp,
    token: Token,
    /// What is known of that token. It stays behind after a sign-out, when it decides nothing.
    held: Held,
    slot: Slot,
    /// No flight but a forced one or a look until the next sign-in.
    ended: bool,
    /// The flight that failed last since the last token of this epoch; zero if none did.
    error: u64,
    /// The cool-down after that failure. Not a state of the slot: a look must not end it.
    cooling: Cooling,
    /// Failures in a row that a cool-down followed.
    failures: u32,
    /// Tokens in a row that were refused from the start.
    refusals: u32,
    /// The endpoints that refused a replay.
    refusers: Refusers,
    /// Useless refreshes in a row, of different endpoints.
    useless: u32,
    /// The last generation whose refresh was found useful or useless.
    judged: u64,
    /// No early flight before this time of the steady clock.
    early_from: u64,
    /// No look into the store before this time of the steady clock.
    look_from: u64,
}

impl Session {
    /// A session without a token.
    #[inline]
    pub const fn new(policy: Policy) -> Self {
        Self {
            policy,
            at: Stamp::START,
            token: Token::Never,
            held: Held::NONE,
            slot: Slot::EMPTY,
            ended: false,
            error: 0,
            cooling: Cooling::NONE,
            failures: 0,
            refusals: 0,
            refusers: Refusers::NONE,
            useless: 0,
            judged: 0,
            early_from: 0,
            look_from: 0,
        }
    }

    /// A request is about to be sent.
    #[inline]
    pub fn acquire(&mut self, now: Now) -> Step {
        let anonymous = self.policy.access == Access::Anonymous;
        match self.token {
            Token::SignedOut => Step::Bare,
            Token::Never if anonymous => Step::Bare,
            Token::Never => self.need(Purpose::First, now),
            Token::Held if self.held.usable(now) => {
                let purpose = if self.early_due(now) {
                    Purpose::Early
                } else if self.look_due(now) {
                    Purpose::Look
                } else {
                    return Step::Use;
                };
                self.begin(purpose, now);
                Step::UseAndRefresh
            }
            Token::Held => match self.need(self.held.want(), now) {
                // A sign-in has to get through, so an ended session sends requests bare where it
                // may.
                Step::Fail | Step::Overdue if self.ended && anonymous => Step::Bare,
                step => step,
            },
        }
    }

    /// A request of the current session was refused for its token, or for the want of one.
    ///
    /// [`Step::HandBack`], [`Step::Changed`], [`Step::Overdue`], [`Step::Fail`] and
    /// [`Step::RefusedAgain`] all mean that the caller gets the refusal as it came; so does
    /// [`Step::Bare`] after the wait.
    #[inline]
    pub fn refused(&mut self, stamp: Stamp, attempt: Attempt, now: Now) -> Step {
        if stamp.epoch != self.at.epoch {
            return Step::Changed;
        }
        if stamp.generation > self.at.generation {
            return Step::HandBack;
        }
        match self.token {
            Token::SignedOut => return Step::HandBack,
            Token::Never => return self.need(Purpose::First, now),
            Token::Held => {}
        }
        if stamp.generation < self.at.generation {
            // A late refusal is about a token that has been replaced since.
            if self.held.usable(now) {
                return Step::Use;
            }
            return self.need(self.held.want(), now);
        }
        let named = attempt.endpoint != 0;
        if named && now.wall < self.held.expires_at {
            if attempt.replay {
                self.replay_refused(attempt.endpoint, now);
                return Step::RefusedAgain;
            }
            if self.refusers.pauses(attempt.endpoint, now.steady) {
                return self.join_or(Step::RefusedAgain, now);
            }
        }
        if !self.held.refused {
            if self.held.usable(now) && self.fresh(attempt, now) {
                self.held.suspect = true;
                return self.join_or(Step::HandBack, now);
            }
            let others = self.held.brought == Brought::Others;
            let young = others && self.age(now) < self.policy.fresh_age(self.held.lifetime, 0);
            self.held.refused = true;
            self.refusals = if self.held.suspect || young {
                (self.refusals + 1).min(32)
            } else {
                0
            };
        }
        self.need(Purpose::Refused, now)
    }

    /// A request with this stamp was accepted.
    ///
    /// A driver reports the first acceptance of each token, and that of every replay.
    #[inline]
    pub fn accepted(&mut self, stamp: Stamp, attempt: Attempt) {
        if stamp != self.at || self.token != Token::Held {
            return;
        }
        self.held.accepted = true;
        if attempt.replay {
            self.judged = stamp.generation;
            self.useless = 0;
        }
        self.refusers.forget(attempt.endpoint);
    }

    /// The caller has waited for this flight: the token installed since it began, or its error.
    /// Starts nothing and asks for no other wait; [`Step::Wait`] means that the caller woke too early.
    #[inline]
    pub fn settle(&mut self, flight: Flight, now: Now) -> Step {
        if flight.began.epoch != self.at.epoch {
            return Step::Changed;
        }
        let in_slot = self.in_slot(flight.id);
        // Within an epoch, the generation grows with a token alone, which is held from then on.
        if self.at.generation > flight.began.generation {
            // A token that came from elsewhere while the flight was in the air may have been
            // refused or have expired before the caller joined: then the flight decides.
            let undecided = in_slot || self.has_failed();
            if self.held.usable(now) || !undecided {
                return Step::Use;
            }
        }
        if in_slot && self.join(now) {
            Step::Wait
        } else if flight.purpose == Purpose::Look && self.policy.access == Access::Anonymous {
            // A look is no refresh, so a caller that waited for one sends bare as before.
            Step::Bare
        } else if in_slot {
            Step::Overdue
        } else if self.has_failed() {
            Step::Fail
        } else {
            Step::HandBack
        }
    }

    /// A caller asks for a refresh, whatever the state of the token. Overrides a cool-down unless
    /// the issuer asked for it, and the end of a session. Never [`Step::Use`].
    #[inline]
    pub fn force(&mut self, now: Now) -> Step {
        if self.join(now) {
            Step::Wait
        } else if self.busy() {
            Step::Overdue
        } else if self.cooling.asked && self.cooling(now) {
            Step::Fail
        } else {
            self.begin(Purpose::Forced, now);
            Step::Refresh
        }
    }

    /// The flight brought a token.
    ///
    /// A flight that was given up and succeeds after all counts too, as long as no other token
    /// was installed since it began.
    #[inline]
    pub fn refreshed(&mut self, flight: Flight, validity: Validity, now: Now) -> Landing {
        self.land(flight, validity, Brought::Flight, now)
    }

    /// The flight found a newer token that another process's flight brought, some time ago.
    /// Otherwise like [`Session::refreshed`].
    #[inline]
    pub fn adopted(&mut self, flight: Flight, validity: Validity, now: Now) -> Landing {
        self.land(flight, validity, Brought::Others, now)
    }

    /// The flight failed. If [`Session::error`] names this flight afterwards, the driver keeps the
    /// error for [`Step::Fail`].
    #[inline]
    pub fn failed(&mut self, flight: Flight, failure: Failure, now: Now) -> Landing {
        if !self.in_slot(flight.id) {
            return Landing::Stale;
        }
        self.slot.stage = Stage::Idle;
        // A newer token came from elsewhere: the failure concerns its waiters alone. Its
        // `invalid_grant` is about a refresh token that has been replaced.
        let stale = flight.began.generation != self.at.generation;
        if flight.purpose == Purpose::Look && !stale {
            self.look_from = now.steady.saturating_add(self.policy.look_interval);
            return Landing::Ended;
        }
        self.error = flight.id;
        if stale {
            return Landing::Stale;
        }
        if failure.ending == Ending::Terminal {
            self.ended = true;
            self.look_from = now.steady;
            return Landing::Ended;
        }
        if failure.ending == Ending::Uncertain {
            self.held.refresh_at = NEVER;
        }
        let wait = self
            .policy
            .cool_down(self.failures, failure.retry_after, failure.jitter);
        self.failures = (self.failures + 1).min(32);
        self.cooling = Cooling {
            until: now.steady.saturating_add(wait),
            asked: failure.retry_after.is_some(),
        };
        Landing::Cooling
    }

    /// An early flight found another process's flight at work, and would end rather than wait.
    ///
    /// True if it may end without a result. False if callers wait for it by now: it goes on.
    #[inline]
    pub fn yielded(&mut self, flight: Flight, now: Now) -> bool {
        if !self.in_slot(flight.id) {
            return true;
        }
        let awaited = self.slot.stage == Stage::Flying && self.slot.awaited;
        let yields = flight.purpose == Purpose::Early && self.held.usable(now) && !awaited;
        if yields {
            self.slot.stage = Stage::Idle;
        }
        yields
    }

    /// A timer: is the flight past its deadline? True if it has just become so, and its waiters
    /// are to be released.
    #[inline]
    pub fn overdue(&mut self, now: Now) -> bool {
        let overdue = self.slot.stage == Stage::Flying && now.steady >= self.slot.deadline;
        if overdue {
            self.slot.stage = Stage::Overdue;
        }
        overdue
    }

    /// A newer token of the same sign-in came from elsewhere. It revives an ended session, but
    /// after a sign-out it comes too late and changes nothing.
    #[inline]
    pub fn update(&mut self, validity: Validity, now: Now) -> Stamp {
        if self.token == Token::SignedOut {
            return self.at;
        }
        self.install(validity, Brought::Caller, now)
    }

    /// A sign-in: a new epoch begins with this token, and what is in the air belongs to the past.
    #[inline]
    pub fn sign_in(&mut self, validity: Validity, now: Now) -> Stamp {
        self.begin_epoch();
        self.install(validity, Brought::Caller, now)
    }

    /// A sign-out: a new epoch begins without a token.
    ///
    /// Returns false if that changed nothing: the session never had a token, no flight is in the
    /// air, requests may go out bare, and no other process writes the session.
    #[inline]
    pub fn sign_out(&mut self) -> bool {
        let untouched = self.token == Token::Never && !self.busy();
        if untouched && !self.shared() && self.policy.access == Access::Anonymous {
            return false;
        }
        self.begin_epoch();
        self.token = Token::SignedOut;
        true
    }

    /// Returns until when, by the wall clock, the current token may be served without an event.
    ///
    /// Until that moment, which is not included, [`Session::acquire`] would answer [`Step::Use`]
    /// and change nothing. Returns `None` if no token is usable.
    #[inline]
    pub fn current(&self, now: Now) -> Option<u64> {
        if !self.has_token() || !self.held.usable(now) {
            return None;
        }
        let from = if self.busy() {
            NEVER
        } else if !self.ended {
            let free_from = self.cooling.until.max(self.early_from);
            self.held.refresh_at.max(now.wall_at(free_from))
        } else if self.shared() {
            now.wall_at(self.look_from)
        } else {
            NEVER
        };
        Some(from.min(self.held.expires_at))
    }

    /// Whether this epoch has a token, usable or not.
    #[inline]
    pub fn has_token(&self) -> bool {
        self.token == Token::Held
    }

    /// Epoch and generation of now.
    #[inline]
    pub fn stamp(&self) -> Stamp {
        self.at
    }

    /// The number of the flight whose error [`Step::Fail`] means; zero if there is none.
    #[inline]
    pub fn error(&self) -> u64 {
        self.error
    }

    #[inline]
    fn has_failed(&self) -> bool {
        self.error > 0
    }

    /// Until when, by the steady clock, no flight starts after the last failure.
    #[inline]
    pub fn cool_until(&self) -> u64 {
        self.cooling.until
    }

    /// Whether the last of sign-in and sign-out was a sign-out, and no token came since.
    #[inline]
    pub fn signed_out(&self) -> bool {
        self.token == Token::SignedOut
    }

    /// Whether the issuer has refused to refresh this session any more.
    #[inline]
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The flight that holds the slot, overdue or not.
    #[inline]
    pub fn flight(&self) -> Option<Flight> {
        self.busy().then_some(self.slot.flight)
    }
}
