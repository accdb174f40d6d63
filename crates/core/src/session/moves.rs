//! What several events have in common: needing a token, beginning a flight, installing.

use super::Session;
use super::state::{Brought, Cooling, Held, Slot, Token};
use crate::{Flight, Landing, Now, Number, Purpose, Stamp, Step, Validity};

impl<T: Clone, E: Clone, N: Number> Session<T, E, N> {
    /// A token is needed: start a flight for it, or join the one in the air.
    pub(super) fn need(&mut self, purpose: Purpose, now: Now<N>) -> Step<T, E, N> {
        if let Some(flight) = self.join(now) {
            return Step::Wait { flight };
        }
        if self.flight().is_some() {
            return Step::Overdue;
        }
        match &self.error {
            Some(error) if self.ended => {
                if !self.look_due(now) {
                    return Step::Fail(error.clone());
                }
                Step::Refresh {
                    flight: self.begin(Purpose::Look, now),
                }
            }
            Some(error) if self.cooling(now).is_some() => Step::Fail(error.clone()),
            _ => Step::Refresh {
                flight: self.begin(purpose, now),
            },
        }
    }

    /// Whether an ended session may look into its store again.
    pub(super) fn look_due(&self, now: Now<N>) -> bool {
        let somebody_writes = self.policy.look_interval.is_some();
        self.ended && somebody_writes && self.flight().is_none() && now.steady >= self.look_from
    }

    pub(super) fn early_due(&self, now: Now<N>) -> bool {
        let Token::Held(held) = &self.token else {
            return false;
        };
        let in_window = held
            .validity
            .refresh_at
            .is_some_and(|refresh_at| now.wall >= refresh_at);
        let free = self.flight().is_none() && self.cooling(now).is_none() && !self.ended;
        in_window && free && now.steady >= self.early_from
    }

    pub(super) fn begin(&mut self, purpose: Purpose, now: Now<N>) -> Flight<N> {
        self.flights = self.flights.plus(N::ONE);
        let flight = Flight {
            id: self.flights,
            began: self.at,
            purpose,
        };
        if purpose == Purpose::Early {
            self.early_from = now.steady.plus(self.policy.early_interval);
        }
        self.slot = Slot::Flying {
            flight,
            deadline: now.steady.plus(self.policy.flight_deadline),
            awaited: false,
        };
        flight
    }

    /// The flight in the air, for one more to wait for, if it is within its deadline. Whether it
    /// has passed that is told by [`Session::overdue`] alone, so that it is told once.
    pub(super) fn join(&mut self, now: Now<N>) -> Option<Flight<N>> {
        match &mut self.slot {
            Slot::Flying {
                flight,
                deadline,
                awaited,
            } if now.steady < *deadline => {
                *awaited = true;
                Some(*flight)
            }
            _ => None,
        }
    }

    pub(super) fn in_slot(&self, flight: Flight<N>) -> bool {
        self.flight().is_some_and(|here| here.id == flight.id)
    }

    pub(super) fn cooling(&self, now: Now<N>) -> Option<Cooling<N>> {
        self.cooling.filter(|cooling| now.steady < cooling.until)
    }

    pub(super) fn land(
        &mut self,
        flight: Flight<N>,
        token: T,
        validity: Validity<N>,
        brought: Brought,
        now: Now<N>,
    ) -> Landing<N> {
        let in_slot = self.in_slot(flight);
        let late = !in_slot && flight.began.generation == self.at.generation;
        if flight.began.epoch != self.at.epoch || !(in_slot || late) {
            return Landing::Stale;
        }
        if in_slot {
            self.slot = Slot::Idle;
        }
        Landing::Installed(self.install(token, validity, brought, now))
    }

    pub(super) fn begin_epoch(&mut self) {
        self.at.epoch = self.at.epoch.plus(N::ONE);
        self.slot = Slot::Idle;
        self.ended = false;
        self.error = None;
        self.cooling = None;
        self.failures = 0;
        self.refusals = 0;
        self.early_from = N::ZERO;
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
        if matches!(&self.token, Token::Held(held) if !held.refused && !held.suspect) {
            self.refusals = 0;
        }
        // What is in the air keeps its slot; a cool-down belonged to the token that is replaced.
        self.cooling = None;
        self.token = Token::Held(Held {
            token,
            validity,
            since: now.steady,
            brought,
            refused: false,
            suspect: false,
        });
        self.ended = false;
        self.error = None;
        self.failures = 0;
        self.at
    }
}
