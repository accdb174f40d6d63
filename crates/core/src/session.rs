//! A session and its events, one method each.

mod endpoints;
mod state;
mod transitions;

use self::endpoints::RefusingEndpoints;
use self::state::{CoolDown, FlightSlot, HeldToken, ReceivedFrom, Stage, TokenPresence};
use crate::{
    Access, Attempt, Ending, Failure, Flight, Landing, NEVER, Now, Policy, Purpose, Stamp, Step,
    Validity,
};

/// One session: its token, its flight, and the step that follows from each event.
///
/// Every event is a method that returns at once. The driver keeps the token and the error of the
/// last failed flight. The session keeps the token's generation and the flight's number.
#[derive(Clone, Debug)]
pub struct Session {
    /// Limits and windows of this session. A change takes effect at the next event.
    pub policy: Policy,
    /// Current epoch and generation. Both only grow.
    stamp: Stamp,
    token: TokenPresence,
    /// State of the current token. After a sign-out it keeps its values, but they decide nothing.
    held: HeldToken,
    slot: FlightSlot,
    /// The issuer refuses to refresh. Until the next token, only a forced flight or a look starts.
    ended: bool,
    /// Number of the last failed flight since the last token of this epoch. Zero if no flight
    /// failed.
    error: u64,
    /// The cool-down after that failure. Separate from the slot, because a look must not end it.
    cool_down: CoolDown,
    /// Failures in a row, each followed by a cool-down.
    failures: u32,
    /// Tokens in a row that were refused too early to be refused for their age.
    refusals: u32,
    /// The endpoints that refused a replay.
    refusing_endpoints: RefusingEndpoints,
    /// Useless refreshes in a row, of different endpoints.
    useless: u32,
    /// The last generation whose refresh was judged useful or useless.
    judged: u64,
    /// No early flight starts before this time of the steady clock.
    early_from: u64,
    /// No look into the store starts before this time of the steady clock.
    look_from: u64,
}

impl Session {
    /// Returns a session without a token.
    #[inline]
    pub const fn new(policy: Policy) -> Self {
        Self {
            policy,
            stamp: Stamp::START,
            token: TokenPresence::Never,
            held: HeldToken::NONE,
            slot: FlightSlot::EMPTY,
            ended: false,
            error: 0,
            cool_down: CoolDown::NONE,
            failures: 0,
            refusals: 0,
            refusing_endpoints: RefusingEndpoints::NONE,
            useless: 0,
            judged: 0,
            early_from: 0,
            look_from: 0,
        }
    }

