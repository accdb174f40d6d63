//! What several events have in common: needing a token, beginning a flight, installing.

use super::Session;
use super::state::{Brought, Cooling, Held, Stage, Token};
use crate::{Flight, Kind, Landing, Now, Number, Purpose, Stamp, Step, Validity};

impl<T: Clone, E: Clone, N: Number> Session<T, E, N> {
    /// The step of this kind. None is decided on without what it is made of; were it, its caller
    /// would get nothing but the refusal.
    pub(super) fn step(&self, kind: Kind) -> Step<T, E, N> {
        let (stamp, flight) = (self.at, self.slot.flight);
        match (kind, &self.token, &self.error) {
            (Kind::Bare, ..) => Step::Bare { stamp },
            (Kind::Use, Token::Held(token), _) => Step::Use {
                token: token.clone(),
                stamp,
            },
            (Kind::UseAndRefresh, Token::Held(token), _) => Step::UseAndRefresh {
                token: token.clone(),
                stamp,
                flight,
            },
            (Kind::Refresh, ..) => Step::Refresh { flight },
            (Kind::Wait, ..) => Step::Wait { flight },
            (Kind::Changed, ..) => Step::Changed,
            (Kind::Overdue, ..) => Step::Overdue,
            (Kind::Fail, _, Some(error)) => Step::Fail(error.clone()),
            _ => Step::HandBack,
        }
    }

    pub(super) fn holds(&self) -> bool {
        matches!(self.token, Token::Held(_))
    }

    /// Whether there is a token that may be sent.
    pub(super) fn serves(&self, now: Now<N>) -> bool {
        self.holds() && self.held.usable(now)
    }

    /// A token is needed: start a flight for it, or join the one in the air.
    #[inline(never)] // One copy, in a build for which size counts: likewise below.
    pub(super) fn need(&mut self, purpose: Purpose, now: Now<N>) -> Kind {
        if self.join(now) {
            Kind::Wait
        } else if self.busy() {
            Kind::Overdue
        } else if self.look_due(now) {
            self.begin(Purpose::Look, now);
            Kind::Refresh
        } else if self.ended || self.cooling(now) {
            Kind::Fail
        } else {
            self.begin(purpose, now);
            Kind::Refresh
        }
    }

    /// Whether an ended session may look into its store again.
    pub(super) fn look_due(&self, now: Now<N>) -> bool {
        self.ended && self.shared() && !self.busy() && now.steady >= self.look_from
    }

    pub(super) fn early_due(&self, now: Now<N>) -> bool {
        let free = !self.busy() && !self.cooling(now) && !self.ended;
        free && now.wall >= self.held.refresh_at && now.steady >= self.early_from
    }

    /// Whether somebody else may write the session.
    pub(super) fn shared(&self) -> bool {
        self.policy.look_interval < N::MAX
    }

    #[inline(never)]
    pub(super) fn begin(&mut self, purpose: Purpose, now: Now<N>) {
        let slot = &mut self.slot;
        slot.flight = Flight {
            id: slot.flight.id.plus(N::ONE),
            began: self.at,
            purpose,
        };
        slot.stage = Stage::Flying;
        slot.deadline = now.steady.plus(self.policy.flight_deadline);
        slot.awaited = false;
        if purpose == Purpose::Early {
            self.early_from = now.steady.plus(self.policy.early_interval);
        }
    }

    /// Whether there is a flight in the air for one more to wait for, which they do. Whether it
    /// has passed its deadline is told by [`Session::overdue`] alone, so that it is told once.
    pub(super) fn join(&mut self, now: Now<N>) -> bool {
        let joined = self.slot.stage == Stage::Flying && now.steady < self.slot.deadline;
        self.slot.awaited |= joined;
        joined
    }

    pub(super) fn busy(&self) -> bool {
        self.slot.stage != Stage::Idle
    }

    pub(super) fn in_slot(&self, flight: N) -> bool {
        self.busy() && self.slot.flight.id == flight
    }

    pub(super) fn cooling(&self, now: Now<N>) -> bool {
        now.steady < self.cooling.until
    }

    pub(super) fn land(
        &mut self,
        flight: Flight<N>,
        token: T,
        validity: Validity<N>,
        brought: Brought,
        now: Now<N>,
    ) -> Landing<N> {
        let in_slot = self.in_slot(flight.id);
        let late = !in_slot && flight.began.generation == self.at.generation;
        if flight.began.epoch != self.at.epoch || !(in_slot || late) {
            return Landing::Stale;
        }
        if in_slot {
            self.slot.stage = Stage::Idle;
        }
        Landing::Installed(self.install(token, validity, brought, now))
    }

    #[inline(never)]
    pub(super) fn begin_epoch(&mut self) {
        self.at.epoch = self.at.epoch.plus(N::ONE);
        self.slot.stage = Stage::Idle;
        self.refusals = 0;
        self.early_from = N::ZERO;
        self.recover();
    }

    pub(super) fn install(
        &mut self,
        token: T,
        validity: Validity<N>,
        brought: Brought,
        now: Now<N>,
    ) -> Stamp<N> {
        self.at.generation = self.at.generation.plus(N::ONE);
        // A token that lived to be replaced for its age alone ends the row of refused ones.
        if self.holds() && !self.held.refused && !self.held.suspect {
            self.refusals = 0;
        }
        // What is in the air keeps its slot; a cool-down belonged to the token that is replaced.
        self.token = Token::Held(token);
        self.held = Held::new(validity, brought, now.steady);
        self.recover();
        self.at
    }

    /// Failures are past.
    fn recover(&mut self) {
        self.ended = false;
        self.error = None;
        self.cooling = Cooling::NONE;
        self.failures = 0;
    }
}
