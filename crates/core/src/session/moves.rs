//! Transitions that several events share: require a token, judge a refusal, begin a flight,
//! install.

use super::Session;
use super::state::{Brought, Cooling, Held, Stage, Token};
use crate::{Attempt, Flight, Landing, NEVER, Now, Policy, Purpose, Stamp, Step, Validity};

/// This many useless refreshes in a row put the session-wide spacing in force.
const USELESS_MAX: u32 = 3;

impl Session {
    /// Joins the running flight, or starts a flight, because a caller needs a token.
    pub(super) fn need(&mut self, purpose: Purpose, now: Now) -> Step {
        if self.join(now) {
            Step::Wait
        } else if self.busy() {
            Step::Overdue
        } else if self.look_due(now) {
            self.begin(Purpose::Look, now);
            Step::Refresh
        } else if self.ended || self.cooling(now) {
            Step::Fail
        } else {
            self.begin(purpose, now);
            Step::Refresh
        }
    }

    /// Returns whether the current token was refused too early to be refused for its age. Such a
    /// refusal starts no refresh.
    #[inline]
    pub(super) fn fresh(&self, attempt: Attempt, now: Now) -> bool {
        // An accepted token is never refused too early until three refreshes in a row were useless.
        // A token that another endpoint has refused in a replay counts as accepted, because the
        // replay at this endpoint is judged too. A refusal of an unnamed endpoint without a replay
        // cannot prove a refresh useless.
        let named = attempt.endpoint != 0;
        let judged = named && self.judged == self.at.generation;
        let counted = judged || self.held.accepted && (named || !attempt.replay);
        if counted && !self.spaced() {
            return false;
        }
        let held = &self.held;
        // Only a token that the issuer has just sent can be too young. A token from another process
        // is older than its time in this process, so its first refusal counts, but not several in a
        // row.
        let young =
            held.brought == Brought::Flight || held.brought == Brought::Others && self.refusals > 0;
        young && self.age(now) < self.policy.fresh_age(held.lifetime, self.refusals)
    }

    /// Returns the time since the current token was installed.
    #[inline]
    pub(super) fn age(&self, now: Now) -> u64 {
        now.steady.saturating_sub(self.held.since)
    }

    /// Returns whether the session-wide spacing is in force, for all endpoints and tokens.
    #[inline]
    pub(super) fn spaced(&self) -> bool {
        self.useless >= USELESS_MAX
    }

    /// Records that an endpoint refused a replay with the current token.
    #[inline]
    pub(super) fn replay_refused(&mut self, endpoint: u32, now: Now) {
        let Policy {
            fresh, fresh_max, ..
        } = self.policy;
        let new = self
            .refusers
            .remember(endpoint, now.steady, fresh, fresh_max);
        // Only the first replay after a refresh judges the refresh.
        let first = self.judged != self.at.generation;
        self.judged = self.at.generation;
        if first && new {
            self.useless = (self.useless + 1).min(USELESS_MAX);
        }
        self.held.suspect |= self.spaced();
    }

    /// Waits for the running flight. Returns `step` if no flight can be joined.
    #[inline]
    pub(super) fn join_or(&mut self, step: Step, now: Now) -> Step {
        if self.join(now) { Step::Wait } else { step }
    }

    /// Returns whether an ended session may look into its store again.
    #[inline]
    pub(super) fn look_due(&self, now: Now) -> bool {
        self.ended && self.shared() && !self.busy() && now.steady >= self.look_from
    }

    #[inline]
    pub(super) fn early_due(&self, now: Now) -> bool {
        let free = !self.busy() && !self.cooling(now) && !self.ended;
        free && now.wall >= self.held.refresh_at && now.steady >= self.early_from
    }

    /// Returns whether other processes may write the session.
    #[inline]
    pub(super) fn shared(&self) -> bool {
        self.policy.look_interval != NEVER
    }

    pub(super) fn begin(&mut self, purpose: Purpose, now: Now) {
        let slot = &mut self.slot;
        slot.flight = Flight {
            id: slot.flight.id + 1,
            began: self.at,
            purpose,
        };
        slot.stage = Stage::Flying;
        slot.deadline = now.steady.saturating_add(self.policy.flight_deadline);
        slot.awaited = false;
        if purpose == Purpose::Early {
            self.early_from = now.steady.saturating_add(self.policy.early_interval);
        }
    }

    /// Joins the running flight. Returns false if there is no flight to wait for. Only
    /// [`Session::overdue`] records that the deadline has passed, so the deadline is reported once.
    #[inline]
    pub(super) fn join(&mut self, now: Now) -> bool {
        let joined = self.slot.stage == Stage::Flying && now.steady < self.slot.deadline;
        self.slot.awaited |= joined;
        joined
    }

    #[inline]
    pub(super) fn busy(&self) -> bool {
        self.slot.stage != Stage::Idle
    }

    #[inline]
    pub(super) fn in_slot(&self, flight: u64) -> bool {
        self.busy() && self.slot.flight.id == flight
    }

    #[inline]
    pub(super) fn cooling(&self, now: Now) -> bool {
        now.steady < self.cooling.until
    }

    #[inline]
    pub(super) fn land(
        &mut self,
        flight: Flight,
        validity: Validity,
        brought: Brought,
        now: Now,
    ) -> Landing {
        let in_slot = self.in_slot(flight.id);
        let late = !in_slot && flight.began.generation == self.at.generation;
        if flight.began.epoch != self.at.epoch || !(in_slot || late) {
            return Landing::Stale;
        }
        if in_slot {
            self.slot.stage = Stage::Idle;
        }
        self.install(validity, brought, now);
        Landing::Installed
    }

    pub(super) fn begin_epoch(&mut self) {
        self.at.epoch += 1;
        self.slot.stage = Stage::Idle;
        self.refusals = 0;
        self.refusers.clear();
        self.useless = 0;
        self.early_from = 0;
        self.recover();
    }

    #[inline]
    pub(super) fn install(&mut self, validity: Validity, brought: Brought, now: Now) -> Stamp {
        self.at.generation += 1;
        // A token that was replaced without an early refusal ends the row of refused tokens.
        if !self.held.refused && !self.held.suspect {
            self.refusals = 0;
        }
        // A running flight keeps its slot. The cool-down ends, because it belonged to the replaced
        // token.
        self.token = Token::Held;
        self.held = Held::new(validity, brought, now.steady);
        self.recover();
        self.at
    }

    /// Clears failure, end and cool-down, because a new token or epoch begins.
    #[inline]
    fn recover(&mut self) {
        self.ended = false;
        self.error = 0;
        self.cooling = Cooling::NONE;
        self.failures = 0;
    }
}