    /// A caller is about to send a request.
    #[inline]
    pub fn acquire(&mut self, now: Now) -> Step {
        let anonymous = self.policy.access == Access::Anonymous;
        match self.token {
            TokenPresence::SignedOut => Step::Bare,
            TokenPresence::Never if anonymous => Step::Bare,
            TokenPresence::Never => self.require_token(Purpose::First, now),
            TokenPresence::Held if self.held.usable(now) => {
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
            TokenPresence::Held => match self.require_token(self.held.refresh_purpose(), now) {
                // A sign-in must reach the upstream, so an anonymous session that has ended sends
                // requests without a token.
                Step::Fail | Step::Overdue if self.ended && anonymous => Step::Bare,
                step => step,
            },
        }
    }

    /// A request of the current session was refused because of its token, or because it had none.
    ///
    /// The caller passes on the refusal unchanged after [`Step::HandBack`], [`Step::Changed`],
    /// [`Step::Overdue`], [`Step::Fail`] and [`Step::RefusedAgain`], and after [`Step::Bare`] at
    /// the end of a wait.
    #[inline]
    pub fn refused(&mut self, stamp: Stamp, attempt: Attempt, now: Now) -> Step {
        if stamp.epoch != self.stamp.epoch {
            return Step::Changed;
        }
        if stamp.generation > self.stamp.generation {
            return Step::HandBack;
        }
        match self.token {
            TokenPresence::SignedOut => return Step::HandBack,
            TokenPresence::Never => return self.require_token(Purpose::First, now),
            TokenPresence::Held => {}
        }
        if stamp.generation < self.stamp.generation {
            // A late refusal concerns a token that was replaced meanwhile.
            if self.held.usable(now) {
                return Step::Use;
            }
            return self.require_token(self.held.refresh_purpose(), now);
        }
        let named = attempt.endpoint != 0;
        if named && now.wall < self.held.expires_at {
            if attempt.replay {
                self.replay_refused(attempt.endpoint, now);
                return Step::RefusedAgain;
            }
            if self.refusing_endpoints.pauses(attempt.endpoint, now.steady) {
                return self.join_or(Step::RefusedAgain, now);
            }
        }
        if !self.held.refused {
            if self.held.usable(now) && self.is_refused_too_early(attempt, now) {
                self.held.suspect = true;
                return self.join_or(Step::HandBack, now);
            }
            let from_other_process = self.held.received_from == ReceivedFrom::OtherProcess;
            let is_young = from_other_process
                && self.age(now) < self.policy.early_refusal_age(self.held.lifetime, 0);
            self.held.refused = true;
            self.refusals = if self.held.suspect || is_young {
                (self.refusals + 1).min(32)
            } else {
                0
            };
        }
        self.require_token(Purpose::Refused, now)
    }

    /// A request with this stamp was accepted.
    ///
    /// A driver reports the first acceptance of each token, and the acceptance of every replay.
    #[inline]
    pub fn accepted(&mut self, stamp: Stamp, attempt: Attempt) {
        if stamp != self.stamp || self.token != TokenPresence::Held {
            return;
        }
        self.held.accepted = true;
        if attempt.replay {
            self.judged = stamp.generation;
            self.useless = 0;
        }
        self.refusing_endpoints.forget(attempt.endpoint);
    }

    /// A caller has waited for this flight. Returns the step for the token installed since the
    /// flight began, or for its error.
    ///
    /// Starts no flight and asks for no second wait. [`Step::Wait`] means that the caller woke too
    /// early.
    #[inline]
    pub fn settle(&mut self, flight: Flight, now: Now) -> Step {
        if flight.began.epoch != self.stamp.epoch {
            return Step::Changed;
        }
        let in_slot = self.in_slot(flight.id);
        // Within an epoch the generation grows only with a token, and the session keeps a token
        // from then on.
        if self.stamp.generation > flight.began.generation {
            // A token that an update installed during the flight may have been refused or have
            // expired before the caller joined. Then the flight decides.
            let undecided = in_slot || self.has_failed();
            if self.held.usable(now) || !undecided {
                return Step::Use;
            }
        }
        if in_slot && self.join(now) {
            Step::Wait
        } else if flight.purpose == Purpose::Look && self.policy.access == Access::Anonymous {
            // A look is no refresh, so its waiters send without a token, as before the look.
            Step::Bare
        } else if in_slot {
            Step::Overdue
        } else if self.has_failed() {
            Step::Fail
        } else {
            Step::HandBack
        }
    }

    /// A caller asks for a refresh, whatever the state of the token. Overrides the end of a
    /// session, and a cool-down unless the issuer asked for it. Never returns [`Step::Use`].
    #[inline]
    pub fn force(&mut self, now: Now) -> Step {
        if self.join(now) {
            Step::Wait
        } else if self.has_flight() {
            Step::Overdue
        } else if self.cool_down.by_issuer && self.is_cooling_down(now) {
            Step::Fail
        } else {
            self.begin(Purpose::Forced, now);
            Step::Refresh
        }
    }

    /// The flight received a token from the issuer.
    ///
    /// The token of an overdue or replaced flight counts too, if no other token was installed since
    /// that flight began.
    #[inline]
    pub fn refreshed(&mut self, flight: Flight, validity: Validity, now: Now) -> Landing {
        self.land(flight, validity, ReceivedFrom::Issuer, now)
    }

    /// The flight found a newer token in the store, which another process had refreshed some time
    /// ago. The token counts under the conditions of [`Session::refreshed`].
    #[inline]
    pub fn adopted(&mut self, flight: Flight, validity: Validity, now: Now) -> Landing {
        self.land(flight, validity, ReceivedFrom::OtherProcess, now)
    }

    /// The flight failed. If [`Session::error`] returns this flight's number afterwards, the driver
    /// keeps the error for [`Step::Fail`].
    #[inline]
    pub fn failed(&mut self, flight: Flight, failure: Failure, now: Now) -> Landing {
        if !self.in_slot(flight.id) {
            return Landing::Stale;
        }
        self.slot.stage = Stage::Idle;
        // A newer token was installed during the flight, so the failure concerns only the flight's
        // waiters. Its `invalid_grant` refers to a replaced refresh token.
        let stale = flight.began.generation != self.stamp.generation;
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
            .wait_after(self.failures, failure.retry_after, failure.jitter);
        self.failures = (self.failures + 1).min(32);
        self.cool_down = CoolDown {
            until: now.steady.saturating_add(wait),
            by_issuer: failure.retry_after.is_some(),
        };
        Landing::Cooling
    }

    /// The flight found that a failure of another process holds for this process too, and sent
    /// nothing. No flight starts for this many milliseconds. `by_issuer`: the issuer asked for the
    /// wait, so no caller overrides it.
    #[inline]
    pub fn held_back(&mut self, flight: Flight, wait: u64, by_issuer: bool, now: Now) -> Landing {
        if !self.in_slot(flight.id) {
            return Landing::Stale;
        }
        self.slot.stage = Stage::Idle;
        self.error = flight.id;
        if flight.began.generation != self.stamp.generation {
            return Landing::Stale;
        }
        self.cool_down = CoolDown {
            until: now
                .steady
                .saturating_add(wait.min(self.policy.retry_after_max)),
            by_issuer,
        };
        Landing::Cooling
    }

    /// An early flight found the lease taken by another process, and asks to end without a result.
    ///
    /// Returns true if the flight may end. Returns false if callers wait for it: then it continues.
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

    /// Returns true if the flight has just passed its deadline. The driver then releases the
    /// flight's waiters. The driver calls this method at the deadline.
    #[inline]
    pub fn overdue(&mut self, now: Now) -> bool {
        let overdue = self.slot.stage == Stage::Flying && now.steady >= self.slot.deadline;
        if overdue {
            self.slot.stage = Stage::Overdue;
        }
        overdue
    }

    /// A caller has a newer token of the same sign-in. The token revives an ended session.
    /// After a sign-out the token changes nothing.
    #[inline]
    pub fn update(&mut self, validity: Validity, now: Now) -> Stamp {
        if self.token == TokenPresence::SignedOut {
            return self.stamp;
        }
        self.install(validity, ReceivedFrom::Caller, now)
    }

    /// A sign-in begins a new epoch with this token. A running flight belongs to the previous
    /// epoch.
    #[inline]
    pub fn sign_in(&mut self, validity: Validity, now: Now) -> Stamp {
        self.begin_epoch();
        self.install(validity, ReceivedFrom::Caller, now)
    }

    /// A sign-out begins a new epoch without a token.
    ///
    /// Returns false and changes nothing for an anonymous session that never had a token, has no
    /// flight, and that no other process writes.
    #[inline]
    pub fn sign_out(&mut self) -> bool {
        let untouched = self.token == TokenPresence::Never && !self.has_flight();
        if untouched && !self.is_shared() && self.policy.access == Access::Anonymous {
            return false;
        }
        self.begin_epoch();
        self.token = TokenPresence::SignedOut;
        true
    }

    /// Returns until when, by the wall clock, the driver may serve the current token without an
    /// event. That moment itself is excluded.
    ///
    /// Before that moment [`Session::acquire`] would return [`Step::Use`] and change nothing.
    /// Returns `None` if no token is usable.
    #[inline]
    pub fn current(&self, now: Now) -> Option<u64> {
        if !self.has_token() || !self.held.usable(now) {
            return None;
        }
        let from = if self.has_flight() {
            NEVER
        } else if !self.ended {
            let free_from = self.cool_down.until.max(self.early_from);
            self.held.refresh_at.max(now.wall_at(free_from))
        } else if self.is_shared() {
            now.wall_at(self.look_from)
        } else {
            NEVER
        };
        Some(from.min(self.held.expires_at))
    }

    /// Returns whether this epoch has a token, usable or not.
    #[inline]
    pub fn has_token(&self) -> bool {
        self.token == TokenPresence::Held
    }

    /// Returns the current epoch and generation.
    #[inline]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Returns the number of the flight whose error [`Step::Fail`] refers to. Returns zero if there
    /// is none.
    #[inline]
    pub fn error(&self) -> u64 {
        self.error
    }

    #[inline]
    fn has_failed(&self) -> bool {
        self.error > 0
    }

    /// Returns when the cool-down after the last failure ends, by the steady clock.
    #[inline]
    pub fn cool_until(&self) -> u64 {
        self.cool_down.until
    }

    /// Returns whether the last of sign-in and sign-out was a sign-out.
    #[inline]
    pub fn signed_out(&self) -> bool {
        self.token == TokenPresence::SignedOut
    }

    /// Returns whether the issuer has refused to refresh this session.
    #[inline]
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Returns the flight that holds the slot, overdue or not.
    #[inline]
    pub fn flight(&self) -> Option<Flight> {
        self.has_flight().then_some(self.slot.flight)
    }
}
