//! Transitions that several events share: require a token, judge a refusal, begin a flight,
//! install.

use super::Session;
use super::state::{CoolDown, HeldToken, ReceivedFrom, Stage, TokenPresence};
use crate::{Attempt, Flight, Landing, NEVER, Now, Policy, Purpose, Stamp, Step, Validity};

/// This many useless refreshes in a row put the session-wide spacing in force.
const USELESS_MAX: u32 = 3;

impl Session {
    /// Joins the running flight, or starts a flight, because a caller needs a token.
    pub(super) fn require_token(&mut self, purpose: Purpose, now: Now) -> Step {
        if self.join(now) {
            Step::Wait
        } else if self.has_flight() {
            Step::Overdue
        } else if self.look_due(now) {
            self.begin(Purpose::Look, now);
            Step::Refresh
        } else if self.ended || self.is_cooling_down(now) {
            Step::Fail
        } else {
            self.begin(purpose, now);
            Step::Refresh
        }
    }

    /// Returns whether the current token was refused too early to be refused for its age. Such a
    /// refusal starts no refresh.
    #[inline]
    pub(super) fn is_refused_too_early(&self, attempt: Attempt, now: Now) -> bool {
        // An accepted token is never refused too early until three refreshes in a row were useless.
        // A token that another endpoint has refused in a replay counts as accepted, because the
        // replay at this endpoint is judged too. A refusal of an unnamed endpoint without a replay
        // cannot prove a refresh useless.
        let named = attempt.endpoint != 0;
        let judged = named && self.judged == self.stamp.generation;
        let counted = judged || self.held.accepted && (named || !attempt.replay);
        if counted && !self.is_spacing_in_force() {
            return false;
        }
        let held = &self.held;
        // Only a token that the issuer has just sent can be too young. A token from another process
        // is older than its time in this process, so its first refusal counts, but not several in a
        // row.
        let is_young = held.received_from == ReceivedFrom::Issuer
            || held.received_from == ReceivedFrom::OtherProcess && self.refusals > 0;
        is_young && self.age(now) < self.policy.early_refusal_age(held.lifetime, self.refusals)
    }

    /// Returns the time since the current token was installed.
    #[inline]
    pub(super) fn age(&self, now: Now) -> u64 {
        now.steady.saturating_sub(self.held.since)
    }

    /// Returns whether the session-wide spacing is in force, for all endpoints and tokens.
    #[inline]
    pub(super) fn is_spacing_in_force(&self) -> bool {
        self.useless >= USELESS_MAX
    }

    /// Records that an endpoint refused a replay with the current token.
    #[inline]
    pub(super) fn replay_refused(&mut self, endpoint: u32, now: Now) {
        let Policy {
            fresh, fresh_max, ..
        } = self.policy;
        let new = self
            .refusing_endpoints
            .remember(endpoint, now.steady, fresh, fresh_max);
        // Only the first replay after a refresh judges the refresh.
        let first = self.judged != self.stamp.generation;
        self.judged = self.stamp.generation;
        if first && new {
            self.useless = (self.useless + 1).min(USELESS_MAX);
        }
        self.held.suspect |= self.is_spacing_in_force();
    }

    /// Waits for the running flight. Returns `step` if no flight can be joined.
    #[inline]
    pub(super) fn join_or(&mut self, step: Step, now: Now) -> Step {
        if self.join(now) { Step::Wait } else { step }
    }

    /// Returns whether an ended session may look into its store again.
    #[inline]
    pub(super) fn look_due(&self, now: Now) -> bool {
        self.ended && self.is_shared() && !self.has_flight() && now.steady >= self.look_from
    }

    #[inline]
    pub(super) fn early_due(&self, now: Now) -> bool {
        let free = !self.has_flight() && !self.is_cooling_down(now) && !self.ended;
        free && now.wall >= self.held.refresh_at && now.steady >= self.early_from
    }

    /// Returns whether other processes may write the session.
    #[inline]
    pub(super) fn is_shared(&self) -> bool {
        self.policy.look_interval != NEVER
    }

    pub(super) fn begin(&mut self, purpose: Purpose, now: Now) {
        let slot = &mut self.slot;
        slot.flight = Flight {
            id: slot.flight.id + 1,
            began: self.stamp,
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
    pub(super) fn has_flight(&self) -> bool {
        self.slot.stage != Stage::Idle
    }

    #[inline]
    pub(super) fn in_slot(&self, flight: u64) -> bool {
        self.has_flight() && self.slot.flight.id == flight
    }

    #[inline]
    pub(super) fn is_cooling_down(&self, now: Now) -> bool {
        now.steady < self.cool_down.until
    }

    #[inline]
    pub(super) fn land(
        &mut self,
        flight: Flight,
        validity: Validity,
        received_from: ReceivedFrom,
        now: Now,
    ) -> Landing {
        let in_slot = self.in_slot(flight.id);
        let late = !in_slot && flight.began.generation == self.stamp.generation;
        if flight.began.epoch != self.stamp.epoch || !(in_slot || late) {
            return Landing::Stale;
        }
        if in_slot {
            self.slot.stage = Stage::Idle;
        }
        self.install(validity, received_from, now);
        Landing::Installed
    }

    pub(super) fn begin_epoch(&mut self) {
        self.stamp.epoch += 1;
        self.slot.stage = Stage::Idle;
        self.refusals = 0;
        self.refusing_endpoints.clear();
        self.useless = 0;
        self.early_from = 0;
        self.recover();
    }

    #[inline]
    pub(super) fn install(
        &mut self,
        validity: Validity,
        received_from: ReceivedFrom,
        now: Now,
    ) -> Stamp {
        self.stamp.generation += 1;
        // A token that was replaced without an early refusal ends the row of refused tokens.
        if !self.held.refused && !self.held.suspect {
            self.refusals = 0;
        }
        // A running flight keeps its slot. The cool-down ends, because it belonged to the replaced
        // token.
        self.token = TokenPresence::Held;
        self.held = HeldToken::new(validity, received_from, now.steady);
        self.recover();
        self.stamp
    }

    /// Clears failure, end and cool-down, because a new token or epoch begins.
    #[inline]
    fn recover(&mut self) {
        self.ended = false;
        self.error = 0;
        self.cool_down = CoolDown::NONE;
        self.failures = 0;
    }
}
